"""One call of a reader model, again under other circumstances: who stands where in the batch must not matter.

Shapes: P readers, n visits of a batch.
"""

import contextlib
import copy
import io
import random
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from feedgym.env.arrays import Arrays, Doubles, Ints, nest, unnest
from feedgym.env.check_reader.batch import Batch
from feedgym.env.check_reader.compare import MAY_CHANGE, changes_of_state
from feedgym.env.check_reader.forms import (
    SIGNATURES,
    Form,
    check_arrival,
    check_expectation,
    check_features,
    check_hours,
    check_outcome,
    check_state,
    problem,
    state_columns,
)
from feedgym.env.check_reader.report import ReaderProblem
from feedgym.env.readers import PackedState


@dataclass(kw_only=True)
class Result:
    """What a method did with a batch, in the batch's order whatever the order of the calls was."""

    method: str
    problems: list[ReaderProblem] = field(default_factory=list)
    columns: Arrays | None = None
    """What it returned and what it left in its readers' state, a row per visit; None if it cannot be used."""
    returned: Any = None
    """As it came, from the last call."""
    state: Any = None
    """The whole state afterwards."""
    used_global: bool = False
    """It drew from, or seeded, numpy's or Python's global random state."""


def copy_state(state: Arrays) -> Arrays:
    """The same numbers in arrays of their own."""
    return PackedState({name: column.copy() for name, column in state.items()})


def saved_state(state: Arrays) -> Arrays:
    """The state as it comes back from a file."""
    file = io.BytesIO()
    np.savez(file, **nest("state", state))  # type: ignore[arg-type]  # a name of an array, never of an option
    file.seek(0)
    with np.load(file, allow_pickle=False) as arrays:
        return PackedState(unnest("state", dict(arrays)))


@contextlib.contextmanager
def global_luck(seed: int) -> Iterator[None]:
    """Both global random states start from ``seed``, and are the caller's own again afterwards."""
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002  what models must not use is watched here
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)  # noqa: NPY002


def _global_state() -> tuple[object, ...]:
    kind, keys, *rest = np.random.get_state()  # noqa: NPY002
    return (random.getstate(), kind, np.asarray(keys).tobytes(), *rest)


def run(
    method: str, model: Any, state: Arrays, batch: Batch, *, parts: Sequence[Ints] | None = None, seed: int = 1
) -> Result:
    """Call ``method`` for the batch, or for its parts one after the other. Changes ``state``.

    Args:
        method: of ``SIGNATURES``.
        model: whose method.
        state: of all readers, (P, ...); a new one is made by ``spawn``.
        batch: n visits, or readers to be born.
        parts: indices into the batch, together each once.
        seed: of the global random states, which a good model does not look at.

    Returns:
        What happened. What the model raises is a problem among others.
    """
    parts = [np.arange(len(batch))] if parts is None else parts
    result = Result(method=method, state=state)
    pieces = []
    with global_luck(seed):
        for index in parts:
            columns = _call(result, model, batch.take(index))
            pieces.append(columns)
    usable = [piece for piece in pieces if piece is not None]
    if len(usable) == len(parts):
        order = np.argsort(np.concatenate(parts), kind="stable")
        try:
            result.columns = {name: np.concatenate([piece[name] for piece in usable])[order] for name in usable[0]}
        except (KeyError, ValueError):
            result.problems.append(_ragged(method, usable))
        if method == "spawn" and result.columns is not None:
            result.state = PackedState(_joined_state(result, order))
    return result


def _joined_state(result: Result, order: Ints) -> Arrays:
    spawned = result.returned
    return {name: np.concatenate([part[name] for part in spawned])[order] for name in spawned[0]}


def _ragged(method: str, pieces: list[Arrays]) -> ReaderProblem:
    shapes = [", ".join(f"{name} {column.shape[1:]}" for name, column in piece.items()) for piece in pieces]
    need = "the same arrays, of the same shape but for the number of rows, whatever readers are asked for"
    return problem(method, "shape", f"arrays per row: {'; then '.join(shapes)}", need, SIGNATURES[method])


def _call(result: Result, model: Any, part: Batch) -> Arrays | None:
    """One call; its columns if they can be used."""
    method, state = result.method, result.state
    before, untouched = _global_state(), part.take(np.arange(len(part)))
    articles = part.archive.snapshot() if method == "expected_response" else {}
    old = copy_state(state) if isinstance(state, dict) else None
    try:
        returned = _ask(method, model, state, part)
        found, columns = _judge(method, model, returned, untouched)
    except Exception as error:  # whatever a model raises is what we are here to tell
        returned, columns = None, None
        found = [_crash(method, model, error, len(part))]
    result.used_global |= _global_state() != before
    if method == "spawn":
        result.returned = [*(result.returned or []), returned]
        columns = columns and state_columns(returned)
    else:
        result.returned = returned
        assert old is not None
        more, fine = changes_of_state(method, old, state, untouched.rows)
        found += more
        if not fine:
            # Life goes on as if the state had not been touched, so that the rest can be told too.
            result.state = old
        elif columns is not None and method in MAY_CHANGE:
            columns = columns | {f"state[{n!r}]": c[untouched.rows] for n, c in state_columns(state).items()}
    names = [*untouched.changed_by(part)]
    names += [f"archive column {n!r}" for n, c in articles.items() if not np.array_equal(c, part.archive.snapshot()[n])]
    if names:
        need, hint = "inputs left as they are: the Feed goes on using them", "take a copy before changing an array"
        found.append(problem(method, "input changed", f"changed {', '.join(names)} in place", need, hint))
    result.problems += found
    return columns if columns is None or method == "spawn" else {name: c.copy() for name, c in columns.items()}


def _ask(method: str, model: Any, state: Arrays, part: Batch) -> Any:
    if method == "spawn":
        return model.spawn(part.reader_id, part.birth_noise())
    if method == "first_visit":
        return model.first_visit(state, part.rows, part.birth_noise())
    if method == "arrive":
        return model.arrive(state, part.rows, joined_hours(part), part.birth_noise())
    if method == "respond":
        return model.respond(state, part.rows, part.slate(), part.now, part.noise())
    if method == "next_visit":
        return model.next_visit(state, part.rows, part.outcome, part.now, part.noise())
    if method == "observe":
        return model.observe(state, part.rows)
    assert method == "expected_response"
    return model.expected_response(state, part.rows, part.archive, live_of(part), part.now)


def joined_hours(batch: Batch) -> Doubles:
    """When newcomers (n,) join in the rehearsal, a new array: at some hour of the second day."""
    return 24.0 + (batch.reader_id * 7 % 24).astype(np.float64)


def live_of(batch: Batch) -> Ints:
    """Ids of the live articles (N,), a new array."""
    return np.flatnonzero(batch.archive.is_live)


def _judge(method: str, model: Any, returned: Any, part: Batch) -> Form:
    if method == "spawn":
        return check_state(returned, method, len(part))
    if method == "arrive":
        return check_arrival(returned, joined_hours(part), part)
    if method == "respond":
        return check_outcome(returned, part)
    if method == "observe":
        return check_features(returned, tuple(model.observable_names), part)
    if method == "expected_response":
        return check_expectation(returned, len(live_of(part)), part)
    return check_hours(returned, method, part)


def _crash(method: str, model: Any, error: Exception, n: int) -> ReaderProblem:
    """An exception of the model, and the line of its own file that it came from."""
    text = f"{type(error).__name__}: {error}"
    frames = [f for f in traceback.extract_tb(error.__traceback__) if not f.filename.endswith("check_reader_trials.py")]
    own = [f for f in frames if f.name == method] or frames
    if own:
        text += f" (in {own[-1].name}, line {own[-1].lineno}: {own[-1].line})"
    seen = f"raised {text}, asked for {n} {'row' if n == 1 else 'rows'}"
    return problem(method, "exception", seen, f"{SIGNATURES[method]}, for any number of rows", _advice(error))


def _advice(error: Exception) -> str:
    if isinstance(error, TypeError) and "argument" in str(error):
        return "the arguments come by position, in this order and number"
    if isinstance(error, ValueError) and str(error).startswith("per:"):
        return "spawn and first_visit draw with noise.uniform(name, 'reader'); the rest per 'visit' or 'impression'"
    if isinstance(error, IndexError | KeyError):
        return "state has a row per reader, rows are those of this batch: state['x'][rows] gives one value for each"
    if isinstance(error, AttributeError):
        return "what the model needs stands in state or is made in __init__, and is not kept from an earlier call"
    return "run the method by hand on a few rows, and see which array has another shape than you think"


def moved(state: Arrays, batch: Batch, order: Ints) -> tuple[Arrays, Batch]:
    """The same readers at other rows of the state: reader ``order[i]`` stands at row i."""
    there = PackedState({name: column[order] for name, column in state.items()})
    rows: Ints = np.argsort(order)[batch.rows]
    other = batch.take(np.arange(len(batch)))
    other.rows[:] = rows
    return there, other


def attribute(model: Any, name: str) -> Any:
    """An attribute of the model; None if there is none, or if the model fails when asked for it."""
    try:
        return getattr(model, name, None)
    except Exception:  # a property that raises
        return None


def try_copy(model: Any) -> Any:
    """A copy of the model with all that it holds, or None if that cannot be had."""
    try:
        return copy.deepcopy(model)
    except Exception:  # a lock, a file, a generator: then the model itself is used
        return None

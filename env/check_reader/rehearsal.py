"""Is a reader model fit for the Feed? A rehearsal on a small site that says in plain words all that is not.

The Feed promises that a reader's outcomes depend on the reader, the visit and the articles only: not on the batch,
the other readers, the row, the call before, or anything that a snapshot does not hold. A model that breaks this
breaks comparisons between agents without a sign; so each of its methods is called again and again under other
circumstances, and must do the same.
Shapes: P readers, n visits of a batch.
"""

import inspect
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from feedgym.env.arrays import AnyArray, Arrays, Doubles, Ints
from feedgym.env.check_reader.batch import Batch, Site, nothing_happened, outcome_columns
from feedgym.env.check_reader.compare import difference
from feedgym.env.check_reader.forms import SIGNATURES, problem
from feedgym.env.check_reader.report import Findings, ReaderReport
from feedgym.env.check_reader.trials import (
    Result,
    attribute,
    copy_state,
    moved,
    run,
    saved_state,
    try_copy,
)
from feedgym.env.checks import require
from feedgym.env.config import FeedConfig, NewsroomConfig
from feedgym.env.newsroom import Newsroom, SyntheticNewsroom
from feedgym.env.readers import World

_REQUIRED = ("spawn", "first_visit", "respond", "next_visit")
_SITE = FeedConfig(num_readers=256, days=60.0, slate_size=6, newsroom=NewsroomConfig(articles_per_day=60.0))
_BATCHES = 40
_THOROUGH_FIRST, _THOROUGH_EACH = 3, 8
"""The first batches, and then each eighth, are called under other circumstances too."""

# kind of problem: (what the trial was, what is needed, hint)
_TRIALS = {
    "not deterministic": (
        "called twice with the same input: ",
        "the same result for the same readers, slates and noise",
        "every draw comes from noise; an unseeded default_rng(), the clock or a module's variable do not repeat. "
        "Mend this first: until then order, split, row and restoring cannot be judged",
    ),
    "global randomness": (
        "called under another np.random.seed and random.seed: ",
        "no np.random.* and no random.*: results that no other code can shift",
        "noise.uniform, noise.normal and noise.exponential give the same luck under every agent",
    ),
    "hidden state": (
        "a fresh copy of the model went on from the same state, as a run resumed from a checkpoint does: ",
        "everything that changes stands in state, an array with a row per reader; nothing changes on self",
        "spawn returns it under a name, respond writes state['x'][rows] = ...; what next_visit needs of respond stands "
        "in state too, or in the Outcome",
    ),
    "batch order": (
        "the same rows came in another order: ",
        "a reader's result depends on that reader, visit and slate only",
        "draws keyed by noise follow the visit; a generator of your own, np.cumsum or a rank over axis 0 do not",
    ),
    "batch split": (
        "the same rows came in three batches, one of a single row: ",
        "a reader's result depends on that reader, visit and slate only: the Feed cuts batches as it likes",
        "look for a mean, max or sum over axis 0 or without axis, for len(rows), for squeeze()",
    ),
    "reader row": (
        "the same readers stood at other rows of the state: ",
        "a reader is known by reader_id and state, the row is only where the state stands",
        "noise.uniform(name, 'reader') instead of draws from a table or generator by row",
    ),
}


def check_reader_model(
    model: Any, *, config: FeedConfig | None = None, newsroom: Newsroom | None = None, seed: int = 0
) -> ReaderReport:
    """Rehearse a reader model and tell all that is wrong with it.

    Besides the four methods of :class:`ReaderModel` the optional ones are checked where the model has them: ``enter``,
    ``arrive``, ``observe`` with ``observable_names``, ``expected_response``. The model is copied where it can be, and
    stays as it is.

    Args:
        model: of any class; nothing that it does makes this function fail.
        config: of the site of the rehearsal; 256 readers, slates of 6 and up to 60 days by default.
        newsroom: what is published there; a synthetic one by default.
        seed: of the rehearsal.

    Returns:
        The report; ``print`` it, or ask ``report.ok`` and ``report.problems``.

    Raises:
        ValueError: ``seed`` is negative.
    """
    require(seed >= 0, "seed", seed, ">= 0")
    config = _SITE if config is None else config
    newsroom = SyntheticNewsroom(config.newsroom, seed) if newsroom is None else newsroom
    book = Findings()
    if inspect.isclass(model):
        seen, needed = f"the class {model.__name__} itself", f"an object of it: {model.__name__}()"
        book.add(problem("__init__", "instance", seen, needed, "the parentheses are missing"))
        return book.report(model.__name__, 0)
    return _Rehearsal(model, Site(config, newsroom, seed), book).report()


class _Rehearsal:
    """One model's life on the site."""

    def __init__(self, model: Any, site: Site, book: Findings) -> None:
        self._original, self._site, self._book = model, site, book
        self._name = type(model).__name__
        self._rng = np.random.default_rng(np.random.SeedSequence(site.seed, spawn_key=(0x7217,)))
        self._num_visits = 0
        self._model: Any = None
        self._outcome: Any = None
        self._outcome_was: dict[str, AnyArray] = {}

    def report(self) -> ReaderReport:
        """Live, and tell."""
        missing = [name for name in _REQUIRED if not callable(attribute(self._original, name))]
        for name in missing:
            hint = "a reader model has spawn, first_visit, respond and next_visit: see ReaderModel"
            self._book.add(problem(name, "missing", f"{self._name} has no method {name}", SIGNATURES[name], hint))
        self._model = self._fresh()
        if self._model is not None and "spawn" not in missing:
            self._live()
        return self._book.report(self._name, self._num_visits)

    def _fresh(self) -> Any:
        """A model that has not been used, entered into the site's world; None if it cannot enter."""
        model = try_copy(self._original)
        model = self._original if model is None else model
        if not callable(attribute(model, "enter")):
            return model
        needed = "enter(self, world) -> a reader model for this world; world.centers is (T, D)"
        try:
            entered = model.enter(World(centers=self._site.newsroom.centers))
        except Exception as error:  # whatever a model raises is what we are here to tell
            seen, hint = (
                f"raised {type(error).__name__}: {error}",
                "leave enter out if the model needs no topic centres",
            )
            self._book.add(problem("enter", "exception", seen, needed, hint))
            return None
        lost = [n for n in _REQUIRED if attribute(model, n) is not None and attribute(entered, n) is None]
        if lost:
            seen = f"returned a {type(entered).__name__}, which has no {', '.join(lost)}"
            self._book.add(problem("enter", "returned", seen, needed, "return a copy of self, or self"))
            return None
        return entered

    def _live(self) -> None:
        everybody = self._site.everybody()
        spawned = self._examine("spawn", {}, everybody, thorough=True)
        if spawned is None:
            return
        state: Arrays = spawned.state
        first = self._step("first_visit", state, everybody, thorough=True)
        # As if all were newcomers; what it leaves in the state is theirs, and goes no further.
        self._step("arrive", state, everybody, thorough=True)
        due: Doubles = self._rng.uniform(0.0, 24.0, len(everybody))
        if first is not None and first.columns is not None:
            state, due = first.state, np.maximum(np.nan_to_num(first.columns["hours"], nan=0.0, posinf=np.inf), 0.0)
        if not np.isfinite(due).any():
            seen, hint = "nobody ever comes: all hours are inf", "np.inf is for those who never visit the site"
            self._book.add(problem("first_visit", "no visits", seen, "hours until the first visit", hint))
            due = self._rng.uniform(0.0, 24.0, len(everybody))
        for number in range(_BATCHES):
            batch = self._site.call(due)
            if batch is None:
                break
            thorough = number < _THOROUGH_FIRST or number % _THOROUGH_EACH == 0
            state, hours = self._tick(state, batch, thorough)
            due[batch.rows] = batch.now + np.maximum(hours, self._site.config.tick_hours)
            self._site.visit[batch.rows] += 1
            self._num_visits += len(batch)
        if self._num_visits == 0:
            days = self._site.config.days
            seen = f"nobody came within {days:g} days: the earliest first visit is at {due.min():.4g} hours"
            self._book.add(problem("first_visit", "no visits", seen, "visits to rehearse", "hours, not minutes"))

    def _tick(self, state: Arrays, batch: Batch, thorough: bool) -> tuple[Arrays, Doubles]:
        """One batch of visits: the state afterwards, and the hours (n,) to the next visit."""
        n = len(batch)
        self._look(state, batch, thorough)
        outcome: Any = nothing_happened(n, self._site.config.slate_size)
        responded = self._step("respond", state, batch, thorough)
        self._keeps_its_outcomes()
        if responded is not None:
            state = responded.state
            if responded.columns is not None:
                outcome = responded.returned
                self._outcome, self._outcome_was = outcome, {n: c.copy() for n, c in outcome_columns(outcome).items()}
        hours: Doubles = np.full(n, 6.0)
        gone = self._step("next_visit", state, batch.with_outcome(outcome), thorough)
        if gone is not None:
            state = gone.state
            if gone.columns is not None:
                hours = np.nan_to_num(gone.columns["hours"], nan=6.0, posinf=np.inf)
        return state, hours

    def _look(self, state: Arrays, batch: Batch, thorough: bool) -> None:
        """The optional methods, which look and change nothing."""
        model, book = self._model, self._book
        has = {name: attribute(model, name) is not None for name in ("observe", "observable_names")}
        if has["observe"] and has["observable_names"]:
            if not isinstance(model.observable_names, tuple | list):
                seen = f"observable_names is a {type(model.observable_names).__name__}"
                book.add(problem("observe", "names", seen, "a tuple of F names", "('subscriber',): mind the comma"))
                return
            self._step("observe", state, batch, thorough)
            # The Feed asks at every tick, also when nobody comes.
            if not book.has("observe", "exception", "shape", "dtype"):
                book.add(*run("observe", model, copy_state(state), batch.take(np.arange(0))).problems)
        elif any(has.values()):
            there, lacks = sorted(has, key=lambda name: not has[name])
            hint = "without both the Feed shows agents nothing of it"
            book.add(problem("observe", "names", f"there is {there} but no {lacks}", "both or neither", hint))
        if callable(attribute(model, "expected_response")):
            self._step("expected_response", state, batch, thorough)

    def _keeps_its_outcomes(self) -> None:
        """The outcome of the batch before must still be what it was."""
        for name, column in outcome_columns(self._outcome).items():
            was = self._outcome_was.get(name)
            if was is not None and not np.array_equal(was, column, equal_nan=column.dtype.kind == "f"):
                seen = f"the {name} returned for one batch changed when the next one was served"
                hint = "do not reuse a buffer: the Feed keeps the arrays until the tick is over"
                self._book.add(problem("respond", "reused array", seen, "new arrays from every call", hint))

    def _step(self, method: str, state: Arrays, batch: Batch, thorough: bool) -> Result | None:
        """Examine a method that may be missing; None if it is, or has left a state that cannot be used."""
        if not callable(attribute(self._model, method)):
            return None
        return self._examine(method, state, batch, thorough=thorough)

    def _examine(self, method: str, state: Arrays, batch: Batch, *, thorough: bool) -> Result | None:
        """Call a method, and if ``thorough``, again under other circumstances. ``state`` stays as it is."""
        book = self._book
        before = try_copy(self._model) if thorough else None
        first = run(method, self._model, copy_state(state), batch)
        book.add(*first.problems)
        if first.used_global:
            _, needed, hint = _TRIALS["global randomness"]
            seen = "drew from np.random or random, or seeded them: their global state is another than before the call"
            book.add(problem(method, "global randomness", seen, needed, hint))
        if first.columns is None:
            return None
        if thorough and len(batch) > 1:
            for check, trial in self._trials(method, state, batch, before):
                if book.has(method, "not deterministic", "global randomness", "hidden state"):
                    break
                if not book.has(method, check):
                    self._tell(method, check, first, trial(), batch)
        return first

    def _trials(
        self, method: str, state: Arrays, batch: Batch, before: Any
    ) -> Iterator[tuple[str, Callable[[], Result]]]:
        """The same call under other circumstances, by the kind of problem that a difference is."""

        def again(model: Any, seed: int = 1, parts: list[Ints] | None = None) -> Result:
            return run(method, model, copy_state(state), batch, parts=parts, seed=seed)

        def unused() -> Any:
            # Where a model cannot be copied, it is tried as it is.
            return self._model if before is None else try_copy(before)

        def elsewhere() -> Result:
            there, moved_batch = moved(state, batch, self._rng.permutation(self._site.config.num_readers))
            return run(method, unused(), there, moved_batch)

        n = len(batch)
        thirds = [np.arange(1), np.arange(1, (n + 1) // 2), np.arange((n + 1) // 2, n)]
        # Twice: a coin that falls the same way once would be taken for another kind of problem below.
        yield "not deterministic", lambda: again(unused())
        yield "not deterministic", lambda: again(unused())
        yield "global randomness", lambda: again(unused(), seed=2)
        yield "hidden state", lambda: again(self._model)
        yield "hidden state", lambda: run(method, self._fresh(), saved_state(state), batch)
        yield "batch order", lambda: again(unused(), parts=[self._rng.permutation(n)])
        yield "batch split", lambda: again(unused(), parts=[part for part in thirds if len(part)])
        if method != "spawn":
            yield "reader row", elsewhere

    def _tell(self, method: str, check: str, first: Result, other: Result, batch: Batch) -> None:
        """Write down in what the second result differs."""
        if other.columns is None:
            told, rounding = other.problems[0].seen, False
        else:
            assert first.columns is not None
            told, rounding = difference(first.columns, other.columns, batch)
        if not told:
            return
        trial, needed, hint = _TRIALS[check]
        if not rounding:
            self._book.add(problem(method, check, trial + told, needed, hint))
        elif method != "expected_response":
            needed = "the same bytes, if runs in shards or batches of another size are to equal each other exactly"
            hint = (
                "matrix products (@, np.dot) and sum(axis=1) may round a row by the number of rows; np.einsum does not"
            )
            self._book.note(problem(method, check, trial + told, needed, hint))

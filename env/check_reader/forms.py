"""What each method of a reader model must return, as the Feed takes it; more forgiving nowhere, plainer in words.

Each function takes what was returned and gives the problems, and the arrays with a row per visit; None where they
cannot be used. Shapes: n visits or readers, K positions, N articles, F columns.
"""

from typing import Any

import numpy as np

from feedgym.env.arrays import AnyArray, Arrays, Bools
from feedgym.env.check_reader.batch import Batch
from feedgym.env.check_reader.report import ReaderProblem

Form = tuple[list[ReaderProblem], Arrays | None]
_NUMBERS = "fiu"
SIGNATURES = {
    "spawn": "spawn(self, reader_ids, noise) -> dict of arrays with a row per reader",
    "first_visit": "first_visit(self, state, rows, noise) -> hours (n,)",
    "arrive": "arrive(self, state, rows, joined, noise) -> hours (n,), from hour 0, not before joined",
    "respond": "respond(self, state, rows, slate, now, noise) -> Outcome",
    "next_visit": "next_visit(self, state, rows, outcome, now, noise) -> hours (n,)",
    "observe": "observe(self, state, rows) -> numbers (n, F), with observable_names, F names",
    "expected_response": "expected_response(self, state, rows, archive, article_id, now) -> (chance, minutes), (n, N)",
}


def problem(method: str, check: str, seen: str, needed: str, hint: str) -> ReaderProblem:
    """Shorthand."""
    return ReaderProblem(method=method, check=check, seen=seen, needed=needed, hint=hint)


def _kind(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return f"an array {value.shape} of {value.dtype}"
    return f"{'an' if type(value).__name__[0] in 'aeiouAEIOU' else 'a'} {type(value).__name__}"


def _which(bad: Bools, batch: Batch) -> str:
    """How many visits, and whose first: ``bad`` is (n,) or (n, K)."""
    rows = bad.reshape(len(bad), -1).any(axis=1)
    return f"{int(rows.sum())} of {len(batch)} visits (the first: reader {int(batch.reader_id[rows.argmax()])})"


def state_columns(state: Any) -> Arrays:
    """The state's arrays with those inside structured ones apart, ``packed.trust``: they compare field by field."""
    flat: Arrays = {}
    for name, column in state.items():
        if column.dtype.names is None:
            flat[name] = column
        else:
            flat |= {f"{name}.{field}": column[field] for field in column.dtype.names}
    return flat


def check_state(state: Any, method: str, n: int) -> Form:
    """The state that ``spawn`` made, or that another method left behind, of ``n`` readers."""
    need = f"a dict of numpy arrays by name, each with a row per reader ({n} here)"
    if not isinstance(state, dict):
        hint = "return {'patience_hours': array, ...}; an object of your own cannot be saved with a run"
        return [problem(method, "state", f"the state is {_kind(state)}", need, hint)], None
    found = []
    for name, column in state.items():
        if not isinstance(name, str):
            seen, hint = f"the state has the key {name!r}", "names of arrays are strings"
        elif not isinstance(column, np.ndarray):
            seen = f"state[{name!r}] is {_kind(column)}"
            hint = "only arrays are saved with a run; what is the same for all readers belongs into __init__"
        elif column.shape[:1] != (n,):
            seen = f"state[{name!r}] is {_kind(column)}"
            hint = "np.zeros(len(reader_ids)) and not one value for all; row i belongs to reader_ids[i]"
        elif column.dtype.hasobject:
            seen = f"state[{name!r}] is {_kind(column)}"
            hint = "lists and other objects cannot be saved with a run: numbers or booleans, more columns if need be"
        else:
            continue
        found.append(problem(method, "state", seen, need, hint))
    if found:
        return found, None
    for name, column in state_columns(state).items():
        if column.dtype.kind == "f" and np.isnan(column).any():
            seen = (
                f"state[{name!r}] is NaN in {int(np.isnan(column).any(axis=tuple(range(1, column.ndim))).sum())} rows"
            )
            hint = "every comparison with NaN is False, so readers silently stop clicking; mark 'unknown' by -1 or inf"
            return [problem(method, "NaN in state", seen, "numbers in the state", hint)], state
    return [], state


def check_hours(returned: Any, method: str, batch: Batch) -> Form:
    """``first_visit`` and ``next_visit``: hours (n,), >= 0, inf for never."""
    n, need = len(batch), f"hours from now on, a float array of shape ({len(batch)},): >= 0, np.inf for never"
    try:
        hours = np.asarray(returned, dtype=np.float64)
    except (TypeError, ValueError):
        hint = "one number for each of rows"
        return [problem(method, "dtype", f"returned {_kind(returned)}", need, hint)], None
    if hours.shape != (n,):
        hint = "one number for each of rows: np.full(len(rows), 8.0) rather than 8.0"
        return [problem(method, "shape", f"returned {_kind(hours)} for {n} rows", need, hint)], None
    found = []
    if (bad := np.isnan(hours)).any():
        hint = "look for 0/0, inf - inf, the log of a negative number; np.inf, not NaN, means left for good"
        found.append(problem(method, "NaN", f"NaN hours in {_which(bad, batch)}", need, hint))
    if (bad := hours < 0.0).any():
        seen = f"{hours[bad].min():.4g} hours in {_which(bad, batch)}"
        hint = "hours count from now on, not from hour 0; np.maximum(hours, 0.0) keeps rounding out"
        if method == "first_visit":
            hint = "hours count from hour 0, when the site opens"
        found.append(problem(method, "negative gap", seen, need, hint))
    return found, {"hours": hours}


def check_arrival(returned: Any, joined: AnyArray, batch: Batch) -> Form:
    """``arrive``: hours from hour 0 until the first visit of newcomers, none before she joins at ``joined`` (n,)."""
    found, columns = check_hours(returned, "arrive", batch)
    if columns is not None and (bad := columns["hours"] < joined).any():
        first = int(bad.argmax())
        seen = f"{columns['hours'][first]:.4g} hours for one who joins at {joined[first]:g}, in {_which(bad, batch)}"
        need, hint = "hours from hour 0, not before those of joining", "return joined + the hours until the first visit"
        found.append(problem("arrive", "before joining", seen, need, hint))
    return found, columns


def check_outcome(returned: Any, batch: Batch) -> Form:
    """``respond``: who clicked, for how many minutes they read, who subscribed."""
    k, n = batch.valid.shape
    need = f"an Outcome of clicks {(n, k)} bool, dwell_minutes {(n, k)} float, subscribed {(n,)} bool"
    found = []
    columns: Arrays = {}
    for name, shape, kinds in (("clicks", (n, k), "b"), ("dwell_minutes", (n, k), _NUMBERS), ("subscribed", (n,), "b")):
        column = getattr(returned, name, None)
        if column is None:
            seen = f"returned {_kind(returned)}, which has no {name}"
            hint = "from feedgym.env import Outcome; Outcome(clicks=..., dwell_minutes=..., subscribed=...)"
            found.append(problem("respond", "outcome", seen, need, hint))
        elif not isinstance(column, np.ndarray):
            hint = "np.zeros(len(rows), dtype=bool) where nothing happens"
            found.append(problem("respond", f"{name} shape", f"{name} is {_kind(column)}", need, hint))
        elif column.shape != shape:
            hint = "a row per visit and a column per position; per-visit values take [:, None] to meet (n, K)"
            found.append(problem("respond", f"{name} shape", f"{name} is {_kind(column)}", need, hint))
        elif column.dtype.kind not in kinds:
            hint = "a comparison gives bool: noise.uniform(...) < chance" if kinds == "b" else "minutes are numbers"
            found.append(problem("respond", f"{name} dtype", f"{name} is {_kind(column)}", need, hint))
        else:
            columns[name] = column
    if found:
        return found, None
    return _check_events(columns["clicks"], columns["dwell_minutes"], batch), columns


def _check_events(clicks: Bools, dwell: AnyArray, batch: Batch) -> list[ReaderProblem]:
    """What cannot have happened."""
    found, valid = [], batch.valid.T
    if (bad := clicks & ~valid).any():
        seen, need = f"clicks on entries that show nothing, in {_which(bad, batch)}", "clicks only where slate.valid"
        found.append(problem("respond", "click on nothing", seen, need, "clicks &= slate.valid"))
    need = "finite minutes >= 0, and 0 where nothing was clicked"
    if (bad := ~np.isfinite(dwell)).any():
        worst = "NaN" if np.isnan(dwell).any() else "infinite"
        hint = "look for 0/0, exp of a large number, inf * 0: np.where(clicks, minutes, 0.0), not minutes * clicks"
        found.append(problem("respond", "NaN", f"{worst} minutes in {_which(bad, batch)}", need, hint))
    if (bad := dwell < 0.0).any():
        seen = f"{dwell[bad].min():.4g} minutes in {_which(bad, batch)}"
        hint = "minutes are often log-normal: np.exp(mean + sd * noise.normal('dwell', 'impression'))"
        found.append(problem("respond", "negative dwell", seen, need, hint))
    if (bad := (dwell != 0.0) & ~clicks).any():
        seen = f"minutes on entries that were not clicked, in {_which(bad, batch)}"
        found.append(problem("respond", "dwell without click", seen, need, "np.where(clicks, minutes, 0.0)"))
    return found


def check_features(returned: Any, names: tuple[str, ...], batch: Batch) -> Form:
    """``observe``: finite numbers (n, F)."""
    n, need = len(batch), f"finite numbers of shape ({len(batch)}, {len(names)}): a column per name in observable_names"
    try:
        features = np.asarray(returned, dtype=np.float32)
    except (TypeError, ValueError):
        return [problem("observe", "dtype", f"returned {_kind(returned)}", need, "float32")], None
    if features.shape != (n, len(names)):
        hint = f"observable_names has {len(names)}: {', '.join(map(str, names))}; np.stack([...], axis=1) makes columns"
        return [problem("observe", "shape", f"returned {_kind(features)} for {n} rows", need, hint)], None
    found = []
    if (bad := ~np.isfinite(features)).any():
        hint = "agents learn from these: one NaN spoils a model for good"
        found.append(problem("observe", "NaN", f"NaN or infinite values in {_which(bad, batch)}", need, hint))
    return found, {"features": features}


def check_expectation(returned: Any, num_articles: int, batch: Batch) -> Form:
    """``expected_response``: chances and minutes, (n, N) each."""
    shape, method = (len(batch), num_articles), "expected_response"
    need = f"(chance of a click once examined, minutes once clicked), two float arrays of shape {shape}"
    hint = "a row per reader and a column per article: reader[:, None] + article[None, :]"
    if not isinstance(returned, tuple | list) or len(returned) != 2:
        return [problem(method, "shape", f"returned {_kind(returned)}", need, hint)], None
    chance, minutes = (np.asarray(part) for part in returned)
    for name, part in (("chance", chance), ("minutes", minutes)):
        if part.shape != shape or part.dtype.kind not in _NUMBERS:
            return [problem(method, "shape", f"{name} is {_kind(part)}", need, hint)], None
    found = []
    # Written so that NaN fails.
    if (bad := ~((chance >= 0.0) & (chance <= 1.0))).any():
        seen = f"chances from {chance.min():.4g} to {chance.max():.4g}, in {_which(bad, batch)}"
        hint = "a probability, not log-odds: 1 / (1 + np.exp(-log_odds))"
        found.append(problem(method, "range of chance", seen, "chances between 0 and 1", hint))
    if (bad := ~((minutes >= 0.0) & (minutes < np.inf))).any():
        seen = f"minutes from {minutes.min():.4g} to {minutes.max():.4g}, in {_which(bad, batch)}"
        hint = "the mean of what respond draws, also for articles that nobody clicks"
        found.append(problem(method, "range of minutes", seen, "finite minutes >= 0", hint))
    return found, {"chance": chance, "minutes": minutes}

"""Two results of the same call of a reader model, side by side; and its state before and after.

Shapes: P readers, n visits of a batch.
"""

from typing import Any

import numpy as np

from feedgym.env.arrays import AnyArray, Arrays, Bools, Ints
from feedgym.env.check_reader.batch import Batch
from feedgym.env.check_reader.forms import check_state, problem, state_columns
from feedgym.env.check_reader.report import ReaderProblem

MAY_CHANGE = ("first_visit", "arrive", "respond", "next_visit")
"""Methods that may change the state of the readers whom they are called for; the others change nothing."""


def changes_of_state(method: str, old: Arrays, state: Any, rows: Ints) -> tuple[list[ReaderProblem], bool]:
    """What a call for ``rows`` (n,) did to the state that it must not do; and whether the state can be used."""
    if not old and not state:
        return [], True
    n = len(next(iter(old.values()))) if old else len(rows)
    found, columns = check_state(state, method, n)
    if columns is None:
        return found, False
    if check_state(old, method, n)[0]:
        found = []  # what was wrong before this call is another method's doing
    before, after = state_columns(old), state_columns(state)
    kinds = [{name: (c.dtype, c.shape) for name, c in columns.items()} for columns in (before, after)]
    if kinds[0] != kinds[1]:
        names = sorted(name for name in {*before, *after} if kinds[0].get(name) != kinds[1].get(name))
        seen = "; ".join(f"state[{name!r}]: {_says(before, name)} before, {_says(after, name)} after" for name in names)
        need, hint = "the arrays that spawn made, of the same dtype and shape", "state['x'][rows] = ... writes in place"
        found.append(problem(method, "state", seen, need, hint))
        return found, False
    others: Bools = np.ones(n, dtype=np.bool_)
    if method in MAY_CHANGE:
        others[rows] = False
    for name, column in after.items():
        if changed := int(_differ(before[name], column)[others].sum()):
            seen = f"changed state[{name!r}] of {changed} readers"
            seen += " who are not in rows" if method in MAY_CHANGE else ""
            need = f"{method} changes " + ("only the rows that it is called for" if method in MAY_CHANGE else "nothing")
            hint = "state['x'][rows] += 1 touches only these; state['x'] += 1 touches everybody"
            found.append(problem(method, "state of others" if method in MAY_CHANGE else "state", seen, need, hint))
            break
    return found, True


def _says(columns: Arrays, name: str) -> str:
    return f"{columns[name].dtype} {columns[name].shape}" if name in columns else "none"


def _differ(one: AnyArray, other: AnyArray) -> Bools:
    """Rows (n,) in which two arrays differ; NaN equals NaN."""
    if one.shape != other.shape or one.dtype != other.dtype:
        return np.ones(len(one), dtype=np.bool_)
    unequal = one != other
    if one.dtype.kind in "fc":
        unequal &= ~(np.isnan(one) & np.isnan(other))
    rows: Bools = unequal.reshape(len(one), -1).any(axis=1)
    return rows


def _is_rounding(one: AnyArray, other: AnyArray) -> bool:
    """Rounding explains how two arrays differ."""
    if one.shape != other.shape or one.dtype != other.dtype or one.dtype.kind != "f":
        return False
    return bool(np.allclose(one, other, rtol=1e-4, atol=1e-6, equal_nan=True))


def difference(one: Arrays, other: Arrays, batch: Batch) -> tuple[str, bool]:
    """In what two results differ ("" if in nothing), and whether rounding explains it."""
    small = ""
    for name in one:
        if name not in other:
            return f"then no {name} came back", False
        rows = _differ(one[name], other[name])
        if not rows.any():
            continue
        first = int(rows.argmax())
        pair = [np.array2string(r[name][first], precision=6, threshold=6) for r in (one, other)]
        seen = f"{name} differs for {int(rows.sum())} of {len(batch)} rows (reader {int(batch.reader_id[first])}: "
        seen += f"{pair[0]}, then {pair[1]})"
        if not _is_rounding(one[name], other[name]):
            return seen, False
        small = small or seen
    return small, bool(small)

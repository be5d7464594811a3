"""What the columns of a log may hold: types and ranges, checked as they are read.

A log is input from outside: what is wrong in it is named by file, row, column and value before anything is made of it.
Shapes: R rows. What is missing becomes NaN (numbers with a fraction), -1 (whole numbers) or False.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from feedgym.env.arrays import AnyArray, Bools
from feedgym.env.log.columns import BY_NAME
from feedgym.env.log.ids import IDS, is_text

if TYPE_CHECKING:
    import pyarrow as pa

MAX_HOURS = 1e6
"""114 years: beyond, times are no hours (a Unix time in seconds, for one)."""
MAX_SLATE = 1024
"""Positions of a slate, at most: an array of slates is as wide as the largest position."""
MAX_ID = 2**62
_INFINITE = float("inf")
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Allowed:
    """Values of a column from ``low`` (``above``: but not itself) to ``high``."""

    low: float
    high: float
    words: str
    above: bool = False

    def fits(self, values: AnyArray) -> Bools:
        """Which values (R,) are within; NaN never is."""
        lower = values > self.low if self.above else values >= self.low
        within: Bools = lower & (values <= self.high)
        return within


_HOURS = Allowed(0.0, MAX_HOURS, f"hours since the log's hour 0, 0 to {MAX_HOURS:,.0f}")
_COUNT = Allowed(0, 2**31 - 1, "a count >= 0, below 2**31")
_CHANCE = Allowed(0.0, 1.0 + _ROUNDING, "a chance above 0, at most 1 (null where unknown)", above=True)
_ID = Allowed(0, MAX_ID, "an id >= 0, at most 2**62")
_LARGEST = float(np.finfo(np.float32).max)
RULES = {
    "time_hours": _HOURS,
    "slate_made_hours": _HOURS,
    "tick": _COUNT,
    "visit_id": _ID,
    "slate_id": _ID,
    "reader_id": _ID,
    "visit": _COUNT,
    "session": _COUNT,
    "policy_version": _COUNT,
    "position": Allowed(0, MAX_SLATE - 1, f"a position from 0 (the top) to {MAX_SLATE - 1}"),
    "article_id": Allowed(-1, MAX_ID, "an id of articles.parquet, or -1 where nothing was shown"),
    "shortlist_size": _COUNT,
    "num_live": _COUNT,
    "epsilon": Allowed(0.0, 1.0, "a share between 0 and 1"),
    "temperature": Allowed(0.0, _LARGEST, "a finite number > 0", above=True),
    "logit": Allowed(-_LARGEST, _LARGEST, "a finite number (null outside the shortlist)"),
    "log_normaliser": Allowed(-_LARGEST, _LARGEST, "a finite number (null where nothing was drawn)"),
    "slot_propensity": _CHANCE,
    "slot_marginal": _CHANCE,
    "inclusion": _CHANCE,
    "inclusion_time": Allowed(0.0, _INFINITE, "a number >= 0"),
    "log_propensity": Allowed(-_INFINITE, _ROUNDING, "the log of a chance: at most 0", above=True),
    # Histories keep minutes as float16, which ends at 65,504.
    "dwell_minutes": Allowed(0.0, 60_000.0, "minutes from 0 to 60,000"),
    "reward": Allowed(-_LARGEST, _LARGEST, "a finite number"),
    "hours_to_next_visit": Allowed(0.0, MAX_HOURS, "hours > 0 (null where nobody came back)", above=True),
}
"""Columns that are numbers."""


def check_type(where: str, name: str, kind: pa.DataType, nullable: bool, *, text_ids: bool = False) -> None:
    """Refuse a column whose type does not stand for what it should.

    Whole numbers may be of any width, 0 and 1 may stand for a boolean, and whole numbers for one with a fraction. With
    ``text_ids`` ids of readers and articles may be text.

    Raises:
        ValueError: naming file, column and type.
    """
    import pyarrow as pa

    wanted = BY_NAME[name].type
    types = pa.types
    whole = types.is_integer(kind)
    fits = {
        "category": is_text(kind),
        "bool": types.is_boolean(kind) or whole,
    }.get(wanted, whole or (wanted.startswith("float") and types.is_floating(kind)))
    may_be_text = text_ids and name in IDS
    in_text = may_be_text and is_text(kind)
    if not (fits or in_text or (nullable and types.is_null(kind))):
        allowed = f"{wanted} or text" if may_be_text else wanted
        raise ValueError(f"{where}: column {name!r}: got type {kind}, needs {allowed}")


def to_numpy(where: str, first_row: int, name: str, array: pa.Array, nullable: bool) -> AnyArray:
    """The values of a numeric or boolean column, checked: float64, int64 or bool, (R,).

    Args:
        where: names the file in messages.
        first_row: of the file, for messages.
        name: of the column.
        array: its values.
        nullable: nulls are allowed.

    Raises:
        ValueError: a null where none may be, NaN, or a value out of its range.
    """
    import pyarrow as pa

    wanted = BY_NAME[name].type
    null: Bools = np.zeros(len(array), dtype=np.bool_)
    if array.null_count:
        null = array.is_null().to_numpy(zero_copy_only=False)
        if not nullable:
            _refuse(where, first_row, name, null, array, "a value in every row")
    if wanted == "bool":
        return _booleans(where, first_row, name, array, null)
    kind = pa.float64() if wanted.startswith("float") else pa.int64()
    missing: Any = np.nan if wanted.startswith("float") else -1
    try:
        values: AnyArray = array.cast(kind).fill_null(0).to_numpy(zero_copy_only=False)
    except pa.ArrowInvalid as error:
        raise ValueError(f"{where}: column {name!r}: got a number out of range, needs {RULES[name].words}") from error
    bad = ~RULES[name].fits(values) & ~null
    if bad.any():
        _refuse(where, first_row, name, bad, array, RULES[name].words)
    return np.where(null, missing, values) if null.any() else values


def _booleans(where: str, first_row: int, name: str, array: pa.Array, null: Bools) -> Bools:
    import pyarrow as pa

    if pa.types.is_null(array.type):
        return np.zeros(len(array), dtype=np.bool_)
    if pa.types.is_boolean(array.type):
        truth: Bools = array.fill_null(False).to_numpy(zero_copy_only=False)
        return truth
    numbers = array.fill_null(0).to_numpy(zero_copy_only=False)
    bad: Bools = (numbers != 0) & (numbers != 1) & ~null
    if bad.any():
        _refuse(where, first_row, name, bad, array, "true or false, or 0 or 1")
    yes: Bools = numbers == 1
    return yes


def _refuse(where: str, first_row: int, name: str, bad: Bools, array: pa.Array, allowed: str) -> None:
    row = int(np.argmax(bad))
    raise ValueError(f"{where}: row {first_row + row}, column {name!r}: got {array[row].as_py()!r}, needs {allowed}")

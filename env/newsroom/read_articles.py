"""What a real site published, read and checked: times, and whatever else the site knows of its articles.

Bad input is refused with file, row, column, value and what is allowed. Rows are data rows, counted from 1.
The file format is docs/guide/real_articles.md. Shapes: m articles, D dimensions of a given vector.
"""

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from feedgym.env.arrays import Bools, Doubles, Floats, SmallInts
from feedgym.env.checks import require
from feedgym.env.newsroom.article_cells import NAMES, Cells, is_null
from feedgym.env.newsroom.article_file import MISSING, open_table
from feedgym.env.newsroom.synthetic import unit

MAX_ID_LENGTH = 256
MAX_POPULARITY = 1e15
MAX_READ_TIME_S = 1e6
MAX_HOURS = 1e6
"""Bounds that only a mistake passes: beyond them, times and counts are refused."""
FEWEST_FOR_OUTLIERS, MOST_STRETCH = 20, 10.0
"""Of so many articles a time is refused that stretches all of them to more than so many times the middle 98 %."""
_VECTOR_COLUMN = re.compile(r"vector_(\d+)")
_LIST = re.compile(r"[\[(](.*)[\])]", re.DOTALL)


@dataclass(frozen=True, kw_only=True)
class ArticleRows:
    """The articles of a file, in its order. A cell that is missing is NaN, or -1 for topics."""

    source: str
    """The file, for errors and reports."""
    original_id: NDArray[np.str_]
    """(m,): the site's own ids, as text."""
    published_hours: Doubles
    """(m,): hours since hour 0, the midnight that begins the first day."""
    topic: SmallInts
    """(m,): rows of ``topic_names``; -1 where missing."""
    topic_names: tuple[str, ...]
    """Names of the topics, sorted; empty where the file has none."""
    popularity: Doubles
    """(m,), >= 0, in the site's own unit; NaN where missing."""
    read_time_s: Doubles
    """(m,), seconds; NaN where missing."""
    vector: Floats
    """(m, D), of length 1; rows of zeros where missing, D = 0 where the file has none."""
    unread: tuple[str, ...]
    """Columns of the file that mean nothing to FeedGym."""


def read_articles(source: Any) -> ArticleRows:
    """Read and check a table of articles.

    Args:
        source: path of a ``.csv``, ``.csv.gz`` or ``.parquet`` file, or a table in memory.

    Raises:
        FileNotFoundError: no such file.
        ValueError: whatever else is wrong, naming file, row, column, value and what is allowed.
    """
    cells = Cells(*open_table(source))
    vector, vector_columns = _vectors(cells)
    topic, topic_names = _topics(cells)
    return ArticleRows(
        source=cells.source,
        original_id=_ids(cells),
        published_hours=_hours(cells),
        topic=topic,
        topic_names=topic_names,
        popularity=_numbers(cells, "popularity", 0.0, MAX_POPULARITY),
        read_time_s=_numbers(cells, "read_time_s", 0.0, MAX_READ_TIME_S),
        vector=vector,
        unread=tuple(
            name
            for name in cells.table.column_names
            if name not in {alias for names in NAMES.values() for alias in names} | set(vector_columns)
        ),
    )


def _text(cells: Cells, name: str, allowed: str) -> tuple[NDArray[np.str_], Bools]:
    """A column of integers or text as text (m,), and where it is missing (m,)."""
    import pyarrow as pa

    kind = cells.column(name).type
    if pa.types.is_decimal(kind):
        # As databases export integers; a fraction is refused.
        column = cells.cast(name, pa.decimal128(38, 0), allowed).cast(pa.string())
    elif (
        pa.types.is_integer(kind)
        or pa.types.is_string(kind)
        or pa.types.is_large_string(kind)
        or pa.types.is_string_view(kind)
        or pa.types.is_null(kind)
    ):
        column = cells.cast(name, pa.string(), allowed)
    else:
        cells.refuse_type(name, allowed)
    column = column.fill_null("")
    words = column.to_numpy(zero_copy_only=False)
    words[np.isin(words.astype(object), MISSING)] = ""
    sizes = np.fromiter(map(len, words), dtype=np.int64, count=len(words))
    # Before it becomes an array of fixed width, in which one huge cell would cost its size in every row.
    cells.refuse_first(sizes > MAX_ID_LENGTH, name, f"at most {MAX_ID_LENGTH} characters")
    return words.astype(np.str_), sizes == 0


def _ids(cells: Cells) -> NDArray[np.str_]:
    name = cells.required("article_id")
    allowed = "an integer or text, in every row another"
    text, missing = _text(cells, name, allowed)
    cells.refuse_first(missing, name, allowed)
    _, first, inverse = np.unique(text, return_index=True, return_inverse=True)
    repeats = first[inverse] != np.arange(len(text))
    if repeats.any():
        row = int(np.argmax(repeats))
        cells.refuse(row, name, f"an id of its own (row {first[inverse[row]] + 1} has it)", str(text[row]))
    return text


def _hours(cells: Cells) -> Doubles:
    """Publication times in hours, hour 0 being the midnight that begins the first day."""
    import pyarrow as pa

    name = cells.required("published")
    if name == "published_hours":
        hours = _numbers(cells, "published", -MAX_HOURS, MAX_HOURS)
        cells.refuse_first(np.isnan(hours), name, "hours since hour 0, in every row")
        if hours.min() >= 24.0:
            row = int(np.argmin(hours))
            allowed = "hours since the midnight of the first day: the smallest must be below 24"
            cells.refuse(row, name, allowed, float(hours[row]))
        _refuse_far_off(cells, name, hours)
        return hours
    allowed = "an ISO time without zone, such as 2023-02-02T07:00:31"
    kind = cells.column(name).type
    if pa.types.is_timestamp(kind) and kind.tz is not None:
        cells.refuse_type(name, "times without zone: the site's local time")
    if pa.types.is_integer(kind) or pa.types.is_floating(kind):
        cells.refuse_type(name, f"{allowed}; hours as numbers belong into 'published_hours'")
    times = cells.cast(name, pa.timestamp("us"), allowed)
    cells.refuse_first(is_null(times), name, allowed)
    stamps = times.to_numpy(zero_copy_only=False)
    midnight = stamps.min().astype("datetime64[D]")
    hours = np.asarray((stamps - midnight).astype(np.int64) / 3.6e9)
    _refuse_far_off(cells, name, hours)
    cells.refuse_first(hours > MAX_HOURS, name, f"a time within {MAX_HOURS:g} hours of the first ({midnight})")
    return hours


def _refuse_far_off(cells: Cells, name: str, hours: Doubles) -> None:
    """Refuse a time that stretches the log beyond all others, as a missing one does that was written as 1970."""
    if len(hours) < FEWEST_FOR_OUTLIERS:
        return
    # One of a hundred on each side, and one at least.
    rising, aside = np.sort(hours), max(len(hours) // 100, 1)
    usual = max(float(rising[-1 - aside] - rising[aside]), 24.0)
    if hours.max() - hours.min() <= MOST_STRETCH * usual:
        return
    row = int(np.argmax(np.abs(hours - np.median(hours))))
    days = (hours.max() - hours.min()) / 24.0
    allowed = (
        f"a time near the others: nearly all lie within {usual / 24.0:.1f} days, and with this one the articles would "
        f"span {days:,.0f} days; leave such rows out of the file"
    )
    cells.refuse(row, name, allowed, cells.table[name][row].as_py())


def _topics(cells: Cells) -> tuple[SmallInts, tuple[str, ...]]:
    name = cells.name_of("topic")
    if name is None:
        return np.full(cells.table.num_rows, -1, dtype=np.int32), ()
    text, missing = _text(cells, name, "an integer, text, or an empty cell")
    names, code = np.unique(text[~missing], return_inverse=True)
    topic: SmallInts = np.full(len(text), -1, dtype=np.int32)
    topic[~missing] = code
    return topic, tuple(str(n) for n in names)


def _numbers(cells: Cells, what: str, low: float, high: float) -> Doubles:
    """A column of numbers within [low, high], NaN where missing."""
    import pyarrow as pa

    name = cells.name_of(what)
    if name is None:
        return np.full(cells.table.num_rows, np.nan)
    allowed = f"a finite number from {low:g} to {high:g}, or an empty cell"
    if pa.types.is_temporal(cells.column(name).type) or pa.types.is_boolean(cells.column(name).type):
        cells.refuse_type(name, allowed)
    column = cells.cast(name, pa.float64(), allowed)
    missing = is_null(column)
    values: Doubles = column.to_numpy(zero_copy_only=False).astype(np.float64)
    # Written so that NaN, which is not an empty cell, is bad as well.
    cells.refuse_first(~missing & ~((values >= low) & (values <= high)), name, allowed)
    values[missing] = np.nan
    return values


def _vectors(cells: Cells) -> tuple[Floats, list[str]]:
    """Given vectors (m, D), scaled to length 1, zeros where missing, and the columns that hold them."""
    scalar = [name for name in cells.table.column_names if _VECTOR_COLUMN.fullmatch(name)]
    listed = cells.name_of("vector")
    if listed is None and not scalar:
        return np.zeros((cells.table.num_rows, 0), dtype=np.float32), []
    require(listed is None or not scalar, f"{cells.source}: columns", [listed, *scalar], "a list or numbers, not both")
    if listed is not None:
        return _scaled(cells, _vectors_of_list(cells, listed), [listed]), [listed]
    names = [f"vector_{d}" for d in range(len(scalar))]
    require(set(names) == set(scalar), f"{cells.source}: columns", scalar, f"{names[0]} .. {names[-1]}, none left out")
    return _scaled(cells, _vectors_of_columns(cells, names), names), names


def _vectors_of_columns(cells: Cells, names: list[str]) -> Doubles:
    import pyarrow as pa

    allowed = "a finite number, or a row in which all of the vector is empty"
    columns = [cells.cast(name, pa.float64(), allowed) for name in names]
    missing = np.stack([is_null(column) for column in columns], axis=1)
    values = np.stack([c.to_numpy(zero_copy_only=False).astype(np.float64) for c in columns], axis=1)
    absent: Bools = np.asarray(missing.all(axis=1))
    bad: Bools = np.asarray(~np.isfinite(values) & ~absent[:, None])
    for d in np.flatnonzero(bad.any(axis=0)):
        cells.refuse_first(bad[:, d], names[d], allowed)
    values[absent] = np.nan
    return values


def _lists_in_text(cells: Cells, name: str, column: Any) -> Any:
    """Lists written as text, such as ``[0.1, -2]`` or ``[0.1 -2]``, as lists of numbers."""
    import pyarrow as pa

    rows: list[list[float] | None] = []
    for row, text in enumerate(column.to_pylist()):
        if text is None or text in MISSING:
            rows.append(None)
            continue
        found = _LIST.fullmatch(text.strip())
        try:
            rows.append([float(word) for word in found[1].replace(",", " ").split()] if found else None)
        except ValueError:
            found = None
        if found is None:
            cells.refuse(
                row, name, "a list of numbers, such as [0.1, -2.5] (in a CSV: in quotes, or vector_0, ...)", text
            )
    return pa.array(rows, pa.list_(pa.float64()))


def _vectors_of_list(cells: Cells, name: str) -> Doubles:
    import pyarrow as pa
    import pyarrow.compute as pc

    column = cells.column(name)
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        column = _lists_in_text(cells, name, column)
    kind = column.type
    if not (pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)):
        cells.refuse_type(name, "a list of numbers in every row (in a CSV: columns vector_0, vector_1, ...)")
    absent = is_null(column)
    length = pc.list_value_length(column).fill_null(0).to_numpy(zero_copy_only=False).astype(np.int64)
    if absent.all():
        return np.full((len(column), 0), np.nan)
    size = int(length[np.argmax(~absent)])
    cells.refuse_first(~absent & ((length != size) | (length == 0)), name, f"{max(size, 1)} numbers, as the first has")
    try:
        flat = column.drop_null().flatten().cast(pa.float64())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        cells.refuse_type(name, "lists of numbers")
    values: Doubles = np.full((len(column), size), np.nan)
    values[~absent] = flat.to_numpy(zero_copy_only=False).reshape(-1, size)
    bad = ~np.isfinite(values).all(axis=1) & ~absent
    cells.refuse_first(bad, name, "finite numbers only")
    return values


def _scaled(cells: Cells, values: Doubles, names: list[str]) -> Floats:
    """Rows of length 1; rows of NaN, which are missing, become zeros."""
    if values.shape[1] == 0:
        return values.astype(np.float32)
    size = np.abs(values).max(axis=1, keepdims=True)
    zero: Bools = np.asarray(size[:, 0] == 0.0)
    if zero.any():
        shown = names[0] if len(names) == 1 else f"{names[0]} .. {names[-1]}"
        cells.refuse(int(np.argmax(zero)), shown, "a vector that is not all zeros", [0.0] * values.shape[1])
    # By the largest first: the square of a huge or a tiny number is no float.
    return unit(np.nan_to_num(values / size, nan=0.0))

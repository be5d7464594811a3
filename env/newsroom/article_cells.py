"""Cells of a table of articles, refused by file, row, column, value and what is allowed.

Rows are data rows, counted from 1 in what users see: the header is none of them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from feedgym.env.arrays import AnyArray, Bools
from feedgym.env.checks import require

if TYPE_CHECKING:
    import pyarrow as pa

NAMES = {
    "article_id": ("article_id", "id"),
    "published": ("published_at", "published_hours"),
    "topic": ("topic",),
    "popularity": ("popularity", "clicks"),
    "read_time_s": ("read_time_s", "median_read_time_s"),
    "vector": ("vector",),
}
"""What is read, and the column names under which a file may hold it."""


class Cells:
    """A table whose cells can be refused by name."""

    def __init__(self, source: str, table: pa.Table) -> None:
        self.source = source
        self.table = table

    def name_of(self, what: str) -> str | None:
        """The column that holds ``what``, if any."""
        found = [name for name in NAMES[what] if name in self.table.column_names]
        require(len(found) <= 1, f"{self.source}: columns", found, "only one of them: they mean the same")
        return found[0] if found else None

    def required(self, what: str) -> str:
        """The column that holds ``what``."""
        name = self.name_of(what)
        if name is None:
            wanted = " or ".join(repr(n) for n in NAMES[what])
            raise ValueError(f"{self.source}: got columns {self.table.column_names}, needs a column {wanted}")
        return name

    def column(self, name: str) -> pa.Array:
        """The column in one piece, dictionaries resolved."""
        import pyarrow as pa

        column = self.table[name].combine_chunks()
        if isinstance(column, pa.ChunkedArray):  # a column of no chunks
            column = pa.array([], column.type)
        return column.dictionary_decode() if pa.types.is_dictionary(column.type) else column

    def refuse(self, row: int, name: str, allowed: str, value: object) -> NoReturn:
        """Refuse the cell at ``row``, counted from 0."""
        raise ValueError(f"{self.source}: row {row + 1}, column {name!r}: got {value!r}, needs {allowed}")

    def refuse_first(self, bad: AnyArray, name: str, allowed: str) -> None:
        """Refuse the first row of the mask ``bad`` (m,), if any."""
        if bad.any():
            row = int(np.argmax(bad))
            self.refuse(row, name, allowed, self.table[name][row].as_py())

    def refuse_type(self, name: str, allowed: str) -> NoReturn:
        """Refuse a whole column for what it holds."""
        raise ValueError(f"{self.source}: column {name!r}: got type {self.table[name].type}, needs {allowed}")

    def cast(self, name: str, kind: Any, allowed: str) -> pa.Array:
        """The column as Arrow type ``kind``; the first cell that does not fit is refused."""
        import pyarrow as pa

        column = self.column(name)
        try:
            return column.cast(kind)
        except pa.ArrowNotImplementedError:
            self.refuse_type(name, allowed)
        except pa.ArrowInvalid:
            row = _first_failure(lambda end: column[:end].cast(kind), len(column))
            self.refuse(row, name, allowed, column[row].as_py())


def _first_failure(attempt: Callable[[int], object], length: int) -> int:
    """The first row that fails, by bisection: ``attempt(end)`` raises if any of the rows below ``end`` does."""
    import pyarrow as pa

    good, bad = 0, length
    while bad - good > 1:
        middle = (good + bad) // 2
        try:
            attempt(middle)
            good = middle
        except pa.ArrowInvalid:
            bad = middle
    return bad - 1


def is_null(column: pa.Array) -> Bools:
    """Where a column (m,) is missing, bool (m,)."""
    mask: Bools = column.is_null().to_numpy(zero_copy_only=False)
    return mask

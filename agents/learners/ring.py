"""A ring of the latest rows of named columns, growing by doubling up to its capacity."""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from feedgym.env.arrays import AnyArray, Arrays, Ints
from feedgym.env.checks import require

Column = tuple[tuple[int, ...], npt.DTypeLike]
"""Shape of a row, and dtype."""


class Ring:
    """Preallocated arrays by name; the newest rows overwrite the oldest.

    Args:
        capacity: rows kept.
        columns: name -> (shape of a row, dtype).
    """

    def __init__(self, capacity: int, columns: Mapping[str, Column]) -> None:
        require(capacity >= 1, "capacity", capacity, ">= 1")
        self.capacity = capacity
        self.total = 0
        """Rows ever written."""
        self.columns: Arrays = {name: np.zeros((0, *shape), dtype=dtype) for name, (shape, dtype) in columns.items()}

    def __len__(self) -> int:
        """Rows kept."""
        return min(self.total, self.capacity)

    def append(self, values: Mapping[str, AnyArray]) -> None:
        """Write rows (n, ...) of every column; the oldest make room."""
        n = len(next(iter(values.values())))
        self._reserve(min(self.total + n, self.capacity))
        keep = slice(max(0, n - self.capacity), n)
        slots = (self.total + np.arange(n)[keep]) % self.capacity
        for name, column in self.columns.items():
            column[slots] = values[name][keep]
        self.total += n

    def column(self, name: str) -> AnyArray:
        """One column of all rows kept, in slot order; a view."""
        return self.columns[name][: len(self)]

    @property
    def oldest(self) -> int:
        """Slot of the oldest row kept."""
        return self.total % self.capacity if self.total > self.capacity else 0

    def take(self, slots: Ints) -> Arrays:
        """The rows in these slots (B,), by column: copies."""
        # take, not column[slots]: half the time for wide rows.
        return {name: column.take(slots, axis=0) for name, column in self.columns.items()}

    def _reserve(self, size: int) -> None:
        have = len(next(iter(self.columns.values())))
        if size <= have:
            return
        capacity = min(self.capacity, max(size, 2 * have, 1024))
        for name, old in self.columns.items():
            new = np.zeros((capacity, *old.shape[1:]), dtype=old.dtype)
            new[:have] = old
            self.columns[name] = new

    def snapshot(self) -> Arrays:
        """All rows kept."""
        arrays = {name: column[: len(self)].copy() for name, column in self.columns.items()}
        return arrays | {"total": np.asarray(self.total)}

    def restore(self, snapshot: Arrays) -> None:
        """Become the ring of a snapshot."""
        kept = len(snapshot[next(iter(self.columns))])
        self._reserve(kept)
        for name, column in self.columns.items():
            column[:kept] = snapshot[name]
        self.total = int(snapshot["total"])

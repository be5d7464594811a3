"""What an agent learns from: the latest visits, as the policy saw them and as a site saw their outcome.

A ring of visits in preallocated arrays, growing by doubling up to its capacity.
Shapes: n visits, B of a sample, K positions, L clicks of history, R columns of a reader.
"""

from dataclasses import dataclass

import numpy as np

from feedgym.env.arrays import AnyArray, Arrays, Bools, Doubles, Floats, Ints
from feedgym.env.checks import require


@dataclass(kw_only=True)
class VisitBatch:
    """Visits to learn from."""

    now: Doubles
    """Hours, (B,)."""
    reader: Floats
    """Columns of the reader at that moment, (B, R)."""
    history_id: Ints
    """Newest first, -1 where none, (B, L)."""
    article_id: Ints
    """As shown, -1 where nothing was, (B, K)."""
    clicks: Bools
    """(B, K)"""
    dwell_minutes: Floats
    """(B, K)"""
    slot_propensity: Floats
    """Chance of each article at its position given those above it, (B, K)."""


class Replay:
    """A ring of the latest visits.

    Args:
        capacity: visits kept.
        slate_size: K.
        history_length: L.
        num_reader: R.
    """

    def __init__(self, capacity: int, slate_size: int, history_length: int, num_reader: int) -> None:
        require(capacity >= 1, "capacity", capacity, ">= 1")
        self._capacity = capacity
        self.total = 0
        """Visits ever written."""
        self._clicked: tuple[Ints, Ints] | None = None
        self._columns: Arrays = {
            "now": np.zeros(0),
            "reader": np.zeros((0, num_reader), dtype=np.float32),
            "history_id": np.zeros((0, history_length), dtype=np.int32),
            "article_id": np.zeros((0, slate_size), dtype=np.int32),
            "clicks": np.zeros((0, slate_size), dtype=np.bool_),
            "dwell_minutes": np.zeros((0, slate_size), dtype=np.float32),
            "slot_propensity": np.zeros((0, slate_size), dtype=np.float32),
        }

    def __len__(self) -> int:
        """Visits kept."""
        return min(self.total, self._capacity)

    def append(self, batch: VisitBatch) -> None:
        """Write visits; the oldest make room."""
        n = len(batch.now)
        self._clicked = None
        self._reserve(min(self.total + n, self._capacity))
        keep = slice(max(0, n - self._capacity), n)
        slots = (self.total + np.arange(n)[keep]) % self._capacity
        for name, column in self._columns.items():
            column[slots] = getattr(batch, name)[keep]
        self.total += n

    def take(self, rows: Ints) -> VisitBatch:
        """The visits in these slots (B,)."""
        c = self._columns
        return VisitBatch(
            now=c["now"][rows],
            reader=c["reader"][rows],
            history_id=c["history_id"][rows].astype(np.int64),
            article_id=c["article_id"][rows].astype(np.int64),
            clicks=c["clicks"][rows],
            dwell_minutes=c["dwell_minutes"][rows],
            slot_propensity=c["slot_propensity"][rows],
        )

    def clicked(self) -> tuple[Ints, Ints]:
        """Slots and positions of all clicks kept, (c,) each, oldest first."""
        # Every step of a training asks: a pass over a full ring costs more than the step itself.
        if self._clicked is None:
            first = self.total % self._capacity if self.total > self._capacity else 0
            slots, positions = np.nonzero(self._columns["clicks"][: len(self)])
            # Once the ring has wrapped, what lies before the write position is newer than what lies behind it.
            older = int(np.searchsorted(slots, first))
            self._clicked = np.roll(slots, -older), np.roll(positions, -older)
        return self._clicked

    def column(self, name: str) -> AnyArray:
        """One column of all visits kept, in slot order; a view."""
        return self._columns[name][: len(self)]

    def _reserve(self, size: int) -> None:
        have = len(self._columns["now"])
        if size <= have:
            return
        capacity = min(self._capacity, max(size, 2 * have, 1024))
        for name, old in self._columns.items():
            new = np.zeros((capacity, *old.shape[1:]), dtype=old.dtype)
            new[:have] = old
            self._columns[name] = new

    def snapshot(self) -> Arrays:
        """All visits kept."""
        arrays = {name: column[: len(self)].copy() for name, column in self._columns.items()}
        return arrays | {"total": np.asarray(self.total)}

    def restore(self, snapshot: Arrays) -> None:
        """Become the replay of a snapshot."""
        kept = len(snapshot["now"])
        self._clicked = None
        self._reserve(kept)
        for name, column in self._columns.items():
            column[:kept] = snapshot[name]
        self.total = int(snapshot["total"])

"""What an agent learns from: the latest visits, as the policy saw them and as a site saw their outcome.

Shapes: n visits, B of a sample, K positions, L clicks of history, R columns of a reader, X crosses.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from feedgym.agents.learners.ring import Ring
from feedgym.env.arrays import AnyArray, Arrays, Bools, Doubles, Floats, Ints


@dataclass(kw_only=True)
class VisitBatch:
    """Visits to learn from."""

    now: Doubles
    """Hours, (B,)."""
    row: Ints
    """Whose visit: the reader's row in the population, (B,)."""
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
    subscribed: Bools
    """(B,)"""
    slot_propensity: Floats
    """Chance of each article at its position given those above it, (B, K). It may be next to nothing, in any policy:
    what weighs by 1 / chance takes ``inclusion``, which is never below epsilon K / N."""
    history_minutes: Floats | None = None
    """Read of each click of the history, (B, L); kept where the model wants to know."""
    inclusion: Floats | None = None
    """Chance of each article to stand anywhere on the slate, by t*, (B, K); kept where the learner weighs by it. NaN
    where nobody may: on further pages of lists drawn ahead."""
    organic: Bools | None = None
    """Not a visit but an open from elsewhere, without a slate, (B,): the one article is a click on top. Only where the
    learner learns from such; None: all are visits."""
    shortlist: Ints | None = None
    """What retrieval returned, -1 pads, (B, M); kept where negatives are drawn from it."""
    crosses: Floats | None = None
    """Of the reader with each article, as it was when the slate was served, (B, K, X); kept for a second stage."""
    score: Floats | None = None
    """What the first stage made of each article when the slate was served, (B, K); kept for a ranker of trees."""


class Replay:
    """A ring of the latest visits.

    Args:
        capacity: visits kept.
        slate_size: K.
        history_length: L.
        num_reader: R.
        with_minutes: keep the minutes read of each click of the history.
        shortlist_size: M, keep shortlists; 0 does not.
        with_inclusions: keep the chances of what is shown to stand anywhere on the slate.
        with_opens: opens from elsewhere are kept, too, and marked.
        num_crosses: X, keep the crosses of what is shown; 0 does not.
        with_scores: keep the first stage's scores of what is shown.
    """

    def __init__(
        self,
        capacity: int,
        slate_size: int,
        history_length: int,
        num_reader: int,
        *,
        with_minutes: bool = False,
        shortlist_size: int = 0,
        with_inclusions: bool = False,
        with_opens: bool = False,
        num_crosses: int = 0,
        with_scores: bool = False,
    ) -> None:
        self._clicked: tuple[Ints, Ints] | None = None
        optional: dict[str, tuple[tuple[int, ...], npt.DTypeLike]] = {}
        if with_minutes:
            # As the site keeps them, see ReaderRecords.
            optional["history_minutes"] = ((history_length,), np.float16)
        if with_inclusions:
            optional["inclusion"] = ((slate_size,), np.float32)
        if with_opens:
            optional["organic"] = ((), np.bool_)
        if shortlist_size:
            optional["shortlist"] = ((shortlist_size,), np.int32)
        if num_crosses:
            optional["crosses"] = ((slate_size, num_crosses), np.float16)
        if with_scores:
            optional["score"] = ((slate_size,), np.float32)
        self._ring = Ring(
            capacity,
            {
                "now": ((), np.float64),
                "row": ((), np.int32),
                "reader": ((num_reader,), np.float32),
                "history_id": ((history_length,), np.int32),
                "article_id": ((slate_size,), np.int32),
                "clicks": ((slate_size,), np.bool_),
                "dwell_minutes": ((slate_size,), np.float32),
                "subscribed": ((), np.bool_),
                "slot_propensity": ((slate_size,), np.float32),
                **optional,
            },
        )

    def __len__(self) -> int:
        """Visits kept."""
        return len(self._ring)

    @property
    def keeps_opens(self) -> bool:
        """Opens from elsewhere are kept, and marked."""
        return "organic" in self._ring.columns

    @property
    def capacity(self) -> int:
        """Visits that there is room for."""
        return self._ring.capacity

    @property
    def total(self) -> int:
        """Visits ever written."""
        return self._ring.total

    def append(self, batch: VisitBatch) -> None:
        """Write visits; the oldest make room."""
        self._clicked = None
        self._ring.append(vars(batch))

    def take(self, rows: Ints) -> VisitBatch:
        """The visits in these slots (B,)."""
        values = self._ring.take(rows)
        for name in ("row", "history_id", "article_id", "shortlist"):
            if name in values:
                values[name] = values[name].astype(np.int64)
        for name in ("history_minutes", "crosses"):
            if name in values:
                values[name] = values[name].astype(np.float32)
        return VisitBatch(**values)

    def whole(self) -> VisitBatch:
        """All visits kept, in slot order: views."""
        return VisitBatch(**{name: self.column(name) for name in self._ring.columns})

    def clicked(self) -> tuple[Ints, Ints]:
        """Slots and positions of all clicks kept, (c,) each, oldest first."""
        # Every step of a training asks: a pass over a full ring costs more than the step itself.
        if self._clicked is None:
            slots, positions = np.nonzero(self.column("clicks"))
            # Once the ring has wrapped, what lies before the write position is newer than what lies behind it.
            older = int(np.searchsorted(slots, self._ring.oldest))
            self._clicked = np.roll(slots, -older), np.roll(positions, -older)
        return self._clicked

    def column(self, name: str) -> AnyArray:
        """One column of all visits kept, in slot order; a view."""
        return self._ring.column(name)

    def snapshot(self) -> Arrays:
        """All visits kept."""
        return self._ring.snapshot()

    def restore(self, snapshot: Arrays) -> None:
        """Become the replay of a snapshot."""
        self._clicked = None
        self._ring.restore(snapshot)

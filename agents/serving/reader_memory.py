"""Readers as they were known at an earlier moment: what an agent needs whose features lag.

A reader changes only at visits, and where she opens an article from elsewhere. So her state before some moment is her
state now, less what has been since: the latest ``VISITS`` visits are kept, when they were and how many clicks they
brought, and the latest opens from elsewhere.
Shapes: n readers, L clicks of history, F observables. Time is in hours.
"""

import numpy as np

from feedgym.env.arrays import Arrays, Doubles, Floats, Ints, copied, lengthened, put_back
from feedgym.env.feed import ReaderRecords

VISITS = 32
"""Visits remembered of a reader. Of one who came more often within the lag, the forgotten ones count as known."""
_TOLERANCE_HOURS = 1e-3
"""Times are products of ticks, kept in float32."""
_OF_OPENS = ("_open_hours", "_open_count")
_NAMES = ("_hours", "_clicks", "_count", "_features", "_id")


class ReaderMemory:
    """Latest visits by row of the population, growing by doubling: some 200 bytes a reader.

    Args:
        num_features: F.
    """

    def __init__(self, num_features: int) -> None:
        self._hours = np.zeros((0, VISITS), dtype=np.float32)
        self._clicks = np.zeros((0, VISITS), dtype=np.uint16)
        self._count = np.zeros(0, dtype=np.int32)
        self._features = np.zeros((0, num_features), dtype=np.float32)
        self._id: Ints = np.zeros(0, dtype=np.int64)
        # Of no rows until there is one: sites where nobody comes from elsewhere know nothing of it.
        self._open_hours = np.zeros((0, VISITS), dtype=np.float32)
        self._open_count = np.zeros(0, dtype=np.int32)

    def note_opens(self, rows: Ints, now: float) -> None:
        """Readers ``rows`` (m,), each once, have opened an article from elsewhere at ``now``."""
        if len(rows) == 0:
            return
        size = int(rows.max()) + 1
        if size > len(self._open_count):
            for name in _OF_OPENS:
                setattr(self, name, lengthened(getattr(self, name), size))
        self._open_hours[rows, self._open_count[rows] % VISITS] = now
        self._open_count[rows] += 1

    def _opens_since(self, rows: Ints, hours: float) -> Ints:
        """Opens from elsewhere of readers (n,) at ``hours`` or later, as far as they are remembered, (n,)."""
        since: Ints = np.zeros(len(rows), dtype=np.int64)
        some = np.flatnonzero(rows < len(self._open_count))
        kept = np.arange(VISITS) < np.minimum(self._open_count[rows[some]], VISITS)[:, None]
        late = self._open_hours[rows[some]].astype(np.float64) >= hours - _TOLERANCE_HOURS
        since[some] = np.count_nonzero(kept & late, axis=1)
        return since

    def note(self, rows: Ints, reader_id: Ints, now: float, num_clicks: Ints, features: Floats) -> None:
        """Readers ``rows`` (n,), each once, visited at ``now``: ids (n,), clicks (n,) and observables (n, F)."""
        if len(rows) == 0:
            return
        self._reserve(int(rows.max()) + 1)
        slot = self._count[rows] % VISITS
        self._hours[rows, slot] = now
        self._clicks[rows, slot] = num_clicks
        self._count[rows] += 1
        self._features[rows] = features
        self._id[rows] = reader_id

    def before(self, rows: Ints, hours: float) -> tuple[Ints, Doubles, Ints]:
        """What had happened before ``hours``.

        Returns:
            Visits until then (n,), hours of the last of them (n,), ``hours`` where none is remembered, and the clicks
            since then (n,), opens from elsewhere among them.
        """
        self._reserve(int(rows.max(initial=-1)) + 1)
        count = self._count[rows].astype(np.int64)
        kept = np.arange(VISITS) < np.minimum(count, VISITS)[:, None]
        when = self._hours[rows].astype(np.float64)
        since = kept & (when >= hours - _TOLERANCE_HOURS)
        visits = count - np.count_nonzero(since, axis=1)
        last = np.where(kept & ~since, when, -np.inf).max(axis=1, initial=-np.inf)
        # Also where forgotten visits are all that counts: they were before ``hours``, or count as if they had been.
        last = np.where(np.isfinite(last), last, hours)
        clicks: Ints = np.where(since, self._clicks[rows], 0).sum(axis=1, dtype=np.int64)
        if len(self._open_count):
            clicks = clicks + self._opens_since(rows, hours)
        return visits, last, clicks

    @property
    def num_visits(self) -> Ints:
        """Visits so far by row, (P,); a copy. Later rows have had none."""
        return self._count.astype(np.int64)

    def known(self, hours: float) -> Ints:
        """Rows of the readers who had visited before ``hours``, (n,), rising."""
        rows = np.flatnonzero(self._count)
        return rows[self.before(rows, hours)[0] > 0]

    def reader_id(self, rows: Ints) -> Ints:
        """Ids of readers who have visited, (n,)."""
        return self._id[rows]

    def features(self, rows: Ints) -> Floats:
        """Observables as last seen, float32 (n, F)."""
        return self._features[rows]

    def _reserve(self, size: int) -> None:
        if size <= len(self._count):
            return
        for name in _NAMES:
            setattr(self, name, lengthened(getattr(self, name), size))

    def snapshot(self) -> Arrays:
        """All arrays, copied."""
        return copied(self, _NAMES + (_OF_OPENS if len(self._open_count) else ()))

    def restore(self, snapshot: Arrays) -> None:
        """Become the memory of a snapshot."""
        put_back(self, _NAMES + (_OF_OPENS if "open_count" in snapshot else ()), snapshot)


def history_before(records: ReaderRecords, rows: Ints, clicks_since: Ints) -> tuple[Ints, Floats]:
    """Histories (n, L) without the latest clicks (n,): ids, -1 where none, and minutes.

    What stood behind the L kept is gone: such a history is so much shorter.
    """
    ids, minutes = records.history(rows)
    if not clicks_since.any():
        return ids, minutes
    length = ids.shape[1]
    place = np.arange(length) + clicks_since[:, None]
    kept, place = place < length, np.minimum(place, length - 1)
    older: Ints = np.where(kept, np.take_along_axis(ids, place, axis=1), -1)
    read: Floats = np.where(kept, np.take_along_axis(minutes, place, axis=1), np.float32(0.0))
    return older, read

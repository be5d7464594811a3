"""What a site knows of the readers who ask for a slate now: the batch that agents act on.

Shapes: n visits of this tick, L clicks of history, F columns of the reader model's own. Time is in hours.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from feedgym.env.arrays import AnyArray, Arrays, Bools, Doubles, Floats, Ints, SmallInts, copied, put_back
from feedgym.env.checks import require
from feedgym.env.newsroom import Archive

SESSION_HOURS = 1.0 / 6.0
"""Visits of a reader less than so far apart are one session: pages are read for seconds or minutes. A site's rule: it
sees visits, not what the reader model calls a session."""
VISIT_BITS = 20
"""``visit_id = reader_id * 2**20 + visit``: unique within a run, and the same whatever the sharding."""


def with_room(values: AnyArray, size: int, exactly: int = 0, fill: float | None = None) -> AnyArray:
    """A copy with rows for ``size`` readers and for some of those who may join later.

    An eighth more each time: rarely copied, and never twice the memory, as doubling would take.

    Args:
        values: the rows so far, (P, ...).
        size: rows that are needed, at least P.
        exactly: where it is enough, so many rows instead.
        fill: what stands in the new rows; None: anything.
    """
    rows = exactly if exactly >= size else size + size // 8
    new: AnyArray = np.empty((rows, *values.shape[1:]), dtype=values.dtype)
    new[: len(values)] = values
    if fill is not None:
        new[len(values) :] = fill
    return new


class ReaderRecords:
    """What the site keeps of each of P readers: visits, gaps, and the latest L clicks in a ring.

    There may be room for more readers than have joined: rows beyond are those of nobody yet.

    At L = 50 a reader takes 4 bytes a click for the id and 2 for the minutes.
    """

    def __init__(self, num_readers: int, history_length: int) -> None:
        # Side by side: a visit reads and writes all of them, for one cache miss.
        self._counters: SmallInts = np.zeros((num_readers, 3), dtype=np.int32)
        self._id: SmallInts = np.full((num_readers, history_length), -1, dtype=np.int32)
        # float16: minutes to 3 digits are what a site could claim to know.
        self._dwell = np.zeros((num_readers, history_length), dtype=np.float16)

    @property
    def visit_count(self) -> SmallInts:
        """Visits so far, (P,), a view."""
        return self._counters[:, 0]

    @property
    def last_tick(self) -> SmallInts:
        """Tick of the last visit, (P,), a view."""
        return self._counters[:, 1]

    @property
    def click_count(self) -> SmallInts:
        """Clicks so far, (P,), a view."""
        return self._counters[:, 2]

    def history(self, rows: Ints, skip: int = 0) -> tuple[Ints, Floats]:
        """Latest clicks of ``rows`` (n,), newest first: ids int64 (n, L), -1 where none; minutes float32.

        Without the ``skip`` newest, of which each reader has had as many; what these have pushed out is gone.
        """
        length = self._id.shape[1]
        newest = self.click_count[rows].astype(np.int64) - 1 - skip
        slot = (newest[:, None] - np.arange(length)) % length + rows[:, None] * length
        ids, minutes = self._id.reshape(-1).take(slot).astype(np.int64), self._dwell.reshape(-1).take(slot)
        if skip:
            ids[:, -skip:], minutes[:, -skip:] = -1, 0.0
        return ids, minutes.astype(np.float32)

    def record_clicks(self, rows: Ints, article_id: Ints, clicks: Bools, dwell_minutes: Floats) -> None:
        """Append this visit's clicks, in the order of the page; arrays are (K, n), position-major."""
        length = self._id.shape[1]
        flat = np.flatnonzero(clicks)
        if len(flat) == 0:
            return
        # By visit, and down the page within a visit: a visit's k-th click goes k places on.
        visit = flat % clicks.shape[1]
        order = np.argsort(visit, kind="stable")
        flat, visit = flat[order], visit[order]
        edges = np.concatenate([[0], np.flatnonzero(visit[1:] != visit[:-1]) + 1, [len(flat)]])
        start, count = edges[:-1], edges[1:] - edges[:-1]
        runs = rows[visit[start]]
        before = self.click_count[runs]
        place = np.arange(len(flat)) + np.repeat(before - start, count)
        slot = rows[visit] * length + place % length
        self._id.reshape(-1)[slot] = article_id.reshape(-1).take(flat)
        self._dwell.reshape(-1)[slot] = dwell_minutes.reshape(-1).take(flat)
        self.click_count[runs] = before + count

    def read_counters(self, rows: Ints) -> tuple[Ints, Ints]:
        """Visits so far and tick of the last one, int64 (n,) each, of the readers at ``rows`` (n,)."""
        counters = self._counters.take(rows, axis=0)
        return counters[:, 0].astype(np.int64), counters[:, 1].astype(np.int64)

    def record_opens(self, rows: Ints, article_id: Ints, dwell_minutes: Floats) -> None:
        """Append an open of each of ``rows`` (m,), each once: articles (m,) and minutes (m,)."""
        self.record_clicks(rows, article_id[None], np.ones((1, len(rows)), dtype=np.bool_), dwell_minutes[None])

    def record_visits(self, rows: Ints, visit: Ints, tick: int) -> None:
        """Each of ``rows`` (n,) has had its ``visit``-th visit (n,), counted from 0, at ``tick``."""
        self.visit_count[rows] = visit + 1
        self.last_tick[rows] = tick

    def reserve(self, num_readers: int, *, exactly: bool = False) -> None:
        """Have rows for so many readers: some more where they grow, unless it is to be ``exactly`` as many."""
        if num_readers > len(self._counters):
            for name, nothing in self._NOTHING.items():
                room = num_readers if exactly else 0
                setattr(self, name, with_room(getattr(self, name), num_readers, room, fill=nothing))

    def snapshot(self, num_readers: int | None = None) -> Arrays:
        """All arrays, copied; of the first ``num_readers`` rows, if given."""
        return copied(self, self._KEPT, num_readers)

    def restore(self, arrays: Arrays) -> None:
        """Become the records of a snapshot; rows that there is room for stay."""
        rows = len(self._counters)
        put_back(self, self._KEPT, arrays)
        self.reserve(rows, exactly=True)

    _NOTHING: ClassVar[dict[str, float]] = {"_counters": 0, "_id": -1, "_dwell": 0.0}
    """What stands in the rows of readers who have not come yet."""
    _KEPT = tuple(_NOTHING)


@dataclass(kw_only=True)
class Visits:
    """The visit batch of one tick. Arrays are the caller's to keep; histories are read on first use.

    ``history_id`` and ``history_dwell`` belong to this tick: read them before the slates are served.
    """

    tick: int
    now: float
    """Hours since hour 0, a Monday's midnight."""
    rows: Ints
    """int64 (n,): the readers' rows in the population, rising."""
    reader_id: Ints
    """int64 (n,)"""
    visit: Ints
    """int64 (n,): visits that the reader has had before this one."""
    gap_hours: Doubles
    """float64 (n,): hours since the last visit; 0 at the first (see ``visit``)."""
    features: Floats
    """float32 (n, F): what the reader model's ``observe`` adds; F = 0 without."""
    feature_names: tuple[str, ...]
    """Names of those columns."""
    records: ReaderRecords
    """Where histories come from."""
    device: Ints | None = None
    """int64 (n,): index of ``device_names``, where readers have devices."""
    device_names: tuple[str, ...] = ()
    """Names of the devices."""
    session: Ints | None = None
    """int64 (n,): number of the reader's session, from 0, where visits form sessions."""
    opens: Opens | None = None
    """What readers have opened from elsewhere when this tick began; None where nobody has."""
    newer_clicks: int = 0
    """Clicks of each of these readers since the moment that this shows: histories leave them out."""
    _history: tuple[Ints, Floats] | None = None
    stale: bool = False
    """True once the slates have been served."""

    def __len__(self) -> int:
        """Number of visits, n."""
        return len(self.rows)

    def _read_history(self) -> tuple[Ints, Floats]:
        if self._history is None:
            if self.stale:
                raise RuntimeError("visits: this tick has been served; read histories before serve()")
            self._history = self.records.history(self.rows, self.newer_clicks)
        return self._history

    @property
    def history_id(self) -> Ints:
        """Latest clicked articles, newest first, int64 (n, L); -1 where there were fewer."""
        return self._read_history()[0]

    @property
    def history_dwell(self) -> Floats:
        """Minutes read of those, float32 (n, L); 0 where there were fewer."""
        return self._read_history()[1]


@dataclass(kw_only=True)
class Opens:
    """What was opened from elsewhere when a tick began, before its visits. A site sees all of it. Arrays are (m,)."""

    now: float
    """Hours."""
    tick: int
    rows: Ints
    """The readers' rows in the population, rising: each at most once."""
    reader_id: Ints
    number: Ints
    """``day * 4096`` and the place among the reader's opens of that day: what its draws are keyed by."""
    article_id: Ints
    channel: Ints
    """Index of ``channel_names``; -1 where a site does not know."""
    channel_names: tuple[str, ...]
    dwell_minutes: Floats
    reward: Floats
    """What they pay, by ``OrganicConfig.reward``: 0 by default."""
    device: Ints | None = None
    """Index of the readers' ``device_names``, where readers have devices; -1 where a site does not know."""
    readers: Callable[[], Visits]
    """The readers as they were just before: a batch as of visits, whose histories lack these opens. Ask it before the
    tick is served."""

    def __len__(self) -> int:
        """Opens, m."""
        return len(self.rows)


def valid_entries(archive: Archive, article_id: Ints) -> tuple[Bools, Ints]:
    """Which slate entries show something, and ids that are safe to look up.

    Args:
        archive: knows what is live.
        article_id: int64 (K, n), position-major, any values.

    Returns:
        bool (K, n): live, and not already higher on the same slate; int64 (K, n): the id, 0 where not valid.
    """
    # Viewed as unsigned, negative ids are beyond any archive: one comparison for both ends.
    known = article_id.view(np.uint64) < archive.published
    all_known = bool(known.all())
    safe = article_id if all_known else np.where(known, article_id, 0)
    valid: Bools = archive.is_live.take(safe)
    if not all_known:
        valid &= known
    # Each shift compares all pairs that far apart at once: K - 1 passes over the batch.
    repeated: Bools = np.zeros(valid.shape, dtype=np.bool_)
    for shift in range(1, len(article_id)):
        repeated[shift:] |= article_id[shift:] == article_id[:-shift]
    if repeated.any():
        valid &= ~repeated
    return valid, safe if valid.all() else np.where(valid, safe, 0)


def visit_ids(reader_id: Ints, visit: Ints) -> Ints:
    """Ids of visits (n,): ``reader_id * 2**20 + visit``."""
    if len(reader_id):
        require(int(visit.max()) < 2**VISIT_BITS, "visit", int(visit.max()), f"< {2**VISIT_BITS} visits a reader")
        require(int(reader_id.max()) < 2 ** (63 - VISIT_BITS), "reader_id", int(reader_id.max()), "< 2**43")
    ids: Ints = (reader_id.astype(np.int64) << VISIT_BITS) + visit
    return ids

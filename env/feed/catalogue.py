"""The live catalogue: the articles published and not yet expired, kept up to date tick by tick.

Live ids stand in a slot array: an article that expires is replaced by the last one, so that a change
costs what changes. Observables only: this is what agents see. N live articles, D dimensions.
"""

import math

import numpy as np

from feedgym.env.arrays import Arrays, Doubles, Floats, Ints, SmallInts, copied, nest, put_back, unnest
from feedgym.env.feed.calendar import Calendar
from feedgym.env.newsroom import Archive, Eventful, Newsroom

_EMPTY: Ints = np.zeros(0, dtype=np.int64)
_KEPT = ("_planned_days", "arrived", "departed")
"""What a snapshot has beside the archive, the live ids and the counters."""
_COUNTERS = ("_clicks", "_dwell_minutes", "_impressions")
"""What the site has counted of each article, (capacity,)."""


class Catalogue:
    """What is live now, what has just come and gone, and what the site has counted of each article.

    Args:
        newsroom: what is published.
        ticks_per_day: the clock.
    """

    def __init__(self, newsroom: Newsroom, ticks_per_day: int) -> None:
        self._newsroom = newsroom
        self._ticks_per_day = ticks_per_day
        self.archive = Archive(newsroom.centers.shape[1])
        self._expiries = Calendar(ticks_per_day)
        self._slots: Ints = np.zeros(1024, dtype=np.int64)
        self._slot_of: SmallInts = np.zeros(0, dtype=np.int32)
        self._expiry_tick: Ints = np.zeros(0, dtype=np.int64)
        self._num_live = 0
        self._planned_days = -1  # the next day to plan
        self._eventful = newsroom if isinstance(newsroom, Eventful) else None
        self._trend_until = -math.inf if self._eventful is not None else math.inf
        self.now = 0.0
        self.arrived: Ints = _EMPTY
        """Ids that became live at this tick (all live ones at the first), (m,), rising."""
        self.departed: Ints = _EMPTY
        """Ids that expired at this tick, (m,), rising."""
        self._clicks: Ints = np.zeros(0, dtype=np.int64)
        self._dwell_minutes: Doubles = np.zeros(0)
        self._impressions: Ints = np.zeros(0, dtype=np.int64)
        self._opens: Ints = np.zeros(0, dtype=np.int64)
        self._pending: list[Ints] = []
        self._num_pending = 0

    @property
    def article_id(self) -> Ints:
        """Ids of the live articles, int64 (N,), in no particular order. A read-only view: copy to keep."""
        view = self._slots[: self._num_live]
        view.flags.writeable = False
        return view

    def __len__(self) -> int:
        """Number of live articles, N."""
        return self._num_live

    @property
    def feature_names(self) -> tuple[str, ...]:
        """Names of the columns of :attr:`features`."""
        text = tuple(f"text_{d}" for d in range(self.archive.dim))
        return (*text, "clickbait_proxy", "quality_proxy", "breaking")

    @property
    def features(self) -> Floats:
        """Observable numbers of the live articles, float32 (N, D + 3), rows as :attr:`article_id`."""
        return self.features_of(self.article_id)

    def features_of(self, article_id: Ints) -> Floats:
        """Observable numbers of any published articles (m,), float32 (m, D + 3): :attr:`feature_names`."""
        a, d = self.archive, self.archive.dim
        rows = np.empty((len(article_id), d + 3), dtype=np.float32)
        rows[:, :d] = a.column("text")[article_id]
        for offset, name in enumerate(("clickbait_proxy", "quality_proxy", "breaking")):
            rows[:, d + offset] = a.column(name)[article_id]
        return rows

    def categories_of(self, article_id: Ints) -> SmallInts:
        """Topic, publisher and author ids of any published articles, any shape, int32 (..., 3); -1 of article -1.

        So the topics of readers' histories are ``categories_of(visits.history_id)[..., 0]``, (n, L).
        """
        columns = [self.archive.column(name)[article_id] for name in ("topic", "publisher", "author")]
        stacked: SmallInts = np.stack(columns, axis=-1).astype(np.int32, copy=False)
        stacked[article_id < 0] = -1
        return stacked

    @property
    def category_sizes(self) -> tuple[int, int, int]:
        """Topic, publisher and author ids are below these."""
        return (len(self._newsroom.centers), self._newsroom.num_publishers, self._newsroom.num_authors)

    def published_hours_of(self, article_id: Ints) -> Doubles:
        """Publication times of any published articles (m,), in hours, float64 (m,)."""
        times: Doubles = self.archive.column("published_hours")[article_id]
        return times

    @property
    def age_hours(self) -> Doubles:
        """Ages of the live articles in hours, float64 (N,), rows as :attr:`article_id`."""
        return self.now - self.published_hours_of(self.article_id)

    def clicks_of(self, article_id: Ints) -> Ints:
        """Clicks on slates so far, on any published articles (m,), int64 (m,)."""
        return self._clicks[article_id]

    def opens_of(self, article_id: Ints) -> Ints:
        """Opens from elsewhere so far, without a slate, of any published articles (m,), int64 (m,)."""
        opens: Ints = self._opens[article_id] if len(self._opens) else np.zeros(len(article_id), dtype=np.int64)
        return opens

    def dwell_minutes_of(self, article_id: Ints) -> Doubles:
        """Minutes read so far after those clicks, of any published articles (m,), float64 (m,)."""
        return self._dwell_minutes[article_id]

    def impressions_of(self, article_id: Ints) -> Ints:
        """Impressions so far of any published articles (m,), int64 (m,)."""
        self._count_pending()
        return self._impressions[article_id]

    # What follows is called by the Feed only.

    def advance(self, tick: int, now: float) -> None:
        """Publish and expire what is due at ``tick``, at time ``now`` in hours."""
        self.now = now
        while self._planned_days * 24.0 <= now:
            self._plan(self._planned_days, tick)
            self._planned_days += 1
        self._follow_trend(now)
        due = self._expiries.collect(tick)
        # An article shorter-lived than a tick has expired before anyone could see it.
        self.departed = due[self.archive.is_live.take(due)]
        self._remove(self.departed)
        times, first = self.archive.column("published_hours"), self.archive.published
        last = first + int(np.searchsorted(times[first : self.archive.planned], now, side="right"))
        self.archive.published = last
        ids = np.arange(first, last, dtype=np.int64)
        if len(ids):
            ids = ids[self._expiry_tick.take(ids) > tick]
            self._add(ids)
        self.arrived = ids

    def _follow_trend(self, now: float) -> None:
        """Let topics gain or lose what breaking events give them: a pass over the archive a day, and at changes."""
        if self._eventful is not None and now >= self._trend_until:
            trend, self._trend_until = self._eventful.trend(now)
            if trend.any() or math.isfinite(self._trend_until):
                self.archive.set_trend(trend)

    def _plan(self, day: int, tick: int) -> None:
        """Take in a day's articles."""
        first = self.archive.planned
        self.archive.plan(self._newsroom.plan_day(day))
        self._reserve()
        self._foresee(np.arange(first, self.archive.planned, dtype=np.int64), tick)

    def _foresee(self, ids: Ints, tick: int) -> None:
        """Put articles down for the first tick at which they are not live any more: live while now < expires_hours.

        A day at a time, from ``tick`` on: scheduling each tick's few costs 100 us a tick.
        """
        expires = self.archive.column("expires_hours")[ids] * (self._ticks_per_day / 24.0)
        # Far beyond any horizon, so that a replayed article without an end fits an integer.
        ticks = np.ceil(np.clip(expires, tick, 2.0**52)).astype(np.int64)
        self._expiry_tick[ids] = ticks
        self._expiries.schedule(ids, ticks)

    def _reserve(self) -> None:
        """Columns as long as the archive's."""
        more = len(self.archive.is_live) - len(self._clicks)
        if more > 0:
            opens = ("_opens",) if len(self._opens) else ()
            for name in ("_slot_of", "_expiry_tick", *_COUNTERS, *opens):
                old = getattr(self, name)
                setattr(self, name, np.concatenate([old, np.zeros(more, old.dtype)]))

    def _add(self, ids: Ints) -> None:
        end = self._num_live + len(ids)
        if end > len(self._slots):
            grown = np.zeros(max(end, 2 * len(self._slots)), dtype=np.int64)
            grown[: self._num_live] = self._slots[: self._num_live]
            self._slots = grown
        self._slots[self._num_live : end] = ids
        self._slot_of[ids] = np.arange(self._num_live, end, dtype=np.int32)
        self.archive.is_live[ids] = True
        self._num_live = end

    def _remove(self, ids: Ints) -> None:
        """Fill the slots that become free below the new end with the survivors from above it."""
        if len(ids) == 0:
            return
        self.archive.is_live[ids] = False
        end = self._num_live - len(ids)
        slots = self._slot_of[ids]
        holes = np.sort(slots[slots < end])
        tail = self._slots[end : self._num_live]
        movers = tail[self.archive.is_live[tail]]
        self._slots[holes] = movers
        self._slot_of[movers] = holes
        self._num_live = end

    def count(self, shown: Ints, clicked: Ints, dwell_minutes: Floats) -> None:
        """Count ``shown`` ids (any shape), ``clicked`` ids (c,) and the minutes read of them (c,)."""
        np.add.at(self._clicks, clicked, 1)
        np.add.at(self._dwell_minutes, clicked, dwell_minutes.astype(np.float64))
        # Counting impressions costs a pass over the archive: put off until it is small beside what it counts.
        self._pending.append(shown)
        self._num_pending += shown.size
        if self._num_pending >= 8 * len(self._impressions):
            self._count_pending()

    def count_opens(self, article_id: Ints) -> None:
        """Count opens from elsewhere (m,). They stand apart: what slates showed says how often they are clicked."""
        if len(self._opens) < len(self._clicks):
            self._opens = np.concatenate([self._opens, np.zeros(len(self._clicks) - len(self._opens), np.int64)])
        np.add.at(self._opens, article_id, 1)

    def _count_pending(self) -> None:
        if self._pending:
            shown = np.concatenate([ids.ravel() for ids in self._pending])
            self._impressions += np.bincount(shown, minlength=len(self._impressions))
            self._pending.clear()
            self._num_pending = 0

    def snapshot(self) -> Arrays:
        """Everything that the newsroom does not know by itself."""
        self._count_pending()
        planned = self.archive.planned
        arrays = nest("archive", self.archive.snapshot()) | copied(self, _KEPT)
        if len(self._opens):
            arrays |= copied(self, ("_opens",), planned)
        return arrays | copied(self, _COUNTERS, planned) | {"slots": self.article_id.copy()}

    def restore(self, arrays: Arrays, tick: int, now: float) -> None:
        """Become the catalogue of a snapshot taken at ``tick``."""
        self.archive.restore(unnest("archive", arrays))
        self._trend_until = -math.inf
        self._follow_trend(now)
        planned, capacity = self.archive.planned, len(self.archive.is_live)
        put_back(self, _KEPT, arrays)
        self.now = now
        live: Ints = arrays["slots"].astype(np.int64)
        self._slots = np.zeros(max(1024, len(live)), dtype=np.int64)
        self._slot_of = np.zeros(capacity, dtype=np.int32)
        self._expiry_tick = np.zeros(capacity, dtype=np.int64)
        self._num_live = 0
        self._add(live)
        self._expiries = Calendar(self._ticks_per_day, tick)
        coming = np.arange(self.archive.published, planned, dtype=np.int64)
        self._foresee(np.concatenate([live, coming]), tick)
        put_back(self, _COUNTERS, arrays, room=capacity)
        self._opens = np.zeros(0, dtype=np.int64)
        if "opens" in arrays:
            put_back(self, ("_opens",), arrays, room=capacity)
        self._pending.clear()
        self._num_pending = 0

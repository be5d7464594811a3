"""A calendar of buckets: who or what is due at which tick, without a scan of everybody.

Three grains: a list for each tick of the current span (about the square root of a day), for each later span
of today, and for each later day. Scheduling and collecting cost what is scheduled and collected, whatever
the population, and touch few lists: one list for each tick of the day cost 10 % of a tick of 1,000 visits.
Serves readers' visits and articles' expiries.
"""

import math
from collections import defaultdict

import numpy as np

from feedgym.env.arrays import Ints

_EMPTY: Ints = np.zeros(0, dtype=np.int64)


class Calendar:
    """Due ticks of rows.

    Args:
        ticks_per_day: length of a day in ticks.
        tick: the first tick that can be collected.
    """

    def __init__(self, ticks_per_day: int, tick: int = 0) -> None:
        self._ticks_per_day = ticks_per_day
        self._span_ticks = max(1, math.isqrt(ticks_per_day))
        self._day = tick // ticks_per_day
        self._span = self._span_of(tick)
        self._ticks: defaultdict[int, list[Ints]] = defaultdict(list)
        self._spans: defaultdict[int, list[tuple[Ints, Ints]]] = defaultdict(list)
        self._days: defaultdict[int, list[tuple[Ints, Ints]]] = defaultdict(list)

    def _span_of(self, tick: int) -> int:
        """Spans start anew each day, so that a span never crosses midnight."""
        day, slot = divmod(tick, self._ticks_per_day)
        return day * self._ticks_per_day + slot // self._span_ticks

    def schedule(self, rows: Ints, ticks: Ints) -> None:
        """Put ``rows`` (m,) down for ``ticks`` (m,), none of them past."""
        if len(rows) == 0:
            return
        ahead = ticks - self._day * self._ticks_per_day
        if int(ahead.max()) < 1 << 16:  # numpy sorts 16-bit keys by radix, four times as fast
            ahead = ahead.astype(np.uint16)
        order = np.argsort(ahead, kind="stable")
        self._put(rows[order], ticks[order])

    def _put(self, rows: Ints, ticks: Ints) -> None:
        """Sort ``rows``, in order of ``ticks``, into the lists of their grain."""
        per_day = self._ticks_per_day
        tonight = (self._day + 1) * per_day
        span_start = self._day * per_day + (self._span - self._day * per_day) * self._span_ticks
        span_end = min(span_start + self._span_ticks, tonight)
        in_span, today = np.searchsorted(ticks, (span_end, tonight)).tolist()
        for start, end, tick in _runs(ticks[:in_span]):
            self._ticks[tick].append(rows[start:end])
        slots = ticks[in_span:today] - self._day * per_day
        for start, end, span in _runs(self._day * per_day + slots // self._span_ticks):
            part = slice(in_span + start, in_span + end)
            self._spans[span].append((rows[part], ticks[part]))
        for start, end, day in _runs(ticks[today:] // per_day):
            part = slice(today + start, today + end)
            self._days[day].append((rows[part], ticks[part]))

    def collect(self, tick: int) -> Ints:
        """Rows due at ``tick``, rising, and forget them. Ticks are collected in order."""
        day, span = tick // self._ticks_per_day, self._span_of(tick)
        if span != self._span:
            new_day = day != self._day
            self._day, self._span = day, span
            if new_day:
                self._open(self._days.pop(day, []))
            self._open(self._spans.pop(span, []))
        lists = self._ticks.pop(tick, None)
        if lists is None:
            return _EMPTY
        return np.sort(lists[0] if len(lists) == 1 else np.concatenate(lists))

    def _open(self, entries: list[tuple[Ints, Ints]]) -> None:
        """Sort the entries of a day or a span that has begun into finer grains."""
        if entries:
            rows, ticks = (np.concatenate(parts) for parts in zip(*entries, strict=True))
            self.schedule(rows, ticks)


def _runs(keys: Ints) -> list[tuple[int, int, int]]:
    """(start, end, key) of each run of equal values in ``keys`` (m,), which rise."""
    if len(keys) == 0:
        return []
    starts = np.concatenate([[0], np.flatnonzero(keys[1:] != keys[:-1]) + 1])
    edges = starts.tolist()
    return list(zip(edges, [*edges[1:], len(keys)], keys[starts].tolist(), strict=True))

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
        self._enter(tick // ticks_per_day, self._span_of(tick))
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
        per_day, ahead = self._ticks_per_day, ticks - self._span_start
        # One sort for all three grains: ticks of this span, then spans of today, then days.
        key = np.where(ahead < self._span_left, ahead, self._span_left + ahead // self._span_ticks)
        later = ticks >= self._tonight
        if later.any():
            key[later] = self._today_keys + ticks[later] // per_day - self._day
        if int(key.max()) < 1 << 16:  # numpy sorts 16-bit keys by radix, four times as fast
            key = key.astype(np.uint16)
        order = np.argsort(key, kind="stable")
        key, rows, ticks = key[order], rows[order], ticks[order]
        starts = np.concatenate([[0], np.flatnonzero(key[1:] != key[:-1]) + 1])
        edges = [*starts.tolist(), len(rows)]
        for start, end, first, tick in zip(
            edges, edges[1:], key[starts].tolist(), ticks[starts].tolist(), strict=False
        ):
            if first < self._span_left:
                self._ticks[tick].append(rows[start:end])
            elif first < self._today_keys:
                self._spans[self._span_of(tick)].append((rows[start:end], ticks[start:end]))
            else:
                self._days[tick // per_day].append((rows[start:end], ticks[start:end]))

    def _enter(self, day: int, span: int) -> None:
        """The current span, its bounds in ticks, and how many keys the grains finer than a day take."""
        self._day, self._span = day, span
        midnight = day * self._ticks_per_day
        self._tonight = midnight + self._ticks_per_day
        self._span_start = midnight + (span - midnight) * self._span_ticks
        self._span_left = min(self._span_ticks, self._tonight - self._span_start)
        self._today_keys = 2 * self._span_left + self._ticks_per_day // self._span_ticks + 1

    def collect(self, tick: int) -> Ints:
        """Rows due at ``tick``, rising, and forget them. Ticks are collected in order."""
        day, span = tick // self._ticks_per_day, self._span_of(tick)
        if span != self._span:
            new_day = day != self._day
            self._enter(day, span)
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

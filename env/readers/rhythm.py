"""The hours of the day: gaps are drawn in operational time, in which traffic is even, and mapped to the clock.

``next = Lambda^-1(Lambda(now) + gap)`` with Lambda the cumulative profile (mean rate 1): exact, one draw.
"""

from collections.abc import Callable

import numpy as np

from feedgym.env.arrays import Doubles, Ints

_CELLS = 1024
_FIRST_HOURS = 64 * 24
_MOST_HOURS = 2**16
_CELLS_PER_HOUR = 8


class DayRhythm:
    """A daily profile, constant within each hour.

    Args:
        profile: 24 weights, one for each hour of the day.
    """

    def __init__(self, profile: tuple[float, ...]) -> None:
        weights = np.asarray(profile, dtype=np.float64)
        self._rate = 24.0 * weights / weights.sum()
        self._cumulative = np.concatenate([[0.0], np.cumsum(self._rate)])
        self._cumulative[-1] = 24.0
        self._hours_per_operational = np.divide(1.0, self._rate, out=np.zeros(24), where=self._rate > 0)
        # The hour by table, then corrected: searchsorted and interp mispredict branches, four times as slow.
        edges = np.arange(_CELLS + 1) * (24.0 / _CELLS)
        # side="right": an hour without traffic has no width in operational time, and is jumped over.
        self._first_hour = np.minimum(np.searchsorted(self._cumulative, edges, side="right") - 1, 23)
        self._passes = int(np.diff(self._first_hour).max())
        self._end = np.concatenate([self._cumulative[1:-1], [np.inf]])

    def operational(self, clock_hours: float) -> float:
        """Operational time at one moment of the clock."""
        day, hour = divmod(clock_hours, 24.0)
        index = min(int(hour), 23)
        return 24.0 * day + float(self._cumulative[index]) + (hour - index) * float(self._rate[index])

    def operational_at(self, clock_hours: Doubles) -> Doubles:
        """Operational times of many moments of the clock, (n,)."""
        day = np.floor(clock_hours * (1.0 / 24.0))
        within = clock_hours - 24.0 * day
        hour = np.clip(within.astype(np.int64), 0, 23)
        times: Doubles = 24.0 * day + self._cumulative.take(hour) + (within - hour) * self._rate.take(hour)
        return times

    def clock(self, operational_hours: Doubles) -> Doubles:
        """Moments of the clock, (n,), at these operational times."""
        day = np.floor(operational_hours * (1.0 / 24.0))
        within = operational_hours - 24.0 * day
        hour = self._first_hour.take((within * (_CELLS / 24.0)).astype(np.int64), mode="clip")
        for _ in range(self._passes):
            hour += within >= self._end.take(hour)
        offset = (within - self._cumulative.take(hour)) * self._hours_per_operational.take(hour)
        clock: Doubles = 24.0 * day + hour + np.minimum(offset, 1.0)
        return clock

    def gap(self, now: float, operational_gap: Doubles) -> Doubles:
        """Clock hours (n,) that gaps of operational hours (n,) take from ``now`` on."""
        # There and back again, a gap of nothing may come out as -1e-14 hours.
        return np.maximum(self.clock(self.operational(now) + operational_gap) - now, 0.0)


class SurgingRhythm:
    """A daily profile times surges of traffic, constant within each hour of the clock.

    The surges are exogenous and known for all times, so that a gap is drawn once, in operational time, and mapped
    by the exact inverse: a reader returns when the traffic since the last visit adds up to the gap drawn. Whatever
    surges before that moment shortens the gap; what comes later does not touch it, so nobody foresees an event.

    Args:
        profile: 24 weights, one for each hour of the day; 1 on average after scaling.
        surge: traffic over the usual in consecutive clock hours (h,), (h,); beyond ``_MOST_HOURS`` traffic is even.
    """

    def __init__(self, profile: tuple[float, ...], surge: Callable[[Ints], Doubles]) -> None:
        self._profile = 24.0 * np.asarray(profile, dtype=np.float64) / sum(profile)
        self._surge = surge
        self._reach(_FIRST_HOURS)

    def _reach(self, num_hours: int) -> None:
        """Tables of the first hours. A longer table begins with the same numbers: when it grows, nothing changes."""
        hours = np.arange(num_hours, dtype=np.int64)
        self._rate = np.resize(self._profile, num_hours) * self._surge(hours)
        self._cumulative = np.concatenate([[0.0], np.cumsum(self._rate)])
        self._hours_per_operational = np.divide(1.0, self._rate, out=np.zeros(num_hours), where=self._rate > 0)
        # The hour by table, then corrected, as in DayRhythm.
        edges = np.arange(int(self._cumulative[-1] * _CELLS_PER_HOUR) + 2) * (1.0 / _CELLS_PER_HOUR)
        found = np.searchsorted(self._cumulative, edges, side="right") - 1
        self._first_hour = np.minimum(found, num_hours - 1)
        self._passes = int(np.diff(self._first_hour).max())
        self._end = np.concatenate([self._cumulative[1:-1], [np.inf]])

    def operational(self, clock_hours: float) -> float:
        """Operational time at one moment of the clock."""
        while clock_hours >= len(self._rate) and len(self._rate) < _MOST_HOURS:
            self._reach(2 * len(self._rate))
        index = int(clock_hours)
        if index >= len(self._rate):
            return float(self._cumulative[-1]) + clock_hours - len(self._rate)
        return float(self._cumulative[index]) + (clock_hours - index) * float(self._rate[index])

    def clock(self, operational_hours: Doubles) -> Doubles:
        """Moments of the clock, (n,), at these operational times."""
        latest = float(operational_hours.max(initial=0.0))
        while latest >= self._cumulative[-1] and len(self._rate) < _MOST_HOURS:
            self._reach(2 * len(self._rate))
        cell = (operational_hours * _CELLS_PER_HOUR).astype(np.int64)
        hour = self._first_hour.take(cell, mode="clip")
        for _ in range(self._passes):
            hour += operational_hours >= self._end.take(hour)
        offset = (operational_hours - self._cumulative.take(hour)) * self._hours_per_operational.take(hour)
        clock: Doubles = hour + np.minimum(offset, 1.0)
        beyond = operational_hours - self._cumulative[-1]
        return np.where(beyond > 0.0, len(self._rate) + beyond, clock)

    def gap(self, now: float, operational_gap: Doubles) -> Doubles:
        """Clock hours (n,) that gaps of operational hours (n,) take from ``now`` on."""
        return np.maximum(self.clock(self.operational(now) + operational_gap) - now, 0.0)

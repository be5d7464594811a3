"""The hours of the day: gaps are drawn in operational time, in which traffic is even, and mapped to the clock.

``next = Lambda^-1(Lambda(now) + gap)`` with Lambda the cumulative profile (mean rate 1): exact, one draw.
"""

import numpy as np

from feedgym.env.arrays import Doubles

_CELLS = 1024


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

"""The hours of the day: gaps are drawn in operational time, in which traffic is even, and mapped to the clock.

``next = Lambda^-1(Lambda(now) + gap)`` with Lambda the cumulative profile (mean rate 1): exact, one draw.
"""

import numpy as np

from feedgym.env.arrays import Doubles

_HOURS: Doubles = np.arange(25.0)


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

    def operational(self, clock_hours: float) -> float:
        """Operational time at one moment of the clock."""
        day, hour = divmod(clock_hours, 24.0)
        index = min(int(hour), 23)
        return 24.0 * day + float(self._cumulative[index]) + (hour - index) * float(self._rate[index])

    def clock(self, operational_hours: Doubles) -> Doubles:
        """Moments of the clock, (n,), at these operational times."""
        day = np.floor(operational_hours * (1.0 / 24.0))
        # An hour without traffic has no width in operational time: of equal knots interp takes the last, and so
        # jumps over it. Half the cost of searchsorted and gathers.
        clock: Doubles = np.interp(operational_hours - 24.0 * day, self._cumulative, _HOURS)
        clock += 24.0 * day
        return clock

    def gap(self, now: float, operational_gap: Doubles) -> Doubles:
        """Clock hours (n,) that gaps of operational hours (n,) take from ``now`` on."""
        # There and back again, a gap of nothing may come out as -1e-14 hours.
        return np.maximum(self.clock(self.operational(now) + operational_gap) - now, 0.0)

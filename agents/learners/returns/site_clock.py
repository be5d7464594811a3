"""The site's own clock: time runs as fast as traffic does, so that a night without readers is short.

Gaps between sessions are compared in it, else whoever comes in the evening looks like a reader of long gaps.
Time is in hours; one hour of this clock is one hour of average traffic.
"""

import numpy as np

from feedgym.env.arrays import Doubles

_PRIOR_SESSIONS = 20.0
"""Sessions at the mean rate that each hour of the day is taken to have had: the first days are few."""


class SiteClock:
    """Traffic by hour of the day, constant within each hour.

    Args:
        times: when sessions began, clock hours (t,).
        start: from when on all sessions are known, clock hours.
        end: until when.
    """

    def __init__(self, times: Doubles, start: float, end: float) -> None:
        hour = np.arange(24.0)
        count = np.bincount(np.floor(np.mod(times, 24.0)).astype(np.int64) % 24, minlength=24)
        # How often the window saw each hour of the day: its first and last day are not whole.
        seen = sum(
            sign * (np.floor(at / 24.0) + np.clip(np.mod(at, 24.0) - hour, 0.0, 1.0))
            for at, sign in ((end, 1.0), (start, -1.0))
        )
        mean = count.sum() / max(end - start, 1.0)
        rate = (count + _PRIOR_SESSIONS) / (mean * seen + _PRIOR_SESSIONS)
        self.rate: Doubles = rate * (24.0 / rate.sum())
        """Traffic of each hour of the day, (24,), 1 on average."""
        self._cumulative = np.concatenate([[0.0], np.cumsum(self.rate)])

    def at(self, times: Doubles) -> Doubles:
        """This clock's hours at clock hours ``times`` (t,)."""
        day = np.floor(times / 24.0)
        own: Doubles = 24.0 * day + np.interp(times - 24.0 * day, np.arange(25.0), self._cumulative)
        return own

"""When readers come back: habit, short returns, an own hour of the day (docs/mathematics.md 9.2).

Shapes: n readers or sessions that end. Time is in hours.
"""

from typing import Protocol

import numpy as np

from feedgym.env.arrays import Arrays, Doubles, Floats
from feedgym.env.noise import Noise
from feedgym.env.readers.config import NewsReaderConfig
from feedgym.env.readers.rhythm import DayRhythm

OWN_HOUR = "own_hour"
_CLEAR = 4.0
"""Standard deviations between now and an own hour at which a reader can still be back today."""


class Rhythm(Protocol):
    """What maps gaps of even traffic to the clock."""

    def gap(self, now: float, operational_gap: Doubles) -> Doubles:
        """Clock hours (n,) that gaps of operational hours (n,) take from ``now`` on."""
        ...


class Returning:
    """Gaps between sessions.

    ``b pull Exp(1)^habit`` operational hours; with chance ``short_return_share`` a log-normal gap instead, times the
    same pull; and with chance ``return_hour_habit`` what is not short ends at the reader's own hour of the day: the
    moment of that hour nearest to the drawn return, but not on top of this session.

    Args:
        config: chances, medians, spreads, switches.
        day: the profile of the day, from which own hours are drawn.
    """

    def __init__(self, config: NewsReaderConfig, day: DayRhythm) -> None:
        self._config, self._day = config, day
        self._short = config.short_return_share if config.short_returns else 0.0
        self._habit = config.return_hour_habit if config.own_hours else 0.0

    @property
    def has_own_hours(self) -> bool:
        """Readers have an hour of their own."""
        return self._habit > 0.0

    def columns(self, n: int, noise: Noise) -> Arrays:
        """Each reader's own hour of the day, in [0, 24), where readers have one: as frequent as its traffic."""
        if self._habit == 0.0:
            return {}
        hour = self._day.clock(24.0 * noise.uniform("own hour", "reader").astype(np.float64))
        return {OWN_HOUR: hour.astype(np.float32)}

    def gap(
        self, rhythm: Rhythm, now: float, base_gap: Floats, pull: Floats, own_hour: Floats | None, noise: Noise
    ) -> Doubles:
        """Hours until the readers are back, (n,).

        Args:
            rhythm: of the day, surges among it.
            now: end of the session.
            base_gap: b, operational hours (n,).
            pull: what trust and the session make of the gap, a factor (n,).
            own_hour: (n,), of ``columns``; None without.
            noise: of the visits that end the sessions.
        """
        c = self._config
        habit = noise.exponential("habit") ** c.habit_exponent
        operational = base_gap * pull * habit
        short = np.zeros(len(operational), dtype=np.bool_)
        if self._short > 0.0:
            short = noise.uniform("short return") < self._short
            brief = c.short_return_median_hours * np.exp(c.short_return_log_sd * noise.normal("short gap"))
            operational = np.where(short, brief * pull, operational)
        gap = rhythm.gap(now, operational)
        if self._habit == 0.0 or own_hour is None:
            return gap
        at_own = (noise.uniform("at own hour") < self._habit) & ~short
        sd = c.return_hour_sd_hours
        # From now to the reader's hour on the day of the return; tomorrow's where today's is now.
        ahead = np.mod(own_hour.astype(np.float64) - now, 24.0)
        target = ahead + 24.0 * np.rint((gap - ahead) / 24.0)
        late = np.maximum(np.ceil((_CLEAR * sd - target) / 24.0), 0.0)
        late += target + 24.0 * late <= 0.0
        wobble: Doubles = np.clip(noise.normal("around own hour"), -_CLEAR, _CLEAR).astype(np.float64)
        return np.where(at_own, np.maximum(target + 24.0 * late + sd * wobble, 0.0), gap)

"""Breaking events: when they happen, and what they do to traffic, to topics and to publication.

A Poisson process, drawn day by day and keyed by (seed, day): exogenous, and the same whatever is asked first.
Shapes: e events, h hours, T topics. Time is in hours; days before hour 0 are negative.
"""

import math
from dataclasses import dataclass

import numpy as np

from feedgym.env.arrays import Doubles, Floats, Ints
from feedgym.env.config import EventConfig
from feedgym.env.noise import Noise

_MOST_A_DAY = 16
"""Events drawn for a day at most: at ``MOST_EVENTS`` a day on average one day in a million has more."""
SURGE_HALF_LIVES = 14.0
"""After so many half-lives a surge of traffic is over (1 in 16,000 of it is left)."""


@dataclass(frozen=True, kw_only=True)
class Events:
    """Breaking events, a row each, in order of time."""

    hours: Doubles
    """(e,)"""
    topic: Ints
    """(e,)"""
    surge: Doubles
    """(e,): a; at the event traffic is (1 + a) times the usual."""
    burst_hours: Doubles
    """(e, burst_articles): when the articles of its burst are published."""


class EventCalendar:
    """All breaking events of a world.

    Args:
        config: how many, and what they do.
        seed: the world's seed.
        topic_share: how likely an event, like an article, is of each topic, (T,).
    """

    def __init__(self, config: EventConfig, seed: int, topic_share: Doubles) -> None:
        self.config = config
        self._seed = seed
        self._topic_share = topic_share
        self._share_up_to = np.cumsum(topic_share)

    def between(self, start: float, end: float) -> Events:
        """The events at or after ``start`` and before ``end``, in hours."""
        days = np.arange(math.floor(start / 24.0), math.ceil(end / 24.0), dtype=np.int64)
        found = self._draw(days)
        inside = (found.hours >= start) & (found.hours < end)
        return Events(
            hours=found.hours[inside],
            topic=found.topic[inside],
            surge=found.surge[inside],
            burst_hours=found.burst_hours[inside],
        )

    def _draw(self, days: Ints) -> Events:
        c = self.config
        noise = Noise(self._seed, days)
        # From midnight on, exponential gaps: as exponentials forget, days by themselves make one Poisson process.
        gaps = noise.exponential("newsroom/event", "reader", size=_MOST_A_DAY) * (24.0 / max(c.per_day, 1e-300))
        after_midnight = np.cumsum(gaps, axis=1)
        happens = np.nonzero(after_midnight < 24.0)
        hours: Doubles = (24.0 * days[happens[0]] + after_midnight[happens]).astype(np.float64)
        at = noise.uniform("newsroom/event topic", "reader", size=_MOST_A_DAY)[happens]
        topic = np.minimum(np.searchsorted(self._share_up_to, at, side="right"), len(self._topic_share) - 1)
        normal = noise.normal("newsroom/event surge", "reader", size=_MOST_A_DAY)[happens]
        number = c.burst_articles if c.burst else 0
        delays = noise.exponential("newsroom/event burst", "reader", size=_MOST_A_DAY * max(number, 1))
        delays = delays.reshape(len(days), _MOST_A_DAY, -1)[happens][:, :number]
        return Events(
            hours=hours,
            topic=topic.astype(np.int64),
            surge=c.surge_median * np.exp(c.surge_log_sd * normal) if c.surge else np.zeros(len(hours)),
            burst_hours=hours[:, None] + c.burst_hours * delays,
        )

    def bursts(self, day: int) -> tuple[Doubles, Ints]:
        """Times and topics of the breaking articles published on ``day``, (m,) each, by time."""
        # A delay of 40 means has a chance of 4e-18: no article of an older event is missed.
        events = self.between(24.0 * day - 40.0 * self.config.burst_hours, 24.0 * day + 24.0)
        times = events.burst_hours
        here = (times >= 24.0 * day) & (times < 24.0 * day + 24.0)
        topic = np.broadcast_to(events.topic[:, None], times.shape)[here]
        order = np.argsort(times[here], kind="stable")
        return times[here][order], topic[order]

    def trend(self, hours: float) -> tuple[Floats, float]:
        """Log-odds that each topic has gained at ``hours``, (T,), and until when that holds, at latest midnight."""
        c = self.config
        gained: Floats = np.zeros(len(self._topic_share), dtype=np.float32)
        if c.per_day == 0.0 or not c.trend:
            return gained, math.inf
        midnight = 24.0 * (math.floor(hours / 24.0) + 1)
        # From a little earlier: only the sum below decides which events are over.
        events = self.between(hours - c.trend_hours - 1.0, midnight)
        on = (events.hours <= hours) & (hours < events.hours + c.trend_hours)
        np.add.at(gained, events.topic[on], np.float32(c.trend_log_odds))
        changes = np.concatenate([events.hours, events.hours + c.trend_hours, [midnight]])
        return gained, float(changes[changes > hours].min())

    def surge(self, hours: Ints) -> Doubles:
        """Traffic over the usual in each of these clock hours (h,), consecutive: mean over the hour, 1 at rest.

        ``1 + sum over events of a 2^(-(t - event) / half-life)`` from the event on, averaged over ``[hour, hour + 1)``.
        """
        c = self.config
        factor: Doubles = np.ones(len(hours))
        if c.per_day == 0.0 or not c.surge or len(hours) == 0:
            return factor
        first, last = int(hours[0]), int(hours[-1]) + 1
        reach = SURGE_HALF_LIVES * c.surge_half_life_hours
        events = self.between(first - reach, last)
        rate = math.log(2.0) / c.surge_half_life_hours
        length = math.ceil(reach) + 1
        # Each event's hours from its own on, (e, length): the integral of an exponential over each.
        hour = np.floor(events.hours)[:, None] + np.arange(length)
        begin = np.maximum(hour, events.hours[:, None]) - events.hours[:, None]
        end = hour + 1.0 - events.hours[:, None]
        mean = events.surge[:, None] * (np.exp(-rate * begin) - np.exp(-rate * end)) / rate
        index = hour.astype(np.int64) - first
        inside = (index >= 0) & (index < len(hours))
        np.add.at(factor, index[inside], mean[inside])
        return factor

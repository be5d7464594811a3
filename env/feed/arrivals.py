"""Newcomers: who joins the site after hour 0, and when. Exogenous and keyed: nothing that is served changes it.

Time is cut into stretches of ``24 / (newcomers_per_day * population)`` hours, and in each of them one reader joins, at
a uniform moment. So the number of newcomers up to any hour is known beforehand and brings no noise of its own, and
readers still join at chance moments. Newcomer ``j`` has the id ``population + j``, whatever the horizon, the tick or
the sharding; of a sharded population each belongs to the shard that holds her seat, a fixed hash of ``j``.
Shapes: m newcomers. Time is in hours.
"""

import math

import numpy as np

from feedgym.env.arrays import Bools, Doubles, Ints
from feedgym.env.config import FeedConfig
from feedgym.env.noise import Noise
from feedgym.env.readers import ReaderModel, Renewing


def most_readers(config: FeedConfig, model: ReaderModel) -> int:
    """Rows that a site's readers take until its horizon, at most: one more, perhaps, than will come."""
    newcomers = Arrivals(config, 0).most(math.ceil(config.days - 1e-9)) if isinstance(model, Renewing) else 0
    return config.num_readers + newcomers


class Arrivals:
    """When whose newcomers join.

    Args:
        config: how many readers there are, and newcomers a day.
        seed: of the world.
    """

    def __init__(self, config: FeedConfig, seed: int) -> None:
        per_day = config.newcomers_per_day * config.whole_population
        self._hours_each = 24.0 / per_day if per_day > 0 else math.inf
        self._population = config.whole_population
        self._seats = range(config.first_reader_id, config.first_reader_id + config.num_readers)
        self._seed = seed

    def between(self, first_day: int, end_day: int) -> tuple[Ints, Doubles]:
        """Newcomers of the days from ``first_day`` until before ``end_day``.

        Returns:
            Their ids, int64 (m,), rising, and the hours at which they join, (m,), rising.
        """
        if math.isinf(self._hours_each):
            return np.zeros(0, dtype=np.int64), np.zeros(0)
        start, end = 24.0 * first_day, 24.0 * end_day
        # A stretch wider at both ends: what counts is the hour itself, which rounds alike whoever asks.
        number = np.arange(max(0, int(start / self._hours_each) - 1), int(end / self._hours_each) + 2)
        hours = (number + self._moment(number)) * self._hours_each
        own = (hours >= start) & (hours < end) & self._is_own(number)
        return self._population + number[own], hours[own]

    def most(self, days: int) -> int:
        """Newcomers of the first ``days`` days, at most: one more, perhaps, than will come. The same for all seeds."""
        if math.isinf(self._hours_each):
            return 0
        number = np.arange(math.ceil(24.0 * days / self._hours_each))
        return int(np.count_nonzero(self._is_own(number)))

    def _moment(self, number: Ints) -> Doubles:
        ids = self._population + number
        return Noise(self._seed, ids, stream="newcomers").uniform("moment", "reader").astype(np.float64, copy=False)

    def _is_own(self, number: Ints) -> Bools:
        """Whether newcomers (m,) belong to this shard, (m,)."""
        if len(self._seats) == self._population:
            everyone: Bools = np.ones(len(number), dtype=np.bool_)
            return everyone
        # One seed for all worlds: how many newcomers a shard has is then known before there is a seed.
        share = Noise(0, number, stream="seats").uniform("seat", "reader")
        seat = (share * self._population).astype(np.int64)
        own: Bools = (seat >= self._seats.start) & (seat < self._seats.stop)
        return own

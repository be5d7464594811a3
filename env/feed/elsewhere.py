"""Opens from elsewhere: who opens which article without a slate, when, and by which channel (docs/mathematics.md 9.5).

All of it is exogenous: moments, channel, and what the channel brings to the reader's notice are keyed by the reader
and the day, and the choice among that is by taste alone. Nothing that is served changes it, so under one seed all
agents meet the same opens, as long as the reader is there. A day is planned at once and an hour's articles are chosen
at once: a tick costs what is opened in it. Only what readers do with what they open is left to the tick itself.
Shapes: P readers, m opens, C articles noticed, N live articles, H channels. Time is in hours.
"""

import math
from collections.abc import Callable

import numpy as np

from feedgym.env.arrays import AnyArray, Arrays, Doubles, Floats, Ints, copied, lengthened, nest, put_back, unnest
from feedgym.env.checks import require
from feedgym.env.config import FeedConfig
from feedgym.env.feed.population import Population
from feedgym.env.feed.visits import Opens, Visits
from feedgym.env.newsroom import Archive
from feedgym.env.noise import Noise
from feedgym.env.readers import DayRhythm, Describing, ReaderModel, Roaming

STREAM = "elsewhere"
MOST_A_DAY = 4096
"""More opens of one reader in one day than ever come about."""
_LATEST = ("rows", "reader_id", "number", "article_id", "channel", "dwell_minutes")
_CHOSEN = ("tick", "rows", "reader_id", "number", "channel", "article_id")


class Elsewhere:
    """The process.

    Args:
        config: how many, which channels.
        model: of the readers, which must be ``Roaming``.
        seed: of the world.

    Raises:
        ValueError: the reader model cannot be told of opens without a slate.
    """

    def __init__(self, config: FeedConfig, model: ReaderModel, seed: int) -> None:
        allowed = "one with the methods of feedgym.env.readers.Roaming, or organic.share 0"
        require(isinstance(model, Roaming), "reader_model", type(model).__name__, allowed)
        assert isinstance(model, Roaming)
        organic = config.organic
        self._config, self._organic, self._model, self._seed = config, organic, model, seed
        self._describing = model if isinstance(model, Describing) else None
        self._rhythm = DayRhythm(organic.day_profile)
        self._count_up_to = poisson_cdf(organic.opens_per_day)
        self.names = tuple(channel.name for channel in organic.channels)
        self._share_up_to = np.cumsum([channel.share for channel in organic.channels])
        self._tastes = np.array([channel.taste for channel in organic.channels], dtype=np.float32)
        self._hour_ticks = max(1, config.ticks_per_day // 24)
        self._day = -1
        self._plan: Arrays = {}
        self._buzz: Floats = np.zeros((0, len(self.names)), dtype=np.float32)
        self._num_buzz = 0
        self._chosen: Arrays = dict.fromkeys(_CHOSEN, np.zeros(0, dtype=np.int64))
        self._latest: Opens | None = None
        self._tick = -1
        self.num_opens = 0
        """Opens so far."""

    def open(
        self, tick: int, archive: Archive, live: Ints, who: Population, before: Callable[[Ints], Visits]
    ) -> Opens | None:
        """What is opened at this tick; None where nothing is, or where it has been.

        Args:
            tick: asked in order.
            archive: all articles.
            live: those that are live, (N,).
            who: the readers.
            before: what a site knew of readers (m,) before this tick's opens.
        """
        if tick == self._tick:
            return None
        self._tick = tick
        if tick % self._config.ticks_per_day % self._hour_ticks == 0:
            self._choose(tick, archive, live, who)
        begin, end = np.searchsorted(self._chosen["tick"], [tick, tick + 1])
        if begin == end:
            return None
        rows = self._chosen["rows"][begin:end]
        there = begin + np.flatnonzero(~who.are_gone(rows))
        if len(there) == 0:
            return None
        _, rows, ids, number, channel, article_id = (self._chosen[name].take(there) for name in _CHOSEN)
        noise = Noise(self._seed, ids, number, article_id[:, None], stream=STREAM)
        now = tick * self._config.tick_hours
        minutes = self._model.open_elsewhere(who.state, rows, archive, article_id, now, noise)
        _check_minutes(minutes, len(rows))
        self.num_opens += len(rows)
        return self._opens(tick, who, before, rows, ids, number, article_id, channel, minutes)

    def _opens(
        self, tick: int, who: Population, before: Callable[[Ints], Visits], rows: Ints, *columns: AnyArray
    ) -> Opens:
        reader_id, number, article_id, channel, minutes = columns
        weights = self._config.reward
        paid = np.float32(weights.dwell_minutes) * minutes + np.float32(weights.click)
        self._latest = Opens(
            now=tick * self._config.tick_hours,
            tick=tick,
            rows=rows,
            reader_id=reader_id,
            number=number,
            article_id=article_id,
            channel=channel,
            channel_names=self.names,
            dwell_minutes=minutes,
            reward=np.float32(self._organic.reward) * paid,
            device=None if self._describing is None else self._describing.describe(who.state, rows)[0],
            readers=lambda: before(rows),
        )
        return self._latest

    # When, and by which channel

    def _plan_day(self, day: int, who: Population) -> None:
        """All opens of a day, by tick and then by row; readers who will have left by then are passed over later."""
        c, everybody = self._config, np.arange(who.num_rows, dtype=np.int64)
        ids = who.reader_id(everybody)
        today = Noise(self._seed, ids, np.full(len(ids), day), stream=STREAM).uniform("how many")
        count = np.searchsorted(self._count_up_to, today, side="right")
        rows = np.repeat(everybody, count)
        place = np.arange(len(rows)) - np.repeat(np.cumsum(count) - count, count)
        number = day * MOST_A_DAY + place
        noise = Noise(self._seed, ids[rows], number, stream=STREAM)
        draws = noise.uniform("open", size=3 + self._organic.noticed)
        hours = self._rhythm.clock(24.0 * (day + draws[:, 0].astype(np.float64)))
        tick = one_a_tick(rows, (hours / c.tick_hours).astype(np.int64))
        first = len(everybody) - len(who.joined_hours)
        joined = np.concatenate([np.zeros(first), who.joined_hours])[rows]
        # A day's opens stay in it; of newcomers, who have their rows since midnight, those before they join are none.
        kept = (tick < (day + 1) * c.ticks_per_day) & (tick * c.tick_hours >= joined)
        order = np.flatnonzero(kept)
        order = order[np.lexsort((rows[order], tick[order]))]
        channel = np.searchsorted(self._share_up_to, draws[:, 1], side="right")
        columns = {"tick": tick, "rows": rows, "reader_id": ids[rows], "number": number, "draws": draws[:, 2:]}
        columns["channel"] = np.minimum(channel, len(self.names) - 1)
        self._plan = {name: column[order] for name, column in columns.items()}
        self._day = day

    # Which article

    def _choose(self, tick: int, archive: Archive, live: Ints, who: Population) -> None:
        """The articles of the hour that begins: of those that a channel brings to a reader's notice, one by taste."""
        day, end = tick // self._config.ticks_per_day, tick + self._hour_ticks
        if day != self._day:
            self._plan_day(day, who)
        begin, end = np.searchsorted(self._plan["tick"], [tick, end])
        plan = {name: column[begin:end] for name, column in self._plan.items()}
        # What lives through the hour.
        last = (tick + self._hour_ticks) * self._config.tick_hours
        offered = np.sort(live[archive.column("expires_hours")[live] >= last])
        if len(offered) == 0:
            # Where nothing is to be had, the moment passes.
            plan = {name: column[:0] for name, column in plan.items()}
        draws, channel, rows = plan.pop("draws"), plan["channel"], plan["rows"]
        article_id: Ints = np.zeros(0, dtype=np.int64)
        if len(rows):
            weights = self._weights(tick * self._config.tick_hours, archive, offered)
            # (C, m): flat weights rise from channel to channel, so that one search serves all of them.
            at = np.searchsorted(weights.reshape(-1), channel + draws[:, 1:].T, side="right")
            noticed = offered.take(np.minimum(at - channel * len(offered), len(offered) - 1))
            log_odds = self._tastes.take(channel) * self._model.match(who.state, rows, archive, noticed)
            up_to = np.cumsum(np.exp(log_odds - log_odds.max(axis=0)).astype(np.float64), axis=0)
            first = (up_to <= draws[:, 0] * up_to[-1]).sum(axis=0)
            article_id = noticed[np.minimum(first, len(noticed) - 1), np.arange(len(rows))]
        self._chosen = plan | {"article_id": article_id}

    def _weights(self, now: float, archive: Archive, offered: Ints) -> Doubles:
        """Each channel's cumulative weights of articles (N,), rising from the channel's number to the next: (H, N)."""
        appeal, aging = self._model.appeal(archive, offered, now)
        buzz = self._buzz_of(archive.published)[offered]
        weights = np.empty((len(self.names), len(offered)))
        for index, channel in enumerate(self._organic.channels):
            log_weight = channel.appeal * appeal + channel.aging * aging + channel.buzz * buzz[:, index]
            np.exp(log_weight - log_weight.max(), out=weights[index])
        np.cumsum(weights, axis=1, out=weights)
        weights /= weights[:, -1:]
        weights += np.arange(len(self.names))[:, None]
        return weights

    def _buzz_of(self, published: int) -> Floats:
        """Standard normal draws per article and channel, (published or more, H), keyed by both."""
        if published > len(self._buzz):
            self._buzz = lengthened(self._buzz, max(published, 1024))
        if published > self._num_buzz:
            new = np.arange(self._num_buzz, published, dtype=np.int64)
            draws = Noise(self._seed, new, stream="buzz").normal("buzz", "reader", size=len(self.names))
            self._buzz[self._num_buzz : published] = draws
            self._num_buzz = published
        return self._buzz

    # State

    def snapshot(self, tick: int) -> Arrays:
        """What seed and settings do not say: the hour's articles, and the opens of this tick, which nobody has seen."""
        arrays = copied(self, ("_tick", "num_opens"))
        arrays |= nest("chosen", {name: self._chosen[name].copy() for name in _CHOSEN})
        latest = self._latest
        if latest is not None and latest.tick == tick:
            arrays |= nest("latest", {name: getattr(latest, name).copy() for name in _LATEST})
        return arrays

    def restore(self, arrays: Arrays, tick: int, who: Population, before: Callable[[Ints], Visits]) -> Opens | None:
        """Become the process of a snapshot taken at ``tick``; returns the opens of that tick, if there were any."""
        put_back(self, ("_tick", "num_opens"), arrays)
        self._chosen = {name: column.astype(np.int64) for name, column in unnest("chosen", arrays).items()}
        self._day, self._latest = -1, None
        latest = unnest("latest", arrays)
        return self._opens(tick, who, before, *(latest[name] for name in _LATEST)) if latest else None


def poisson_cdf(mean: float) -> Doubles:
    """Chances of at most 0, 1, 2, .. events of a Poisson variable, until what is left is below 1e-15."""
    chances = [math.exp(-mean)]
    while len(chances) < MOST_A_DAY - 1 and (len(chances) <= mean or chances[-1] > 1e-16):
        chances.append(chances[-1] * mean / len(chances))
    up_to: Doubles = np.cumsum(chances)
    return up_to


def one_a_tick(rows: Ints, tick: Ints) -> Ints:
    """Ticks (m,) of each reader's opens, no two of them alike: who would come twice waits; ``rows`` rise."""
    order = np.lexsort((tick, rows))
    apart = rows[order] * np.int64(1 << 40) + tick[order] - np.arange(len(rows))
    waiting: Ints = np.empty(len(rows), dtype=np.int64)
    waiting[order] = np.maximum.accumulate(apart) + np.arange(len(rows)) - rows[order] * np.int64(1 << 40)
    return waiting


def _check_minutes(minutes: Floats, n: int) -> None:
    """Refuse what a reader model must not return."""
    fits = isinstance(minutes, np.ndarray) and minutes.shape == (n,) and minutes.dtype == np.float32
    require(fits, "open_elsewhere", getattr(minutes, "shape", type(minutes).__name__), f"float32 {(n,)}")
    low, high = float(minutes.min()), float(minutes.max())
    # Written so that NaN fails.
    require(low >= 0.0 and high < math.inf, "open_elsewhere", (low, high), "finite minutes >= 0")

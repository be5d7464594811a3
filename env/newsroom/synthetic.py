"""What is published: an exogenous process that nothing an agent does can change.

A newsroom plans a day at a time, so that a tick only moves a pointer. Each day has a generator of its own,
keyed by (seed, day): the same articles appear whatever the tick, the horizon or the readers are.
Equations: docs/mathematics.md 9.1. Shapes: m articles, D dimensions. Time is in hours, hour 0 is a Monday's midnight.
"""

import math
from typing import Protocol, runtime_checkable

import numpy as np

from feedgym.env.arrays import Doubles, Floats, Ints
from feedgym.env.config import NewsroomConfig
from feedgym.env.newsroom.articles import ArticleTable
from feedgym.env.newsroom.events import EventCalendar

# The order is part of the meaning of a seed: append at the end, never reorder.
STREAMS = ("publishers", "articles")


def stream(seed: int, name: str, day: int) -> np.random.Generator:
    """The newsroom's generator called ``name`` for one day (day -1: what is live at hour 0)."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(STREAMS.index(name), day + 1)))


def topic_centers(num_topics: int, dim: int) -> Floats:
    """Centres of the topics, (T, D) float32, of length 1: the axes while T <= D, else fixed random directions."""
    if num_topics <= dim:
        return np.eye(num_topics, dim, dtype=np.float32)
    directions = np.random.default_rng(np.random.SeedSequence(num_topics, spawn_key=(dim,)))
    return unit(directions.standard_normal((num_topics, dim)))


def unit(vectors: Doubles) -> Floats:
    """Rows (m, D) scaled to length 1, float32; a row of zeros stays zero."""
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    scaled: Floats = (vectors / np.where(length > 0, length, 1.0)).astype(np.float32)
    return scaled


class Newsroom(Protocol):
    """What the Feed asks of a newsroom. Any class with these members fits."""

    @property
    def centers(self) -> Floats:
        """Centres of the topics in the space of the article vectors, (T, D)."""
        ...

    @property
    def num_publishers(self) -> int:
        """Publisher ids are below this."""
        ...

    @property
    def num_authors(self) -> int:
        """Author ids are below this."""
        ...

    def plan_day(self, day: int) -> ArticleTable:
        """Articles published in ``[24 day, 24 day + 24)``; day -1: those from before hour 0 still live then."""
        ...


@runtime_checkable
class Eventful(Protocol):
    """Optional: a newsroom whose breaking events make topics trend and traffic surge."""

    @property
    def has_surges(self) -> bool:
        """Whether :meth:`surge` is ever anything but 1."""
        ...

    def trend(self, hours: float) -> tuple[Floats, float]:
        """Log-odds of a click that each topic has gained, (T,), and until when that holds (inf: for ever)."""
        ...

    def surge(self, hours: Ints) -> Doubles:
        """Traffic over the usual in each of these consecutive clock hours (h,): a mean over the hour, > 0."""
        ...


def topic_shares(config: NewsroomConfig) -> Doubles:
    """Share of each topic among the articles, (T,), summing to 1."""
    weight: Doubles = np.arange(1.0, config.num_topics + 1.0) ** -config.topic_exponent
    weight /= weight.sum()
    return weight


def expiry(published_hours: Doubles, half_life_hours: Doubles, config: NewsroomConfig) -> Doubles:
    """When articles (m,) expire: at ``max_age_hours`` if there is one, else at so many of their half-lives."""
    if config.max_age_hours is not None:
        return published_hours + config.max_age_hours
    return published_hours + config.max_age_half_lives * half_life_hours


class SyntheticNewsroom:
    """The newsroom of the default worlds.

    Args:
        config: rates, kinds, topics, noise.
        seed: the world's seed; all agents under one seed meet the same articles.
    """

    def __init__(self, config: NewsroomConfig, seed: int) -> None:
        self.config = config
        self._seed = seed
        self._centers = topic_centers(config.num_topics, config.dim)
        publishers = stream(seed, "publishers", -1)
        self._publisher_quality = config.publisher_sd * publishers.standard_normal(config.num_publishers)
        self._publisher_clickbait = config.publisher_sd * publishers.standard_normal(config.num_publishers)
        profile = np.asarray(config.day_profile)
        self._hour_weight = profile / profile.sum()
        week = np.array([1.0] * 5 + [config.weekend_factor] * 2)
        mean = week.mean()
        self._weekday_rate = config.articles_per_day * (week / mean if mean > 0 else week)
        self._topic_shares = topic_shares(config)
        self.events = EventCalendar(config.events, seed, self._topic_shares)
        """Breaking events, latent but for what they publish."""

    @property
    def centers(self) -> Floats:
        """Centres of the topics, (T, D)."""
        return self._centers

    @property
    def num_publishers(self) -> int:
        """Publisher ids are below this."""
        return self.config.num_publishers

    @property
    def num_authors(self) -> int:
        """Author ids are below this."""
        return self.config.num_authors

    @property
    def has_surges(self) -> bool:
        """Whether breaking events raise traffic."""
        c = self.config.events
        return c.surge and c.per_day > 0.0 and c.surge_median > 0.0

    def trend(self, hours: float) -> tuple[Floats, float]:
        """Log-odds of a click that each topic has gained, (T,), and until when that holds."""
        return self.events.trend(hours)

    def surge(self, hours: Ints) -> Doubles:
        """Traffic over the usual in each of these consecutive clock hours, (h,)."""
        return self.events.surge(hours)

    def plan_day(self, day: int) -> ArticleTable:
        """Articles published in ``[24 day, 24 day + 24)``; day -1: those from before hour 0 still live then."""
        rng = stream(self._seed, "articles", day)
        if day >= 0:
            return self._write(rng, self._times(rng, day), *self._bursts(range(day, day + 1)))
        c = self.config
        # Three log-sds above the longest median reach back past all but 0.1 % of that kind.
        longest = max(kind.median_hours for kind in c.half_lives) * math.exp(3.0 * c.half_life_log_sd)
        reach = float(expiry(np.zeros(1), np.array([longest]), c)[0])
        days = range(-math.ceil(reach / 24.0), 0)
        times = np.concatenate([self._times(rng, earlier) for earlier in days])
        before = self._write(rng, times, *self._bursts(days))
        return before.take(before.expires_hours > 0.0)

    def _times(self, rng: np.random.Generator, day: int) -> Doubles:
        """Publication times of one day, rising: a Poisson process with a rate constant within each hour."""
        counts: Ints = rng.poisson(self._weekday_rate[day % 7] * self._hour_weight)
        hours = np.repeat(np.arange(24.0), counts)
        times: Doubles = np.sort(hours + rng.random(len(hours))) + 24.0 * day
        return times

    def _bursts(self, days: range) -> tuple[Doubles, Ints]:
        """Times and topics of the breaking articles of these days, (b,) each."""
        if self.config.events.per_day == 0.0:
            return np.zeros(0), np.zeros(0, dtype=np.int64)
        times, topics = zip(*(self.events.bursts(day) for day in days), strict=True)
        return np.concatenate(times), np.concatenate(topics)

    def _write(
        self, rng: np.random.Generator, usual_hours: Doubles, burst_hours: Doubles, burst_topic: Ints
    ) -> ArticleTable:
        """Draw everything else about articles published at these times, the usual (a,) and the breaking (b,)."""
        published_hours = np.concatenate([usual_hours, burst_hours])
        order = np.argsort(published_hours, kind="stable")
        published_hours, breaking = published_hours[order], order >= len(usual_hours)
        event_topic = burst_topic[order[breaking] - len(usual_hours)]
        c = self.config
        m, per_axis = len(published_hours), 1.0 / math.sqrt(c.dim)
        if c.topic_exponent == 0.0:
            topic = rng.integers(0, c.num_topics, m, dtype=np.int32)
        else:
            topic = rng.choice(c.num_topics, m, p=self._topic_shares).astype(np.int32)
        topic[breaking] = event_topic
        publisher = rng.integers(0, c.num_publishers, m, dtype=np.int32)
        author = rng.integers(0, c.num_authors, m, dtype=np.int32)
        vector = unit(self._centers[topic] + c.spread * per_axis * rng.standard_normal((m, c.dim)))
        quality = self._publisher_quality[publisher] + 0.8 * rng.standard_normal(m)
        clickbait = self._publisher_clickbait[publisher] - 0.2 * quality + 0.8 * rng.standard_normal(m)
        kind = rng.choice(len(c.half_lives), m, p=[kind.share for kind in c.half_lives])
        medians = np.array([kind.median_hours for kind in c.half_lives])
        kind[breaking] = medians.argmin()  # what is breaking fades fastest
        median = medians[kind]
        half_life = median * np.exp(c.half_life_log_sd * rng.standard_normal(m))
        text = vector + c.vector_noise * per_axis * rng.standard_normal((m, c.dim))
        return ArticleTable(
            published_hours=published_hours,
            expires_hours=expiry(published_hours, half_life, c),
            topic=topic,
            publisher=publisher,
            author=author,
            text=text.astype(np.float32),
            clickbait_proxy=(clickbait + c.clickbait_noise * rng.standard_normal(m)).astype(np.float32),
            quality_proxy=(quality + c.quality_noise * rng.standard_normal(m)).astype(np.float32),
            breaking=breaking,
            vector=vector,
            quality=quality.astype(np.float32),
            clickbait=clickbait.astype(np.float32),
            half_life_hours=half_life,
            appeal=np.zeros(m, dtype=np.float32),
        )

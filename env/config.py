"""Settings of a simulated site, and the worlds that ship. Time is in hours, log-odds are natural."""

import math
from dataclasses import dataclass, field

from feedgym.env.checks import require

SINE_DAY = tuple(1.0 + 0.6 * math.sin(2.0 * math.pi * (hour + 0.5 - 13.0) / 24.0) for hour in range(24))
"""Traffic by hour of day, +-60 % around its mean, with its peak at 19:00 (world.md: ``vivid``)."""


def check_profile(name: str, profile: tuple[float, ...]) -> None:
    """A profile of a day: 24 weights of traffic, one for each hour, with a positive sum."""
    require(len(profile) == 24, name, len(profile), "24 weights, one for each hour of the day")
    require(all(math.isfinite(w) and w >= 0 for w in profile), name, profile, "finite weights >= 0")
    require(sum(profile) > 0, name, profile, "at least one weight > 0")


@dataclass(frozen=True, kw_only=True)
class HalfLifeClass:
    """One kind of article: breaking, standard or feature."""

    share: float
    """Share of the articles that are of this kind."""
    median_hours: float
    """Median half-life of their appeal, in hours."""

    def __post_init__(self) -> None:
        """Check."""
        require(0.0 <= self.share <= 1.0, "share", self.share, "between 0 and 1")
        require(self.median_hours > 0, "median_hours", self.median_hours, "> 0 (hours)")


@dataclass(frozen=True, kw_only=True)
class NewsroomConfig:
    """How articles arrive and fade (world.md, sections 1 and 2; defaults: ``vivid``)."""

    articles_per_day: float = 400.0
    """Mean arrivals in 24 hours (Poisson), averaged over the week."""
    day_profile: tuple[float, ...] = SINE_DAY
    """Relative rate of publication in each hour of the day."""
    weekend_factor: float = 0.6
    """Rate of publication on Saturday and Sunday relative to a weekday; hour 0 is a Monday's midnight."""
    half_lives: tuple[HalfLifeClass, ...] = (
        HalfLifeClass(share=0.8, median_hours=4.0),
        HalfLifeClass(share=0.2, median_hours=24.0),
    )
    """The kinds of articles; their shares sum to 1."""
    half_life_log_sd: float = 0.3
    """Standard deviation of the log of the half-life within a kind."""
    max_age_half_lives: float = 6.0
    """An article expires at this many of its half-lives."""
    num_topics: int = 16
    """Topics, equally likely."""
    dim: int = 16
    """Dimensions of an article's vector."""
    spread: float = 0.5
    """Length of the noise around the topic's centre: fine taste inside a topic."""
    num_publishers: int = 24
    """Publishers, each with a mean quality and a mean clickbait."""
    publisher_sd: float = 0.6
    """Standard deviation of those means between publishers."""
    num_authors: int = 400
    """Authors: an observable id of high cardinality."""
    vector_noise: float = 0.5
    """Length of the noise on the observable, text-like vector."""
    clickbait_noise: float = 0.5
    """Standard deviation of the noise on the observable headline proxy of clickbait."""
    quality_noise: float = 0.7
    """Standard deviation of the noise on the observable proxy of quality."""

    def __post_init__(self) -> None:
        """Check once, so that no step checks it again."""
        require(
            math.isfinite(self.articles_per_day) and self.articles_per_day >= 0,
            "articles_per_day",
            self.articles_per_day,
            ">= 0",
        )
        check_profile("day_profile", self.day_profile)
        require(self.weekend_factor >= 0, "weekend_factor", self.weekend_factor, ">= 0")
        shares = sum(kind.share for kind in self.half_lives)
        require(abs(shares - 1.0) < 1e-9, "half_lives", shares, "shares that sum to 1")
        require(self.half_life_log_sd >= 0, "half_life_log_sd", self.half_life_log_sd, ">= 0")
        require(self.max_age_half_lives > 0, "max_age_half_lives", self.max_age_half_lives, "> 0")
        for name in ("num_topics", "dim", "num_publishers", "num_authors"):
            require(getattr(self, name) >= 1, name, getattr(self, name), ">= 1")
        for name in ("spread", "publisher_sd", "vector_noise", "clickbait_noise", "quality_noise"):
            require(getattr(self, name) >= 0, name, getattr(self, name), ">= 0")


@dataclass(frozen=True, kw_only=True)
class RewardConfig:
    """The reward of a visit: a weighted sum of its parts (algorithms.md, 4.1), fixed before a comparison."""

    click: float = 0.0
    """Weight of each click."""
    dwell_minutes: float = 1.0
    """Weight of each minute spent reading."""
    subscription: float = 0.0
    """Weight of a subscription, counted at the visit in which it happens."""

    def __post_init__(self) -> None:
        """Check."""
        for name in ("click", "dwell_minutes", "subscription"):
            require(math.isfinite(getattr(self, name)), name, getattr(self, name), "a finite weight")


@dataclass(frozen=True, kw_only=True)
class FeedConfig:
    """The simulated site: its readers, its clock, its slates. The defaults are the world ``vivid``."""

    num_readers: int = 1200
    """Seats: readers who are, or will be, enrolled. A seat is never refilled."""
    first_reader_id: int = 0
    """Id of the first reader: a shard of a population holds the ids from here on."""
    tick_hours: float = 0.25
    """The clock's step, in hours; it divides a day."""
    days: float = 14.0
    """Simulated days until the horizon."""
    slate_size: int = 8
    """Articles in a slate (K)."""
    history_length: int = 50
    """Latest clicks that the site remembers of each reader (L)."""
    reward: RewardConfig = field(default_factory=RewardConfig)
    """What a visit pays."""
    newsroom: NewsroomConfig = field(default_factory=NewsroomConfig)
    """What is published; ignored where the Feed gets a newsroom of its own, such as ``ReplayNewsroom``."""
    strict: bool = False
    """Raise on a slate entry that is repeated, expired, unpublished or absent, instead of showing nothing."""

    def __post_init__(self) -> None:
        """Check once, so that no step checks it again."""
        require(self.num_readers >= 1, "num_readers", self.num_readers, ">= 1")
        require(self.first_reader_id >= 0, "first_reader_id", self.first_reader_id, ">= 0")
        require(0.0 < self.tick_hours <= 24.0, "tick_hours", self.tick_hours, "in (0, 24] hours")
        ticks = 24.0 / self.tick_hours
        require(abs(ticks - round(ticks)) < 1e-9 * ticks, "tick_hours", self.tick_hours, "a divisor of 24 hours")
        require(math.isfinite(self.days) and self.days > 0, "days", self.days, "> 0")
        require(self.slate_size >= 1, "slate_size", self.slate_size, ">= 1")
        require(
            self.history_length >= self.slate_size,
            "history_length",
            self.history_length,
            f">= slate_size ({self.slate_size}): one visit may click a whole slate",
        )

    @property
    def ticks_per_day(self) -> int:
        """Ticks in 24 hours."""
        return round(24.0 / self.tick_hours)

    @property
    def num_ticks(self) -> int:
        """Ticks until the horizon: the ticks 0 .. num_ticks - 1 are served."""
        return max(1, math.ceil(self.days * self.ticks_per_day - 1e-9))

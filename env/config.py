"""Settings of a simulated site, and the worlds that ship. Time is in hours, log-odds are natural."""

import math
from dataclasses import dataclass, field

from feedgym.env.checks import require

SINE_DAY = tuple(1.0 + 0.6 * math.sin(2.0 * math.pi * (hour + 0.5 - 13.0) / 24.0) for hour in range(24))
"""Traffic by hour of day, +-60 % around its mean, with its peak at 19:00 (``vivid``; docs/mathematics.md 9.3)."""


MEASURED_DAY = (
    *(0.43, 0.21, 0.14, 0.14, 0.25, 0.68, 1.26, 1.58, 1.63, 1.51, 1.13, 1.04),
    *(1.09, 1.00, 1.10, 1.12, 1.19, 1.22, 1.14, 1.27, 1.34, 1.38, 1.29, 0.85),
)
"""Traffic of a news site by hour of day, with peaks at 8:00 and 21:00 (``measured``; docs/mathematics.md 9.3)."""


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


MOST_EVENTS = 4.0
"""Breaking events in a day, on average, at most."""


@dataclass(frozen=True, kw_only=True)
class EventConfig:
    """Breaking events: what they do to traffic, topics and publication. Exogenous, keyed by (seed, day)."""

    per_day: float = 0.0
    """Mean breaking events in 24 hours (Poisson); 0: none."""
    surge_median: float = 0.8
    """Median of a, log-normal: at the event traffic is (1 + a) times the usual."""
    surge_log_sd: float = 0.7
    """Standard deviation of log a."""
    surge_half_life_hours: float = 12.0
    """Half-life of that surge of traffic."""
    trend_log_odds: float = 0.5
    """Log-odds of a click that all articles of the event's topic gain."""
    trend_hours: float = 168.0
    """For how long, in hours."""
    burst_articles: int = 12
    """Articles that each event publishes besides the usual ones, flagged as breaking."""
    burst_hours: float = 4.0
    """Mean delay of those after the event (exponential)."""
    # Switches
    surge: bool = True
    """Off: traffic stays as usual."""
    trend: bool = True
    """Off: topics gain nothing."""
    burst: bool = True
    """Off: nothing is published besides the usual."""

    def __post_init__(self) -> None:
        """Check once."""
        require(0.0 <= self.per_day <= MOST_EVENTS, "per_day", self.per_day, f"between 0 and {MOST_EVENTS:g}")
        for name in ("surge_median", "surge_log_sd", "trend_hours", "burst_articles", "burst_hours"):
            require(getattr(self, name) >= 0, name, getattr(self, name), ">= 0")
        require(self.surge_half_life_hours > 0, "surge_half_life_hours", self.surge_half_life_hours, "> 0 (hours)")
        require(math.isfinite(self.trend_log_odds), "trend_log_odds", self.trend_log_odds, "a finite number")


@dataclass(frozen=True, kw_only=True)
class NewsroomConfig:
    """How articles arrive and fade (docs/mathematics.md 9.1 and 9.3; defaults: ``vivid``)."""

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
    max_age_hours: float | None = None
    """Every article expires at this age instead, if given."""
    num_topics: int = 16
    """Topics."""
    topic_exponent: float = 0.0
    """The r-th topic's share of the articles is proportional to r ** -topic_exponent; 0: equally likely."""
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
    events: EventConfig = field(default_factory=EventConfig)
    """Breaking events."""

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
        age = self.max_age_hours
        require(age is None or age > 0, "max_age_hours", age, "> 0 (hours), or None")
        require(self.topic_exponent >= 0, "topic_exponent", self.topic_exponent, ">= 0")
        for name in ("num_topics", "dim", "num_publishers", "num_authors"):
            require(getattr(self, name) >= 1, name, getattr(self, name), ">= 1")
        for name in ("spread", "publisher_sd", "vector_noise", "clickbait_noise", "quality_noise"):
            require(getattr(self, name) >= 0, name, getattr(self, name), ">= 0")


@dataclass(frozen=True, kw_only=True)
class ModuleConfig:
    """Modules of a home page: what a slate is made of instead of articles (docs/guide/modules.md)."""

    size: int = 4
    """Articles that a module shows."""
    refresh_hours: float = 1.0
    """Each module is put together anew this often; the modules take turns within it."""
    pick_hours: float = 12.0
    """The editors' pick is the best of articles up to this age."""

    def __post_init__(self) -> None:
        """Check."""
        require(self.size >= 1, "size", self.size, ">= 1 (articles in a module)")
        minute, week = 1.0 / 60.0, 168.0
        require(minute <= self.refresh_hours <= week, "refresh_hours", self.refresh_hours, "from 1/60 to 168 (hours)")
        require(self.pick_hours > 0, "pick_hours", self.pick_hours, "> 0 (hours)")


@dataclass(frozen=True, kw_only=True)
class RewardConfig:
    """The reward of a visit: a weighted sum of its parts (docs/mathematics.md 4.1), fixed before a comparison."""

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


MOST_NEWCOMERS = 1.0
"""Newcomers in a day, at most, as a share of the readers at hour 0."""


@dataclass(frozen=True, kw_only=True)
class Channel:
    """A way from elsewhere straight to an article. Weights are those of log-odds (docs/mathematics.md 9.5)."""

    name: str
    """Such as ``search``."""
    share: float
    """Share of the opens from elsewhere that come this way."""
    appeal: float
    """Weight of the article's own appeal, the same for all readers: 1 is as on a slate."""
    buzz: float
    """Standard deviation of what makes an article big or small on this channel, whatever its appeal."""
    taste: float
    """Weight of the match of reader and article: 1 is as on a slate, 0 shows everybody the same."""
    aging: float
    """How fast articles go out of date here: 1 is as on a slate, below 1 older ones are found."""

    def __post_init__(self) -> None:
        """Check."""
        require(bool(self.name), "name", self.name, "a name")
        require(0.0 <= self.share <= 1.0, "share", self.share, "between 0 and 1")
        for name in ("appeal", "buzz", "taste", "aging"):
            value = getattr(self, name)
            require(math.isfinite(value) and value >= 0, name, value, "a finite number >= 0")


CHANNELS = (
    Channel(name="search", share=0.35, appeal=0.5, buzz=0.5, taste=1.5, aging=0.5),
    Channel(name="push", share=0.15, appeal=1.5, buzz=1.0, taste=0.0, aging=2.0),
    Channel(name="social", share=0.2, appeal=1.0, buzz=1.5, taste=0.5, aging=1.0),
    Channel(name="front_page", share=0.3, appeal=1.0, buzz=0.5, taste=0.25, aging=1.5),
)
"""Where readers come from besides the slates. Search goes by taste and finds older articles; push messages are few,
fresh and the same for all; social networks make some articles big whatever they are; the front page is made by editors.
"""
MOST_ORGANIC = 0.9
"""Share of opens from elsewhere, at most."""


@dataclass(frozen=True, kw_only=True)
class OrganicConfig:
    """Opens from elsewhere: articles that readers come to without a slate. Their number and moments are exogenous."""

    share: float = 0.0
    """Share of all opens that come from elsewhere, where slates are as good as those of ``recent``; 0: none do.

    So many come, at moments that nothing served can change, that it is this share beside ``reference_opens_per_day``.
    An agent who wins more opens than that has a smaller share of organic ones, and one who wins fewer a larger one.
    """
    reference_opens_per_day: float = 1.3
    """Opens from slates of the agent ``recent``, per day of a reader who is there."""
    reward: float = 0.0
    """What an open from elsewhere pays, in times of what a click of as many minutes pays; 0: no agent has earned it."""
    channels: tuple[Channel, ...] = CHANNELS
    """Where they come from; their shares sum to 1."""
    noticed: int = 8
    """Articles that a channel brings to a reader's notice each time, of which one is opened."""
    day_profile: tuple[float, ...] = SINE_DAY
    """Relative number of such opens in each hour of the day."""

    def __post_init__(self) -> None:
        """Check once."""
        require(0.0 <= self.share <= MOST_ORGANIC, "share", self.share, f"between 0 and {MOST_ORGANIC:g}")
        opens = self.reference_opens_per_day
        require(math.isfinite(opens) and opens > 0, "reference_opens_per_day", opens, "> 0 and finite")
        require(math.isfinite(self.reward), "reward", self.reward, "a finite weight")
        shares = sum(channel.share for channel in self.channels)
        require(abs(shares - 1.0) < 1e-9, "channels", shares, "shares that sum to 1")
        names = [channel.name for channel in self.channels]
        require(len(set(names)) == len(names), "channels", names, "each name once")
        require(1 <= self.noticed <= 64, "noticed", self.noticed, "between 1 and 64")
        check_profile("day_profile", self.day_profile)

    @property
    def opens_per_day(self) -> float:
        """Mean opens from elsewhere, per day of a reader who is there."""
        return self.reference_opens_per_day * self.share / (1.0 - self.share)


@dataclass(frozen=True, kw_only=True)
class FeedConfig:
    """The simulated site: its readers, its clock, its slates. The defaults are the world ``vivid``."""

    num_readers: int = 1200
    """Readers at hour 0. Curves are per such reader, however many join or leave."""
    newcomers_per_day: float = 0.0128
    """Readers who join in 24 hours, as a share of ``num_readers``, whatever is served; 0: nobody joins.

    Only where the reader model can be told of them (``feedgym.env.readers.Renewing``), as the shipped ones can.
    """
    first_reader_id: int = 0
    """Id of the first reader: a shard of a population holds the ids from here on."""
    population: int | None = None
    """Of a shard: readers of all shards at hour 0; newcomers' ids begin there. None: this is the last shard, or all."""
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
    modules: ModuleConfig | None = None
    """Publish editions of modules that show the newsroom's articles, instead of the articles; None: articles."""
    organic: OrganicConfig = field(default_factory=OrganicConfig)
    """What readers open without a slate, coming from elsewhere; nothing by default."""
    strict: bool = False
    """Raise on a slate entry that is repeated, expired, unpublished or absent, instead of showing nothing."""

    def __post_init__(self) -> None:
        """Check once, so that no step checks it again."""
        require(self.num_readers >= 1, "num_readers", self.num_readers, ">= 1")
        require(self.first_reader_id >= 0, "first_reader_id", self.first_reader_id, ">= 0")
        share, whole = self.newcomers_per_day, self.first_reader_id + self.num_readers
        require(0.0 <= share <= MOST_NEWCOMERS, "newcomers_per_day", share, f"between 0 and {MOST_NEWCOMERS:g}")
        fits = self.population is None or self.population >= whole
        require(fits, "population", self.population, f"at least {whole}, the shard's last id and one, or None")
        require(0.0 < self.tick_hours <= 24.0, "tick_hours", self.tick_hours, "in (0, 24] hours")
        ticks = 24.0 / self.tick_hours
        require(abs(ticks - round(ticks)) < 1e-9 * ticks, "tick_hours", self.tick_hours, "a divisor of 24 hours")
        require(math.isfinite(self.days) and self.days > 0, "days", self.days, "> 0")
        modules = self.modules
        require(modules is None or isinstance(modules, ModuleConfig), "modules", modules, "a ModuleConfig, or None")
        both = modules is not None and self.organic.share > 0
        require(not both, "organic.share", self.organic.share, "0 with modules: what is opened elsewhere are articles")
        require(self.slate_size >= 1, "slate_size", self.slate_size, ">= 1")
        require(
            self.history_length >= self.slate_size,
            "history_length",
            self.history_length,
            f">= slate_size ({self.slate_size}): one visit may click a whole slate",
        )

    @property
    def whole_population(self) -> int:
        """Readers at hour 0 of all shards; newcomers' ids begin here."""
        return self.first_reader_id + self.num_readers if self.population is None else self.population

    @property
    def ticks_per_day(self) -> int:
        """Ticks in 24 hours."""
        return round(24.0 / self.tick_hours)

    @property
    def num_ticks(self) -> int:
        """Ticks until the horizon: the ticks 0 .. num_ticks - 1 are served."""
        return max(1, math.ceil(self.days * self.ticks_per_day - 1e-9))

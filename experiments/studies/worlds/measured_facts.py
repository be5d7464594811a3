"""Study: is the world ``measured`` what its sources say? Facts of a simulated month, each within a band.

All but three facts are what its log says (``log_facts``): real logs are measured by the same code. The Gini of expected
clicks is latent; the click rate and the topics of a reader need slates without a click, or topics, which no log at hand
has. Policies: ``random``; ``recent``, Plackett-Luce over all live articles with logit ``-age / 14 h`` and epsilon .05
(a prototype had 6 h, under which no reader model could give these ages of clicks: docs/studies/worlds.md); ``newest``
first.
Bands: docs/mathematics.md 9.4, stated before the seeds below were run. Shapes: n visits, K positions, A articles, T
topics. Time is in hours.
"""

import dataclasses
import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from feedgym.agents import parse_agent
from feedgym.env.arrays import Arrays, Bools, Doubles, Floats, Ints
from feedgym.env.faces import newest
from feedgym.env.feed import Feed
from feedgym.env.readers import NewsReader
from feedgym.env.worlds import WORLDS
from feedgym.experiments.studies.worlds.log_facts import FactsLog, log_facts

POLICIES = {
    "random": "random",
    # The shortlist holds all live articles: a shorter one would hide the old ones.
    "recent": "recent:scale_hours=14.0,shortlist_size=4000",
    "newest": None,
}
WEEK = 168.0
LEAST_CLICKS = 20
"""Effective topics are counted of readers with so many clicks: fewer say little, even corrected."""


@dataclass(frozen=True, kw_only=True)
class FactsConfig:
    """How much is simulated."""

    readers: int = 4000
    """Seats."""
    days: float = 28.0
    """Simulated days."""
    seeds: tuple[int, ...] = (920, 921, 922, 923)
    """Each seed is a newsroom and a population. The world's settings were chosen on 900 to 903."""


@dataclass(frozen=True)
class Fact:
    """A number that a run must show."""

    policy: str
    name: str
    low: float
    high: float
    of_mean: bool = False
    """The band is for the mean over the seeds; else for each seed."""

    @property
    def band(self) -> str:
        """As tables show it."""
        return f"{self.low:.3g} to {self.high:.3g}{', mean' if self.of_mean else ''}"


FACTS = (
    Fact("recent", "share of clicks younger than 1 h", 0.11, 0.23),
    Fact("recent", "share of clicks younger than 3 h", 0.32, 0.44),
    Fact("recent", "share of clicks younger than 12 h", 0.67, 0.79),
    Fact("recent", "share of clicks younger than 24 h", 0.80, 0.92),
    Fact("recent", "share of clicks younger than 72 h", 0.91, 1.00),
    Fact("recent", "Gini of expected clicks, 7 days", 0.60, 0.75),
    Fact("recent", "CTR", 0.015, 0.025),
    Fact("random", "CTR", 0.006, 0.010),
    Fact("recent", "gap Weibull shape", 0.70, 0.85),
    Fact("recent", "gap Weibull shape, by number", 0.50, 0.62),
    Fact("recent", "gap p10, h", 1.0, 2.2),
    Fact("recent", "gap p25, h", 3.5, 7.0),
    Fact("recent", "gap p50, h", 13.0, 22.0),
    Fact("recent", "gap p75, h", 22.0, 38.0),
    Fact("recent", "gap p90, h", 52.0, 85.0),
    Fact("recent", "slates per session", 5.0, 6.4),
    Fact("recent", "sessions of one slate", 0.15, 0.25),
    Fact("recent", "slates per session, by number", 4.2, 5.0),
    Fact("recent", "gaps over 12 h within 1 h of whole days", 0.17, 0.26),
    Fact("recent", "gaps over 12 h within 3 h of whole days", 0.36, 0.46),
    Fact("recent", "own hour of the day", 0.08, 0.16),
    Fact("recent", "traffic peak / trough", 7.5, 14.0),
    Fact("recent", "position slope, phone", -1.1, -0.9),
    Fact("recent", "position slope, pc", -0.47, -0.27),
    Fact("random", "position slope, phone", -1.1, -0.9),
    Fact("random", "position slope, pc", -0.47, -0.27),
    Fact("recent", "odds once shown 1 times", 0.26, 0.50),
    Fact("recent", "odds once shown 2 times", 0.14, 0.62),
    Fact("recent", "odds once shown 3 times", 0.05, 0.45),
    Fact("recent", "odds once shown 4+ times", 0.04, 0.30),
    Fact("newest", "odds once shown 1 times", 0.15, 0.50),
    Fact("newest", "odds once shown 2 times", 0.08, 0.62),
    Fact("newest", "odds once shown 3 times", 0.05, 0.45),
    Fact("recent", "read time p10, s", 2.0, 4.5),
    Fact("recent", "read time p50, s", 17.0, 23.0),
    Fact("recent", "read time p90, s", 95.0, 135.0),
    Fact("recent", "read time p99, s", 380.0, 560.0),
    Fact("recent", "effective topics per reader", 5.8, 6.6, of_mean=True),
)


@dataclass(frozen=True, kw_only=True)
class Month:
    """All visits of one run."""

    hours: Doubles
    """(n,)"""
    reader: Ints
    """(n,)"""
    visit: Ints
    """(n,)"""
    session: Ints
    """(n,)"""
    device: Ints
    """(n,)"""
    article: Ints
    """(n, K)"""
    clicks: Bools
    """(n, K)"""
    dwell_minutes: Floats
    """(n, K)"""
    expected: Doubles
    """(n, K), latent: chance of a click; NaN where it was not asked for."""
    articles: Arrays
    """Columns of the archive, (A,): ``published_hours``, ``expires_hours``, ``topic``."""
    days: float
    """Simulated."""


def log_of(month: Month, device_names: tuple[str, ...] = ("phone", "pc")) -> FactsLog:
    """What the log of the run would say, in the log's own numbers: float32 minutes."""
    n, size = month.article.shape
    age = month.hours[:, None] - month.articles["published_hours"][month.article]
    return FactsLog(
        hours=month.hours.repeat(size),
        reader=month.reader.repeat(size),
        slate=np.arange(n).repeat(size),
        article=month.article.ravel(),
        clicked=month.clicks.ravel(),
        position=np.tile(np.arange(size), n),
        session=month.session.repeat(size),
        device=(month.device.repeat(size), device_names),
        read_seconds=60.0 * month.dwell_minutes.ravel().astype(np.float64),
        age_hours=age.ravel(),
    )


def simulate(policy: str, seed: int, config: FactsConfig) -> Month:
    """One run of the world ``measured`` under a policy of ``POLICIES``."""
    world = WORLDS["measured"]
    site = dataclasses.replace(world.feed, num_readers=config.readers, days=config.days)
    feed = Feed(site, NewsReader(world.reader), seed)
    plan = POLICIES[policy]
    agent = None if plan is None else parse_agent(plan).start(feed)
    parts: list[dict[str, NDArray[Any]]] = []
    while not feed.done:
        visits, size = feed.visits, site.slate_size
        if agent is None:
            slates = np.tile(newest(feed.catalogue.article_id, size), (len(visits), 1))
        else:
            slates = agent.act(visits, feed.catalogue).article_id
        expected = _chances(feed, slates) if policy == "recent" else np.full(slates.shape, np.nan)
        outcome = feed.serve(slates)
        if len(visits) == 0:
            continue
        assert visits.session is not None
        assert visits.device is not None
        parts.append(
            {
                "hours": np.full(len(visits), visits.now),
                "reader": visits.reader_id,
                "visit": visits.visit,
                "session": visits.session,
                "device": visits.device,
                "article": slates,
                "clicks": np.array(outcome.clicks),
                "dwell_minutes": np.array(outcome.dwell_minutes),
                "expected": expected,
            }
        )
        if agent is not None:
            agent.learn(outcome)
    archive = feed.catalogue.archive
    names = ("published_hours", "expires_hours", "topic")
    return Month(
        **{name: np.concatenate([part[name] for part in parts]) for name in parts[0]},
        articles={name: archive.column(name)[: archive.published].copy() for name in names},
        days=config.days,
    )


def _chances(feed: Feed, slates: Ints) -> Doubles:
    """The chance of a click on each entry, (n, K)."""
    if len(slates) == 0:
        return np.zeros(slates.shape)
    model: Any = feed.reader_model
    shown, place = np.unique(slates, return_inverse=True)
    click, _ = model.expected_response(feed.state, feed.visits.rows, feed.catalogue.archive, shown, feed.now)
    chance = np.take_along_axis(click, place.reshape(slates.shape), axis=1)
    look = model.examination_by_device(slates.shape[1])[:, feed.visits.device].T
    expected: Doubles = (chance * look).astype(np.float64)
    return expected


# Facts of one run


def facts(month: Month) -> dict[str, float]:
    """All facts by name."""
    found = {"CTR": float(month.clicks.mean()), "effective topics per reader": effective_topics(month)}
    if not np.isnan(month.expected).any():
        found["Gini of expected clicks, 7 days"] = weekly_gini(month)
    return found | log_facts(log_of(month))


def effective_topics(month: Month, least: int = LEAST_CLICKS) -> float:
    """``exp(entropy)`` of the topics of a reader's clicks, Miller-Madow corrected; mean over readers."""
    topic = month.articles["topic"][month.article]
    num_topics = int(month.articles["topic"].max()) + 1
    cell = np.repeat(month.reader, month.clicks.sum(axis=1)) * num_topics + topic[month.clicks]
    counts = np.bincount(cell, minlength=(int(month.reader.max()) + 1) * num_topics).reshape(-1, num_topics)
    counts = counts[counts.sum(axis=1) >= least]
    if len(counts) == 0:
        return float("nan")
    total = counts.sum(axis=1)
    share = counts / total[:, None]
    entropy = -(share * np.log(np.where(share > 0, share, 1.0))).sum(axis=1)
    corrected = entropy + ((counts > 0).sum(axis=1) - 1) / (2.0 * total)
    return float(np.exp(corrected).mean())


def weekly_gini(month: Month) -> float:
    """Gini coefficient of expected clicks over all articles live in a week, mean over the whole weeks of the run."""
    values = []
    published, expires = month.articles["published_hours"], month.articles["expires_hours"]
    length = min(WEEK, 24.0 * month.days)
    for start in np.arange(int(24.0 * month.days / length)) * length:
        within = (month.hours >= start) & (month.hours < start + length)
        expected = np.bincount(
            month.article[within].ravel(), weights=month.expected[within].ravel(), minlength=len(published)
        )
        live = (published < start + length) & (expires > start)
        values.append(gini(expected[live]))
    return float(np.mean(values))


def gini(values: Doubles) -> float:
    """Gini coefficient of non-negative values (m,): 0 all alike, near 1 one has all."""
    ordered = np.sort(values)
    m = len(ordered)
    return float((2.0 * np.arange(1, m + 1) - m - 1.0) @ ordered / (m * ordered.sum()))


# The table


def measure(config: FactsConfig, simulate: Callable[[str, int, FactsConfig], Month] = simulate) -> dict[str, Any]:
    """Facts by policy, fact and seed: ``{policy: {fact: [a value per seed]}}``."""
    found: dict[str, dict[str, list[float]]] = {}
    for policy in POLICIES:
        runs = [facts(simulate(policy, seed, config)) for seed in config.seeds]
        found[policy] = {name: [run[name] for run in runs] for name in runs[0]}
    return found


def is_within(fact: Fact, values: list[float]) -> bool:
    """Whether the values, one for each seed, are where they should be."""
    seen = [float(np.mean(values))] if fact.of_mean else values
    return all(fact.low <= value <= fact.high for value in seen)


def table(measured: dict[str, Any], wanted: tuple[Fact, ...] = FACTS) -> str:
    """Markdown: fact, band, measured, within."""
    lines = ["| policy | fact | band | measured | within |", "|---|---|---|---|---|"]
    for fact in wanted:
        values = measured[fact.policy][fact.name]
        spread = f"{np.mean(values):.3g} ({min(values):.3g} to {max(values):.3g})"
        verdict = "yes" if is_within(fact, values) else "**no**"
        lines.append(f"| `{fact.policy}` | {fact.name} | {fact.band} | {spread} | {verdict} |")
    return "\n".join(lines) + "\n"


@functools.cache
def _measured(config: FactsConfig) -> dict[str, Any]:
    return measure(config)


def run(out: Path, reuse: bool = False) -> str:
    """The table of the whole study; nothing is kept in ``out``, so nothing is reused."""
    config = FactsConfig()
    seeds = ", ".join(map(str, config.seeds))
    head = f"{config.readers:,} readers, {config.days:g} days, seeds {seeds}; mean (lowest to highest)."
    return f"{head}\n\n{table(_measured(config))}"

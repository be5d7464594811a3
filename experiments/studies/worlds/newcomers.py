"""Study: does a population last? Readers who are there for 90 days, and the rate at which newcomers make up for losses.

In a population that lasts as many join as leave: the rate that balances is one over a reader's mean stay, taken from
what leaves in a day of a reader who is there, once the first weeks are over. It is taken under ``recent``, on seeds of
its own, and stands in the worlds as ``newcomers_per_day``. Fitting is repeated by ``feedgym study newcomers``, whenever
a world's readers have changed.
Shapes: D days. Time is in hours.
"""

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from feedgym.agents import parse_agent
from feedgym.env.arrays import Doubles
from feedgym.env.feed import Feed
from feedgym.env.readers import NewsReader
from feedgym.env.worlds import WORLDS
from feedgym.experiments.reports import markdown_table

FIT_SEEDS = tuple(range(100, 108))
"""What the worlds' rates were fitted on; facts are told of other seeds."""
SETTLED_DAY = 14
"""Trust begins at 0 and has settled by then, in either world."""


@dataclass(frozen=True, kw_only=True)
class LifeConfig:
    """How much is simulated."""

    readers: int = 1500
    """At hour 0."""
    days: int = 90
    """Simulated days."""
    seeds: tuple[int, ...] = FIT_SEEDS
    """Each seed is a newsroom and a population."""
    tick_hours: float | None = None
    """The clock's step; the world's own if not given."""


@dataclass(frozen=True, kw_only=True)
class Life:
    """A population day by day, (D,) each, over the readers of hour 0."""

    there: Doubles
    """Readers there at the day's end."""
    first: Doubles
    """Those of hour 0 among them."""
    visits: Doubles
    """In the day."""
    reward: Doubles
    """In the day."""
    leaving: float
    """What leaves in a day of a reader who is there, once settled."""


def live(world: str, policy: str, seed: int, config: LifeConfig, newcomers_per_day: float | None = None) -> Life:
    """One run of a world under a policy; its own rate of newcomers if none is given."""
    preset = WORLDS[world]
    rate = preset.feed.newcomers_per_day if newcomers_per_day is None else newcomers_per_day
    site = dataclasses.replace(
        preset.feed,
        num_readers=config.readers,
        days=float(config.days),
        newcomers_per_day=rate,
        tick_hours=preset.feed.tick_hours if config.tick_hours is None else config.tick_hours,
    )
    feed = Feed(site, NewsReader(preset.reader), seed)
    agent = parse_agent(policy).start(feed)
    day = np.zeros((config.days, 5))
    while not feed.done:
        today = day[feed.tick // site.ticks_per_day]
        today[4] += feed.num_there / site.ticks_per_day
        outcome = feed.serve(agent.act(feed.visits, feed.catalogue).article_id)
        agent.learn(outcome)
        today[2:4] += len(outcome.reward), outcome.reward.sum(dtype=np.float64)
        today[:2] = feed.num_there, config.readers - np.count_nonzero(feed.has_left[: config.readers])
    left = feed.num_left - (config.readers + _joined(feed, SETTLED_DAY) - day[SETTLED_DAY - 1, 0])
    there, first, visits, reward = (day[:, :4] / config.readers).T
    return Life(there=there, first=first, visits=visits, reward=reward, leaving=left / day[SETTLED_DAY:, 4].sum())


def _joined(feed: Feed, day: int) -> int:
    return int(np.searchsorted(feed.population.joined_hours, 24.0 * day, side="right"))


def balance(world: str, config: LifeConfig = LifeConfig(), policy: str = "recent") -> float:
    """The rate of newcomers a day at which a population is as large as at hour 0, on average over the seeds.

    One over the mean stay in days (Little 1961): the number there is the rate times the stay.
    """
    return 1.0 / float(np.mean([1.0 / live(world, policy, seed, config).leaving for seed in config.seeds]))


def trend(values: Doubles, settled: int = SETTLED_DAY) -> float:
    """Change over the days after the first ``settled``, as a share of their mean: of a straight line through them."""
    late = values[settled:]
    days = np.arange(len(late))
    return float(np.polyfit(days, late, 1)[0] * len(late) / late.mean())


def run(out: Path, reuse: bool = False) -> str:
    """The table; nothing is kept in ``out``, so nothing is reused."""
    config = LifeConfig()
    titles = (
        *("world", "policy", "join a day", "leave a day", "there, day 28", "day 90", "of hour 0, day 28", "day 90"),
        *("trend of visits", "of reward"),
    )
    lines = []
    for world in WORLDS:
        for policy in ("recent", "random"):
            lives = [live(world, policy, seed, config) for seed in config.seeds]
            columns = (
                [one.there[27] for one in lives],
                [one.there[-1] for one in lives],
                [one.first[27] for one in lives],
                [one.first[-1] for one in lives],
                [trend(one.visits) for one in lives],
                [trend(one.reward) for one in lives],
            )
            cells = [f"{np.mean(c):+.3f}" if i >= 4 else f"{np.mean(c):.3f}" for i, c in enumerate(columns)]
            leaving = np.mean([one.leaving for one in lives])
            rate = WORLDS[world].feed.newcomers_per_day
            lines.append([world, f"`{policy}`", f"{rate:g}", f"{leaving:.5f}", *cells])
    seeds = ", ".join(map(str, config.seeds))
    return f"{config.readers:,} readers, {config.days} days, seeds {seeds}; means.\n\n{markdown_table(titles, lines)}\n"

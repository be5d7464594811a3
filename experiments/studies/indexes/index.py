"""Study: what an index costs, what it misses, and what that costs in reward, at 1k, 10k and 100k live articles.

The site is ``vivid`` with a larger newsroom: articles live as long as there, more of them appear. One agent learns and
serves through each index, on the same worlds. Beside indexes as one would set them stands ``coarse``: one of cells so
large that hardly any reader has less than a shortlist in it. It finds little, for the sake of the second question.
CPU time is of the index alone, by the process's clock, in the very runs: searches, and what keeps the index up to date
(articles that come and go, all vectors anew after each training, builds). The first filling is not counted. It is one
machine's, and no file of a run that is compared byte for byte holds it. The agent has its shipped defaults, whatever
these are when the study is run; these seeds are fresh, and were frozen with all settings before they were run.
"""

import dataclasses
from dataclasses import dataclass
from math import nan
from pathlib import Path
from typing import Any

import numpy as np

from feedgym.agents import parse_agent
from feedgym.env import Feed, FeedConfig, NewsroomConfig
from feedgym.env.arrays import Doubles
from feedgym.experiments.benchmarks import LIVE_AT_400_PER_DAY, Stopwatch
from feedgym.experiments.reports import Paired, interval, markdown_table, paired_difference
from feedgym.experiments.runs import code_with, file_name, kept_result, one_thread
from feedgym.experiments.studies.indexes.index_plot import save_plot
from feedgym.experiments.studies.units import Unit, size_words

AGENT = "regression-dwell"
SEEDS = (7700, 7701, 7702, 7703, 7704)
READERS, DAYS, TICK_HOURS = 2000, 2.0, 0.5
RECALL_EVERY = 12
"""Ticks between measurements of recall, on the latest 64 queries."""
KINDS = (
    "exact",
    "ivf:nprobe=4",
    "ivf:nprobe=16",
    "ivf:nprobe=64",
    "ivf-sq8:nprobe=16",
    "hnsw:ef=100",
    "hnsw:ef=400",
)


@dataclass(frozen=True, kw_only=True)
class Size:
    """A newsroom."""

    live: int
    """Articles live, about."""
    cells: int
    """Of ``coarse``: some 250 articles in each."""
    minutes: float = 0.2
    """Of one core that a run takes, about (see ``pace.py``)."""
    minutes_with_a_graph: float = 0.4
    """The same with HNSW."""
    seeds: tuple[int, ...] = SEEDS
    """A world each."""
    without: tuple[str, ...] = ()
    """Indexes that are left out."""

    @property
    def kinds(self) -> dict[str, str]:
        """Indexes by the name that they are shown by; the first is what the others are compared with."""
        return {kind: kind for kind in KINDS if kind not in self.without} | {
            "coarse": f"ivf:nlist={self.cells}+nprobe=1"
        }

    @property
    def articles_per_day(self) -> float:
        """Arrivals that keep so many live."""
        return 400.0 * self.live / LIVE_AT_400_PER_DAY


SIZES = (
    Size(live=1_000, cells=4),
    Size(live=10_000, cells=40),
    # A graph of 100,000 is built anew after each training: more CPU time than all else. So it stands there once.
    Size(live=100_000, cells=400, minutes=1.3, minutes_with_a_graph=4.0, seeds=SEEDS[:3], without=("hnsw:ef=400",)),
)


@dataclass(frozen=True, kw_only=True)
class IndexRun:
    """One run."""

    reward: float
    """Per reader per day."""
    recall: float
    """Mean over the run, on the agent's own vectors."""
    visits: int
    search_seconds: float
    """CPU time of all searches."""
    refresh_seconds: float
    """CPU time of all that keeps the index up to date."""

    @property
    def search_ms(self) -> float:
        """CPU milliseconds for 1,000 visits."""
        return 1e6 * self.search_seconds / self.visits

    @property
    def refresh_ms(self) -> float:
        """CPU milliseconds for 1,000 visits."""
        return 1e6 * self.refresh_seconds / self.visits


@one_thread("torch", "faiss")
def measure(kind: str, size: Size, seed: int) -> IndexRun:
    """Run the agent through one index."""
    newsroom = NewsroomConfig(articles_per_day=size.articles_per_day)
    feed = Feed(FeedConfig(num_readers=READERS, days=DAYS, tick_hours=TICK_HOURS, newsroom=newsroom), seed=seed)
    agent: Any = parse_agent(f"{AGENT}:index={kind}").start(feed)
    index, watch = agent.store.index, Stopwatch()
    reward, visits, recalls = 0.0, 0, []
    while not feed.done:
        served = agent.act(feed.visits, feed.catalogue)
        if feed.tick == 0:
            watch.wrap(index, "search", "search")
            for name in ("add", "remove", "update"):
                watch.wrap(index, name, "refresh")
        elif feed.tick % RECALL_EVERY == 0:
            recalls.append(index.recall())
        visits += len(feed.visits)
        outcome = feed.serve(served.article_id)
        reward += float(outcome.reward.sum(dtype=np.float64))
        agent.learn(outcome)
    return IndexRun(
        reward=reward / (READERS * DAYS),
        recall=float(np.nanmean(recalls)),
        visits=visits,
        search_seconds=watch.seconds["search"],
        refresh_seconds=watch.seconds["refresh"],
    )


def unit(out: Path, name: str, size: Size, seed: int) -> Unit:
    """One run."""
    kind, newsroom = size.kinds[name], {"live": size.live, "cells": size.cells}
    settings = {"kind": kind, "size": newsroom, "agent": AGENT, "readers": READERS, "days": DAYS}
    return Unit(
        group=f"{size.live:,} live: {name}",
        seed=seed,
        size=size_words(READERS, DAYS),
        path=out / f"{size.live}-live" / file_name(kind) / f"seed-{seed}.json",
        settings=settings | {"tick_hours": TICK_HOURS, "seed": seed},
        code=code_with(__name__),
        minutes=size.minutes_with_a_graph if name.startswith("hnsw") else size.minutes,
    )


def units(out: Path) -> list[Unit]:
    """All runs."""
    return [unit(out, name, size, seed) for size in SIZES for name in size.kinds for seed in size.seeds]


def _kept(out: Path, name: str, size: Size, seed: int, reuse: bool) -> IndexRun:
    """The run, from its file if it was made with these settings."""
    one = unit(out, name, size, seed)

    def measured() -> dict[str, Any]:
        return dataclasses.asdict(measure(size.kinds[name], size, seed))

    return IndexRun(**kept_result(one.path, one.settings, measured, code=one.code, reuse=reuse))


Runs = dict[int, dict[str, list[IndexRun]]]
"""By live articles and the name of the index, in the order of the seeds."""


def run(out: Path, reuse: bool = False) -> str:
    """All runs, the table, what recall is worth, and the plot."""
    runs: Runs = {
        size.live: {name: [_kept(out, name, size, seed, reuse) for seed in size.seeds] for name in size.kinds}
        for size in SIZES
    }
    save_plot(out / "index.png", {live: _points(kinds) for live, kinds in runs.items()})
    head = (
        f"`{AGENT}` on `vivid`, {READERS:,} readers, {DAYS:g} days, tick {TICK_HOURS:g} h, seeds {SEEDS[0]} to "
        f"{SEEDS[-1]} (100,000 live: the first {len(SIZES[-1].seeds)}); reward per reader per day, CPU milliseconds "
        "for 1,000 visits."
    )
    return f"{head}\n\n{table(runs)}\n\n{worth_table(runs)}\n"


def _points(kinds: dict[str, list[IndexRun]]) -> dict[str, tuple[float, float, Paired]]:
    """By name: CPU milliseconds for 1,000 visits, recall, and the difference in reward to the first."""
    return {name: (_mean(made, "cpu"), _mean(made, "recall"), _versus(kinds, name)) for name, made in kinds.items()}


def _mean(made: list[IndexRun], what: str) -> float:
    return float(np.mean([r.search_ms + r.refresh_ms if what == "cpu" else getattr(r, what) for r in made]))


def _rewards(made: list[IndexRun]) -> Doubles:
    return np.array([r.reward for r in made])


def _versus(kinds: dict[str, list[IndexRun]], name: str) -> Paired:
    return paired_difference(_rewards(kinds[name]), _rewards(next(iter(kinds.values()))))


def table(runs: Runs) -> str:
    """A row for each size and index."""
    titles = ["live", "index", "recall@100", "search", "refresh", "reward", "reward vs exact [95 %]"]
    rows = []
    for live, kinds in runs.items():
        first = next(iter(kinds))
        for name, made in kinds.items():
            numbers = (f"{_mean(made, 'search_ms'):.1f}", f"{_mean(made, 'refresh_ms'):.1f}")
            versus = "-" if name == first else interval(_versus(kinds, name))
            reward = f"{_mean(made, 'reward'):.3f}"
            rows.append([f"{live:,}", f"`{name}`", f"{_mean(made, 'recall'):.3f}", *numbers, reward, versus])
    return markdown_table(titles, rows)


def worth(kinds: dict[str, list[IndexRun]]) -> Paired:
    """Reward gained by each tenth of recall: of each seed the slope through exact search, then over seeds.

    Differences of reward are fitted on differences of recall, by least squares without an intercept: an index that
    finds all serves what the exact one does.
    """
    exact, *others = kinds.values()
    slopes = []
    for seed, best in enumerate(exact):
        lost = np.array([made[seed].recall - best.recall for made in others])
        gained = np.array([made[seed].reward - best.reward for made in others])
        slopes.append(0.1 * float(lost @ gained) / float(lost @ lost) if lost.any() else nan)
    return paired_difference(np.array(slopes), np.zeros(len(slopes)))


def worth_table(runs: Runs) -> str:
    """A row for each size: what a tenth of recall is worth."""
    rows = []
    for live, kinds in runs.items():
        reward, slope = _mean(next(iter(kinds.values())), "reward"), worth(kinds)
        rows.append([f"{live:,}", interval(slope), f"{100 * slope.mean / reward:+.2f} %"])
    return markdown_table(["live", "reward for .1 of recall [95 %]", "of the reward"], rows)

"""Benchmark of serving: what 1,000 visits cost in each serving mode, in counts and in CPU time.

Counts (towers, index, searches, slates) do not depend on the machine. CPU time is that of ``act`` less the trainings
inside it; agents take turns of six simulated hours, and a ratio is taken within a simulated day.
Shapes: n visits.
"""

import dataclasses
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from feedgym.agents import parse_agent
from feedgym.agents.agent import Agent
from feedgym.agents.serving import ServingCost
from feedgym.agents.two_tower import TwoTowerAgent
from feedgym.env.checks import require
from feedgym.env.feed import Feed
from feedgym.experiments.runs import RunConfig, one_thread

MODES = ("realtime", "streaming", "batch")
SIZES = (1_000, 10_000)
"""Readers of the benchmark: a tick of few visits costs more a visit."""
TURN_HOURS = 6.0
WARM_DAYS = 2
"""Not measured: until then readers become known, and lists drawn ahead have somebody to be drawn for."""
FEW_STEPS = 20
"""Longest training of the benchmark, which measures serving."""


@dataclass(frozen=True, kw_only=True)
class ServingFigures:
    """What was measured of one agent; counts and times are for 1,000 visits."""

    agent: str
    readers: int
    visits_per_tick: float
    counts: dict[str, float]
    """As ``ServingCost`` counts, over all days; empty of an agent without towers."""
    default_slates: float
    """Visits that got a page of the one list for unknown readers."""
    further_pages: float
    """Visits that got a page of a list of one's own which had been shown at an earlier visit already."""
    serving_seconds: float
    """CPU time of ``act`` without training; median over days."""
    ratio: float
    """Of that time to the first agent's on the same day; median over days."""
    training_seconds: float
    """CPU time of training, over all days."""


@dataclass
class Tally:
    """Sums over some stretch of time."""

    visits: int = 0
    default_slates: int = 0
    further_pages: int = 0
    act_seconds: float = 0.0
    training_seconds: float = 0.0

    @property
    def serving_seconds(self) -> float:
        """CPU time for 1,000 visits."""
        return 1000.0 * (self.act_seconds - self.training_seconds) / max(self.visits, 1)


@dataclass
class Bench:
    """One agent in its own feed, a day at a time."""

    name: str
    feed: Feed
    agent: Agent
    days: list[Tally] = field(default_factory=list)
    """A tally for each day, the warm ones too."""
    warm: ServingCost = field(default_factory=ServingCost)
    """Counts at the end of the last warm day."""

    def live_until(self, hours: float) -> None:
        """Serve every tick before ``hours``, and tally it on the last day begun."""
        while not self.feed.done and self.feed.now < hours - 1e-9:
            self._tick(self.days[-1])

    def _tick(self, tally: Tally) -> None:
        feed, agent = self.feed, self.agent
        visits, cost = feed.visits, self.cost
        trained, start = cost.training_seconds, time.process_time()
        served = agent.act(visits, feed.catalogue)
        tally.act_seconds += time.process_time() - start
        tally.training_seconds += cost.training_seconds - trained
        tally.visits += len(visits)
        if served.ahead is not None:
            default = np.broadcast_to(served.greedy, len(visits))
            tally.default_slates += int(np.count_nonzero(default))
            tally.further_pages += int(np.count_nonzero((visits.visit > served.ahead.first_visit) & ~default))
        agent.learn(feed.serve(served.article_id))

    @property
    def cost(self) -> ServingCost:
        """The agent's own counts; nothing of one without towers."""
        return self.agent.serving.cost if isinstance(self.agent, TwoTowerAgent) else ServingCost()

    def counts(self) -> dict[str, float]:
        """For 1,000 visits since the warm days."""
        self.agent.metrics()  # brings the counts of articles up to date
        return self.cost.per_1000_visits(self.warm)

    def remember_counts(self) -> None:
        """The warm days end here."""
        self.agent.metrics()
        self.warm.restore(self.cost.snapshot())


def measure(
    agents: Sequence[str],
    *,
    readers: int,
    days: int = 1,
    world: str = "vivid",
    seed: int = 0,
    warm_days: int = WARM_DAYS,
) -> list[ServingFigures]:
    """Let agents live through the same days in turn, and count.

    Args:
        agents: as on the command line; ratios are to the first.
        readers: P.
        days: measured, after the warm ones.
        world: preset.
        seed: of the world.
        warm_days: not measured.

    Returns:
        Figures in the order of ``agents``.
    """
    require(len(agents) > 0, "agents", agents, "at least one")
    require(days >= 1, "days", days, ">= 1")
    run = RunConfig(world=world, readers=readers, days=float(warm_days + days))
    with one_thread("torch", "faiss"):
        benches = [_bench(name, run, seed) for name in agents]
        for day in range(warm_days + days):
            for bench in benches:
                if day == warm_days:
                    bench.remember_counts()
                bench.days.append(Tally())
            for turn in range(round(24.0 / TURN_HOURS)):
                for bench in benches:
                    bench.live_until(24.0 * day + TURN_HOURS * (turn + 1))
    return [_figures(bench, benches[0], warm_days) for bench in benches]


def _bench(name: str, run: RunConfig, seed: int) -> Bench:
    feed = Feed(run.feed_config(), run.make_reader_model(), seed=seed)
    return Bench(name, feed, parse_agent(name).start(feed))


def _figures(bench: Bench, first: Bench, warm_days: int) -> ServingFigures:
    tallies, others = bench.days[warm_days:], first.days[warm_days:]
    visits = sum(tally.visits for tally in tallies)
    ratios = [a.serving_seconds / b.serving_seconds for a, b in zip(tallies, others, strict=True)]

    def each(total: float) -> float:
        return 1000.0 * total / max(visits, 1)

    return ServingFigures(
        agent=bench.name,
        readers=bench.feed.config.num_readers,
        visits_per_tick=visits / (len(tallies) * bench.feed.config.ticks_per_day),
        counts=bench.counts(),
        default_slates=each(sum(tally.default_slates for tally in tallies)),
        further_pages=each(sum(tally.further_pages for tally in tallies)),
        serving_seconds=statistics.median(tally.serving_seconds for tally in tallies),
        ratio=statistics.median(ratios),
        training_seconds=each(sum(tally.training_seconds for tally in tallies)),
    )


def measure_modes(rounds: int, sizes: Sequence[int] = SIZES) -> list[ServingFigures]:
    """The serving modes of dwell regression on ``vivid``, ``rounds`` days each."""
    modes = {f"regression-dwell:serving={mode},max_steps={FEW_STEPS}": mode for mode in MODES}
    figures = [found for readers in sizes for found in measure(tuple(modes), readers=readers, days=rounds)]
    return [dataclasses.replace(found, agent=modes[found.agent]) for found in figures]


HEADER = (
    *("mode", "readers", "visits per tick", "CPU ms", "ratio", "readers embedded", "articles embedded"),
    *("index writes", "searches, slates", "passed over", "positions empty"),
)


def cells(found: ServingFigures) -> tuple[str, ...]:
    """A row of the benchmark's table, as ``HEADER`` names it."""
    counted = ("reader_embeddings", "item_embeddings", "index_writes", "queries", "expired", "empty")
    return (
        *(found.agent, f"{found.readers:,}", f"{found.visits_per_tick:,.0f}"),
        *(f"{1000.0 * found.serving_seconds:.1f}", f"{found.ratio:.2f}"),
        *(f"{found.counts[name]:,.0f}" for name in counted),
    )

"""Study: every two-tower agent on ``vivid``, the published systems among them: reward, ranking, size, cost.

Settings are those of ``AGENTS``: of our own agents chosen on seeds 100 to 102, of published systems as published, with
the one slate policy of all. Frozen before these seeds were run. CPU time is of two simulated days with 1,000 readers,
one run each on one thread: it tells a heavy model from a light one, no more.
"""

import dataclasses
import time
from pathlib import Path
from typing import Any

from feedgym.agents import parse_agent
from feedgym.agents.registry import AGENTS, KINDS, SYSTEMS
from feedgym.env import Feed, FeedConfig
from feedgym.experiments.compare import CompareConfig, CompareResult
from feedgym.experiments.compare import run as compare
from feedgym.experiments.reports import interval, markdown_table, number
from feedgym.experiments.studies.units import Unit, run_units

SEEDS = (500, 501, 502)
OWN = tuple(name for name in AGENTS if KINDS[name].learns and name not in ("regression", *SYSTEMS))
AGENTS_RUN = ("random", "recent", "popular", *OWN, *SYSTEMS)
READERS, DAYS = 1500, 7.0
COST_READERS, COST_DAYS = 1000, 2.0


def config(out: Path) -> CompareConfig:
    """The comparison."""
    return CompareConfig(agents=AGENTS_RUN, seeds=SEEDS, readers=READERS, days=DAYS, out=out / "compare", log=False)


def cost(name: str) -> tuple[int, float]:
    """Trained parameters of an agent (0 of one without towers), and CPU seconds of a short run."""
    feed = Feed(FeedConfig(num_readers=COST_READERS, days=COST_DAYS), seed=SEEDS[0])
    start = time.process_time()
    agent: Any = parse_agent(name).start(feed)
    while not feed.done:
        agent.learn(feed.serve(agent.act(feed.visits, feed.catalogue).article_id))
    seconds = time.process_time() - start
    model = getattr(agent, "model", None)
    parameters = 0 if model is None else sum(p.numel() for p in model.parameters())
    return parameters, seconds


def table(result: CompareResult, costs: dict[str, tuple[int, float]]) -> str:
    """A row per agent, most reward first."""
    titles = ["", "agent", "reward", "clicks", f"reward vs {result.ranking.baseline} [95 %]"]
    titles += ["recall@100", "NDCG@10", "parameters", "CPU s"]
    rows = []
    for place, row in enumerate(result.ranking.rows, 1):
        parameters, seconds = costs[row.agent]
        found = [row.evaluated.ranking.get(name) for name in ("recall_at_100", "ndcg_at_10")]
        rows.append(
            [
                *(str(place), row.agent, number(row.reward), number(row.clicks), interval(row.versus)),
                *("-" if value is None else f"{value:.3f}" for value in found),
                *(f"{parameters:,}" if parameters else "-", f"{seconds:.0f}"),
            ]
        )
    return markdown_table(titles, rows)


def units(out: Path) -> list[Unit]:
    """The runs; CPU time is measured anew each time."""
    return run_units(config(out))


def run(out: Path, reuse: bool = False) -> str:
    """The comparison, the costs, and one table of both."""
    costs = {parse_agent(name).label: cost(name) for name in AGENTS_RUN}
    result = compare(dataclasses.replace(config(out), reuse=reuse))
    head = (
        f"{READERS:,} readers, {DAYS:g} days, seeds {SEEDS[0]} to {SEEDS[-1]}; per reader per day. Ranking: of all "
        f"live articles by their chances of a click. CPU s: {COST_DAYS:g} days, {COST_READERS:,} readers, one thread."
    )
    return f"{head}\n\n{table(result, costs)}\n"

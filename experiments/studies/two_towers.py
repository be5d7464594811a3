"""Study: every two-tower agent on ``vivid``, the published systems among them: reward, ranking, size, cost.

Three parts: agents that learn from their slates alone; the same where a share of all opens comes from elsewhere and is
learned from too; and four systems at the sizes that were published. Settings are those of ``AGENTS``, frozen before
these seeds were run. CPU time is of two simulated days with 1,000 readers, one run each on one thread: it tells a heavy
model from a light one, no more.
"""

import dataclasses
import time
from pathlib import Path
from typing import Any, NamedTuple

from feedgym.agents import parse_agent
from feedgym.agents.registry import AGENTS, KINDS, SYSTEMS
from feedgym.env import Feed, FeedConfig
from feedgym.experiments.compare import CompareConfig, CompareResult
from feedgym.experiments.compare import run as compare
from feedgym.experiments.reports import PersonalFound, interval, markdown_table, number, trend_text
from feedgym.experiments.studies.units import Unit, run_units

SEEDS = (7900, 7901, 7902, 7903, 7904)
OWN = tuple(name for name in AGENTS if KINDS[name].learns and name not in ("regression", *SYSTEMS))
AGENTS_RUN = ("random", "recent", "popular", *OWN, *SYSTEMS)
READERS, DAYS = 1000, 10.0
ORGANIC_SHARE = 0.3
AS_PUBLISHED = tuple(f"{name}:size=published" for name in ("youtube-2016", "uber-shared", "sasrec", "nrms"))
PUBLISHED_SEEDS, PUBLISHED_DAYS = SEEDS[:2], 5.0
COST_READERS, COST_DAYS = 1000, 2.0


class Cost(NamedTuple):
    """What an agent takes."""

    parameters: int
    """That are trained; 0 without towers."""
    training: float
    """CPU seconds of training for 1,000 visits."""
    serving: float
    """CPU seconds of all the rest for 1,000 visits, the site itself among it."""


def parts(out: Path) -> dict[str, CompareConfig]:
    """The comparisons by title."""
    plain = CompareConfig(agents=AGENTS_RUN, seeds=SEEDS, readers=READERS, days=DAYS, out=out / "compare", log=False)
    return {
        "Slates alone": plain,
        "With opens from elsewhere": dataclasses.replace(plain, organic_share=ORGANIC_SHARE, out=out / "organic"),
        "As published": dataclasses.replace(
            plain,
            agents=("random", "recent", *AS_PUBLISHED, *(name.partition(":")[0] for name in AS_PUBLISHED)),
            seeds=PUBLISHED_SEEDS,
            days=PUBLISHED_DAYS,
            out=out / "published",
        ),
    }


def cost(name: str) -> Cost:
    """Of an agent in a short run."""
    feed = Feed(FeedConfig(num_readers=COST_READERS, days=COST_DAYS), seed=SEEDS[0])
    start, visits = time.process_time(), 0
    agent: Any = parse_agent(name).start(feed)
    while not feed.done:
        visits += len(feed.visits)
        agent.learn(feed.serve(agent.act(feed.visits, feed.catalogue).article_id))
    seconds = time.process_time() - start
    model = getattr(agent, "model", None)
    if model is None:
        return Cost(0, 0.0, 1000.0 * seconds / visits)
    training = agent.serving.cost.training_seconds
    parameters = sum(p.numel() for p in model.parameters())
    return Cost(parameters, 1000.0 * training / visits, 1000.0 * (seconds - training) / visits)


def table(result: CompareResult, costs: dict[str, Cost]) -> str:
    """A row per agent, most reward first."""
    titles = ["", "agent", "reward", "clicks", f"reward vs {result.ranking.baseline} [95 %]", "recall@100", "NDCG@10"]
    titles += ["trend", "own list %", "of new readers %", "parameters", "training", "serving"]
    rows = []
    for place, row in enumerate(result.ranking.rows, 1):
        each = costs[row.agent]
        found = [row.evaluated.ranking.get(name) for name in ("recall_at_100", "ndcg_at_10")]
        rows.append(
            [
                *(str(place), row.agent, number(row.reward), number(row.clicks), interval(row.versus)),
                *("-" if value is None else f"{value:.3f}" for value in found),
                *(trend_text(row.trend), *_own_list(row.personal)),
                *(f"{each.parameters:,}" if each.parameters else "-", f"{each.training:.2f}", f"{each.serving:.2f}"),
            ]
        )
    return markdown_table(titles, rows)


def _own_list(found: PersonalFound) -> tuple[str, str]:
    """Own list against one list in the last window, of all readers and of new ones, in per cent."""
    if not found.windows:
        return "-", "-"
    last = max(found.windows, key=lambda name: found.windows[name][1])
    values = [found.values.get((last, what)) for what in ("gain", "gain_new")]
    all_readers, new = ("-" if value is None else f"{100.0 * value.mean:+.1f}" for value in values)
    return all_readers, new


def units(out: Path) -> list[Unit]:
    """The runs; CPU time is measured anew each time."""
    return [unit for title, config in parts(out).items() for unit in run_units(config, title)]


def run(out: Path, reuse: bool = False) -> str:
    """The comparisons, the costs, and a table of both for each part."""
    configs = parts(out)
    names = dict.fromkeys(name for config in configs.values() for name in config.agents)
    costs = {parse_agent(name).label: cost(name) for name in names}
    sections = [
        "Reward and clicks per reader per day. Ranking: of all live articles by their chances of a click. Trend: "
        "reward of the last third of the days over the first, as multiples of random's. Own list: against one list for "
        "all, in the last window of the run. Training, serving: CPU seconds for 1,000 visits, over "
        f"{COST_DAYS:g} days of {COST_READERS:,} readers, one thread."
    ]
    for title, config in configs.items():
        organic = f", {config.organic_share:.0%} of all opens from elsewhere" if config.organic_share else ""
        size = (
            f"{config.readers:,} readers, {config.days:g} days, seeds {config.seeds[0]} to {config.seeds[-1]}{organic}."
        )
        found = table(compare(dataclasses.replace(config, reuse=reuse)), costs)
        sections.append(f"## {title}\n\n{size}\n\n{found}")
    return "\n\n".join(sections) + "\n"

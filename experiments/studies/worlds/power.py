"""Study: how many readers, days and seeds it takes to tell agents apart on ``measured``.

A pilot at two numbers of readers. Of each pair of agents: the paired difference, and its standard deviation over
seeds. What of the variance is luck of readers falls with their number P, what is the newsroom's does not:

    var(D) = a + b / P            (two sizes give a and b; what comes out below 0 is 0)

Seeds are those at which a two-sided paired t-test at 5 % has a power of 80 %.
A pilot's variances are themselves estimates: with 6 seeds, to a factor of .4 to 6 (95 %). Agents have their shipped
defaults, whatever these are when the study is run; these seeds are fresh, and were frozen with all settings before.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import inf, sqrt
from pathlib import Path
from statistics import NormalDist

import numpy as np

from feedgym.agents import parse_agent
from feedgym.env.arrays import Doubles
from feedgym.env.checks import require
from feedgym.experiments.compare import CompareConfig
from feedgym.experiments.compare import run as compare
from feedgym.experiments.reports import Run, paired_difference, ranking_markdown, t_quantile
from feedgym.experiments.studies.units import Unit, run_units

SEEDS = (7300, 7301, 7302, 7303, 7304, 7305)
SIZES = (400, 1200)
DAYS = 14
AGENTS = ("recent", "popular", "regression-dwell", "ltv")
"""Least to most expected of them, on ``vivid``."""
PAIRS = (*pairwise(AGENTS), ("recent", "regression-dwell"), ("recent", "ltv"))
LEVEL, POWER, MOST_SEEDS = 0.05, 0.8, 1000


@dataclass(frozen=True)
class Variance:
    """var(D) = newsroom + readers / P."""

    newsroom: float
    readers: float

    def at(self, num_readers: int) -> float:
        """Variance of the difference with so many readers."""
        return self.newsroom + self.readers / num_readers


def split_variance(sizes: tuple[int, int], variances: tuple[float, float]) -> Variance:
    """The two parts from the variances at two numbers of readers; neither is below 0.

    Raises:
        ValueError: the sizes are equal.
    """
    (small, large), (at_small, at_large) = sizes, variances
    require(small != large, "sizes", sizes, "two different numbers of readers")
    readers = max((at_small - at_large) / (1 / small - 1 / large), 0.0)
    newsroom = max(at_large - readers / large, 0.0)
    if newsroom == 0.0:
        # All of it is readers' luck: the mean of what the two sizes say of b.
        readers = (at_small * small + at_large * large) / 2
    elif readers == 0.0:
        newsroom = (at_small + at_large) / 2
    return Variance(newsroom, readers)


def power_of(effect: float, num_seeds: int, level: float = LEVEL) -> float:
    """Chance that a paired two-sided t-test of ``num_seeds`` shows a difference of ``effect`` standard deviations.

    The noncentral t distribution, as an integral over the sample's deviation S: given S the test is a normal one.
    """
    dof = num_seeds - 1
    s = np.linspace(1e-6, 1.0 + 6.0 / sqrt(dof), 400)
    log_density = (dof - 1) * np.log(s) - dof * s * s / 2  # of S = sqrt(chi^2 / dof), up to a factor
    density = np.exp(log_density - log_density.max())
    edge, shift = t_quantile(1 - level / 2, dof) * s, abs(effect) * sqrt(num_seeds)
    cdf = np.vectorize(NormalDist().cdf)
    return float(((cdf(shift - edge) + cdf(-shift - edge)) * density).sum() / density.sum())


def seeds_needed(difference: float, variance: float, level: float = LEVEL, power: float = POWER) -> float:
    """Fewest seeds at which a paired t-test shows ``difference`` with this power; inf above a thousand."""
    if difference == 0.0:
        return inf
    effect = abs(difference) / sqrt(variance)
    if power_of(effect, MOST_SEEDS, level) < power:
        return inf
    low, high = 1, MOST_SEEDS
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if power_of(effect, middle, level) >= power else (middle, high)
    return high


def smallest_difference(variance: float, num_seeds: int, level: float = LEVEL, power: float = POWER) -> float:
    """The difference that so many seeds (two or more) show with this power: the inverse of :func:`seeds_needed`."""
    require(num_seeds >= 2, "num_seeds", num_seeds, ">= 2")
    low, high = 0.0, 100.0
    for _ in range(40):
        effect = (low + high) / 2
        low, high = (low, effect) if power_of(effect, num_seeds, level) >= power else (effect, high)
    return high * sqrt(variance)


def units(out: Path) -> list[Unit]:
    """The runs of both sizes."""
    return [unit for size in SIZES for unit in run_units(_config(out, size))]


def run(out: Path, reuse: bool = False) -> str:
    """Both sizes, then the tables."""
    results = {size: compare(dataclasses.replace(_config(out, size), reuse=reuse)) for size in SIZES}
    parts = []
    for size, result in results.items():
        parts.append(f"{size:,} readers, {DAYS} days, seeds {SEEDS[0]} to {SEEDS[-1]}:")
        parts.append(ranking_markdown(result.ranking))
    runs = {size: result.runs for size, result in results.items()}
    parts.append(power_table(runs, PAIRS))
    return "\n\n".join(parts) + "\n"


def _config(out: Path, size: int) -> CompareConfig:
    folder = out / f"{size}-readers"
    return CompareConfig(
        agents=AGENTS, world="measured", seeds=SEEDS, readers=size, days=float(DAYS), out=folder, log=False
    )


def power_table(runs: dict[int, tuple[Run, ...]], pairs: Sequence[tuple[str, str]]) -> str:
    """A row for each pair (other, agent) and number of days: differences, deviations, seeds needed at some sizes."""
    small, large = sorted(runs)
    shown = (small, large, 20_000)
    titles = [f"seeds at {size:,}" for size in shown]
    lines = [
        f"| difference | days | mean | sd at {small:,} | sd at {large:,} | {' | '.join(titles)} "
        f"| 5 seeds at {large:,} show |",
        f"| --- | ---: | ---: | ---: | ---: |{' ---: |' * len(shown)} ---: |",
    ]
    for other, agent in pairs:
        for days in (7, DAYS):
            means, deviations = [], []
            for size in (small, large):
                paired = paired_difference(_rates(runs[size], agent, days), _rates(runs[size], other, days))
                means.append(paired.mean)
                deviations.append(paired.sd)
            variance = split_variance((small, large), (deviations[0] ** 2, deviations[1] ** 2))
            # More readers see more of the same: the larger run's mean is the better estimate, and what a learner
            # gains grows with its log.
            needed = [seeds_needed(means[size >= large], variance.at(size)) for size in shown]
            cells = [f"{n:,.0f}" if n < 1000 else "> 1,000" for n in needed]
            lines.append(
                f"| `{agent}` - `{other}` | {days} | {means[1]:+.3f} | {deviations[0]:.3f} | {deviations[1]:.3f} "
                f"| {' | '.join(cells)} | {smallest_difference(variance.at(large), 5):.3f} |"
            )
    return "\n".join(lines)


def _rates(runs: tuple[Run, ...], name: str, days: int) -> Doubles:
    """Reward per reader per day over the first days, a number for each seed."""
    label = parse_agent(name).label
    by_seed = {run.seed: run.curves.daily("reward")[:days].mean() for run in runs if run.agent == label}
    return np.array([by_seed[seed] for seed in sorted(by_seed)])

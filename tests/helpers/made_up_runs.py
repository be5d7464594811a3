"""Runs with made-up totals: under one seed all agents share their luck."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from feedgym.experiments.reports.curves import PARTS, Curves, Run

LEVELS = {"random": 0.2, "recent": 0.5, "popular": 2.0, "regression-dwell": 3.0, "oracle-dwell": 4.0}


def fake_run(agent: str, seed: int, days: float = 3.0, num_readers: int = 100, bin_hours: float = 6.0) -> Run:
    """A run with a level of its own, and the luck of its seed."""
    shared, own = np.random.default_rng(seed), np.random.default_rng([seed, *agent.encode()])
    num_bins = len(Curves(num_readers, days, bin_hours).totals["reward"])
    luck = 1 + 0.2 * shared.standard_normal()
    level = num_readers * bin_hours / 24 * LEVELS.get(agent, 1.0)
    reward = level * (luck + 0.05 * own.standard_normal(num_bins))
    totals = {name: reward * (2 + index) for index, name in enumerate(PARTS)}
    totals |= {"reward": reward, "left": own.poisson(1.0, num_bins).astype(np.float64)}
    hours = np.diff(np.minimum(bin_hours * np.arange(num_bins + 1.0), 24.0 * days))
    totals["reader_days"] = hours / 24.0 * (num_readers - np.cumsum(totals["left"]))
    return Run(agent, seed, agent.startswith("oracle"), Curves(num_readers, days, bin_hours, totals))


def fake_runs(agents: Iterable[str] = tuple(LEVELS), seeds: Iterable[int] = (0, 1, 2, 3), **size: Any) -> list[Run]:
    """A run for each agent and seed; ``size`` as of ``fake_run``."""
    seeds = tuple(seeds)
    return [fake_run(agent, seed, **size) for agent in agents for seed in seeds]

"""Finished runs as a table of agents and seeds: what ranking, pictures, report and event files read.

Agents are compared on the seeds that all of them have finished, so that no agent is judged on easier worlds.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from feedgym.env.arrays import Doubles
from feedgym.env.checks import require
from feedgym.experiments.reports.curves import Curves, Run


def shown_name(agent: str, is_oracle: bool) -> str:
    """An agent's name in tables, pictures and TensorBoard: an oracle says what it is wherever it is shown."""
    return f"{agent} (oracle, sees latents)" if is_oracle else agent


def daily_rate(curves: Curves, name: str) -> Doubles:
    """Total of each simulated day per reader and per day, (days,): a last, shorter day counts by its length."""
    daily = curves.daily(name)
    length = np.minimum(1.0, curves.days - np.arange(len(daily)))
    rate: Doubles = daily / length
    return rate


def lost_percent(curves: Curves) -> Doubles:
    """Readers who have left for good so far, per 100 of hour 0, newcomers counted, at the end of each bin, (T,)."""
    return 100.0 * curves.cumulative("left")


def daily_there(curves: Curves) -> Doubles:
    """Readers who were there, on average over each simulated day, (days,)."""
    there: Doubles = curves.num_readers * daily_rate(curves, "reader_days")
    return there


@dataclass(frozen=True)
class RunTable:
    """Runs by agent, on common seeds."""

    runs: dict[str, tuple[Run, ...]]
    """For each agent, by name, its runs in the order of ``seeds``."""
    seeds: tuple[int, ...]
    """The seeds that every agent has finished, ascending."""
    remarks: tuple[str, ...]
    """What was left out, in words."""

    @property
    def shape(self) -> Curves:
        """Any run's curves: all have the same readers, days and bins."""
        return next(iter(self.runs.values()))[0].curves

    def is_oracle(self, agent: str) -> bool:
        """Whether the agent sees latents."""
        return self.runs[agent][0].is_oracle

    @property
    def has_opens(self) -> bool:
        """Opens from elsewhere were counted."""
        return all(run.curves.has_opens for runs in self.runs.values() for run in runs)

    def rates(self, agent: str, name: str) -> Doubles:
        """Per reader per day of each seed, (S,)."""
        return np.array([run.curves.per_reader_day(name) for run in self.runs[agent]])

    def daily(self, agent: str, name: str) -> Doubles:
        """Per reader of each day, for each seed, (S, days)."""
        return np.stack([daily_rate(run.curves, name) for run in self.runs[agent]])

    def cumulative(self, agent: str, name: str) -> Doubles:
        """Per reader so far at the end of each bin, for each seed, (S, T)."""
        return np.stack([run.curves.cumulative(name) for run in self.runs[agent]])

    def lost(self, agent: str) -> Doubles:
        """Readers lost so far, per 100 of hour 0, for each seed, (S, T)."""
        return np.stack([lost_percent(run.curves) for run in self.runs[agent]])

    def there(self, agent: str) -> Doubles:
        """Readers who were there in each bin, for each seed, (S, T)."""
        return np.stack([run.curves.there() for run in self.runs[agent]])

    def daily_there(self, agent: str) -> Doubles:
        """Readers who were there on each day, for each seed, (S, days)."""
        return np.stack([daily_there(run.curves) for run in self.runs[agent]])


def run_table(runs: Sequence[Run]) -> RunTable:
    """Order runs by agent and seed, and keep the seeds that all agents have.

    Args:
        runs: finished runs in any order.

    Returns:
        The table, and remarks on runs that were left out.

    Raises:
        ValueError: if there is no run, one comes twice, worlds differ in size, or no seed is common to all.
    """
    require(len(runs) > 0, "runs", [], "at least one finished run")
    found: dict[str, dict[int, Run]] = {}
    for run in sorted(runs, key=lambda run: (run.agent, run.seed)):
        of_agent = found.setdefault(run.agent, {})
        require(run.seed not in of_agent, "runs", (run.agent, run.seed), "each agent and seed once")
        of_agent[run.seed] = run
    sizes = {(r.curves.num_readers, r.curves.days, r.curves.bin_hours) for r in runs}
    require(len(sizes) == 1, "runs", sorted(sizes), "one (num_readers, days, bin_hours) for all")

    seeds = tuple(sorted(set.intersection(*(set(of_agent) for of_agent in found.values()))))
    have = {agent: sorted(of_agent) for agent, of_agent in found.items()}
    require(len(seeds) > 0, "runs", have, "a seed that every agent has finished")
    return RunTable(
        runs={agent: tuple(of_agent[seed] for seed in seeds) for agent, of_agent in found.items()},
        seeds=seeds,
        remarks=_remarks(have, seeds),
    )


def _remarks(have: dict[str, list[int]], seeds: tuple[int, ...]) -> tuple[str, ...]:
    left_out = {agent: [s for s in of_agent if s not in seeds] for agent, of_agent in have.items()}
    if not any(left_out.values()):
        return ()
    parts = [f"{agent} {', '.join(map(str, more))}" for agent, more in left_out.items() if more]
    common = ", ".join(map(str, seeds))
    return (
        f"Not every agent has finished every seed: compared on the common seeds {common}. "
        f"Left out, by agent and seed: {'; '.join(parts)}.",
    )

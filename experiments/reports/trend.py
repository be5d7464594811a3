"""Who earns less the longer they learn: the last days against the first, as multiples of ``random``'s.

An agent that learns should earn more on its last days than on its first. Days differ, readers come and go: ``random``
learns nothing and meets the same news, readers and luck, so each seed's ratio is divided by that of ``random``.
Shapes: S seeds, D days.
"""

from dataclasses import dataclass
from math import isnan, nan

import numpy as np

from feedgym.env.arrays import Doubles
from feedgym.experiments.reports.run_table import RunTable
from feedgym.experiments.reports.statistics import band

REFERENCE = "random"
"""Learns nothing: what its rewards do over the days is the world's doing."""
FEWEST_DAYS = 3


@dataclass(frozen=True)
class Trend:
    """``(last third of the days / first third) / (the same of random)``, paired by seed."""

    mean: float
    """Over seeds; 1: as steady as ``random``, below 1: it falls."""
    low: float
    """Lower end of the 95 % interval over seeds; nan with one seed."""
    high: float
    """Upper end."""

    @property
    def falls(self) -> bool:
        """Even the upper end of the interval is below 1; with one seed nobody can say."""
        return not isnan(self.high) and self.high < 1.0


def growth(daily: Doubles) -> Doubles:
    """Reward of the last third of the days over that of the first, (S,), of (S, D); nan where the first is not > 0."""
    third = daily.shape[1] // 3
    first, last = daily[:, :third].sum(axis=1), daily[:, -third:].sum(axis=1)
    ratio: Doubles = np.divide(last, first, out=np.full(len(daily), nan), where=first > 0)
    return ratio


def trend_of(table: RunTable, agent: str) -> Trend | None:
    """An agent's trend; None without ``random``, in fewer than three days, or where first days earned nothing."""
    if REFERENCE not in table.runs or table.daily(agent, "reward").shape[1] < FEWEST_DAYS:
        return None
    own, steady = (growth(table.daily(name, "reward")) for name in (agent, REFERENCE))
    relative = np.divide(own, steady, out=np.full(len(own), nan), where=steady > 0)
    if np.isnan(relative).any():
        return None
    mean, low, high = (float(values[0]) for values in band(relative[:, None]))
    return Trend(mean, low, high)

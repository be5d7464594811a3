"""The numbers of the editor's view, and the sums that they are made of.

Shapes: n slates, m impressions.
"""

import numpy as np

from feedgym.env.arrays import AnyArray, Bools, Doubles, Floats
from feedgym.experiments.measures.evaluation import AGES

FEW = 50
"""Impressions before this tick below which next to nothing is known of an article's clicks."""
GROUPS = (*AGES, f"first_{FEW}", "all")
"""Of impressions. The first 50 overlap with the ages."""
SHARES = ("exposure_share", "click_share", "reward_share")
"""Of all impressions, clicks and reward: those of a group. Undefined where there are none; the reward that belongs to
no article, a subscription's, is left out."""
RATES = ("click_rate", "reward_per_impression")
"""Within a group."""
OVERALL = (
    "coverage",
    "daily_coverage",
    "gini_exposure",
    "gini_clicks",
    "topic_entropy",
    "repeat_share",
    "unfilled_share",
)
"""Share of the articles that were live at some time that were shown at all; the same of a day, mean over days; Gini
coefficients over the articles that were live; entropy of a slate's topics in nats, mean over slates; share of the
impressions whose reader had been shown the article at an earlier visit, these two of followed readers; share of all
positions that rules, or a shortlist without exploration, left empty (``Served.num_unfilled``)."""
NAMES = (*OVERALL, *(f"{what}/{group}" for group in GROUPS for what in (SHARES if group != "all" else ()) + RATES))
"""All numbers of a summary."""


class Sums:
    """Sums over impressions by group, and over slates: float64 (4, len(GROUPS))."""

    def __init__(self, array: Doubles | None = None) -> None:
        # Rows: impressions, clicks, reward; the last one holds what is not by group.
        self.array: Doubles = np.zeros((4, len(GROUPS))) if array is None else array

    def add(self, other: "Sums") -> None:
        """Take in another period."""
        self.array += other.array

    def add_impressions(self, bucket: AnyArray, few: Bools, clicks: Bools, reward: Floats) -> None:
        """Impressions (m,): age bucket, whether of an article that few have seen, outcome."""
        num_ages, clicked = len(AGES), np.flatnonzero(clicks)
        # Nothing is earned at a position without a click. One pass for ages and few: 2 by 5 cells.
        cell = bucket + np.int8(num_ages) * few
        of_clicks = cell[clicked]
        sums = [
            np.bincount(cell, minlength=2 * num_ages),
            np.bincount(of_clicks, minlength=2 * num_ages),
            np.bincount(of_clicks, weights=reward[clicked], minlength=2 * num_ages),
        ]
        by_cell = np.stack(sums).reshape(3, 2, num_ages)
        self.array[:3, :num_ages] += by_cell.sum(axis=1)
        self.array[:3, num_ages] += by_cell[:, 1].sum(axis=1)
        self.array[:3, -1] += by_cell.sum(axis=(1, 2))

    def add_entropy(self, entropy: Doubles) -> None:
        """Slates (n,); those that showed nothing are NaN."""
        some = entropy[~np.isnan(entropy)]
        self.array[3, :2] += (some.sum(), len(some))

    def add_repeats(self, repeats: int, impressions: int) -> None:
        """Of the followed readers."""
        self.array[3, 2:4] += (repeats, impressions)

    def add_unfilled(self, unfilled: int, positions: int) -> None:
        """Of all readers."""
        self.array[3, 4:6] += (unfilled, positions)

    def values(self) -> dict[str, float]:
        """Those of ``NAMES`` that need no more than these sums, where they are defined."""
        found: dict[str, float] = {}
        entropy, slates, repeats, impressions, unfilled, positions = self.array[3, :6]
        found |= known({"topic_entropy": _ratio(entropy, slates), "repeat_share": _ratio(repeats, impressions)})
        found |= known({"unfilled_share": _ratio(unfilled, positions)})
        total = self.array[:3, -1]
        for column, group in enumerate(GROUPS):
            shown, clicks, reward = self.array[:3, column]
            shares = [_ratio(part, whole) for part, whole in zip((shown, clicks, reward), total, strict=True)]
            rates = [_ratio(clicks, shown), _ratio(reward, shown)]
            found |= known({f"{n}/{group}": v for n, v in zip(SHARES + RATES, shares + rates, strict=True)})
        return found


def editor_tag(name: str) -> str:
    """TensorBoard tag of one of ``NAMES``."""
    return f"editor/{name.replace('/', '_')}"


def _ratio(part: float, whole: float) -> float:
    return float(part / whole) if whole != 0 else np.nan


def known(values: dict[str, float]) -> dict[str, float]:
    """Without what is NaN."""
    return {name: value for name, value in values.items() if not np.isnan(value)}

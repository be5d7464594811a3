"""The numbers of the editor's view, and the sums that they are made of.

Shapes: n slates, m impressions.
"""

from dataclasses import dataclass, field, fields

import numpy as np

from feedgym.env.arrays import AnyArray, Arrays, Bools, Doubles, Floats
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
    "explored_share",
)
"""Share of the articles that were live at some time that were shown at all; the same of a day, mean over days; Gini
coefficients over the articles that were live; entropy of a slate's topics in nats, mean over slates; share of the
impressions whose reader had been shown the article at an earlier visit, these two of followed readers; share of all
positions that rules, or a shortlist without exploration, left empty (``Served.num_unfilled``); and of those that hold
an article of a visit that explored (``Served.num_explored``)."""
NAMES = (*OVERALL, *(f"{what}/{group}" for group in GROUPS for what in (SHARES if group != "all" else ()) + RATES))
"""All numbers of a summary."""


def _of_groups() -> Doubles:
    return np.zeros(len(GROUPS))


@dataclass
class Sums:
    """Sums over impressions by group, float64 (len(GROUPS),) each, and over slates and positions."""

    impressions: Doubles = field(default_factory=_of_groups)
    clicks: Doubles = field(default_factory=_of_groups)
    reward: Doubles = field(default_factory=_of_groups)
    entropy: float = 0.0
    """Of the topics of the followed readers' slates, in nats."""
    slates: float = 0.0
    """Of followed readers, those that showed something."""
    repeats: float = 0.0
    """Impressions of articles that the reader had been shown at an earlier visit."""
    followed_impressions: float = 0.0
    """Of followed readers."""
    unfilled: float = 0.0
    """Positions that were left empty."""
    explored: float = 0.0
    """Entries of slates that explored."""
    positions: float = 0.0
    """Of all readers."""

    def add(self, other: "Sums") -> None:
        """Take in another period."""
        for f in fields(self):
            setattr(self, f.name, getattr(self, f.name) + getattr(other, f.name))

    def snapshot(self) -> Arrays:
        """Every sum by its name."""
        return {f.name: np.array(getattr(self, f.name), dtype=np.float64) for f in fields(self)}

    @classmethod
    def restored(cls, arrays: Arrays) -> "Sums":
        """As :meth:`snapshot` left them."""
        sums = cls()
        for f in fields(cls):
            setattr(sums, f.name, arrays[f.name].copy() if arrays[f.name].ndim else float(arrays[f.name]))
        return sums

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
        by_age, of_few, of_all = by_cell.sum(axis=1), by_cell[:, 1].sum(axis=1), by_cell.sum(axis=(1, 2))
        for row, sums_of in enumerate((self.impressions, self.clicks, self.reward)):
            sums_of[:num_ages] += by_age[row]
            sums_of[num_ages] += of_few[row]
            sums_of[-1] += of_all[row]

    def add_entropy(self, entropy: Doubles) -> None:
        """Slates (n,); those that showed nothing are NaN."""
        some = entropy[~np.isnan(entropy)]
        self.entropy += float(some.sum())
        self.slates += len(some)

    def add_repeats(self, repeats: int, impressions: int) -> None:
        """Of the followed readers."""
        self.repeats += repeats
        self.followed_impressions += impressions

    def add_positions(self, positions: int, unfilled: int, explored: int) -> None:
        """Of all readers."""
        self.unfilled += unfilled
        self.explored += explored
        self.positions += positions

    def values(self) -> dict[str, float]:
        """Those of ``NAMES`` that need no more than these sums, where they are defined."""
        found: dict[str, float] = {}
        found |= known({"topic_entropy": _ratio(self.entropy, self.slates)})
        found |= known({"repeat_share": _ratio(self.repeats, self.followed_impressions)})
        found |= known({"unfilled_share": _ratio(self.unfilled, self.positions)})
        found |= known({"explored_share": _ratio(self.explored, self.positions)})
        of_groups = np.stack([self.impressions, self.clicks, self.reward])
        total = of_groups[:, -1]
        for group, (shown, clicks, reward) in zip(GROUPS, of_groups.T, strict=True):
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

"""Whether predicted chances of a click come true: mean prediction against click rate, all and by tenths.

Predictions are counted in fine bins of their log-odds, so that a run of any length takes the same memory; the tenths of
the table are whole bins put together, each as near to a tenth of the impressions as bins allow.
"""

from dataclasses import dataclass, field

import numpy as np

from feedgym.env.arrays import Arrays, Bools, Doubles
from feedgym.env.checks import require

_WIDEST = 12.0
"""Log-odds beyond this, chances of 6e-6, share a bin."""
_BINS = 2400
"""Of 0.01 each: within a bin chances differ by 1 per cent at most."""


@dataclass(frozen=True)
class ReliabilityBin:
    """Impressions of similar predictions."""

    prediction: float
    """Mean chance that was predicted."""
    click_rate: float
    """Share that was clicked."""
    impressions: int


@dataclass
class Reliability:
    """Counts so far."""

    totals: Doubles = field(default_factory=lambda: np.zeros((3, _BINS)))
    """Impressions, sum of predictions and clicks of each fine bin, float64 (3, bins)."""

    def add(self, chance: Doubles, clicks: Bools) -> None:
        """Count impressions of any one shape.

        Args:
            chance: predicted, in [0, 1]; NaN where nothing was shown.
            clicks: what happened.
        """
        require(chance.shape == clicks.shape, "clicks", clicks.shape, f"{chance.shape}, as the predictions")
        shown = ~np.isnan(chance)
        p, clicked = chance[shown].astype(np.float64), clicks[shown]
        bad = p[(p < 0) | (p > 1)]
        require(len(bad) == 0, "chance", bad[:3], "chances in [0, 1]")
        with np.errstate(divide="ignore"):
            log_odds = np.log(p) - np.log1p(-p)
        place = np.clip((log_odds + _WIDEST) * (_BINS / (2.0 * _WIDEST)), 0, _BINS - 1).astype(np.int64)
        for row, weight in enumerate((None, p, clicked)):
            self.totals[row] += np.bincount(place, weights=weight, minlength=_BINS)

    def table(self, num_bins: int = 10) -> list[ReliabilityBin]:
        """Bins of about equally many impressions, lowest predictions first; none that is empty."""
        count = self.totals[0]
        total = count.sum()
        if total == 0:
            return []
        # A fine bin belongs to the tenth that its middle impression is in.
        middle = np.cumsum(count) - 0.5 * count
        tenth = np.minimum(middle * (num_bins / total), num_bins - 1).astype(np.int64)
        sums = np.stack([np.bincount(tenth, weights=row, minlength=num_bins) for row in self.totals])
        return [ReliabilityBin(float(p / m), float(c / m), int(m)) for m, p, c in sums.T if m > 0]

    def overall(self) -> ReliabilityBin | None:
        """All impressions in one; None before the first."""
        found = self.table(1)
        return found[0] if found else None

    def snapshot(self) -> Arrays:
        """The counts, copied."""
        return {"totals": self.totals.copy()}

    def restore(self, arrays: Arrays) -> None:
        """Become the counts of a snapshot."""
        self.totals = arrays["totals"].astype(np.float64)

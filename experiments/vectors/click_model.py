"""A plain click model: logistic regression on given columns, and how well it predicts.

Shapes: R rows (impressions), F columns, C readers, S resamples.
"""

from dataclasses import dataclass

import numpy as np

from feedgym.env.arrays import Bools, Doubles, Floats, Ints
from feedgym.env.checks import require


@dataclass(frozen=True)
class LogisticRegression:
    """Standardised columns, an intercept, weights."""

    mean: Doubles
    """(F,)"""
    scale: Doubles
    """(F,)"""
    weights: Doubles
    """Of the intercept and the F standardised columns, (1 + F,)."""

    def log_odds(self, columns: Floats) -> Doubles:
        """Predicted log-odds of a click, (R,)."""
        odds: Doubles = self.weights[0] + ((columns - self.mean) / self.scale) @ self.weights[1:]
        return odds


def fit(columns: Floats, clicked: Bools, l2: float = 1.0) -> LogisticRegression:
    """Newton's method on the penalised likelihood (Hastie, Tibshirani, Friedman, 2009, 4.4.1).

    Args:
        columns: (R, F), finite; a constant column gets weight 0.
        clicked: (R,), some of them and not all.
        l2: penalty, half of it times the squared weights of standardised columns; the intercept is free.

    Raises:
        ValueError: no click or nothing but clicks, or no convergence.
    """
    clicks = int(np.count_nonzero(clicked))
    require(0 < clicks < len(clicked), "clicked", clicks, f"some of {len(clicked)} rows and not all")
    mean, scale = columns.mean(axis=0, dtype=np.float64), columns.std(axis=0, dtype=np.float64)
    scale = np.where(scale > 1e-9, scale, 1.0)
    x = np.hstack([np.ones((len(columns), 1)), (columns - mean) / scale])
    penalty = np.full(x.shape[1], l2)
    penalty[0] = 0.0
    weights: Doubles = np.zeros(x.shape[1])

    def penalised(w: Doubles) -> float:
        return float(log_losses(x @ w, clicked).sum() + 0.5 * penalty @ w**2)

    loss = penalised(weights)
    for _ in range(100):
        chance = _sigmoid(x @ weights)
        gradient = x.T @ (chance - clicked) + penalty * weights
        curvature = (x * (chance * (1.0 - chance))[:, None]).T @ x + np.diag(penalty + 1e-9)
        step = np.linalg.solve(curvature, gradient)
        if np.abs(step).max() < 1e-7:
            return LogisticRegression(mean, scale, weights)
        # Where columns nearly tell the clicks, full steps overshoot and never settle.
        size = 1.0
        while (new := penalised(weights - size * step)) > loss and size > 1e-6:
            size *= 0.5
        weights, loss = weights - size * step, new
    raise ValueError(f"columns: got no convergence in 100 steps at l2 {l2!r}, needs a larger l2")


@dataclass(frozen=True, kw_only=True)
class Measures:
    """Of one model, or of the difference between two."""

    log_loss: float
    """Nats per impression."""
    auc: float
    """Chance that a clicked impression is ranked above one that was not, ties counted half."""


def log_losses(log_odds: Doubles, clicked: Bools) -> Doubles:
    """Nats of each row, (R,)."""
    losses: Doubles = np.logaddexp(0.0, log_odds) - clicked * log_odds
    return losses


class Evaluated:
    """Predictions on held-out rows, ready to be weighed: sorted once for all resamples."""

    def __init__(self, log_odds: Doubles, clicked: Bools) -> None:
        self._losses = log_losses(log_odds, clicked)
        self._clicked = clicked
        values, self._rank = np.unique(log_odds, return_inverse=True)
        self._num_values = len(values)

    def measure(self, weight: Doubles | None = None) -> Measures:
        """With each row counted ``weight`` times, (R,); once by default."""
        w = np.ones(len(self._losses)) if weight is None else weight
        up = np.bincount(self._rank, weights=w * self._clicked, minlength=self._num_values)
        down = np.bincount(self._rank, weights=w * ~self._clicked, minlength=self._num_values)
        below = np.cumsum(down) - 0.5 * down
        return Measures(log_loss=float(w @ self._losses / w.sum()), auc=float(up @ below / (up.sum() * down.sum())))


@dataclass(frozen=True, kw_only=True)
class Difference:
    """One model less another on the same rows, with intervals."""

    value: Measures
    low: Measures
    high: Measures


def paired_bootstrap(
    one: Evaluated, other: Evaluated, reader: Ints, *, resamples: int, seed: int, level: float = 0.95
) -> Difference:
    """``one`` less ``other``, with percentile intervals over readers drawn with replacement (Efron, 1979).

    Readers, not impressions: those of one reader are alike. Both models see the same draws.

    Args:
        one: predictions of one model.
        other: of the other, on the same rows.
        reader: whose row, any ids, (R,).
        resamples: S.
        seed: of the draws.
        level: of the intervals.
    """
    readers, place = np.unique(reader, return_inverse=True)
    rng, C = np.random.default_rng(seed), len(readers)

    def difference(weight: Doubles | None = None) -> tuple[float, float]:
        a, b = one.measure(weight), other.measure(weight)
        return a.log_loss - b.log_loss, a.auc - b.auc

    drawn = [difference(rng.multinomial(C, np.full(C, 1.0 / C))[place].astype(np.float64)) for _ in range(resamples)]
    tail = 50.0 * (1.0 - level)
    low, high = np.percentile(np.array(drawn), [tail, 100.0 - tail], axis=0)
    value, low, high = (Measures(log_loss=float(x[0]), auc=float(x[1])) for x in (difference(), low, high))
    return Difference(value=value, low=low, high=high)


def _sigmoid(x: Doubles) -> Doubles:
    chance: Doubles = np.exp(-np.logaddexp(0.0, -x))
    return chance

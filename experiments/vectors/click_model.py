"""A plain click model: scikit-learn's logistic regression on given columns, and how well it predicts.

scikit-learn, and SciPy which comes with it, are an extra of this example: what uses them imports them.
Shapes: R rows (impressions), F columns, C readers, S resamples.
"""

import importlib.util
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from feedgym.env.arrays import Bools, Doubles, Ints
from feedgym.env.checks import require

NEEDS = "scikit-learn: not installed; needs the extra: pip install 'feedgym[downstream]'"
"""What a user without the extra is told."""


def check_installed() -> None:
    """Before anything long is done.

    Raises:
        RuntimeError: scikit-learn is not installed.
    """
    if importlib.util.find_spec("sklearn") is None:
        raise RuntimeError(NEEDS)


class ClickModel(Protocol):
    """What is used of scikit-learn's fitted pipeline."""

    def decision_function(self, columns: Doubles, /) -> Doubles:
        """Predicted log-odds of a click, (R,)."""
        ...


def fit(columns: Doubles, clicked: Bools, l2: float = 1.0) -> ClickModel:
    """Logistic regression on standardised columns, fitted by Newton's method.

    Args:
        columns: (R, F), finite; a constant column gets weight 0.
        clicked: (R,), some of them and not all.
        l2: penalty, half of it times the squared weights of standardised columns; the intercept is free.

    Returns:
        scikit-learn's pipeline of ``StandardScaler`` and ``LogisticRegression``.

    Raises:
        ValueError: no click or nothing but clicks.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    clicks = int(np.count_nonzero(clicked))
    require(0 < clicks < len(clicked), "clicked", clicks, f"some of {len(clicked)} rows and not all")
    # C weighs the losses instead of the penalty. This solver is for many more rows than columns.
    regression = LogisticRegression(C=1.0 / l2, solver="newton-cholesky", tol=1e-7)
    model: ClickModel = make_pipeline(StandardScaler(), regression).fit(columns, clicked)
    return model


@dataclass(frozen=True, kw_only=True)
class Measures:
    """Of one model, or of the difference between two."""

    log_loss: float
    """Nats per impression."""
    auc: float
    """Chance that a clicked impression is ranked above one that was not, ties counted half."""


class Evaluated:
    """Predictions on held-out rows, ready to be weighed: sorted once for all resamples.

    The same as scikit-learn's ``log_loss`` and ``roc_auc_score`` with ``sample_weight``. These check and sort anew at
    every call: 37 ms for 60,000 rows instead of 1, which is minutes for 1,000 resamples of nine comparisons.
    """

    def __init__(self, log_odds: Doubles, clicked: Bools) -> None:
        self._losses = np.logaddexp(0.0, log_odds) - clicked * log_odds
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
        reader: whose row, any ids, (R,), of at least two readers.
        resamples: S.
        seed: of the draws.
        level: of the intervals.
    """
    from scipy.stats import bootstrap

    readers, place = np.unique(reader, return_inverse=True)
    everybody = np.arange(len(readers))

    def difference(drawn: Ints) -> Doubles:
        weight = np.bincount(drawn, minlength=len(readers))[place].astype(np.float64)
        a, b = one.measure(weight), other.measure(weight)
        return np.array([a.log_loss - b.log_loss, a.auc - b.auc])

    interval = bootstrap(
        (everybody,),
        difference,
        vectorized=False,
        n_resamples=resamples,
        batch=1,  # of all draws at once, the ids of a million readers would be gigabytes
        method="percentile",
        confidence_level=level,
        rng=np.random.default_rng(seed),
    ).confidence_interval
    value, low, high = (
        Measures(log_loss=float(x[0]), auc=float(x[1])) for x in (difference(everybody), interval.low, interval.high)
    )
    return Difference(value=value, low=low, high=high)

"""What every estimator comes to: a mean over visits plus ratios of sums over visits.

    value = mean(base) + sum over j of sum(numerator_j) / sum(denominator_j)

Estimators that normalise themselves have ratios, the others a base alone. In this form one bootstrap serves all of
them: sums over readers are enough.
Shapes: n visits, J ratios, W weights a visit.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from feedgym.agents.ope.formulas.diagnostics import diagnose
from feedgym.env.arrays import Doubles
from feedgym.env.checks import require


@dataclass(frozen=True)
class Terms:
    """An estimator's parts for each of n visits."""

    base: Doubles
    """float64 (n,)."""
    weight: Doubles
    """Importance weights, float64 (n, W), each column of mean 1 under the logger; W = 0 for the direct method."""
    numerator: Doubles
    """float64 (n, J)."""
    denominator: Doubles
    """float64 (n, J)."""
    pooled: bool = False
    """Whether only the mean over a visit's weights has mean 1, not each column."""

    @classmethod
    def mean(cls, base: Doubles, weight: Doubles, *, pooled: bool = False) -> Terms:
        """The mean of ``base`` (n,)."""
        none: Doubles = np.zeros((len(base), 0))
        return cls(base, weight.reshape(len(base), -1), none, none, pooled)

    @classmethod
    def ratio(cls, numerator: Doubles, weight: Doubles, base: Doubles | None = None) -> Terms:
        """Sums of ``numerator`` (n,) or (n, J) divided by those of ``weight``, same shape."""
        n = len(numerator)
        columns = weight.reshape(n, -1)
        return cls(np.zeros(n) if base is None else base, columns, numerator.reshape(n, -1), columns)

    def value(self, visit_weight: Doubles | None = None) -> float:
        """The estimate; NaN where a denominator is 0.

        Args:
            visit_weight: how often each visit counts, float64 (n,), >= 0; once, if None.
        """
        counts = np.ones(len(self.base)) if visit_weight is None else visit_weight
        mean = float(counts @ self.base / counts.sum())
        return mean + float(_ratios(counts @ self.numerator, counts @ self.denominator).sum())

    def influence(self, visit_weight: Doubles | None = None) -> Doubles:
        """How far each visit moves the estimate, float64 (n,): of mean 0, their sd over root n is its error.

        The linear part of the ratios (the delta method); exact where there are none.
        """
        counts = np.ones(len(self.base)) if visit_weight is None else visit_weight
        total = counts.sum()
        moved: Doubles = self.base - counts @ self.base / total
        bottom = counts @ self.denominator
        ratio = _ratios(counts @ self.numerator, bottom)
        # One ratio at a time: (n, J) need not be held again.
        for j in range(self.numerator.shape[1]):
            moved += (self.numerator[:, j] - ratio[j] * self.denominator[:, j]) / (bottom[j] / total)
        return moved


@dataclass(frozen=True)
class Estimate:
    """What a log says of a policy's value, a visit."""

    value: float
    """In the unit of the reward."""
    standard_error: float
    """As if visits were independent; those of one reader are not: see ``resampling``. NaN of a single visit."""
    effective_sample_size: float
    """Visits served by the target itself that would say as much; of several weights a visit, the least."""
    max_weight: float
    mean_weight: float
    """Far from 1: missing support, or propensities that are not true. Of several weights a visit, the farthest."""
    terms: Terms = field(repr=False, compare=False)
    """What it was made of."""

    @classmethod
    def of(cls, terms: Terms) -> Estimate:
        """The estimate of an estimator's terms."""
        n = len(terms.base)
        with np.errstate(divide="ignore", invalid="ignore"):
            influence = terms.influence()
        error = float(influence.std(ddof=1) / np.sqrt(n)) if n > 1 else float("nan")
        found = diagnose(terms.weight, pooled=terms.pooled)
        return cls(terms.value(), error, found.effective_sample_size, found.max_weight, found.mean_weight, terms)


def clustered_error(terms: Terms, reader: npt.ArrayLike) -> float:
    """Standard error where the visits of a reader are dependent, and readers are not.

    The closed form beside the bootstrap (Liang & Zeger, Biometrika 1986): influences are summed by reader.

    Args:
        terms: of an estimate.
        reader: who, integers (n,).
    """
    _, code = np.unique(np.asarray(reader), return_inverse=True)
    require(code.shape == terms.base.shape, "reader", code.shape, f"{terms.base.shape}, one for each visit")
    by_reader = np.bincount(code, weights=terms.influence())
    readers = len(by_reader)
    if readers < 2:
        return float("nan")
    return float(np.sqrt(np.square(by_reader).sum() * readers / (readers - 1.0)) / len(code))


def _ratios(top: Doubles, bottom: Doubles) -> Doubles:
    """``top / bottom``, any shape; NaN where the bottom is 0."""
    ratio: Doubles = np.full(np.shape(bottom), np.nan)
    np.divide(top, bottom, out=ratio, where=bottom != 0)
    return ratio

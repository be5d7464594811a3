"""What importance weights can tell of themselves (docs/mathematics.md 5.4).

Shapes: n visits, W weights a visit.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from feedgym.env.arrays import Doubles
from feedgym.env.checks import require

TOP_SHARE = 0.01
"""The share of visits whose part of all weight is reported."""
MEAN_ERRORS = 4.0
"""Standard errors by which a mean weight may differ from 1."""
LEAST_SIZE = 100.0
"""Effective visits below which no number of visits helps."""
LEAST_SHARE = 0.01
"""Effective visits, as a share of all, below which the log speaks of another policy."""


@dataclass(frozen=True)
class Diagnostics:
    """The worst of each kind over a visit's W weights."""

    num_visits: int
    effective_sample_size: float
    """``(sum w)^2 / sum w^2``, in visits."""
    max_weight: float
    top_share: float
    """Share of all weight in the 1 % of visits that have most."""
    mean_weight: float
    """The mean farthest from 1, in its own standard errors."""
    warnings: tuple[str, ...]
    """Sentences; empty when nothing is wrong."""


def effective_sample_size(weight: npt.ArrayLike) -> float:
    """``(sum w)^2 / sum w^2``: how many unweighted rows the weights (n,) are worth; 0 of none."""
    w = np.asarray(weight, dtype=np.float64)
    squares = float(np.square(w).sum())
    return float(w.sum()) ** 2 / squares if squares > 0 else 0.0


def diagnose(weight: npt.ArrayLike, *, pooled: bool = False) -> Diagnostics:
    """What is to be said of weights.

    Args:
        weight: float64 (n,) or (n, W), >= 0 but for the pseudo-inverse; every column of mean 1 if all is well.
            W = 0, the direct method, is as good as weights of 1.
        pooled: only the mean over a visit's weights has mean 1. The effective size is then that of all n W weights,
            divided by W.
    """
    w = np.asarray(weight, dtype=np.float64)
    w = w[:, None] if w.ndim == 1 else w
    require(w.ndim == 2 and len(w) > 0, "weight", w.shape, "(n,) or (n, W) with n >= 1")
    n, columns = w.shape
    if columns == 0:
        return Diagnostics(n, float(n), 1.0, float(np.ceil(n * TOP_SHARE)) / n, 1.0, ())
    mean_of = w.mean(axis=1, keepdims=True) if pooled else w
    size = effective_sample_size(w) / columns if pooled else min(effective_sample_size(column) for column in w.T)
    mean = mean_of.mean(axis=0)
    error = mean_of.std(axis=0) / np.sqrt(n)
    off = np.abs(mean - 1.0)
    # Equal policies have weights of 1 up to rounding, and no error to measure it by.
    distance = off / np.maximum(error, 1e-9)
    worst = int(np.argmax(distance))
    warnings = []
    if distance[worst] > MEAN_ERRORS:
        reason = "the log lacks what the policy would show" if mean[worst] < 1.0 else "propensities are not true"
        warnings.append(f"mean weight {mean[worst]:.4g} is {distance[worst]:.1f} standard errors from 1: {reason}")
    least = max(LEAST_SIZE, LEAST_SHARE * n)
    if size < least:
        warnings.append(f"effective sample size {size:.4g} of {n} visits, below {least:.4g}: collect more, or explore")
    top = max(_top_share(column) for column in mean_of.T)
    return Diagnostics(n, size, float(w.max()), top, float(mean[worst]), tuple(warnings))


def _top_share(weight: Doubles) -> float:
    total = float(weight.sum())
    many = int(np.ceil(len(weight) * TOP_SHARE))
    top = np.partition(weight, len(weight) - many)[len(weight) - many :]
    return float(top.sum()) / total if total > 0 else 0.0

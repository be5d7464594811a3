"""Paired differences and bands over seeds (docs/mathematics.md 4.6).

Under one seed all agents meet the same newsroom and the same readers' luck, so an agent and a baseline are compared
seed by seed: what both runs share cancels. Intervals are Student's t over seeds, never over the readers of one run.
Shapes: S seeds, T points in time.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import atan, cos, inf, nan, pi, sin, sqrt, tan

import numpy as np

from feedgym.env.arrays import Doubles
from feedgym.env.checks import require

LEVEL = 0.95
"""Chance with which an interval covers the true mean, if differences between seeds are normal."""


@dataclass(frozen=True)
class Paired:
    """The difference A - B over seeds. With one seed all but ``mean`` and ``num_seeds`` are nan: no interval."""

    mean: float
    """Mean of D = A - B."""
    low: float
    """Lower end of the interval of the mean."""
    high: float
    """Upper end."""
    sd: float
    """Sample standard deviation of D (S - 1 in the denominator)."""
    num_seeds: int
    """S."""
    pairing_gain: float
    """``1 - var(D) / (var A + var B)``; see :func:`pairing_gain`."""


def t_cdf_between(t: float, dof: int) -> float:
    """Chance that a Student-t variable lies in (-t, t): exact finite sums for whole degrees of freedom.

    Abramowitz & Stegun 1964, 26.7.3 (odd) and 26.7.4 (even), with ``theta = atan(t / sqrt(dof))``.

    Args:
        t: half-width, >= 0.
        dof: degrees of freedom, >= 1.

    Returns:
        A probability in [0, 1].
    """
    theta = atan(t / sqrt(dof))
    # Powers of cos(theta) up to dof - 2: odd ones from 1 (odd dof), even ones from 0 (even dof).
    term = cos(theta) if dof % 2 else 1.0
    total = 0.0
    for power in range(dof % 2, dof - 1, 2):
        total += term
        term *= cos(theta) ** 2 * (power + 1) / (power + 2)
    return 2 / pi * (theta + sin(theta) * total) if dof % 2 else sin(theta) * total


@lru_cache
def t_quantile(probability: float, dof: int) -> float:
    """Student's t quantile, by bisection over the angle of :func:`t_cdf_between`.

    Own code, since scipy is 100 MB that a run would need for this number alone; a test holds it to scipy's.

    Args:
        probability: in [0.5, 1).
        dof: degrees of freedom, >= 1.

    Returns:
        t with ``P(T <= t) = probability``.

    Raises:
        ValueError: if an argument is out of range.
    """
    require(0.5 <= probability < 1, "probability", probability, "0.5 <= probability < 1")
    require(dof >= 1, "dof", dof, ">= 1 (two seeds)")
    low, high = 0.0, pi / 2
    # An angle is bounded where t is not: halving ends when the floats between are used up.
    while low < (angle := (low + high) / 2) < high:
        inside = t_cdf_between(sqrt(dof) * tan(angle), dof)
        low, high = (angle, high) if inside < 2 * probability - 1 else (low, angle)
    return sqrt(dof) * tan(low)


def paired_difference(a: Doubles, b: Doubles, level: float = LEVEL) -> Paired:
    """``mean(D) +- t_{S-1} sd(D) / sqrt(S)`` for ``D = A - B`` (docs/mathematics.md 4.6).

    Args:
        a: one number for each seed, float (S,).
        b: the other agent's, same seeds in the same order, float (S,).
        level: coverage of the interval.

    Returns:
        The difference, with nan ends if S = 1.

    Raises:
        ValueError: if the shapes differ or there is no seed.
    """
    require(a.ndim == 1 and len(a) > 0, "a", a.shape, "shape (S,), S >= 1")
    require(b.shape == a.shape, "b", b.shape, f"shape {a.shape}, the same seeds")
    difference = a - b
    mean, low, high = (float(x[0]) for x in band(difference[:, None], level))
    sd = float(difference.std(ddof=1)) if len(a) > 1 else nan
    return Paired(mean, low, high, sd, len(a), pairing_gain(a, b))


def pairing_gain(a: Doubles, b: Doubles) -> float:
    """By how much pairing shrinks the variance of a difference: ``1 - var(D) / (var A + var B)``.

    1: all noise is shared. 0: pairing does nothing. Below 0: it does harm (the runs are anti-correlated).

    Args:
        a: one number for each seed, float (S,).
        b: the other agent's, float (S,).

    Returns:
        The gain; nan if S = 1 or if nothing varies.
    """
    if len(a) < 2:
        return nan
    unpaired = a.var(ddof=1) + b.var(ddof=1)
    return float(1 - (a - b).var(ddof=1) / unpaired) if unpaired > 0 else nan


def variance_factor(gain: float) -> float:
    """How many times smaller the variance is with pairing: ``1 / (1 - gain)``; inf if all noise is shared."""
    return 1 / (1 - gain) if gain != 1 else inf


def unpaired_standard_error(a: Doubles, b: Doubles) -> float:
    """Standard error of ``mean A - mean B`` had the runs not shared seeds: ``sqrt((var A + var B) / S)``."""
    return sqrt((a.var(ddof=1) + b.var(ddof=1)) / len(a)) if len(a) > 1 else nan


def band(values: Doubles, level: float = LEVEL) -> tuple[Doubles, Doubles, Doubles]:
    """Mean over seeds with a pointwise t interval: right at each single time, not at all times at once.

    Args:
        values: a curve for each seed, float (S, T).
        level: coverage at one point.

    Returns:
        Mean, lower and upper, float (T,) each; lower and upper are nan if S = 1.

    Raises:
        ValueError: if ``values`` has another number of axes or no seed.
    """
    require(values.ndim == 2 and len(values) > 0, "values", values.shape, "shape (S, T), S >= 1")
    num_seeds = len(values)
    mean = values.mean(axis=0)
    if num_seeds == 1:
        return mean, np.full_like(mean, nan), np.full_like(mean, nan)
    half = t_quantile((1 + level) / 2, num_seeds - 1) * values.std(axis=0, ddof=1) / sqrt(num_seeds)
    return mean, mean - half, mean + half


def mean_of_days(
    runs: Sequence[Mapping[str, Sequence[float | None]]], tags: Mapping[str, str]
) -> list[dict[str, float]]:
    """Mean over runs of each day's numbers, by tag; each over the runs that define it.

    Args:
        runs: numbers of each day by name; None, or a name that lacks, where a run does not define one.
        tags: of the numbers that are wanted, by name.
    """
    length = max((len(each) for days in runs for each in days.values()), default=0)
    means: list[dict[str, float]] = [{} for _ in range(length)]
    for name, tag in tags.items():
        for day, mean in enumerate(means):
            values = [value for days in runs if name in days and (value := days[name][day]) is not None]
            if values:
                mean[tag] = float(np.mean(values))
    return means

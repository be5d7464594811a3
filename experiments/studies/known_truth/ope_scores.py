"""What the replications say of each estimator: bias, error, coverage, slope, and whether that is what 5.5 asks for.

Shapes: S seeds, L logs of a size at each seed, T targets, H kinds of readers, E estimators, B replications.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from feedgym.env.arrays import Bools, Doubles
from feedgym.env.checks import require
from feedgym.experiments.studies.known_truth.ope_draws import READERS
from feedgym.experiments.studies.known_truth.ope_replications import STUDIED, WRONG, SeedResult

MOST_BIAS = 4.0
"""Standard errors that the mean error may be from 0."""
COVERAGE = (0.90, 0.99)
"""Share of the 95 % intervals that cover the truth: 180 to 198 of 200."""
SLOPE = (-0.6, -0.4)
"""Of log RMSE on log n."""
RIGHT_FOR: dict[str, tuple[str, ...]] = {
    "article": tuple(name for name in STUDIED if name not in ("dm", WRONG)),
    "position": tuple(name for name in STUDIED if name not in ("dm", WRONG, "inclusion_ips")),
    "cascade": ("sips", "snsips", "rips", "snrips", "cascade_dr"),
}
"""Estimators whose assumption holds for a kind of readers (docs/mathematics.md 5.2). Reward models may be wrong."""


@dataclass(frozen=True)
class Score:
    """One estimator, for one target and one kind of readers."""

    bias: float
    """Mean error."""
    distance: float
    """The mean error in its own standard errors."""
    rmse: float
    """Root of the mean squared error."""
    covered: int
    """Replications whose interval covers the truth."""
    replications: int
    slope: float
    """Of log RMSE on log n, over all sizes of logs."""
    slope_error: float
    """Its standard error, by leaving out one seed at a time; NaN of one seed."""
    rmse_by_size: Doubles
    """At each size."""
    warned: float
    """Share of the replications with a warning."""
    covered_quiet: int
    """Covered, of those without a warning."""
    quiet: int
    """Replications without a warning."""

    def failures(self) -> tuple[str, ...]:
        """What 5.5 asks for and this is not: of ``bias``, ``coverage``, ``slope``."""
        low, high = (share * self.replications for share in COVERAGE)
        checks = {
            "bias": abs(self.distance) <= MOST_BIAS,
            "coverage": low - 1e-9 <= self.covered <= high + 1e-9,
            "slope": SLOPE[0] <= self.slope <= SLOPE[1],
        }
        return tuple(name for name, passed in checks.items() if not passed)


def bias(errors: Doubles) -> tuple[float, float]:
    """Mean of errors, any shape, and how many of its standard errors that is."""
    flat = errors.ravel()
    require(len(flat) > 1, "errors", flat.shape, "two replications or more")
    mean = float(flat.mean())
    return mean, mean / float(flat.std(ddof=1) / np.sqrt(len(flat)))


def rmse(errors: Doubles) -> float:
    """Root of the mean squared error, any shape."""
    return float(np.sqrt(np.square(errors).mean()))


def slope(sizes: Sequence[float], errors: Sequence[float]) -> float:
    """Least squares slope of log error on log size."""
    x, y = np.log(np.asarray(sizes, dtype=np.float64)), np.log(np.asarray(errors, dtype=np.float64))
    x = x - x.mean()
    return float(x @ y / (x @ x))


def slope_error(sizes: Sequence[float], errors: Sequence[Doubles]) -> float:
    """Standard error of the slope: errors (S, L) at each size, a seed left out at a time (jackknife)."""
    seeds = len(errors[0])
    if seeds < 2:
        return float("nan")
    kept = [np.delete(np.arange(seeds), s) for s in range(seeds)]
    slopes = np.array([slope(sizes, [rmse(error[rows]) for error in errors]) for rows in kept])
    return float(np.sqrt((seeds - 1) / seeds * np.square(slopes - slopes.mean()).sum()))


def scores(results: Sequence[SeedResult], cells: int, sizes: Sequence[int]) -> dict[tuple[int, str, str], Score]:
    """A score for each target (by its place), kind of readers and estimator.

    Args:
        results: of the seeds.
        cells: of a replication: bias, error and coverage are of logs of this size.
        sizes: cells of the logs whose errors give the slope.
    """
    # A log's truth is that of its seed: (S, T, H, 1, 1).
    truth = np.stack([result.truth[1:] for result in results])[:, :, :, None, None]
    errors = {m: np.stack([r.estimates(m) for r in results]) - truth for m in {*sizes, cells}}  # (S, T, H, E, L)
    covered = np.stack([covers(r.low, r.high, r.truth[1:, :, None, None]) for r in results])
    warned = np.stack([r.warned.any(axis=-1) for r in results])  # (S, T, E, B)
    found = {}
    for t in range(truth.shape[1]):
        for h, kind in enumerate(READERS):
            for e, name in enumerate(STUDIED):
                of_size = [errors[m][:, t, h, e] for m in sizes]
                found[t, kind, name] = _score(
                    errors[cells][:, t, h, e], of_size, sizes, covered[:, t, h, e], warned[:, t, e]
                )
    return found


def covers(low: Doubles, high: Doubles, truth: Doubles) -> Bools:
    """Whether intervals hold the truth; one that is not known (NaN) does not."""
    inside: Bools = (low <= truth) & (truth <= high)
    return inside


def _score(errors: Doubles, of_size: Sequence[Doubles], sizes: Sequence[int], covered: Bools, warned: Bools) -> Score:
    mean, distance = bias(errors)
    by_size = [rmse(one) for one in of_size]
    return Score(
        bias=mean,
        distance=distance,
        rmse=rmse(errors),
        covered=int(np.count_nonzero(covered)),
        replications=covered.size,
        slope=slope(sizes, by_size),
        slope_error=slope_error(sizes, of_size),
        rmse_by_size=np.array(by_size),
        warned=float(warned.mean()),
        covered_quiet=int(np.count_nonzero(covered & ~warned)),
        quiet=int(np.count_nonzero(~warned)),
    )

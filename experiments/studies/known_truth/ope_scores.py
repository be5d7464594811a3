"""What the replications say of each estimator: bias, error, coverage, slope, and whether that is what 5.5 asks for.

Shapes: S seeds, M sizes of logs, L logs of a size at each seed, P policies, T targets, H kinds of readers,
E estimators, B replications.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np

from feedgym.env.arrays import Bools, Doubles, Ints
from feedgym.env.checks import require
from feedgym.experiments.studies.known_truth.ope_draws import READERS
from feedgym.experiments.studies.known_truth.ope_replications import STUDIED, WRONG, SeedResult


@dataclass(frozen=True)
class SeedSummary:
    """What of a seed's replications its scores and tables are made of: sums of errors, not the errors."""

    truth: Doubles
    """Expected reward a visit, (P, H); the logger's first."""
    truth_error: Doubles
    """Standard error of that, (P, H)."""
    cell_visits: float
    """Visits of a cell, on average."""
    replications: int
    """B."""
    logs: Ints
    """Logs of each size, (M,)."""
    mean_error: Doubles
    """Of the logs of each size, (T, H, E, M)."""
    mean_square: Doubles
    """Mean squared error, (T, H, E, M)."""
    covered: Ints
    """Replications whose interval covers the truth, (T, H, E)."""
    covered_quiet: Ints
    """Covered, of those without a warning, (T, H, E)."""
    quiet: Ints
    """Replications without a warning, (T, E)."""
    size: Doubles
    """Mean effective sample size, as a share of the visits, (T, E)."""
    mean_weight: Doubles
    """(T, E)"""
    top_share: Doubles
    """(T, E)"""
    warned: Doubles
    """Share of the replications with each of ``WARNINGS``, (T, E, 2)."""

    def as_json(self) -> dict[str, Any]:
        """Arrays as lists."""
        values = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        return {name: value.tolist() if isinstance(value, np.ndarray) else value for name, value in values.items()}

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> SeedSummary:
        """What :meth:`as_json` returned."""
        values: dict[str, Any] = {name: np.array(v) if isinstance(v, list) else v for name, v in found.items()}
        return cls(**values)


def summary(result: SeedResult, sizes: Sequence[int]) -> SeedSummary:
    """Of one seed.

    Args:
        result: its replications.
        sizes: cells of the logs whose errors are summed up.
    """
    truth = result.truth[1:, :, None, None]
    errors = [result.estimates(cells) - truth for cells in sizes]  # (T, H, E, L) each
    covered, warned = covers(result.low, result.high, truth), result.warned.any(axis=-1)
    quiet: Bools = ~np.asarray(warned)
    return SeedSummary(
        truth=result.truth,
        truth_error=result.truth_error,
        cell_visits=float(result.count.mean()),
        replications=covered.shape[-1],
        logs=np.array([error.shape[-1] for error in errors]),
        mean_error=np.stack([error.mean(axis=-1) for error in errors], axis=-1),
        mean_square=np.stack([np.square(error).mean(axis=-1) for error in errors], axis=-1),
        covered=np.count_nonzero(covered, axis=-1),
        covered_quiet=np.count_nonzero(covered & quiet[:, None], axis=-1),
        quiet=np.count_nonzero(quiet, axis=-1),
        size=result.size.mean(axis=-1),
        mean_weight=result.mean_weight.mean(axis=-1),
        top_share=result.top_share.mean(axis=-1),
        warned=result.warned.mean(axis=2),
    )


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


def bias(mean: Doubles, mean_square: Doubles, logs: int) -> tuple[float, float]:
    """Mean of errors, and how many of its standard errors that is, from the moments of each seed.

    Args:
        mean: error of a seed's logs, (S,).
        mean_square: its square, (S,).
        logs: of each seed.
    """
    many = len(mean) * logs
    require(many > 1, "logs", many, "two replications or more")
    center = float(mean.mean())
    variance = (float(mean_square.mean()) - center**2) * many / (many - 1)
    return center, center / float(np.sqrt(variance / many))


def slope(sizes: Sequence[float], errors: Doubles | Sequence[float]) -> float:
    """Least squares slope of log error on log size."""
    x, y = np.log(np.asarray(sizes, dtype=np.float64)), np.log(np.asarray(errors, dtype=np.float64))
    x = x - x.mean()
    return float(x @ y / (x @ x))


def slope_error(sizes: Sequence[float], mean_square: Doubles) -> float:
    """Standard error of the slope: mean squared errors (S, M), a seed left out at a time (jackknife)."""
    seeds = len(mean_square)
    if seeds < 2:
        return float("nan")
    slopes = np.array([slope(sizes, _rmse(np.delete(mean_square, seed, axis=0))) for seed in range(seeds)])
    return float(np.sqrt((seeds - 1) / seeds * np.square(slopes - slopes.mean()).sum()))


def scores(results: Sequence[SeedSummary], cells: int, sizes: Sequence[int]) -> dict[tuple[int, str, str], Score]:
    """A score for each target (by its place), kind of readers and estimator.

    Args:
        results: of the seeds.
        cells: of a replication: bias, error and coverage are of logs of this size.
        sizes: cells of the logs that were summed up, ``cells`` among them; their errors give the slope.
    """
    require(cells in sizes, "sizes", sizes, f"{cells} among them")
    of = {f.name: np.stack([getattr(result, f.name) for result in results]) for f in dataclasses.fields(SeedSummary)}
    at = list(sizes).index(cells)
    found = {}
    for t, (h, kind), (e, name) in product(range(of["quiet"].shape[1]), enumerate(READERS), enumerate(STUDIED)):
        mean, square = of["mean_error"][:, t, h, e], of["mean_square"][:, t, h, e]  # (S, M)
        error, distance = bias(mean[:, at], square[:, at], int(of["logs"][0, at]))
        by_size, replications, quiet = _rmse(square), int(of["replications"].sum()), int(of["quiet"][:, t, e].sum())
        found[t, kind, name] = Score(
            bias=error,
            distance=distance,
            rmse=float(by_size[at]),
            covered=int(of["covered"][:, t, h, e].sum()),
            replications=replications,
            slope=slope(sizes, by_size),
            slope_error=slope_error(sizes, square),
            rmse_by_size=by_size,
            warned=1.0 - quiet / replications,
            covered_quiet=int(of["covered_quiet"][:, t, h, e].sum()),
            quiet=quiet,
        )
    return found


def covers(low: Doubles, high: Doubles, truth: Doubles) -> Bools:
    """Whether intervals hold the truth; one that is not known (NaN) does not."""
    inside: Bools = (low <= truth) & (truth <= high)
    return inside


def _rmse(mean_square: Doubles) -> Doubles:
    """Root of the mean squared error over seeds, (M,)."""
    root: Doubles = np.sqrt(mean_square.mean(axis=0))
    return root

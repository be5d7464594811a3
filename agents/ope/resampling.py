"""Bootstrap over readers: intervals for all estimators at once (docs/mathematics.md 5.3).

The visits of one reader are dependent, so readers are drawn, not visits. An estimator is a mean and ratios of sums
(``terms``): its sums by reader, times how often each reader is drawn, are a matrix product. Readers go through in
blocks, so that memory does not grow with replicates times readers.
Draw counts are independent with mean 1 and variance 1 (the Poisson bootstrap; Chamandy et al. 2012): unlike the
multinomial, blocks need not know of each other.
Shapes: n visits, R readers, B replicates, E estimators, J ratios of an estimator, C columns of sums.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from feedgym.agents.ope.formulas.terms import Terms
from feedgym.env.arrays import Doubles, Ints
from feedgym.env.checks import require

_IN_65536 = (24103, 24124, 12046, 4018, 1005, 201, 33, 5, 1)
"""How many of 65,536 draws are 0, 1, 2, ...: within 15 of Poisson(1)'s, with mean and variance 1 exactly."""
_COUNT: Doubles = np.repeat(np.arange(len(_IN_65536), dtype=np.float64), _IN_65536)
_BLOCK = 1 << 21
"""Draws held at once: 16 MB."""


@dataclass(frozen=True)
class ReaderSums:
    """An estimator's terms, summed by reader: float64 (R,), (R, J), (R, J)."""

    base: Doubles
    numerator: Doubles
    denominator: Doubles

    @classmethod
    def of(cls, terms: Terms, code: Ints, num_readers: int) -> ReaderSums:
        """Sum ``terms`` by ``code`` (n,), 0..R-1."""

        def by_reader(columns: Doubles) -> Doubles:
            summed: Doubles = np.empty((num_readers, columns.shape[1]))
            for j in range(columns.shape[1]):
                summed[:, j] = np.bincount(code, weights=columns[:, j], minlength=num_readers)
            return summed

        base = np.asarray(np.bincount(code, weights=terms.base, minlength=num_readers), dtype=np.float64)
        return cls(base, by_reader(terms.numerator), by_reader(terms.denominator))


def reader_codes(reader: npt.ArrayLike) -> tuple[Ints, int]:
    """Readers (n,) as codes 0..R-1 (n,), and R."""
    distinct, code = np.unique(np.asarray(reader), return_inverse=True)
    return np.asarray(code, dtype=np.int64), len(distinct)


def bootstrap(
    rng: np.random.Generator, sums: list[ReaderSums], visits: npt.ArrayLike, replicates: int = 1000
) -> Doubles:
    """Estimates under drawn readers; all estimators see the same draws, so that differences may be taken.

    Args:
        rng: of the draws.
        sums: of each estimator.
        visits: of each reader, (R,).
        replicates: B.

    Returns:
        float64 (B, E); NaN where a replicate drew nobody, or no weight for a ratio.
    """
    require(replicates >= 1, "replicates", replicates, ">= 1")
    count = np.asarray(visits, dtype=np.float64)
    parts = [count[:, None]]
    for s in sums:
        require(len(s.base) == len(count), "sums", len(s.base), f"{len(count)} readers, as visits")
        parts += [s.base[:, None], s.numerator, s.denominator]
    columns = np.concatenate(parts, axis=1)  # (R, C)
    total: Doubles = np.zeros((replicates, columns.shape[1]))
    block = max(1, _BLOCK // replicates)
    for first in range(0, len(count), block):
        rows = columns[first : first + block]
        drawn = rng.integers(0, 1 << 16, size=(replicates, len(rows)), dtype=np.uint16)
        total += _COUNT[drawn] @ rows
    return _values(total, sums)


def interval(values: Doubles, level: float = 0.95) -> tuple[Doubles, Doubles]:
    """Percentile interval of each column of replicates (B, E): low and high, (E,); NaN where all of it is NaN."""
    require(0.0 < level < 1.0, "level", level, "in (0, 1)")
    known = ~np.isnan(values).all(axis=0)
    ends: Doubles = np.full((2, values.shape[1]), np.nan)
    if known.any():
        ends[:, known] = np.nanquantile(values[:, known], [(1.0 - level) / 2.0, (1.0 + level) / 2.0], axis=0)
    return ends[0], ends[1]


def _values(total: Doubles, sums: list[ReaderSums]) -> Doubles:
    """From column totals (B, C) to estimates (B, E)."""
    values: Doubles = np.empty((len(total), len(sums)))
    at = 1
    with np.errstate(divide="ignore", invalid="ignore"):
        for e, s in enumerate(sums):
            j = s.numerator.shape[1]
            top, bottom = total[:, at + 1 : at + 1 + j], total[:, at + 1 + j : at + 1 + 2 * j]
            values[:, e] = total[:, at] / total[:, 0] + (top / bottom).sum(axis=1)
            at += 1 + 2 * j
    values[~np.isfinite(values)] = np.nan
    return values

"""The logit scale: z-scores over the live catalogue, exact and without a pass over it (docs/mathematics.md 2.6).

Raw scores of different learners (click logits, minutes, cosines) are not comparable, and one temperature for
all would decide their ranking. With the mean m and the covariance C of the live article columns v', a reader's
scores u' . v' have mean ``u' . m`` and variance ``u'^T C u'``; the logit is ``kap (s - mean) / sd``.
A positive factor per reader leaves the order of inner products alone, so retrieval stays as it is.
Shapes: N live articles, E columns of v' and u', n readers.
"""

import numpy as np

from feedgym.env.arrays import Arrays, Doubles, Floats, copied, put_back

_SUMS = ("_origin", "_count", "_sum", "_products")


class LogitScale:
    """Mean and covariance of the live v', updated with the catalogue at the cost of what changes.

    float64 sums around a fixed origin: a difference of large squares would lose the variance.

    Args:
        dim: E.
    """

    def __init__(self, dim: int) -> None:
        self._origin: Doubles = np.zeros(dim)
        self._count = 0
        self._sum: Doubles = np.zeros(dim)
        self._products: Doubles = np.zeros((dim, dim))

    def reset(self, columns: Floats) -> None:
        """Start anew from all live v', (N, E)."""
        dim = len(self._origin)
        self._origin = columns.mean(axis=0, dtype=np.float64) if len(columns) else np.zeros(dim)
        self._count, self._sum, self._products = 0, np.zeros(dim), np.zeros((dim, dim))
        self._update(columns, 1)

    def add(self, columns: Floats) -> None:
        """Articles that became live, (m, E)."""
        if self._count == 0:
            self.reset(columns)
        else:
            self._update(columns, 1)

    def remove(self, columns: Floats) -> None:
        """Articles that expired, (m, E), as they were added."""
        self._update(columns, -1)

    def _update(self, columns: Floats, sign: int) -> None:
        if len(columns) == 0:
            return
        centred = columns.astype(np.float64) - self._origin
        self._count += sign * len(columns)
        self._sum += sign * centred.sum(axis=0)
        self._products += sign * (centred.T @ centred)

    def mean_and_sd(self, users: Floats) -> tuple[Doubles, Doubles]:
        """Mean and standard deviation of each reader's scores over the live catalogue.

        Args:
            users: u', float32 (n, E).

        Returns:
            float64 (n,) each; the deviation is 1 where all live articles score alike.
        """
        u = users.astype(np.float64)
        count = max(self._count, 1)
        centre = self._sum / count
        covariance = self._products / count - np.outer(centre, centre)
        # einsum by rows, not a matrix product: a reader's logits must not depend on who else visits.
        mean = np.einsum("ne,e->n", u, self._origin + centre)
        half = np.einsum("ne,ef->nf", u, covariance)
        variance = np.einsum("nf,nf->n", half, u)
        # Rounding leaves a little where there is nothing: relative to what each column adds to the scores. (Not
        # to the largest covariance: a growing age column meets an equally small u', and would hide the rest.)
        spread = np.sqrt(np.maximum(np.diagonal(self._products), 0.0) / count)
        floor = 1e-12 * np.square(np.einsum("ne,e->n", np.abs(u), spread)) + 1e-30
        sd = np.sqrt(np.where(variance > floor, variance, 1.0))
        return mean, sd

    def snapshot(self) -> Arrays:
        """All sums."""
        return copied(self, _SUMS)

    def restore(self, snapshot: Arrays) -> None:
        """Become the scale of a snapshot."""
        put_back(self, _SUMS, snapshot)

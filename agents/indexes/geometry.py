"""The space in which approximate indexes place articles: each column of v' with a spread like the others'.

Lists and graphs follow the geometry of the articles, and publication hours with 14 h of spread beside embeddings with
0.1 make time the only geometry: recall falls from .95 to .02 (towers.md 4.3). So the columns that spread too much are
centred and divided, and the query multiplied back. Centring moves all scores of a query alike. Only candidates are
looked for in this space: returned scores come from the stored vectors, so a scale changes nothing but recall.
Letters: n articles, B queries, d columns.
"""

from dataclasses import dataclass

import numpy as np

from feedgym.env.arrays import Arrays, Floats

_OUTLIER = 4.0
"""Columns that spread more than this many times the usual one: hours, and what grows with them. Coordinates of an
embedding differ less, and keep the geometry that was learned."""


def column_scale_of(vectors: Floats) -> Floats:
    """Factors that bring the columns of outlying spread back to the usual (median) one.

    Args:
        vectors: v', float32 (n, d).

    Returns:
        float32 (d,), positive: 1 for most columns, below 1 for those that spread too much.
    """
    scale: Floats = np.ones(vectors.shape[1], dtype=np.float32)
    spread = vectors.std(axis=0, dtype=np.float64) if len(vectors) else np.zeros(len(scale))
    moving = spread > 0
    if moving.any():
        usual = np.median(spread[moving])
        outlying = spread > _OUTLIER * usual
        # At least the smallest normal number: the query is divided by it.
        scale[outlying] = np.maximum(usual / spread[outlying], np.finfo(np.float32).tiny)
    return scale


@dataclass(frozen=True)
class Geometry:
    """Where articles and queries lie; fixed from one rebuild to the next."""

    centre: Floats
    """What is taken from an article's columns, (d,)."""
    scale: Floats
    """What they are then multiplied with, (d,)."""

    @classmethod
    def of(cls, vectors: Floats) -> "Geometry":
        """By the spread of these articles, (n, d)."""
        scale = column_scale_of(vectors)
        centre: Floats = np.zeros(vectors.shape[1], dtype=np.float32)
        if len(vectors):
            # Other columns keep their origin: lists and graphs of inner products know it.
            centre[scale < 1] = vectors[:, scale < 1].mean(axis=0, dtype=np.float64)
        return cls(centre, scale)

    def items(self, vectors: Floats) -> Floats:
        """Articles (n, d) in this space."""
        return np.ascontiguousarray((vectors - self.centre) * self.scale)

    def queries(self, queries: Floats) -> Floats:
        """Queries (B, d) such that inner products keep their order."""
        return np.ascontiguousarray(queries / self.scale)

    def snapshot(self) -> Arrays:
        """Both."""
        return {"centre": self.centre.copy(), "scale": self.scale.copy()}

    @classmethod
    def restored(cls, state: Arrays) -> "Geometry":
        """The geometry of a snapshot."""
        return cls(state["centre"].copy(), state["scale"].copy())

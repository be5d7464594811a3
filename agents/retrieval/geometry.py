"""The space in which approximate indexes place articles: each column of v' with a spread like the others'.

Lists and graphs follow the geometry of the articles, and publication hours with 14 h of spread beside embeddings with
0.1 make time the only geometry: recall falls from .95 to .02 (docs/mathematics.md 8.3). So all columns are centred, and
those that spread too much are divided, and the query multiplied back. Centring moves all scores of a query alike. Only
candidates are looked for in this space: returned scores come from the stored vectors, so a scale changes nothing but
recall.
Letters: n articles, B queries, d columns.
"""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from feedgym.env.arrays import Arrays, Doubles, Floats

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

    @cached_property
    def is_identity(self) -> bool:
        """Whether articles and queries lie where they are."""
        return bool((self.centre == 0).all() and (self.scale == 1).all())

    @classmethod
    def of(cls, vectors: Floats) -> "Geometry":
        """By the spread of these articles, (n, d)."""
        scale = column_scale_of(vectors)
        centre: Floats = np.zeros(vectors.shape[1], dtype=np.float32)
        if len(vectors):
            # All columns: what articles have in common moves all scores of a query alike, and hides from lists and
            # graphs in what they differ. Text embeddings lie in such a narrow cone: recall falls from .99 to .18.
            centre[:] = vectors.mean(axis=0, dtype=np.float64)
        return cls(centre, scale)

    def items(self, vectors: Floats) -> Floats:
        """Articles (n, d) in this space, C-contiguous."""
        return np.ascontiguousarray(vectors if self.is_identity else (vectors - self.centre) * self.scale)

    def queries(self, queries: Floats) -> Floats:
        """Queries (B, d) such that inner products keep their order, C-contiguous."""
        return np.ascontiguousarray(queries if self.is_identity else queries / self.scale)

    def following(self, former: Floats, latter: Floats) -> tuple["Geometry", float]:
        """The geometry in which articles whose columns were shifted and stretched lie where they lay in this one.

        That is all that a rebase of the age columns does to them: hours count from another moment, exponentials of
        hours are multiplied alike. What was built of the former vectors then stays as good as it was.

        Args:
            former: the vectors of n articles, float32 (n, d), n >= 1.
            latter: their vectors now.

        Returns:
            That geometry, and how far articles have moved in it: root mean square distance, as a share of how far they
            lie from their mean (inf if they lie in one place). 0: not at all; to independent places: 1 or much more.
        """
        changed = (former != latter).any(axis=0)
        before, after = former.mean(axis=0, dtype=np.float64), latter.mean(axis=0, dtype=np.float64)
        x, y = former - before.astype(np.float32), latter - after.astype(np.float32)
        spread = np.einsum("nd,nd->d", x, x, dtype=np.float64)
        common = np.einsum("nd,nd->d", x, y, dtype=np.float64)
        stretch: Doubles = np.ones(len(spread))
        # A column that was turned round, or was flat before or is now, has moved, whatever line fits best.
        fits = changed & (common > 1e-12 * spread) & (spread > 0)
        stretch[fits] = common[fits] / spread[fits]
        rest = y - x * stretch.astype(np.float32)
        scale = self.scale / stretch
        moved = float(np.einsum("nd,nd->d", rest, rest, dtype=np.float64)[changed] @ np.square(scale[changed]))
        lay = float(spread @ np.square(self.scale, dtype=np.float64))
        centre = np.where(changed, after + (self.centre - before) * stretch, self.centre)
        followed = Geometry(centre.astype(np.float32), scale.astype(np.float32))
        return followed, 0.0 if moved == 0 else math.sqrt(moved / lay) if lay > 0 else math.inf

    def snapshot(self) -> Arrays:
        """Both."""
        return {"centre": self.centre.copy(), "scale": self.scale.copy()}

    @classmethod
    def restored(cls, state: Arrays) -> "Geometry":
        """The geometry of a snapshot."""
        return cls(state["centre"].copy(), state["scale"].copy())

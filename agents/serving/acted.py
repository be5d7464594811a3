"""What a learned agent remembers of a tick until its outcome is known.

Shapes: n visits, N live articles, K positions, L clicks of history, R columns of a reader, E columns of
v', X columns of the learner's own.
"""

from dataclasses import dataclass

import numpy as np

from feedgym.agents.slate_policy import Served
from feedgym.env.arrays import Bools, Doubles, Floats, Ints, rows_of


@dataclass(frozen=True, kw_only=True)
class Acted:
    """One tick's visits and how they were served."""

    now: float
    """Hours."""
    row: Ints
    """The readers' rows in the population, (n,)."""
    reader: Floats
    """Columns of the readers, (n, R)."""
    history_id: Ints
    """(n, L)"""
    history_minutes: Floats | None = None
    """Read of each click, (n, L), where the towers want to know."""
    queries: Floats
    """What was searched for, float32 (n, E + X): the towers' part, then the learner's own columns."""
    offset: Doubles
    """What a logit is less than its inner product, the same for all articles of a reader: (n,)."""
    factor: Doubles | None = None
    """What scores were multiplied by, (n,); None of pages of lists."""
    live: Ints
    """The live catalogue, (N,)."""
    served: Served
    """With what it was drawn from."""

    @property
    def inclusion(self) -> Doubles:
        """Chance of each shown article to stand anywhere on the slate, by t*, (n, K); 1 where nothing was drawn.

        NaN where nobody may weigh by it.
        """
        known = self.served.chances.inclusion
        hidden = np.broadcast_to(self.served.unweighted, len(known))[:, None]
        return np.where(hidden, np.nan, known)

    def take(self, kept: Bools) -> "Acted":
        """Only the visits that are kept, bool (n,): as they were served, drawn ahead or not."""
        return rows_of(self, kept, shared=("live",))

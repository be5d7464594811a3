"""What a learned agent remembers of a tick until its outcome is known.

Shapes: n visits, M shortlist, N live articles, K positions, L clicks of history, R columns of a reader, E columns of
v', X columns of the learner's own.
"""

from dataclasses import dataclass, fields, replace

import numpy as np

from feedgym.agents.slate_policy import Served, SlateMarginals, Slates
from feedgym.env.arrays import Bools, Doubles, Floats, Ints


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
    shortlist: Ints
    """(n, M), -1 pads."""
    logits: Doubles
    """(n, M)"""
    live: Ints
    """The live catalogue, (N,)."""
    served: Served

    def take(self, kept: Bools) -> "Acted":
        """Only the visits that are kept, bool (n,): as they were served, drawn ahead or not."""
        served = self.served
        slates = Slates(*(getattr(served.slates, f.name)[kept] for f in fields(Slates)))
        return Acted(
            now=self.now,
            row=self.row[kept],
            reader=self.reader[kept],
            history_id=self.history_id[kept],
            history_minutes=None if self.history_minutes is None else self.history_minutes[kept],
            queries=self.queries[kept],
            offset=self.offset[kept],
            shortlist=self.shortlist[kept],
            logits=self.logits[kept],
            live=self.live,
            served=replace(
                served,
                slates=slates,
                shortlist_size=served.shortlist_size[kept],
                epsilon=np.broadcast_to(served.epsilon, len(kept))[kept],
                greedy=np.broadcast_to(served.greedy, len(kept))[kept],
                drawn_from=None if served.drawn_from is None else (self.logits[kept], self.shortlist[kept]),
                logged=None if served.logged is None else SlateMarginals(*(values[kept] for values in served.logged)),
                drawn=None,
                made_hours=None,
                first_visit=None,
            ),
        )

"""What serving has cost, counted: for a price of freshness that does not depend on the machine."""

import dataclasses
from dataclasses import dataclass

import numpy as np

from feedgym.env.arrays import Arrays


@dataclass
class ServingCost:
    """Counts since hour 0."""

    visits: int = 0
    """Visits served."""
    reader_embeddings: int = 0
    """Times that the user tower has seen a reader."""
    item_embeddings: int = 0
    """Times that the item tower has seen an article, new ones and refreshes."""
    index_writes: int = 0
    """Articles that the index has taken in, overwritten or let go."""
    queries: int = 0
    """Searches in the index."""
    slates: int = 0
    """Slates drawn."""
    expired: int = 0
    """Positions that stayed empty, as the article had expired since the slate was drawn, or was excluded by then."""
    training_seconds: float = 0.0
    """CPU time of this process spent in training, which is inside ``act``: not part of a snapshot."""

    @property
    def counts(self) -> dict[str, int]:
        """All but the time."""
        return {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name != "training_seconds"}

    def per_1000_visits(self, since: "ServingCost") -> dict[str, float]:
        """Counts since an earlier moment, for 1,000 visits; nothing where there was none."""
        visits = self.visits - since.visits
        if visits == 0:
            return {}
        before = since.counts
        return {name: 1000.0 * (n - before[name]) / visits for name, n in self.counts.items() if name != "visits"}

    def snapshot(self) -> Arrays:
        """The counts."""
        return {"counts": np.array(list(self.counts.values()), dtype=np.int64)}

    def restore(self, snapshot: Arrays) -> None:
        """Go on from a snapshot."""
        for name, count in zip(self.counts, snapshot["counts"].tolist(), strict=True):
            setattr(self, name, count)

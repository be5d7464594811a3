"""What serving has cost, counted: for a price of freshness that does not depend on the machine."""

import dataclasses
from dataclasses import dataclass

import numpy as np

from feedgym.agents.slate_policy import Served
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
    """Slates drawn; of lists ahead, lists."""
    age_minutes: int = 0
    """Minutes from the draw of lists to the visits that they serve, summed over visits."""
    expired: int = 0
    """Places of lists that were passed over, as the article had expired since the draw."""
    excluded: int = 0
    """Places passed over, as a rule excludes the article by now."""
    empty: int = 0
    """Positions that stayed empty though enough articles are live, as the list was at its end; under rules that look at
    whole slates, as an article is gone."""
    training_seconds: float = 0.0
    """CPU time of this process spent in training, which is inside ``act``: not part of a snapshot."""

    def served_ahead(self, served: Served, now: float, num_live: int) -> None:
        """Count pages of lists, shown at ``now`` hours, when so many articles are live."""
        ahead = served.ahead
        assert ahead is not None
        self.age_minutes += round(60.0 * float((now - ahead.made_hours).sum()))
        self.expired += int(ahead.skipped_expired.sum())
        self.excluded += int(ahead.skipped_excluded.sum())
        missing = np.minimum(served.article_id.shape[1], num_live) - np.count_nonzero(served.article_id >= 0, axis=1)
        # What rules left empty already at the draw is no matter of freshness.
        self.empty += int(np.maximum(missing, 0).sum()) - served.num_unfilled

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

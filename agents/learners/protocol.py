"""What a learner is: a loss on a batch of logged visits. The agent owns towers, store, replay and optimiser.

Shapes: B rows of a batch, K positions, d dimensions.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from feedgym.agents.item_store import ItemStore
from feedgym.agents.replay import Replay, VisitBatch
from feedgym.env.arrays import Arrays, Bools, Ints
from feedgym.env.catalogue import Catalogue
from feedgym.towers.two_tower import TwoTower, UserOutput


@dataclass(frozen=True)
class Learning:
    """What a loss may use."""

    model: TwoTower
    store: ItemStore
    replay: Replay

    def users(self, batch: VisitBatch) -> UserOutput:
        """The user tower on logged visits. Histories are the store's vectors: no gradient flows into them."""
        mask = batch.history_id >= 0
        history = self.store.vector.take(np.where(mask, batch.history_id, 0), axis=0)
        return self.model.embed_users(torch.from_numpy(history), torch.from_numpy(mask), torch.from_numpy(batch.reader))

    def items(self, article_id: Ints) -> tuple[Tensor, Tensor]:
        """The item tower on articles (m,), with gradients: v (m, d) and b (m,). Each article is embedded once."""
        unique, place = np.unique(article_id, return_inverse=True)
        vector, bias = self.model.embed_items(
            torch.from_numpy(self.store.numeric[unique]), torch.from_numpy(self.store.categorical[unique])
        )
        rows = torch.from_numpy(place)
        return vector.index_select(0, rows), bias.index_select(0, rows)


class Learner(Protocol):
    """How towers are trained. Any class with these members fits."""

    def follow(self, catalogue: Catalogue) -> None:
        """Take notice of what has come and gone at this tick."""
        ...

    def observe(self, article_id: Ints, clicks: Bools) -> None:
        """Take notice of one tick's slates (n, K)."""
        ...

    def prepare(self, learning: Learning) -> None:
        """Before the first training: start biases where the data are."""
        ...

    def loss(self, learning: Learning, rng: np.random.Generator) -> Tensor | None:
        """Loss of one batch drawn from the replay; None where it holds nothing to learn from."""
        ...

    def snapshot(self) -> Arrays:
        """The complete state as plain arrays."""
        ...

    def restore(self, snapshot: Arrays) -> None:
        """Go on from a snapshot."""
        ...

"""What a loss may use: the towers, what the agent keeps of articles, and the visits to learn from.

Shapes: B rows of a batch, K positions, R columns of a reader, X crosses, d dimensions.
"""

from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
import torch
from torch import Tensor

from feedgym.agents.learners.replay import Replay, VisitBatch
from feedgym.agents.serving import ItemStore, embed_readers
from feedgym.env.arrays import Bools, Doubles, Floats, Ints
from feedgym.towers.interface import Towers, UserOutput

Model = TypeVar("Model", bound=Towers, covariant=True)
"""What a learner trains: any towers, or a kind that it knows more of."""


@dataclass(frozen=True)
class EmbeddedSlates:
    """A batch of visits with what the towers make of them; positions that showed nothing hold a stand-in."""

    shown: Bools
    """(B, K)"""
    user: UserOutput
    """B readers."""
    item: Tensor
    """v, (B, K, d)"""
    bias: Tensor
    """(B, K)"""
    age: Tensor
    """Hours at the impression, (B, K)."""


def crosses_of(batch: VisitBatch) -> Tensor | None:
    """What a second stage is told of logged slates, float32 (B, K, X); None where nothing is kept."""
    return None if batch.crosses is None else torch.from_numpy(batch.crosses)


@dataclass
class Learning(Generic[Model]):
    """What a loss may use."""

    model: Model
    store: ItemStore
    replay: Replay
    now: float = 0.0
    """Hours, of the training in progress."""
    example_age: int | None = None
    """Column of the readers that holds the age of an example: of what is served it is 0 (YouTube 2016, 3.3)."""

    def users(self, batch: VisitBatch) -> UserOutput:
        """The user tower on logged visits. Histories are the store's vectors, unless the model trains them."""
        return self.users_at(batch.history_id, batch.reader, batch.now, batch.history_minutes)

    def users_at(self, history_id: Ints, reader: Floats, now: Doubles, minutes: Floats | None = None) -> UserOutput:
        """The same of histories (B, L), -1 where none, reader columns (B, R), hours (B,) and minutes read (B, L)."""
        reader = self.with_example_age(reader, now)
        return embed_readers(self.model, self.store, history_id, minutes, reader, now, learn=True)

    def with_example_age(self, reader: Floats, now: Doubles) -> Floats:
        """Columns of logged readers with the age of each example filled in, where the model has such a column."""
        if self.example_age is None:
            return reader
        aged = reader.copy()
        aged[:, self.example_age] = np.log1p(np.maximum(self.now - now, 0.0))
        return aged

    def items(self, article_id: Ints, now: Doubles | None = None) -> tuple[Tensor, Tensor]:
        """The item tower on articles (m,), with gradients: v (m, d) and b (m,). Each article is embedded once.

        ``now`` (m,) in hours matters only where the item tower sees ages: each row then is embedded by itself.
        """
        if self.model.config.age_in_item_tower and now is not None:
            age = np.maximum(now - self.store.published_hours[article_id], 0.0).astype(np.float32)
            vector, bias = self.model.embed_items(*self.features(article_id), torch.from_numpy(age))
            return vector, bias + torch.from_numpy(self.store.effect[article_id])
        unique, place = np.unique(article_id, return_inverse=True)
        vector, bias = self.model.embed_items(*self.features(unique))
        bias = bias + torch.from_numpy(self.store.effect[unique])
        rows = torch.from_numpy(place)
        return vector.index_select(0, rows), bias.index_select(0, rows)

    def slates(self, batch: VisitBatch) -> EmbeddedSlates | None:
        """Both towers, with gradients, on all that a batch of visits showed; None if it showed nothing."""
        shown: Bools = batch.article_id >= 0
        if not shown.any():
            return None
        article_id = np.where(shown, batch.article_id, batch.article_id.max())
        vector, bias = self.items(article_id.ravel(), np.repeat(batch.now, article_id.shape[1]))
        return EmbeddedSlates(
            shown=shown,
            user=self.users(batch),
            item=vector.reshape(*article_id.shape, -1),
            bias=bias.reshape(article_id.shape),
            age=self.ages(batch.article_id, batch.now),
        )

    def features(self, article_id: Ints) -> tuple[Tensor, Tensor]:
        """What the item tower sees of articles (m,): numeric and categorical columns."""
        return self.store.features(article_id)

    def ages(self, article_id: Ints, now: Doubles) -> Tensor:
        """Ages in hours of articles (B, C) at each row's time (B,), float32; 0 where the id is -1.

        Not the age of a stand-in: that may be of a far later day, and exp(-age / tau) overflow.
        """
        known = article_id >= 0
        published = self.store.published_hours[np.where(known, article_id, 0)]
        return torch.from_numpy(np.where(known, now[:, None] - published, 0.0).astype(np.float32))

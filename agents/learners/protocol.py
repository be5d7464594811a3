"""What a learner is: a loss on a batch of logged visits. The agent owns towers, store, replay and optimiser.

Shapes: n visits of a tick, B rows of a batch, K positions, R columns of a reader, X columns of the learner's own, d
dimensions.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from feedgym.agents.agent import Site
from feedgym.agents.learners.replay import Replay, VisitBatch
from feedgym.agents.serving import Acted, ItemStore, embed_readers
from feedgym.agents.slate_policy import PolicyConfig
from feedgym.env.arrays import Arrays, Bools, Doubles, Floats, Ints
from feedgym.env.feed import Catalogue
from feedgym.env.readers import Outcome
from feedgym.towers.config import TwoTowerConfig
from feedgym.towers.summed_towers import SummedTowers
from feedgym.towers.two_tower import TwoTower, UserOutput


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


@dataclass
class Learning:
    """What a loss may use."""

    model: TwoTower | SummedTowers
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
            return self.model.embed_items(*self.features(article_id), torch.from_numpy(age))
        unique, place = np.unique(article_id, return_inverse=True)
        vector, bias = self.model.embed_items(*self.features(unique))
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


class Learner(ABC):
    """How towers are trained. All but ``loss`` may be left as it is."""

    num_models = 1
    """2: the towers are :class:`SummedTowers`."""
    raw_logits = False
    """Logits are the scores themselves, not their z-scores: the learner trains their scale."""
    reranks = False
    """Trains a second stage, where the model has one."""
    whole_slates = False
    """Learns from the chance of whole slates: of none that have lost an entry."""
    uses_shortlists = False
    """Wants shortlists in the replay."""
    num_columns = 0
    """X, columns of its own that the learner appends to v' and u'."""

    def start(self, site: Site, towers: TwoTowerConfig, policy: PolicyConfig, generator: torch.Generator) -> None:
        """Once, before the first tick: make what the sizes decide.

        Raises:
            ValueError: this learner cannot learn from what this policy serves.
        """
        return

    def article_columns(self, numeric: Tensor, categorical: Tensor) -> Tensor:
        """Those of articles (m,), float32 (m, X)."""
        return torch.empty(len(numeric), 0)

    def reader_columns(self, reader: Tensor) -> Tensor:
        """Those of readers (n, R), float32 (n, X)."""
        return torch.empty(len(reader), 0)

    def modules(self) -> Iterable[tuple[nn.Module, float, float]]:
        """Modules trained besides the towers: (module, learning rate, weight decay)."""
        return ()

    def follow(self, catalogue: Catalogue) -> None:
        """Take notice of what has come and gone at this tick."""
        return

    def observe(self, acted: Acted, outcome: Outcome, learning: Learning, rng: np.random.Generator) -> None:
        """Take notice of one tick's slates and what became of them."""
        return

    def prepare(self, learning: Learning) -> None:
        """Before the first training: start biases where the data are."""
        return

    def begin(self, learning: Learning, now: float) -> None:
        """Before each training's steps."""
        return

    @abstractmethod
    def loss(self, learning: Learning, rng: np.random.Generator) -> Tensor | None:
        """Loss of one batch drawn from the replay; None where it holds nothing to learn from."""
        ...

    def after_backward(self) -> None:
        """Look at the gradients of a step."""
        return

    def click_examination(self, num_positions: int) -> Doubles | None:
        """Chance that each position is examined, float64 (K,): that times sigmoid of the score predicts a click.

        None where the score predicts no click.
        """
        return None

    def finish(self, learning: Learning) -> None:
        """After each training's steps, when articles have been embedded anew."""
        return

    def metrics(self) -> dict[str, float]:
        """Numbers worth a curve, since the last call."""
        return {}

    def snapshot(self) -> Arrays:
        """The complete state as plain arrays, its own modules included."""
        return {}

    def restore(self, snapshot: Arrays) -> None:
        """Go on from a snapshot."""
        return

"""What every model of towers offers, one two-tower model or a sum of two: those who serve and train need no more.

Shapes: B readers, N articles, M of a shortlist, F numeric columns, C categories, d = ``item_dim``,
E = ``augmented_dim``.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
from torch import Tensor, nn

from feedgym.towers.age_decay import Hours
from feedgym.towers.arrays import Arrays
from feedgym.towers.columns.content_channel import ContentChannel
from feedgym.towers.columns.wide_part import WidePart
from feedgym.towers.config import TwoTowerConfig
from feedgym.towers.features import Standardise

Vectors = npt.NDArray[np.float32]


class UserOutput(NamedTuple):
    """What the user tower says of B readers."""

    vector: Tensor
    """u, (B, ``vector_dim``)."""
    decay: Tensor
    """Parameters of the age decay, (B, P)."""


class Normalisations(NamedTuple):
    """What is learned of raw columns before the first training."""

    items: Standardise
    """Of the numeric columns of articles."""
    readers: Standardise
    """Of the columns of readers."""


class AgelessItems(NamedTuple):
    """Articles for use elsewhere, where nothing ages."""

    vector: Vectors
    """(N, ``vector_dim``); a copy."""
    bias: Vectors
    """(N,)"""


class Towers(Protocol):
    """A torch module that embeds articles and readers, so that an inner product ranks them.

    ``TwoTower`` documents each method in full; ``SummedTowers`` does the same with two of them.
    """

    config: TwoTowerConfig
    training: bool

    @property
    def channels(self) -> tuple[ContentChannel, ...]:
        """The content channel of each model, where they have one."""
        ...

    @property
    def wides(self) -> tuple[WidePart, ...]:
        """The wide part of each model, where they have one."""
        ...

    # Sizes

    @property
    def models(self) -> tuple[nn.Module, ...]:
        """The two-tower models that it consists of: itself, or two."""
        ...

    @property
    def two_stages(self) -> bool:
        """Whether :meth:`rerank` may be asked."""
        ...

    @property
    def vector_dim(self) -> int:
        """Width of a reader's vector."""
        ...

    @property
    def item_dim(self) -> int:
        """d, width of an article's vector."""
        ...

    @property
    def history_dim(self) -> int:
        """Width of the vector of a clicked article."""
        ...

    @property
    def augmented_dim(self) -> int:
        """E, width of v' and u'."""
        ...

    # Before the first training

    @property
    def normalisations(self) -> Normalisations:
        """Those of the raw columns."""
        ...

    def fit_items(self, numeric: Tensor) -> None:
        """Normalise article columns by logged rows (N, F)."""
        ...

    def fit_readers(self, numeric: Tensor) -> None:
        """Normalise reader columns by logged rows (B, F)."""
        ...

    def start_at_mean(self, mean: float) -> None:
        """Let the scores of all articles begin at this mean, for MSE."""
        ...

    def start_at_rate(self, rate: float) -> None:
        """Let the sigmoid of the scores begin at this rate in (0, 1), for BCE."""
        ...

    def shift(self, by: Tensor | float) -> None:
        """Add a number to all scores: no order changes."""
        ...

    # Embedding

    def embed_items(
        self, numeric: Tensor, categorical: Tensor, age_hours: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Vectors (N, d) and biases (N,) of articles."""
        ...

    def embed_history(self, numeric: Tensor, categorical: Tensor) -> Tensor:
        """What the user tower sees of clicked articles, (N, ``history_dim``)."""
        ...

    def embed_users(
        self,
        history_vectors: Tensor,
        history_mask: Tensor,
        numeric: Tensor,
        *,
        history_columns: Tensor | None = None,
        history_ids: Tensor | None = None,
    ) -> UserOutput:
        """Who asks: B readers with their histories."""
        ...

    def without_age(self, item: Vectors, bias: Vectors) -> AgelessItems:
        """Articles less what age does: ``u . v + b`` is then the score, but for a constant."""
        ...

    # Scores

    def score(self, user: UserOutput, item: Tensor, bias: Tensor, age_hours: Tensor) -> Tensor:
        """Scores to train on, in the shape of ``age_hours``."""
        ...

    def rerank(
        self,
        score: Tensor,
        user: UserOutput,
        item: Tensor,
        age_hours: Tensor,
        position: Tensor | None = None,
        crosses: Tensor | None = None,
    ) -> Tensor:
        """The second stage's logits of shortlists, (B, M).

        Raises:
            ValueError: there is no second stage.
        """
        ...

    def augment_items(
        self, item: Tensor, bias: Tensor, publish_time: Tensor, t_ref: float, column_scale: float = 1.0
    ) -> Tensor:
        """v', what an index stores, (N, E)."""
        ...

    def augment_users(self, user: UserOutput, now: Hours, t_ref: float, column_scale: float = 1.0) -> Tensor:
        """u', what is searched for, (B, E)."""
        ...

    def constant(self, user: UserOutput, now: Hours, t_ref: float) -> Tensor:
        """``score`` less u' . v', (B,)."""
        ...

    # A torch module

    def parameters(self) -> Iterator[nn.Parameter]:
        """All that is trained."""
        ...

    def train(self, mode: bool = True) -> Any:
        """Let layers drop out, or not."""
        ...

    def eval(self) -> Any:
        """No layer drops out."""
        ...

    def to_arrays(self) -> Arrays:
        """All parameters and buffers, copies."""
        ...

    def from_arrays(self, arrays: Arrays) -> None:
        """Take over what :meth:`to_arrays` of a model of the same config gave.

        Raises:
            ValueError: on other names or shapes; nothing is taken over then.
        """
        ...

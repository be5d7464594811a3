"""Two two-tower models whose scores are added: one inner product, one index, two targets.

The first predicts what a visit pays at once, the second what it changes later; readers are served by the sum.
Shapes as in ``two_tower``; an article's vector is [v1, v2, b2], a reader's parts stand side by side.
"""

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from feedgym.towers.age_decay import Hours
from feedgym.towers.arrays import Arrays, arrays_of, load_arrays
from feedgym.towers.checks import require, require_shape
from feedgym.towers.columns.content_channel import ContentChannel
from feedgym.towers.columns.wide_part import WidePart
from feedgym.towers.config import TwoTowerConfig
from feedgym.towers.interface import AgelessItems, Normalisations, UserOutput
from feedgym.towers.two_tower import TwoTower


class SummedTowers(nn.Module):
    """Two :class:`TwoTower` of the same sizes; serves as one.

    Args:
        config: sizes of each.
        generator: of all initial weights.
    """

    def __init__(self, config: TwoTowerConfig, generator: torch.Generator) -> None:
        super().__init__()
        require(config.reranker is None, "reranker", config.reranker, "None: a sum of two models has one stage")
        self.config = config
        self.first = TwoTower(config, generator)
        self.second = TwoTower(config, generator)
        self.eval()

    @property
    def models(self) -> tuple[nn.Module, ...]:
        """Both."""
        return (self.first, self.second)

    @property
    def two_stages(self) -> bool:
        """A sum of two models has one stage."""
        return False

    @property
    def channels(self) -> tuple[ContentChannel, ...]:
        """The content channels of both, if any: each model has its own scales."""
        return (*self.first.channels, *self.second.channels)

    @property
    def wides(self) -> tuple[WidePart, ...]:
        """The wide parts of both, if any: each model has its own weights."""
        return (*self.first.wides, *self.second.wides)

    @property
    def vector_dim(self) -> int:
        """Width of a reader's vector: of both, side by side."""
        return 2 * self.first.vector_dim

    @property
    def item_dim(self) -> int:
        """Width of an article's vector: [v1, v2, b2]."""
        return 2 * self.first.item_dim + 1

    @property
    def history_dim(self) -> int:
        """Width of a clicked article's vector."""
        return self.item_dim if self.config.share == "item_encoder" else 2 * self.first.history_dim

    @property
    def augmented_dim(self) -> int:
        """Width of v' and u'."""
        return 2 * self.first.augmented_dim

    def fit_items(self, numeric: Tensor) -> None:
        """Normalise article columns (N, F)."""
        self.first.fit_items(numeric)
        self.second.fit_items(numeric)

    def fit_readers(self, numeric: Tensor) -> None:
        """Normalise reader columns (B, F)."""
        self.first.fit_readers(numeric)
        self.second.fit_readers(numeric)

    @property
    def normalisations(self) -> Normalisations:
        """Those of the first model; the second one's are equal."""
        return self.first.normalisations

    def start_at_mean(self, mean: float) -> None:
        """Let the first model's scores begin at this mean; the second's begin at 0."""
        self.first.start_at_mean(mean)

    def start_at_rate(self, rate: float) -> None:
        """The same of a rate: let the first model's scores begin at its log-odds."""
        self.first.start_at_rate(rate)

    def shift(self, by: Tensor | float) -> None:
        """Add a number to the first model's scores, and so to the sum."""
        self.first.shift(by)

    def embed_items(
        self, numeric: Tensor, categorical: Tensor, age_hours: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """[v1, v2, b2] (N, ``item_dim``) and b1 (N,)."""
        one, bias = self.first.embed_items(numeric, categorical, age_hours)
        two, other = self.second.embed_items(numeric, categorical, age_hours)
        return torch.cat([one, two, other[:, None]], dim=1), bias

    def embed_history(self, numeric: Tensor, categorical: Tensor) -> Tensor:
        """Both models' vectors of clicked articles, float32 (N, ``history_dim``)."""
        if self.config.share == "item_encoder":
            return self.embed_items(numeric, categorical)[0]
        one, two = self.first.embed_history(numeric, categorical), self.second.embed_history(numeric, categorical)
        return torch.cat([one, two], dim=1)

    def embed_users(
        self,
        history_vectors: Tensor,
        history_mask: Tensor,
        numeric: Tensor,
        *,
        history_columns: Tensor | None = None,
        history_ids: Tensor | None = None,
    ) -> UserOutput:
        """Both user towers, each on its own part of the history's vectors; parts side by side."""
        h = self.first.history_dim
        one, two = (
            model.embed_users(
                history_vectors[..., start : start + h],
                history_mask,
                numeric,
                history_columns=history_columns,
                history_ids=history_ids,
            )
            for model, start in ((self.first, 0), (self.second, h))
        )
        return UserOutput(torch.cat([one.vector, two.vector], 1), torch.cat([one.decay, two.decay], 1))

    def without_age(self, item: npt.NDArray[np.float32], bias: npt.NDArray[np.float32]) -> AgelessItems:
        """Of [v1, v2, b2]: both models' parts (N, ``vector_dim``), and the sum of the biases, (N,)."""
        d, other = self.first.item_dim, item[:, 2 * self.first.item_dim]
        one, _ = self.first.without_age(item[:, :d], bias)
        two, _ = self.second.without_age(item[:, d : 2 * d], other)
        return AgelessItems(np.hstack([one, two]), bias + other)

    def users_of(self, user: UserOutput) -> tuple[UserOutput, UserOutput]:
        """The two models' readers."""
        d, p = self.first.vector_dim, user.decay.shape[1] // 2
        return (
            UserOutput(user.vector[:, :d], user.decay[:, :p]),
            UserOutput(user.vector[:, d:], user.decay[:, p:]),
        )

    def scores(self, user: UserOutput, item: Tensor, bias: Tensor, age_hours: Tensor) -> tuple[Tensor, Tensor]:
        """The two scores, each as :meth:`TwoTower.score`."""
        d = self.first.item_dim
        one, two = self.users_of(user)
        return (
            self.first.score(one, item[..., :d], bias, age_hours),
            self.second.score(two, item[..., d : 2 * d], item[..., 2 * d], age_hours),
        )

    def score(self, user: UserOutput, item: Tensor, bias: Tensor, age_hours: Tensor) -> Tensor:
        """Their sum."""
        one, two = self.scores(user, item, bias, age_hours)
        return one + two

    def rerank(
        self,
        score: Tensor,
        user: UserOutput,
        item: Tensor,
        age_hours: Tensor,
        position: Tensor | None = None,
        crosses: Tensor | None = None,
    ) -> Tensor:
        """There is no second stage.

        Raises:
            ValueError: always.
        """
        raise ValueError("reranker: got None, needs a model with one: a sum of two models has one stage")

    def augment_items(
        self, item: Tensor, bias: Tensor, publish_time: Tensor, t_ref: float, column_scale: float = 1.0
    ) -> Tensor:
        """Both v', side by side, float32 (N, ``augmented_dim``)."""
        require_shape(item, (len(bias), self.item_dim), "item")
        d = self.first.item_dim
        one = self.first.augment_items(item[:, :d], bias, publish_time, t_ref, column_scale)
        two = self.second.augment_items(item[:, d : 2 * d], item[:, 2 * d], publish_time, t_ref, column_scale)
        return torch.cat([one, two], dim=1)

    def augment_users(self, user: UserOutput, now: Hours, t_ref: float, column_scale: float = 1.0) -> Tensor:
        """Both u', side by side, float32 (B, ``augmented_dim``)."""
        one, two = self.users_of(user)
        return torch.cat(
            [
                self.first.augment_users(one, now, t_ref, column_scale),
                self.second.augment_users(two, now, t_ref, column_scale),
            ],
            dim=1,
        )

    def constant(self, user: UserOutput, now: Hours, t_ref: float) -> Tensor:
        """``score`` less u' . v', the same for all articles of a reader: float32 (B,)."""
        one, two = self.users_of(user)
        return self.first.constant(one, now, t_ref) + self.second.constant(two, now, t_ref)

    def to_arrays(self) -> Arrays:
        """All parameters and buffers as arrays (copies)."""
        return arrays_of(self)

    def from_arrays(self, arrays: Arrays) -> None:
        """Take over what :meth:`to_arrays` gave."""
        load_arrays(self, arrays)

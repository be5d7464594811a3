"""The two-tower model: articles and readers to vectors whose inner product is the score.

    score = u . v + b_i + b0 + decay_u(age)          retrieval: u' . v' + constant_u(now), equal to it

v' = [v, b, age columns] is written once per article, u' = [u, 1, age columns] once per request; age enters by
``age_decay`` alone, so no article is embedded anew as it ages.

Shapes: B readers, N articles, L articles of history, F numeric columns, C categories, d = ``item_dim``.
"""

from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from feedgym.towers.age_decay import AgeDecay, ExponentialSum, Hours, LinearDecay, NoDecay
from feedgym.towers.checks import require, require_shape
from feedgym.towers.encoders import FeedForward, HistoryMean
from feedgym.towers.features import ItemFeatures, ItemFeaturesConfig, Standardise
from feedgym.towers.prediction import DotPrediction

Arrays = dict[str, npt.NDArray[np.generic]]


@dataclass(frozen=True, kw_only=True)
class TwoTowerConfig:
    """Sizes of a two-tower model."""

    item: ItemFeaturesConfig = field(default_factory=ItemFeaturesConfig)
    """What the item tower sees."""
    reader_numeric: int = 4
    """Numeric columns F of a reader."""
    widths: tuple[int, ...] = (1024, 512, 256)
    """Hidden layers of each tower."""
    dim: int = 64
    """Dimensions of the inner product."""
    history_length: int = 50
    """L, the clicks that callers hand to the user tower; the towers themselves take any length."""
    age_decay: Literal["none", "linear", "exponential"] = "exponential"
    """How age enters: not at all, a rate per reader, or a sum of exponentials."""
    decay_taus_hours: tuple[float, ...] = (2.0, 8.0, 32.0)
    """Time scales of ``exponential``."""
    decay_per_item: bool = True
    """``exponential``: whether articles have amplitudes of their own (v is wider then: ``item_dim``)."""

    def __post_init__(self) -> None:
        require(self.reader_numeric >= 0, "reader_numeric", self.reader_numeric, ">= 0")
        require(self.dim >= 1, "dim", self.dim, ">= 1")
        require(self.history_length >= 0, "history_length", self.history_length, ">= 0")
        require(all(width >= 1 for width in self.widths), "widths", self.widths, ">= 1 each")
        self.make_decay()

    def make_decay(self) -> AgeDecay:
        """The decay that these settings name.

        Raises:
            ValueError: on an unknown name, or time scales that cannot be.
        """
        if self.age_decay == "none":
            return NoDecay()
        if self.age_decay == "linear":
            return LinearDecay()
        names = "'none', 'linear' or 'exponential'"
        require(self.age_decay == "exponential", "age_decay", self.age_decay, names)
        return ExponentialSum(taus_hours=self.decay_taus_hours, per_item=self.decay_per_item)


class UserOutput(NamedTuple):
    """What the user tower says of B readers."""

    vector: Tensor
    """u, (B, dim)."""
    decay: Tensor
    """Parameters of the age decay, (B, P)."""


class TwoTower(nn.Module):
    """Item tower, user tower and prediction.

    Args:
        config: sizes.
        generator: all initial weights are drawn from it, and from nothing else.
    """

    def __init__(self, config: TwoTowerConfig, generator: torch.Generator) -> None:
        super().__init__()
        self.config = config
        self.decay = config.make_decay()
        # Both towers' outputs start small, so that the first scores u . v have a spread of about .25, not 8.
        gain = 0.5 * config.dim**-0.25
        item_start = (*self.decay.initial_item_params, 0.0)
        user_start = self.decay.initial_user_params
        self.item_features = ItemFeatures(config.item, generator)
        self.item_tower = FeedForward(config.item.out_dim, config.widths, config.dim + len(item_start), generator, gain)
        self.history = HistoryMean(self.item_dim)
        # In units of the initial article vectors: else the history would whisper beside the standardised
        # columns.
        self._history_scale = 1 / gain
        self.reader_features = Standardise(config.reader_numeric)
        self.user_tower = FeedForward(
            self.item_dim + config.reader_numeric,
            config.widths,
            config.dim + len(user_start),
            generator,
            gain,
        )
        self.prediction = DotPrediction()
        _start_heads(self.item_tower.last, item_start)
        _start_heads(self.user_tower.last, user_start)

    @property
    def item_dim(self) -> int:
        """Width of v: ``dim`` for the inner product, then the article's decay parameters if any."""
        return self.config.dim + len(self.decay.initial_item_params)

    @property
    def augmented_dim(self) -> int:
        """Width of v' and u'."""
        return self.config.dim + 1 + self.decay.num_columns

    def fit_items(self, numeric: Tensor) -> None:
        """Normalise article columns by logged rows (N, F)."""
        self.item_features.numeric.fit_normalisation(numeric)

    def fit_readers(self, numeric: Tensor) -> None:
        """Normalise reader columns by logged rows (B, F)."""
        self.reader_features.fit_normalisation(numeric)

    def embed_items(self, numeric: Tensor, categorical: Tensor) -> tuple[Tensor, Tensor]:
        """Item tower: what an article is, without its age.

        Args:
            numeric: float32 (N, F).
            categorical: int64 (N, C), in the order of ``config.item.categories``.

        Returns:
            v float32 (N, ``item_dim``) and bias b float32 (N,).
        """
        output = self.item_tower(self.item_features(numeric, categorical))
        return output[:, :-1], output[:, -1]

    def embed_users(self, history_vectors: Tensor, history_mask: Tensor, numeric: Tensor) -> UserOutput:
        """User tower: who asks.

        Args:
            history_vectors: v of the articles last clicked, float32 (B, L, ``item_dim``), detached by the
                caller if the item tower shall not learn from them.
            history_mask: bool (B, L), False where there is none.
            numeric: the reader's columns, float32 (B, F).

        Returns:
            u and the parameters of the age decay.
        """
        require_shape(history_vectors, (len(numeric), history_mask.shape[-1], self.item_dim), "history_vectors")
        history = self.history(history_vectors, history_mask)
        features = torch.cat([history * self._history_scale, self.reader_features(numeric)], dim=1)
        output = self.user_tower(features)
        return UserOutput(output[:, : self.config.dim], output[:, self.config.dim :])

    def score(self, user: UserOutput, item: Tensor, bias: Tensor, age_hours: Tensor) -> Tensor:
        """Scores to train on. The number of axes says which reader meets which article.

        Args:
            user: B readers.
            item: v, (B, d) row by row; (B, K, d) slates; (N, d) every reader with every article.
            bias: b in the same shape, less the last axis.
            age_hours: age at the impression: (B,) row by row; (B, K); (B, N) for all pairs, always two axes
                then.

        Returns:
            float32 in the shape of ``age_hours``.
        """
        pairs = item.ndim == 2 and age_hours.ndim == 2
        vector, decay = item[..., : self.config.dim], item[..., self.config.dim :]
        score: Tensor = self.prediction(user.vector, vector, bias, pairs=pairs)
        require_shape(age_hours, tuple(score.shape), "age_hours")
        return score + self.decay.score(user.decay, decay, age_hours)

    def augment_items(
        self,
        item: Tensor,
        bias: Tensor,
        publish_time: Tensor,
        t_ref: float,
        column_scale: Tensor | float = 1.0,
    ) -> Tensor:
        """What an index stores, valid at every moment: v' = [v, b, age columns].

        Args:
            item: v, (N, ``item_dim``).
            bias: b, (N,).
            publish_time: hours, float64 (N,).
            t_ref: reference in hours, the same as in ``augment_users``; near the live window.
            column_scale: factor of the age columns, a number or (E,), taken back in ``augment_users``. Exact
                search does not need it; ANN recall collapses unless these columns spread like the others.

        Returns:
            float32 (N, ``augmented_dim``).
        """
        require_shape(publish_time, (len(item),), "publish_time")
        columns = self.decay.item_columns(publish_time, t_ref, item[:, self.config.dim :])
        return torch.cat([item[:, : self.config.dim], bias[:, None], columns * column_scale], dim=1)

    def augment_users(self, user: UserOutput, now: Hours, t_ref: float, column_scale: Tensor | float = 1.0) -> Tensor:
        """What is searched for at the moment ``now``: u' = [u, 1, age columns].

        u' . v' is the ranking score; with ``constant`` added it is ``score``.

        Args:
            user: B readers.
            now: hours, a number or float64 (B,).
            t_ref: as in ``augment_items``.
            column_scale: as in ``augment_items``.

        Returns:
            float32 (B, ``augmented_dim``).
        """
        columns = self.decay.user_columns(user.decay, now, t_ref)
        one = torch.ones(len(columns), 1)
        return torch.cat([user.vector, one, columns / column_scale], dim=1)

    def constant(self, user: UserOutput, now: Hours, t_ref: float) -> Tensor:
        """``score`` less u' . v', the same for all articles of a reader: float32 (B,)."""
        return self.prediction.global_bias + self.decay.constant(user.decay, now, t_ref)

    def parameter_counts(self) -> dict[str, int]:
        """Number of trained parameters of each part, and their ``total``."""
        counts = {name: sum(p.numel() for p in part.parameters()) for name, part in self.named_children()}
        return {**counts, "total": sum(counts.values())}

    def to_arrays(self) -> Arrays:
        """All parameters and buffers as arrays (copies), for an npz without pickle."""
        return {name: tensor.detach().cpu().numpy().copy() for name, tensor in self.state_dict().items()}

    def from_arrays(self, arrays: Arrays) -> None:
        """Take over what ``to_arrays`` of a model of the same config gave.

        Raises:
            ValueError: on missing or unknown names, or shapes of another config; nothing is taken over then.
        """
        load_arrays(self, arrays)


def load_arrays(model: nn.Module, arrays: Arrays) -> None:
    """Set all parameters and buffers of ``model``, or none: see :meth:`TwoTower.from_arrays`."""
    own = model.state_dict()
    odd = sorted(own.keys() ^ arrays.keys())
    require(not odd, "arrays", f"missing or unknown {odd[:5]}", "the names of to_arrays()")
    given = {name: torch.from_numpy(np.array(array)) for name, array in arrays.items()}
    for name, tensor in given.items():
        require_shape(tensor, tuple(own[name].shape), name)
    model.load_state_dict(given)


@torch.no_grad()
def _start_heads(layer: nn.Linear, start: tuple[float, ...]) -> None:
    """Let the last outputs of ``layer`` begin as these constants, for every input."""
    if start:
        layer.weight[-len(start) :].zero_()
        layer.bias[-len(start) :] = torch.tensor(start)

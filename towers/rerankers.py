"""The second stage: what ranks a shortlist by more than an inner product.

Logistic ranking after candidate generation, with the position as a feature in training and held at 0 when
serving (Covington et al., RecSys 2016, section 4; Zhao et al., RecSys 2019, section 4.3). No index can search
by such a score: retrieval uses the first stage's.

Beside the vectors it may be told crosses: numbers of a reader with an article, which no tower can know.
Shapes: B visits, M articles of a slate or a shortlist, d dimensions of u and v, X crosses, K positions, F features.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from feedgym.towers.checks import require, require_shape
from feedgym.towers.encoders import FeedForward

AGE_TAUS_HOURS = (2.0, 8.0, 32.0)
"""Time scales of the age features; log(1 + age) goes beside them."""


def rerank_features(
    score: Tensor,
    user: Tensor,
    item: Tensor,
    age_hours: Tensor,
    position: Tensor | None,
    num_positions: int,
    crosses: Tensor | None = None,
) -> Tensor:
    """[s, u * v, |u - v|, age basis, crosses, position]: what a reranker sees of a reader with an article.

    Args:
        score: of the first stage, finite float (B, M).
        user: (B, d).
        item: (B, M, d).
        age_hours: (B, M); below 0 counts as 0.
        position: int64 (B, M), or (M,) for all visits alike, each in 0 .. K - 1; None is 0 everywhere.
        num_positions: K.
        crosses: (B, M, X); None: there are none.

    Returns:
        float (B, M, 1 + 2 d + 4 + X + K - 1) in the dtype of ``score``. Position 0 is all zeros, and position k has its
        1 in column k - 1 of the last K - 1.

    Raises:
        ValueError: on wrong shapes, or a position outside 0 .. K - 1.
    """
    require(score.ndim == 2, "score", tuple(score.shape), "shape (B, M)")
    require_shape(user, (len(score), user.shape[-1]), "user")
    require_shape(item, (*score.shape, user.shape[-1]), "item")
    require_shape(age_hours, tuple(score.shape), "age_hours")
    reader = user[:, None, :]
    age = age_hours.to(score.dtype).clamp_min(0)
    fading = [torch.exp(age / -tau) for tau in AGE_TAUS_HOURS]
    ages = torch.stack([*fading, age.log1p()], dim=2)
    place = _position_columns(score, position, num_positions)
    told = () if crosses is None else (crosses.to(score.dtype),)
    return torch.cat([score[:, :, None], reader * item, (reader - item).abs(), ages, *told, place], dim=2)


def num_features(dim: int, num_positions: int, num_crosses: int = 0) -> int:
    """F, the columns of :func:`rerank_features`."""
    return 1 + 2 * dim + len(AGE_TAUS_HOURS) + 1 + num_crosses + num_positions - 1


def _position_columns(score: Tensor, position: Tensor | None, num_positions: int) -> Tensor:
    """One-hot without position 0, (B, M, K - 1), in the dtype of ``score``."""
    if position is None:
        return score.new_zeros(*score.shape, num_positions - 1)
    position = position.expand(score.shape) if position.ndim == 1 else position
    require_shape(position, tuple(score.shape), "position")
    if position.numel():
        low, high = (int(end) for end in position.aminmax())
        require(low >= 0 and high < num_positions, "position", (low, high), f"within 0 .. {num_positions - 1}")
    # Position 0 is the reference: a column of its own would be one with the bias, and serving must not need it.
    return F.one_hot(position, num_positions)[..., 1:].to(score.dtype)


class Reranker(nn.Module):
    """Logits of the articles of a slate or shortlist; equal to the first stage's score at the start.

    Subclasses say what the logit of features (B, M, F) is.

    Args:
        dim: d.
        num_positions: K, the positions that a log can hold.
        num_crosses: X.
    """

    mips = False

    def __init__(self, dim: int, num_positions: int, num_crosses: int = 0) -> None:
        super().__init__()
        require(dim >= 1, "dim", dim, ">= 1")
        require(num_positions >= 1, "num_positions", num_positions, ">= 1")
        self.num_positions, self.num_crosses = num_positions, num_crosses

    def logits(self, features: Tensor) -> Tensor:
        """(B, M) from the columns of :func:`rerank_features`, (B, M, F); column 0 is the score."""
        raise NotImplementedError

    def forward(
        self,
        score: Tensor,
        user: Tensor,
        item: Tensor,
        age_hours: Tensor,
        position: Tensor | None = None,
        crosses: Tensor | None = None,
    ) -> Tensor:
        """Logits.

        Args:
            score: the first stage's, finite float (B, M).
            user: u, (B, d).
            item: v, (B, M, d).
            age_hours: (B, M).
            position: int64 (B, M) or (M,) in training; None when serving, where it is 0 for all: the logit then is
                that of a click at the top.
            crosses: (B, M, X), None where X is 0. Data: no gradient goes to the towers by them.

        Returns:
            float (B, M).

        Raises:
            ValueError: on wrong shapes, or a position outside 0 .. K - 1.
        """
        told = 0 if crosses is None else crosses.shape[-1]
        require(told == self.num_crosses, "crosses", told, f"{self.num_crosses} columns, as the reranker was made for")
        return self.logits(rerank_features(score, user, item, age_hours, position, self.num_positions, crosses))


class LogisticReranker(Reranker):
    """Linear in the features: weight 1 on the score, 0 on the rest at the start.

    Args:
        dim: d.
        num_positions: K.
        generator: not used, nothing is drawn; all rerankers are made alike.
        num_crosses: X.
    """

    def __init__(
        self, dim: int, num_positions: int, generator: torch.Generator | None = None, num_crosses: int = 0
    ) -> None:
        super().__init__(dim, num_positions, num_crosses)
        weight = torch.zeros(num_features(dim, num_positions, num_crosses))
        weight[0] = 1.0
        self.weight = nn.Parameter(weight)
        self.bias = nn.Parameter(torch.zeros(()))

    @property
    def position_logit(self) -> Tensor:
        """What each position adds to the logit, compared with the top, (K,)."""
        learned = self.weight[len(self.weight) - self.num_positions + 1 :]
        return torch.cat([learned.new_zeros(1), learned])

    def logits(self, features: Tensor) -> Tensor:
        """Weighted sum plus bias."""
        return features @ self.weight + self.bias


class MlpReranker(Reranker):
    """The score plus a feed-forward network of the features, whose last layer starts at 0.

    An upper reference for what the same features can give.

    Args:
        dim: d.
        num_positions: K.
        generator: of the initial weights.
        num_crosses: X.
        widths: hidden layers.
    """

    def __init__(
        self,
        dim: int,
        num_positions: int,
        generator: torch.Generator,
        num_crosses: int = 0,
        widths: Sequence[int] = (128, 64),
    ) -> None:
        super().__init__(dim, num_positions, num_crosses)
        self.network = FeedForward(num_features(dim, num_positions, num_crosses), widths, 1, generator)
        with torch.no_grad():
            self.network.last.weight.zero_()

    def logits(self, features: Tensor) -> Tensor:
        """Score plus the network's correction."""
        correction: Tensor = self.network(features)
        return features[..., 0] + correction[..., 0]


RERANKERS: dict[str, Callable[..., Reranker]] = {
    "logistic": LogisticReranker,
    "mlp": MlpReranker,
}
"""Second stages by name, each made from d, K, a generator, and X where it is not 0."""

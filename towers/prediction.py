"""From tower outputs to a score: inner product, article bias, global bias.

Shapes: B readers, N articles, K positions, d dimensions.
"""

import math

import torch
from torch import Tensor, nn

from feedgym.towers.checks import require, require_shape


def dot_score(user: Tensor, item: Tensor, bias: Tensor, *, pairs: bool) -> Tensor:
    """Inner product plus article bias.

    Args:
        user: (B, d).
        item: (B, d) row by row; (B, K, d) slates; with ``pairs`` (N, d), every reader with every article.
        bias: (B,), (B, K) or (N,): ``item`` without its last axis.
        pairs: says which of the two is meant where ``item`` has two axes.

    Returns:
        (B,), (B, K) or (B, N).
    """
    require_shape(bias, tuple(item.shape[:-1]), "bias")
    if item.ndim == 3:
        require_shape(item, (len(user), item.shape[1], user.shape[1]), "item")
        return torch.baddbmm(bias[:, :, None], item, user[:, :, None])[:, :, 0]
    if pairs:
        require_shape(item, (len(item), user.shape[1]), "item")
        return torch.addmm(bias, user, item.T)
    require_shape(item, tuple(user.shape), "item")
    return (user * item).sum(dim=-1) + bias


class Prediction(nn.Module):
    """A score that retrieval can search by: an inner product of what is made of u and of v, and biases.

    Subclasses say what is made of the vectors. The global bias b0 is not seen by softmax losses; regressions
    need it started well.
    """

    mips = True
    """Whether the score is an inner product, so that an index can find the best articles."""

    def __init__(self) -> None:
        super().__init__()
        self.global_bias = nn.Parameter(torch.zeros(()))

    @torch.no_grad()
    def start_at_rate(self, rate: float) -> None:
        """Let b0 be logit(rate), for BCE: else a thousand steps go by until the mean prediction is right.

        Raises:
            ValueError: unless 0 < rate < 1.
        """
        require(0 < rate < 1, "rate", rate, "a rate in (0, 1)")
        self.global_bias.fill_(math.log(rate / (1 - rate)))

    @torch.no_grad()
    def start_at_mean(self, mean: float) -> None:
        """Let b0 be the mean of the target, for squared error."""
        require(math.isfinite(mean), "mean", mean, "a finite value")
        self.global_bias.fill_(mean)

    def users(self, user: Tensor) -> Tensor:
        """What retrieval searches with, (B, d)."""
        raise NotImplementedError

    def items(self, item: Tensor) -> Tensor:
        """What an index stores, (..., d)."""
        raise NotImplementedError

    def forward(self, user: Tensor, item: Tensor, bias: Tensor, *, pairs: bool) -> Tensor:
        """``dot_score`` of both + b0."""
        return dot_score(self.users(user), self.items(item), bias, pairs=pairs) + self.global_bias


class DotPrediction(Prediction):
    """u . v + b_i + b0."""

    def users(self, user: Tensor) -> Tensor:
        """The vectors themselves."""
        return user

    def items(self, item: Tensor) -> Tensor:
        """The vectors themselves."""
        return item


class CosinePrediction(Prediction):
    """scale * cos(u, v) + b_i + b0, with a learned scale in (0, 100): the inverse of a temperature.

    The range 2 * scale must exceed the spread of what is learned: about 12 for the log share of clicks of 1e5
    articles. The bound of 100 is that of Radford et al. (ICML 2021, section 2.5).

    Args:
        initial_scale: the scale at the start.
    """

    max_scale = 100.0

    def __init__(self, initial_scale: float = 10.0) -> None:
        super().__init__()
        allowed = f"between 0 and {self.max_scale:g}, both excluded"
        require(0 < initial_scale < self.max_scale, "initial_scale", initial_scale, allowed)
        # Far below the bound this is log(scale) plus a constant. A clipped log(scale) would have no gradient
        # once a step has carried it past the bound, and stay there for good.
        self.scale_logit = nn.Parameter(torch.tensor(math.log(initial_scale / (self.max_scale - initial_scale))))

    @property
    def scale(self) -> Tensor:
        """The scale, a scalar in (0, 100)."""
        return self.max_scale * self.scale_logit.sigmoid()

    def users(self, user: Tensor) -> Tensor:
        """Unit vectors times the scale: scale * u / |u|."""
        return self.scale * _unit(user)

    def items(self, item: Tensor) -> Tensor:
        """Unit vectors: v / |v|."""
        return _unit(item)


def _unit(vectors: Tensor) -> Tensor:
    """Vectors (..., d) of length 1. One shorter than 1e-4 is only stretched by 1e4: a gradient at zero is finite."""
    length: Tensor = torch.linalg.vector_norm(vectors, dim=-1, keepdim=True)
    return vectors / length.clamp_min(1e-4)


PREDICTIONS: dict[str, type[Prediction]] = {"dot": DotPrediction, "cosine": CosinePrediction}
"""Prediction modules that retrieval can search by. The others rerank: see ``rerankers``."""

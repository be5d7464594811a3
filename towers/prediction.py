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


class DotPrediction(nn.Module):
    """``dot_score`` plus a global bias b0. Softmax losses do not see it; regressions need it started well."""

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

    def forward(self, user: Tensor, item: Tensor, bias: Tensor, *, pairs: bool) -> Tensor:
        """``dot_score`` + b0."""
        return dot_score(user, item, bias, pairs=pairs) + self.global_bias

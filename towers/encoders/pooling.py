"""Additive attention: one vector of many, each weighed by what it is (Bahdanau et al., ICLR 2015)."""

import math

import torch
from torch import Tensor, nn

from feedgym.towers.features import linear


class AdditivePooling(nn.Module):
    """sum_i a_i x_i with a = softmax_i(q . tanh(W x_i + c)) (Wu et al., EMNLP 2019, equations 3 and 4).

    Args:
        dim: width of the vectors x.
        hidden_dim: width of the learned query q.
        generator: where W and q are drawn from.
    """

    def __init__(self, dim: int, hidden_dim: int, generator: torch.Generator) -> None:
        super().__init__()
        self.project = linear(dim, hidden_dim, 1.0, generator)
        self.query = nn.Parameter(torch.randn(hidden_dim, generator=generator) / math.sqrt(hidden_dim))

    def forward(self, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
        """Float (B, L, dim), with a mask bool (B, L) of those that count, to (B, dim).

        A row in which none counts gives the mean of its tokens.
        """
        seen = torch.tanh(self.project(tokens))
        # A matrix times a vector is rounded by where in the batch a row stands. Where slates are served by it, a
        # reader's vector must not depend on who else visits; in training the product is the faster one.
        score = seen @ self.query if torch.is_grad_enabled() else (seen * self.query).sum(dim=-1)
        if mask is not None:
            # The smallest number, not -inf: a row without any token would be nan, and so its gradient.
            score = score.masked_fill(~mask, torch.finfo(score.dtype).min)
        return torch.bmm(score.softmax(dim=1)[:, None, :], tokens)[:, 0]

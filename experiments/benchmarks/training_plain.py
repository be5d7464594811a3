"""The same model and loss in plain torch, over tensors that lie ready: what training costs without a framework.

The towers of the agent ``contrastive`` (mean of the history, linear age, shared item encoder, inner product) and the
in-batch softmax with the logQ correction; no checks, no choices, no replay. As a careful author would write it: each
article of a batch is embedded once, and no (B, L, h) array of histories is made.
Shapes: n clicks of a log, B of a batch, N articles, L clicks of history, h columns of a click's vector, d dimensions.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F


@dataclass(frozen=True, kw_only=True)
class PlainLog:
    """A log as tensors: a row per click, oldest first, and a row per article."""

    article: Tensor
    """What was clicked, int64 (n,)."""
    hours: Tensor
    """When, float64 (n,)."""
    log_q: Tensor
    """Log share of the clicks that the article takes, float32 (n,)."""
    reader: Tensor
    """Columns of the reader, standardised, float32 (n, R)."""
    history: Tensor
    """Articles clicked before, newest first, int64 (n, L); N where none."""
    numeric: Tensor
    """Columns of articles, standardised, float32 (N, F)."""
    category: Tensor
    """Topic and publisher, int64 (N, 2)."""
    published: Tensor
    """Hours, float64 (N,)."""
    click_vector: Tensor
    """Of clicked articles, float32 (N + 1, h); the last row is 0."""


def mlp(*dims: int) -> nn.Sequential:
    """Linear layers with ReLU between them."""
    layers: list[nn.Module] = []
    for narrow, wide in pairwise(dims):
        layers += [nn.Linear(narrow, wide), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers[:-1])


class PlainTowers(nn.Module):
    """Both towers, and the loss of a batch of clicks."""

    def __init__(self, log: PlainLog, category_sizes: Sequence[int], widths: Sequence[int], dim: int) -> None:
        super().__init__()
        self.log, self.dim = log, dim
        self.tables = nn.ModuleList(nn.Embedding(size, 8) for size in category_sizes)
        self.item = mlp(log.numeric.shape[1] + 8 * len(category_sizes), *widths, dim + 1)
        history_dim = log.click_vector.shape[1]
        self.user = mlp(history_dim + log.reader.shape[1], *widths, dim + 1)
        self.empty = nn.Parameter(torch.zeros(history_dim))
        self.history_scale = 2.0 * dim**0.25

    def forward(self, rows: slice) -> Tensor:
        """In-batch softmax of these consecutive clicks (Yi et al., RecSys 2019), in nats."""
        log, d, none = self.log, self.dim, len(self.log.numeric)
        ids, history = log.article[rows], log.history[rows]
        unique, place = torch.unique(ids, return_inverse=True)
        categories = [table(log.category[unique, i]) for i, table in enumerate(self.tables)]
        v = self.item(torch.cat([log.numeric[unique], *categories], dim=1))[place]
        born = (log.published[ids] - log.hours[rows][-1]).float()[:, None]
        item = torch.cat([v, born], dim=1)  # [v, b, t_i - t_ref], (B, d + 2)
        mean = F.embedding_bag(history, log.click_vector, mode="mean", padding_idx=none)
        state = torch.where(history[:, :1] < none, mean, self.empty) * self.history_scale
        u = self.user(torch.cat([state, log.reader[rows]], dim=1))
        user = torch.cat([u[:, :d], torch.ones(len(u), 1), F.softplus(u[:, d:])], dim=1)
        return F.cross_entropy(user @ item.T - log.log_q[rows], torch.arange(len(u)))

"""The form of an unknown logging policy, and how likely it makes logged slates: what ``logged_behaviour`` fits.

With chance eps a visit's slate is uniform, else Plackett-Luce with logits
``z = f(article, age, counters) + u(reader) . v(article)``.

Shapes: n readers, B visits of a batch, K positions, N live articles, F columns of an article, c of what moves, R of a
reader.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from feedgym.agents.learners import log_slots_of_kinds
from feedgym.env.arrays import Floats
from feedgym.env.checks import require


@dataclass(frozen=True, kw_only=True)
class BehaviourConfig:
    """How the logging policy is estimated."""

    most_visits: int = 20_000
    """Latest visits that are learned from."""
    draws: int = 256
    """Live articles drawn at each tick, for the sum over all of them."""
    steps: int = 600
    """Of the optimiser."""
    batch_ticks: int = 16
    """Ticks in a batch."""
    learning_rate: float = 0.01
    """Of Adam, falling to 0."""
    ridge: float = 10.0
    """Nats that a weight of 1 costs the whole log: without it the noise of a small log is taken for taste."""
    width: int = 32
    """Hidden units of f."""
    dim: int = 8
    """Of u and v."""

    def __post_init__(self) -> None:
        """Check once."""
        for name in ("most_visits", "draws", "steps", "batch_ticks", "width", "dim"):
            require(getattr(self, name) >= 1, name, getattr(self, name), ">= 1")
        require(self.learning_rate > 0, "learning_rate", self.learning_rate, "> 0")
        require(self.ridge >= 0, "ridge", self.ridge, ">= 0 (nats)")


class LoggedPolicy(nn.Module):
    """Logits of an unknown policy, and its exploration.

    Args:
        article: columns of an article, float32 (any, F + c), whose first F do not move: for their mean and sd.
        num_static: F.
        reader: columns of readers, float32 (any, R), likewise.
        config: sizes.
        generator: of the first weights.
    """

    article_mean: Tensor
    article_scale: Tensor
    reader_mean: Tensor
    reader_scale: Tensor

    def __init__(
        self, article: Floats, num_static: int, reader: Floats, config: BehaviourConfig, generator: torch.Generator
    ) -> None:
        super().__init__()
        self._num_static = num_static
        for name, columns in (("article", article), ("reader", reader)):
            sd = columns.std(axis=0)
            self.register_buffer(f"{name}_mean", torch.from_numpy(columns.mean(axis=0)))
            self.register_buffer(
                f"{name}_scale", torch.from_numpy(np.where(sd > 1e-6, 1.0 / np.maximum(sd, 1e-6), 0.0))
            )
        width = article.shape[1]
        self.linear = nn.Linear(width, 1, bias=False)
        self.hidden = nn.Linear(width, config.width)
        self.out = nn.Linear(config.width, 1, bias=False)
        self.reader = nn.Linear(reader.shape[1], config.dim)
        self.article = nn.Linear(num_static, config.dim, bias=False)
        self.exploration = nn.Parameter(torch.tensor(math.log(0.1 / 0.9)))
        for layer in (self.hidden, self.article):
            nn.init.normal_(layer.weight, std=layer.in_features**-0.5, generator=generator)
        # From a uniform logger on.
        for layer in (self.linear, self.out, self.reader):
            nn.init.zeros_(layer.weight)
        nn.init.zeros_(self.hidden.bias)
        nn.init.zeros_(self.reader.bias)

    def penalty(self) -> Tensor:
        """Sum of the squares of all weights; readers and articles each bear their part of a product."""
        layers = (self.linear, self.hidden, self.out, self.reader, self.article)
        return torch.stack([layer.weight.square().sum() for layer in layers]).sum()

    @property
    def epsilon(self) -> Tensor:
        """Estimated chance that a visit explores, float64."""
        return torch.sigmoid(self.exploration.double())

    def of_articles(self, columns: Tensor) -> tuple[Tensor, Tensor]:
        """F (...,) and v (..., dim) of articles (..., F + c)."""
        x = ((columns - self.article_mean) * self.article_scale).clamp(-10.0, 10.0)
        f = self.linear(x) + self.out(torch.tanh(self.hidden(x)))
        return f[..., 0], self.article(x[..., : self._num_static])

    def of_readers(self, columns: Tensor) -> Tensor:
        """U of readers (n, R), (n, dim)."""
        vector: Tensor = self.reader(((columns - self.reader_mean) * self.reader_scale).clamp(-10.0, 10.0))
        return vector


def slate_log_likelihood(shown: Tensor, valid: Tensor, rest: Tensor, num_live: Tensor, epsilon: Tensor) -> Tensor:
    """Log of the chance of whole slates under the slate policy (docs/mathematics.md 2.1), float64 (B,).

    Args:
        shown: logits of what stands there, float64 (B, K).
        valid: where something does, bool (B, K).
        rest: log of the sum of e^z over the live articles that are not shown, float64 (B,).
        num_live: N, float64 (B,).
        epsilon: chance that a visit explores, a scalar.
    """
    kept, explored = log_slots_of_kinds(shown, valid, rest, num_live)
    total: Tensor = torch.logaddexp(torch.log1p(-epsilon) + kept.sum(dim=1), torch.log(epsilon) + explored.sum(dim=1))
    return total

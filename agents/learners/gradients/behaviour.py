"""Propensities of a log that has none: a second softmax on the reader state (docs/mathematics.md 3.1, ``estimated``).

Learned by cross-entropy on all impressions, also those without reward, behind a stop-gradient: what the towers learn
does not depend on it (Chen et al., WSDM 2019, section 4.2).
Shapes: B visits, C candidates (head, then tail draws), K positions, R numbers of a reader, D of an article.
"""

import numpy as np
import torch
from torch import Tensor, nn

from feedgym.env.arrays import AnyArray, Arrays, Doubles
from feedgym.env.checks import require
from feedgym.towers.arrays import arrays_of
from feedgym.towers.features import ItemFeaturesConfig, Standardise
from feedgym.towers.plain_torch import allocated

_HOURS = (6.0, 24.0)
"""Of the exponentials by which the estimate sees ages; beside their logarithm."""


class BehaviourHead(nn.Module):
    """Chance of each live article to stand at a random position of a slate that the logging policy serves.

    Of slates of K articles it tends to ``i(a) / K``: K times it estimates the inclusion probability.
    """

    def __init__(self, reader_dim: int, article_dim: int) -> None:
        super().__init__()
        require(reader_dim >= 1, "reader_dim", reader_dim, ">= 1")
        require(article_dim >= 1, "article_dim", article_dim, ">= 1")
        # Without torch's own first weights, which are drawn from a stream that is nobody's.
        self.query = allocated(nn.Linear(reader_dim, article_dim, device="meta"))
        # From a uniform logger on: what is seldom shown is then seldom estimated to be.
        nn.init.zeros_(self.query.weight)
        nn.init.zeros_(self.query.bias)

    def forward(self, reader: Tensor, article: Tensor, each: Tensor) -> Tensor:
        """Log chance of one article, not of those that a draw stands for, float64 (B, C); -inf at padding.

        Args:
            reader: state of the shared encoder, (B, R); gradients stop here.
            article: features or vectors of the candidates, (B, C, D), any finite value at padding; likewise.
            each: live articles that a candidate stands for, (B, C): 1 in the head, 0 at padding.

        Raises:
            ValueError: ``each`` or ``reader`` does not fit ``article``.
        """
        rows, candidates = article.shape[0], article.shape[1]
        require(each.shape == (rows, candidates), "each", tuple(each.shape), f"shape {(rows, candidates)}")
        require(len(reader) == rows, "reader", tuple(reader.shape), f"{rows} rows, as article")
        logits = torch.einsum("bd,bcd->bc", self.query(reader.detach()), article.detach()).double()
        used = each > 0
        share = torch.where(used, logits + torch.log(torch.where(used, each, 1.0).double()), -torch.inf)
        return (logits - torch.logsumexp(share, dim=1, keepdim=True)).masked_fill(~used, -torch.inf)

    def loss(self, reader: Tensor, article: Tensor, each: Tensor, column: Tensor) -> Tensor:
        """Cross-entropy in nats, mean over what was shown; 0 where nothing was.

        Args:
            reader: as in :meth:`forward`.
            article: as in :meth:`forward`.
            each: as in :meth:`forward`.
            column: which candidate stands at each position, int64 (B, K); -1 where nothing was shown.
        """
        return cross_entropy(self(reader, article, each), column)


def cross_entropy(log_chance: Tensor, column: Tensor) -> Tensor:
    """Minus the mean log chance (B, C) of what was shown, candidates ``column`` (B, K); 0 where nothing was (-1)."""
    shown = column >= 0
    return -torch.where(shown, log_chance.gather(1, column.clamp(min=0)), 0.0).sum() / shown.sum().clamp(min=1)


class EstimatedBehaviour(nn.Module):
    """The head, and what it sees of articles: features, categories, age, and how the agent's own prior rates them.

    Only what training does not move, but for the reader state: so what is learned stays true from training to training.

    Args:
        config: what an article's features are; hashed categories are left out.
        reader_dim: R.
    """

    def __init__(self, config: ItemFeaturesConfig, reader_dim: int) -> None:
        super().__init__()
        self.numeric = Standardise(config.num_numeric)
        self._sizes = tuple((k, c.size) for k, c in enumerate(config.categories) if not c.hashed)
        static = config.num_numeric + sum(size for _, size in self._sizes)
        self.head = BehaviourHead(reader_dim, static + 1 + len(_HOURS) + 1)

    def articles(self, numeric: Tensor, categorical: Tensor) -> Tensor:
        """What does not change of articles, (m, F): numeric columns and categories, one column for each."""
        parts = [self.numeric(numeric)]
        parts += [nn.functional.one_hot(categorical[:, k], size).float() for k, size in self._sizes]
        return torch.cat(parts, dim=1)

    def forward(self, reader: Tensor, article: Tensor, age: Tensor, prior: Tensor, each: Tensor) -> Tensor:
        """Log chance of each candidate, float64 (B, C), see :class:`BehaviourHead`.

        Args:
            reader: (B, R); gradients stop here.
            article: of :meth:`articles`, (B, C, F).
            age: hours, (B, C).
            prior: logits of the agent's own prior when the slate was made, (B, C).
            each: live articles that a candidate stands for, (B, C); 0 at padding.
        """
        moving = [torch.log1p(age.clamp(min=0)), *(torch.exp(-age.clamp(min=0) / hours) for hours in _HOURS), prior]
        seen = torch.stack([column.float() for column in moving], dim=2)
        log_chance: Tensor = self.head(reader, torch.cat([article, seen], dim=2), each)
        return log_chance

    def to_arrays(self) -> Arrays:
        """Its state."""
        return arrays_of(self)


def estimated_inclusion(log_chance: Doubles, shown: AnyArray) -> Doubles:
    """The estimated inclusion ``K * chance``, float64 (B, K); 1 where nothing was shown.

    Args:
        log_chance: of the shown articles at a random position, float64 (B, K).
        shown: where an article stands, bool (B, K).
    """
    size = np.count_nonzero(shown, axis=1)[:, None]
    inclusion: Doubles = np.clip(size * np.exp(np.where(shown, log_chance, 0.0)), 1e-12, 1.0)
    return np.where(shown, inclusion, 1.0)

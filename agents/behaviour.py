"""Propensities of a log that has none: a second softmax on the reader state (algorithms.md, 3.1, ``estimated``).

Learned by cross-entropy on all impressions, also those without reward, behind a stop-gradient: what the towers learn
does not depend on it (Chen et al., WSDM 2019, section 4.2).
Shapes: B visits, C candidates (head, then tail draws), K positions, R numbers of a reader, D of an article.
"""

import torch
from torch import Tensor, nn

from feedgym.env.checks import require


class BehaviourHead(nn.Module):
    """Chance of each live article to stand at a random position of a slate that the logging policy serves.

    Of slates of K articles it tends to ``i(a) / K``: K times it estimates the inclusion probability.
    """

    def __init__(self, reader_dim: int, article_dim: int) -> None:
        super().__init__()
        require(reader_dim >= 1, "reader_dim", reader_dim, ">= 1")
        require(article_dim >= 1, "article_dim", article_dim, ">= 1")
        self.query = nn.Linear(reader_dim, article_dim)
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
        shown = column >= 0
        log_chance = self(reader, article, each).gather(1, column.clamp(min=0))
        return -torch.where(shown, log_chance, 0.0).sum() / shown.sum().clamp(min=1)

"""The mean of a reader's history (Covington et al., RecSys 2016).

Shapes: B readers, L articles of history, d dimensions of an article vector.
"""

import torch
from torch import Tensor

from feedgym.towers.encoders.history import HistoryEncoder


class HistoryMean(HistoryEncoder):
    """Mean of the vectors of the articles that a reader clicked; a learned vector where there are none.

    Args:
        dim: d, of what comes in and of what goes out.
        max_length: clicks that are looked at, the newest ones; None for all.
    """

    def __init__(self, dim: int, max_length: int | None = None) -> None:
        super().__init__(dim, dim, max_length)

    def forward(self, vectors: Tensor, mask: Tensor) -> Tensor:
        """Encode histories, see :meth:`HistoryEncoder.forward`: (B, L, d) and bool (B, L) to (B, d)."""
        self.check(vectors, mask)
        vectors, mask = vectors[:, : self.max_length], mask[:, : self.max_length]
        count = mask.sum(dim=1, keepdim=True)
        # A product, not `where` and `mean`: no second (B, L, d) array.
        share = mask.to(vectors.dtype) / count.clamp(min=1)
        mean = torch.bmm(share[:, None, :], vectors)[:, 0]
        return torch.where(count > 0, mean, self.empty)

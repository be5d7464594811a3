"""The mean of a reader's history (Covington et al., RecSys 2016).

Shapes: B readers, L articles of history, d dimensions of an article vector.
"""

import torch
from torch import Tensor, nn

from feedgym.towers.checks import require, require_shape


class HistoryMean(nn.Module):
    """Mean of the vectors of the articles that a reader clicked; a learned vector where there are none."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.empty = nn.Parameter(torch.zeros(dim))

    def forward(self, vectors: Tensor, mask: Tensor) -> Tensor:
        """Encode histories.

        Args:
            vectors: article vectors, float (B, L, d); what stands at padded places is ignored, if finite.
            mask: bool (B, L), True where there is an article. L = 0 is allowed.

        Returns:
            float (B, d).
        """
        require(vectors.ndim == 3, "history_vectors", tuple(vectors.shape), "shape (B, L, d)")
        require_shape(mask, tuple(vectors.shape[:2]), "history_mask")
        require(mask.dtype == torch.bool, "history_mask", mask.dtype, "bool")
        count = mask.sum(dim=1, keepdim=True)
        # A product, not `where` and `mean`: no second (B, L, d) array.
        share = mask.to(vectors.dtype) / count.clamp(min=1)
        mean = torch.bmm(share[:, None, :], vectors)[:, 0]
        return torch.where(count > 0, mean, self.empty)

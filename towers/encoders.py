"""Encoders: a feed-forward network of any depth, and the mean of a reader's history.

Shapes: B readers, L articles of history, d dimensions of an article vector.
"""

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from feedgym.towers.checks import require, require_shape
from feedgym.towers.features import linear


class FeedForward(nn.Sequential):
    """Linear layers with ReLU between them, linear at the end. (1024, 512, 256) is the published shape.

    (Covington et al., RecSys 2016; Yi et al., RecSys 2019.) No widths at all make it a linear map.

    Args:
        in_dim: width of the input.
        widths: widths of the hidden layers, first to last.
        out_dim: width of the output.
        generator: where the initial weights are drawn from (He et al., ICCV 2015: the mean square stays the
            same through the layers).
        out_gain: root mean square of the outputs at the start, for inputs of mean square 1.
    """

    def __init__(
        self,
        in_dim: int,
        widths: Sequence[int],
        out_dim: int,
        generator: torch.Generator,
        out_gain: float = 1.0,
    ) -> None:
        dims = (in_dim, *widths, out_dim)
        require(min(dims) >= 1, "in_dim, widths, out_dim", dims, ">= 1 each")
        layers: list[nn.Module] = []
        for narrow, wide in pairwise(dims[:-1]):
            # inplace: a linear layer needs its input, not its output, for the gradient.
            layers += [linear(narrow, wide, math.sqrt(2.0), generator), nn.ReLU(inplace=True)]
        layers.append(linear(dims[-2], out_dim, out_gain, generator))
        super().__init__(*layers)

    @property
    def last(self) -> nn.Linear:
        """The output layer."""
        layer = self[-1]
        assert isinstance(layer, nn.Linear)
        return layer


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

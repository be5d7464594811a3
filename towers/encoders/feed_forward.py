"""A feed-forward network of any depth."""

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import nn

from feedgym.towers.checks import require
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

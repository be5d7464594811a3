"""A feed-forward network of any depth."""

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from feedgym.towers.checks import require
from feedgym.towers.encoders.dropout import Dropout
from feedgym.towers.features import linear


class FeedForward(nn.Sequential):
    """Linear layers with ReLU between them, linear at the end. (1024, 512, 256) is the published shape.

    (Covington et al., RecSys 2016; Yi et al., RecSys 2019.) No widths at all make it a linear map.

    Args:
        in_dim: width of the input.
        widths: widths of the hidden layers, first to last.
        out_dim: width of the output.
        generator: where the initial weights are drawn from (He et al., ICCV 2015: the mean square stays the
            same through the layers), and the seeds of the dropout masks.
        out_gain: root mean square of the outputs at the start, for inputs of mean square 1.
        dropout: share of each hidden layer's outputs that is zeroed in training.
        layer_norm: normalise each hidden layer before its ReLU (Ba et al., 2016).
        residual: add each hidden layer's input to its output, through a linear map where the widths differ
            (He et al., CVPR 2016).
    """

    def __init__(
        self,
        in_dim: int,
        widths: Sequence[int],
        out_dim: int,
        generator: torch.Generator,
        out_gain: float = 1.0,
        *,
        dropout: float = 0.0,
        layer_norm: bool = False,
        residual: bool = False,
    ) -> None:
        dims = (in_dim, *widths, out_dim)
        require(min(dims) >= 1, "in_dim, widths, out_dim", dims, ">= 1 each")
        require(0 <= dropout < 1, "dropout", dropout, "0 <= dropout < 1")
        layers: list[nn.Module] = []
        for narrow, wide in pairwise(dims[:-1]):
            hidden: list[nn.Module] = [linear(narrow, wide, math.sqrt(2.0), generator)]
            if layer_norm:
                hidden.append(_relu_norm(wide))
            # inplace: a linear layer needs its input, not its output, for the gradient.
            hidden.append(nn.ReLU(inplace=True))
            if dropout > 0:
                hidden.append(Dropout(dropout, generator))
            layers += [_Residual(hidden, narrow, wide, generator)] if residual else hidden
        layers.append(linear(dims[-2], out_dim, out_gain, generator))
        super().__init__(*layers)

    @property
    def last(self) -> nn.Linear:
        """The output layer."""
        layer = self[-1]
        assert isinstance(layer, nn.Linear)
        return layer


class _Residual(nn.Module):
    """(skip + hidden) / sqrt(2): the mean square stays about the same, as without the skip."""

    def __init__(self, hidden: list[nn.Module], in_dim: int, out_dim: int, generator: torch.Generator) -> None:
        super().__init__()
        self.hidden = nn.Sequential(*hidden)
        self.skip = nn.Identity() if in_dim == out_dim else linear(in_dim, out_dim, 1.0, generator)

    def forward(self, values: Tensor) -> Tensor:
        """Float (..., in_dim) to (..., out_dim)."""
        both: Tensor = self.skip(values) + self.hidden(values)
        return both * math.sqrt(0.5)


def _relu_norm(dim: int) -> nn.LayerNorm:
    """Layer norm that starts with gain sqrt(2): after the ReLU the mean square is 1, as in the plain network."""
    norm = nn.LayerNorm(dim)
    nn.init.constant_(norm.weight, math.sqrt(2.0))
    return norm

"""Position bias that is learned together with the clicks (docs/mathematics.md 6.6).

Position-based model (Craswell et al., WSDM 2008): P(click at k) = theta_k sigmoid(s).
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from feedgym.towers.checks import require


class LearnedExamination(nn.Module):
    """log theta_k of each position, for ``bce_loss(..., log_examination=...)``; theta_0 = 1.

    Only the ratios of the theta are in the data, so that of the top position is fixed. And only where articles
    change places: were each always shown at its own position, position and appeal could not be told apart.
    It starts at theta_k = 1 / (1 + k), the first guess of Joachims et al. (WSDM 2017: 1 / rank).

    Args:
        num_positions: positions K of a slate, >= 1.
    """

    def __init__(self, num_positions: int) -> None:
        super().__init__()
        require(num_positions >= 1, "num_positions", num_positions, ">= 1")
        # theta = sigmoid(-strength): odds of 1 to k at the start.
        start = [math.log(k) for k in range(1, num_positions)]
        self.strength = nn.Parameter(torch.tensor(start, dtype=torch.get_default_dtype()))

    @property
    def num_positions(self) -> int:
        """Positions K of a slate."""
        return len(self.strength) + 1

    def forward(self) -> Tensor:
        """Log theta, float (K,): 0 at the top, <= 0 elsewhere."""
        return F.pad(-F.softplus(self.strength), (1, 0))

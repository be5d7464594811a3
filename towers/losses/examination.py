"""Position bias (docs/mathematics.md 6.6): learned together with the clicks, and what a missing click says of it.

Position-based model (Craswell et al., WSDM 2008): P(click at k) = theta_k sigmoid(s).
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from feedgym.towers.checks import require
from feedgym.towers.losses.common import at_least_float32, extremes
from feedgym.towers.losses.pointwise import check_last_axes


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


def examination_posterior(click_probability: Tensor, examination: Tensor) -> Tensor:
    """P(examined | no click) = theta (1 - c) / (1 - theta c) of the position-based model, for non-clicks.

    The weight of a non-click in one EM step (Wang et al., WSDM 2018): low in the slate it is weak
    evidence. Detach it before it weights a loss: a weight is not to be learned.

    Args:
        click_probability: c, chance of a click once examined, in [0, 1], float, any shape.
        examination: theta, chance that the position was looked at, in [0, 1]; the same shape or its last axes,
            such as (K,) against (S, K).

    Returns:
        Chances in [0, 1], shape of ``click_probability``; 1 where theta is 1.

    Raises:
        ValueError: on shapes that do not fit, or values outside [0, 1].
    """
    c = at_least_float32(click_probability)
    theta = examination.to(c.dtype)
    for name, chance in (("click_probability", c), ("examination", theta)):
        require(bool(((chance >= 0) & (chance <= 1)).all()), name, extremes(chance), "chances in [0, 1]")
    check_last_axes(theta, tuple(c.shape), "examination")
    # 1 - theta c, written without the cancellation; 0 only at theta = c = 1, where a non-click cannot happen.
    examined, missed = theta * (1 - c), 1 - theta
    total = examined + missed
    return torch.where(total > 0, examined / torch.where(total > 0, total, 1.0), 1.0)

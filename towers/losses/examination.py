"""What a missing click says about whether the article was looked at (docs/mathematics.md 6.6)."""

import torch
from torch import Tensor

from feedgym.towers.checks import require
from feedgym.towers.losses.common import at_least_float32, extremes
from feedgym.towers.losses.pointwise import check_last_axes


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

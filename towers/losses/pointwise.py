"""Losses of single impressions: of dwell and clicks, also under position bias (docs/mathematics.md 6.1 and 6.6)."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from feedgym.towers.checks import require, require_shape
from feedgym.towers.losses.common import Normalise, at_least_float32, extremes, mean_of_rows


def mse_loss(score: Tensor, target: Tensor, *, weight: Tensor | None = None, normalise: Normalise = "weight") -> Tensor:
    """Squared error; optimum: the mean of the target given reader and article, whatever policy logged it.

    Args:
        score: predictions, float, any shape.
        target: what was seen, such as dwell in minutes; same shape.
        weight: weight of each prediction, float >= 0, same shape.
        normalise: divide by the sum of the weights or by their number.

    Returns:
        Loss in squared units of the target, a scalar.

    Raises:
        ValueError: on shapes that differ, no row at all, or weights that are negative or sum to 0.
    """
    score = at_least_float32(score)
    require_shape(target, tuple(score.shape), "target")
    return mean_of_rows((score - target.to(score.dtype)).square(), weight, normalise)


def bce_loss(
    logit: Tensor,
    clicked: Tensor,
    *,
    weight: Tensor | None = None,
    log_examination: Tensor | None = None,
    negative_keep_rate: float = 1.0,
    normalise: Normalise = "weight",
) -> Tensor:
    """Binary cross-entropy of clicks; optimum: the logit of the click rate (once examined, if given).

    Position-based model (Craswell et al., WSDM 2008): P(click) = theta sigmoid(s). Its log-odds are
    log theta - log(e^-s + 1 - theta), so the loss stays a binary cross-entropy, and 1 - theta sigmoid(s),
    which would lose all digits, is never formed. Where only a share r of the non-clicks was kept, the odds in
    the data are 1/r of the true ones (He et al., ADKDD 2014, section 6.3): taking log r off inside the loss
    leaves ``logit`` the true one.

    Args:
        logit: log-odds of a click on an examined article, float, any shape.
        clicked: bool or float in [0, 1], same shape.
        weight: weight of each impression, float >= 0, same shape.
        log_examination: log theta, the log chance that the position was looked at, <= 0 and finite; the shape
            of ``logit`` or its last axes, such as (K,) against (S, K). Gradients flow into it: see
            ``feedgym.towers.losses.examination.LearnedExamination``.
        negative_keep_rate: share of the non-clicks that was kept, in (0, 1].
        normalise: divide by the sum of the weights or by their number.

    Returns:
        Loss in nats, a scalar.

    Raises:
        ValueError: on shapes that differ, no row at all, a rate outside (0, 1], log_examination above 0 or
            not finite, or weights that are negative or sum to 0.
    """
    logit = at_least_float32(logit)
    require_shape(clicked, tuple(logit.shape), "clicked")
    require(0 < negative_keep_rate <= 1, "negative_keep_rate", negative_keep_rate, "a share in (0, 1]")
    if log_examination is not None:
        logit = _seen_logit(logit, log_examination)
    if negative_keep_rate < 1:
        logit = logit - math.log(negative_keep_rate)
    row_loss = F.binary_cross_entropy_with_logits(logit, clicked.to(logit.dtype), reduction="none")
    return mean_of_rows(row_loss, weight, normalise)


def ips_bce_loss(
    logit: Tensor,
    clicked: Tensor,
    examination: Tensor,
    *,
    clip: float | None = None,
    weight: Tensor | None = None,
    normalise: Normalise = "weight",
) -> Tensor:
    """Click cross-entropy with relevance labels y/theta and 1 - y/theta; optimum: logit of the examined click rate.

    Unbiased for the loss on true relevance (Saito et al., WSDM 2020), at a variance of about 1/theta
    and with negative weights on non-clicks where y = 1: the sum is unbounded below. ``clip`` bounds both, and
    biases. ``bce_loss`` with ``log_examination`` has the same optimum without either; prefer it.

    Args:
        logit: log-odds of a click on an examined article, float, any shape.
        clicked: bool or float in [0, 1], same shape.
        examination: theta, the chance that the position was looked at, in (0, 1]; the shape of ``logit`` or its
            last axes, such as (K,) against (S, K).
        clip: largest 1/theta, >= 1; at 1 the loss is the plain cross-entropy. None: as it is.
        weight: weight of each impression, float >= 0, same shape as ``logit``.
        normalise: divide by the sum of the weights or by their number.

    Returns:
        Loss in nats, a scalar; it may be negative.

    Raises:
        ValueError: on shapes that differ, no row at all, examination outside (0, 1], a clip below 1, or weights
            that are negative or sum to 0.
    """
    logit = at_least_float32(logit)
    require_shape(clicked, tuple(logit.shape), "clicked")
    theta = examination.to(logit.dtype)
    usable = bool(((theta > 0) & (theta <= 1)).all())
    require(usable, "examination", extremes(theta), "chances in (0, 1]")
    check_last_axes(theta, tuple(logit.shape), "examination")
    require(clip is None or clip >= 1, "clip", clip, ">= 1, the largest 1 / examination, or None")
    boost = theta.reciprocal()
    if clip is not None:
        boost = boost.clamp(max=clip)
    # (y / theta) softplus(-s) + (1 - y / theta) softplus(s), with softplus(-s) = softplus(s) - s
    row_loss = F.softplus(logit) - clicked.to(logit.dtype) * boost * logit
    return mean_of_rows(row_loss, weight, normalise)


def check_last_axes(values: Tensor, shape: tuple[int, ...], name: str) -> None:
    """Refuse ``values`` unless they have this shape or that of its last axes."""
    own = tuple(values.shape)
    fits = own == shape or (len(own) < len(shape) and shape[len(shape) - len(own) :] == own)
    require(fits, name, f"shape {own}", f"{shape} or its last axes")


def _seen_logit(logit: Tensor, log_examination: Tensor) -> Tensor:
    """Log-odds of theta sigmoid(s) for s = ``logit`` and log theta = ``log_examination``."""
    log_theta = log_examination.to(logit.dtype)
    usable = bool((log_theta.isfinite() & (log_theta <= 0)).all())
    require(usable, "log_examination", extremes(log_theta), "finite logs of chances, <= 0")
    check_last_axes(log_theta, tuple(logit.shape), "log_examination")
    # At theta = 1 log(1 - theta) has an infinite slope; the inner `where` keeps its 0 * inf out of the
    # gradient.
    certain = log_theta == 0
    log_miss = torch.log(-torch.expm1(torch.where(certain, -1.0, log_theta)))
    log_miss = torch.where(certain, -math.inf, log_miss)
    return log_theta - torch.logaddexp(-logit, log_miss)

"""Losses of pairs and of single negatives: BPR, gBCE, CCL (docs/mathematics.md 6.5).

Shapes: B rows, M negatives of each.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from feedgym.towers.checks import require, require_shape
from feedgym.towers.losses.common import Normalise, at_least_float32, mask_of, mean_of_rows, usable_rows


def bpr_loss(
    positive: Tensor,
    negative: Tensor,
    *,
    mask: Tensor | None = None,
    weight: Tensor | None = None,
    normalise: Normalise = "weight",
) -> Tensor:
    """Bayesian personalised ranking (Rendle et al., UAI 2009): softplus(s_negative - s_positive).

    Optimum: log p / Q + const for negatives drawn from any Q. Uniform ones give log p, popular ones take
    popularity away.

    Args:
        positive: score of the row's own article, float (B,).
        negative: score of its negative, float (B,), or of several, (B, M); a row then is the mean of its pairs.
        mask: True where there is a negative, bool, shape of ``negative``. Rows without any are skipped.
        weight: weight of each row, float (B,), >= 0.
        normalise: divide by the sum of the weights or by the number of rows that are used.

    Returns:
        Loss in nats, a scalar.

    Raises:
        ValueError: on shapes that differ, bad weights, or no row with a negative.
    """
    mask = mask_of(mask, negative, "mask")
    if negative.ndim == 1:
        negative = negative[:, None]
        mask = None if mask is None else mask[:, None]
    _check_scores(positive, negative)
    dtype = torch.promote_types(at_least_float32(positive).dtype, negative.dtype)
    gap = negative.to(dtype) - positive.to(dtype)[:, None]  # (B, M)
    if mask is None:
        return mean_of_rows(F.softplus(gap).mean(dim=1), weight, normalise)
    pair_loss = F.softplus(gap.masked_fill(~mask, 0.0)).masked_fill(~mask, 0.0)
    row_loss = pair_loss.sum(dim=1) / mask.sum(dim=1).clamp(min=1)
    return mean_of_rows(row_loss, weight, normalise, usable_rows(mask))


def gbce_beta(num_negatives: int, num_items: int, t: float) -> float:
    """The power beta of gBCE (Petrov & Macdonald, gSASRec, RecSys 2023): alpha (t (1 - 1/alpha) + 1/alpha).

    Args:
        num_negatives: distinct negatives m of each row, none of them the positive; 1 to num_items - 1.
        num_items: articles N that they are drawn from, the positive included. alpha = m / (N - 1).
        t: calibration in [0, 1]; 0: beta = 1, plain sampled BCE; 1: sigmoid(s) is the click share p.

    Returns:
        beta in (0, 1].

    Raises:
        ValueError: on numbers outside these ranges.
    """
    fits = 1 <= num_negatives <= num_items - 1
    require(fits, "num_negatives", num_negatives, f"1 to num_items - 1 = {num_items - 1}")
    require(0 <= t <= 1, "t", t, "a number in [0, 1]")
    alpha = num_negatives / (num_items - 1)
    return alpha * (t * (1 - 1 / alpha) + 1 / alpha)


def gbce_loss(
    positive: Tensor,
    negative: Tensor,
    *,
    num_items: int,
    t: float = 0.75,
    weight: Tensor | None = None,
    normalise: Normalise = "weight",
) -> Tensor:
    """Sampled binary cross-entropy with the positive's sigmoid to the power beta (gSASRec: see ``gbce_beta``).

    Sampling negatives makes sigmoid(s) far too high; the power takes that back. With m distinct uniform negatives
    besides the positive the optimum is sigmoid(s) = beta p / (beta p + alpha (1 - p)). At t = 0 it is the sampled
    BCE: for m independent draws from any Q its optimum is s = log p - log(m Q), so sigmoid(s) is not a rate.

    Args:
        positive: score of the row's own article, float (B,).
        negative: scores of its negatives, float (B, M).
        num_items: articles N that negatives are drawn from, the positive included; > M.
        t: calibration in [0, 1].
        weight: weight of each row, float (B,), >= 0.
        normalise: divide by the sum of the weights or by their number.

    Returns:
        Loss in nats, a scalar: the mean over rows of the mean over the row's 1 + M terms, as published.

    Raises:
        ValueError: on shapes that differ, numbers out of range, no row at all, or bad weights.
    """
    _check_scores(positive, negative)
    num_negatives = negative.shape[1]
    beta = gbce_beta(num_negatives, num_items, t)
    dtype = torch.promote_types(at_least_float32(positive).dtype, negative.dtype)
    total = beta * F.softplus(-positive.to(dtype)) + F.softplus(negative.to(dtype)).sum(dim=1)
    return mean_of_rows(total / (1 + num_negatives), weight, normalise)


def sampled_bce_loss(
    positive: Tensor,
    negative: Tensor,
    *,
    mask: Tensor | None = None,
    weight: Tensor | None = None,
    normalise: Normalise = "weight",
) -> Tensor:
    """Binary cross-entropy of a click and its negatives (SASRec; Kang & McAuley, ICDM 2018, III-D).

    With one negative a row, drawn from Q, the optimum is s = log(p / Q): see ``gbce_loss``, of which it is t = 0 less
    the division by the number of terms.

    Args:
        positive: score of the row's own article, float (B,).
        negative: scores of its negatives, float (B, M).
        mask: True where there is a negative, bool (B, M); a row without any counts with its positive alone.
        weight: weight of each row, float (B,), >= 0.
        normalise: divide by the sum of the weights or by their number.

    Returns:
        Loss in nats, a scalar: the mean over rows of the sum over the row's terms, as published.

    Raises:
        ValueError: on shapes that differ, no row at all, or bad weights.
    """
    _check_scores(positive, negative)
    dtype = torch.promote_types(at_least_float32(positive).dtype, negative.dtype)
    wrong = F.softplus(negative.to(dtype))
    if mask is not None:
        require_shape(mask, tuple(negative.shape), "mask")
        wrong = torch.where(mask, wrong, 0.0)
    return mean_of_rows(F.softplus(-positive.to(dtype)) + wrong.sum(dim=1), weight, normalise)


def ccl_loss(
    positive: Tensor,
    negative: Tensor,
    *,
    margin: float,
    negative_weight: float,
    weight: Tensor | None = None,
    normalise: Normalise = "weight",
) -> Tensor:
    """Cosine contrastive loss (SimpleX, Mao et al., CIKM 2021).

    1 - cos+ + (negative_weight / M) sum max(0, cos- - margin). Negatives below the margin cost nothing.

    Args:
        positive: cosine of the row's own article, float (B,).
        negative: cosines of its negatives, float (B, M).
        margin: cosine up to which a negative is left alone, in [-1, 1].
        negative_weight: weight of the negatives against the positive, >= 0.
        weight: weight of each row, float (B,), >= 0.
        normalise: divide by the sum of the weights or by their number.

    Returns:
        Loss without unit, a scalar.

    Raises:
        ValueError: on shapes that differ, numbers out of range, no row at all, or bad weights.
    """
    _check_scores(positive, negative)
    require(-1 <= margin <= 1, "margin", margin, "a cosine in [-1, 1]")
    require(negative_weight >= 0, "negative_weight", negative_weight, ">= 0")
    dtype = torch.promote_types(at_least_float32(positive).dtype, negative.dtype)
    push = F.relu(negative.to(dtype) - margin).mean(dim=1)
    return mean_of_rows(1 - positive.to(dtype) + negative_weight * push, weight, normalise)


def _check_scores(positive: Tensor, negative: Tensor) -> None:
    require(positive.ndim == 1, "positive", tuple(positive.shape), "shape (B,)")
    fits = negative.ndim == 2 and len(negative) == len(positive) and negative.shape[1] > 0
    require(fits, "negative", tuple(negative.shape), f"shape ({len(positive)}, M) with M > 0")

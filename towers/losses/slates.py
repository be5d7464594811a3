"""Losses within a slate: what was clicked against what was shown with it and was not (docs/mathematics.md 6.6).

Given the slate, its exposure cancels: the optimum is the logit of the click rate + const, whatever policy chose the
slate, and no log q is needed. That holds without position bias. Where theta = 1, .6, .3 acts, scores of some +-1 come
out stretched by .18; with clicks weighted by 1/theta they are off by .07; weighted by 1/(slot propensity theta), as a
softmax over the catalogue needs it, by .65: exposure cancels already. ``bce_loss`` with ``log_examination`` is exact.
Shapes: S slates, K positions.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from feedgym.towers.checks import require, require_shape
from feedgym.towers.losses.common import Normalise, at_least_float32, mean_of_rows, split_slates


def slate_softmax_loss(
    score: Tensor,
    clicked: Tensor,
    *,
    valid: Tensor | None = None,
    weight: Tensor | None = None,
    against: Tensor | None = None,
    normalise: Normalise = "weight",
) -> Tensor:
    """Conditional logit: each click against the non-clicks of its slate (McFadden, 1974); optimum logit c + const.

    Other clicks of the slate are left out: a second click is no evidence against the first.

    Args:
        score: float (S, K).
        clicked: bool or 0/1 (S, K).
        valid: True where an article was shown, bool (S, K).
        weight: weight of each click, float (S, K), >= 0, or of each slate, (S,).
        against: non-clicks that each entry, if clicked, is set against, bool (S, K, K), as from ``drawn_non_clicks``;
            None: all of its slate.
        normalise: divide by the sum of the weights or by the number of clicks that are used.

    Returns:
        Loss in nats, a scalar: the mean over clicks. Slates without a click or a non-click are skipped;
        ``usable_slates(clicked, valid)`` says which.

    Raises:
        ValueError: on shapes that differ, bad weights, or no slate with a click and a non-click.
    """
    score, click, non_click, weight = _prepare(score, clicked, valid, weight)
    contrast = click & non_click.any(dim=1, keepdim=True)
    if against is None:
        rest = torch.logsumexp(score.masked_fill(~non_click, -math.inf), dim=1, keepdim=True)  # (S, 1)
    else:
        require_shape(against, (*score.shape, score.shape[1]), "against")
        columns = against & non_click[:, None, :]
        contrast = contrast & columns.any(dim=2)
        # Rows that are no click are masked below; here they must be finite.
        columns = columns | ~contrast[:, :, None]
        rest = torch.logsumexp(score[:, None, :].masked_fill(~columns, -math.inf), dim=2)  # (S, K)
    # log(e^s + e^rest) - s. The inner `where` keeps what was not shown out of the gradient of `rest`.
    row_loss = F.softplus(rest - torch.where(contrast, score, 0.0))
    return mean_of_rows(row_loss, weight, normalise, contrast)


def drawn_non_clicks(luck: Tensor, non_click: Tensor, count: int) -> Tensor:
    """Of each slate, ``count`` non-clicks drawn for each of its entries: NRMS's negatives of a click (Wu et al., 2019).

    Args:
        luck: independent draws, float (S, K, K): row k says which non-clicks entry k gets.
        non_click: bool (S, K).
        count: how many, >= 1; of fewer all are drawn.

    Returns:
        bool (S, K, K), the non-clicks (last axis) of each entry.
    """
    require(count >= 1, "count", count, ">= 1")
    require_shape(luck, (*non_click.shape, non_click.shape[1]), "luck")
    least = min(count, non_click.shape[1])
    drawable = luck.masked_fill(~non_click[:, None, :], math.inf)
    threshold = drawable.kthvalue(least, dim=2, keepdim=True).values
    return (drawable <= threshold) & non_click[:, None, :]


def slate_bpr_loss(
    score: Tensor,
    clicked: Tensor,
    *,
    valid: Tensor | None = None,
    weight: Tensor | None = None,
    normalise: Normalise = "weight",
) -> Tensor:
    """BPR over the (click, non-click) pairs of a slate: softplus(s_non-click - s_click); optimum logit c + const.

    Args:
        score: float (S, K).
        clicked: bool or 0/1 (S, K).
        valid: True where an article was shown, bool (S, K).
        weight: weight of each click, float (S, K), >= 0, or of each slate, (S,): that of all its pairs.
        normalise: divide by the sum of the pairs' weights or by the number of pairs.

    Returns:
        Loss in nats, a scalar: the mean over pairs. Slates without a click or a non-click are skipped;
        ``usable_slates(clicked, valid)`` says which.

    Raises:
        ValueError: on shapes that differ, bad weights, or no slate with a click and a non-click.
    """
    score, click, non_click, weight = _prepare(score, clicked, valid, weight)
    pair = click[:, :, None] & non_click[:, None, :]  # (S, click, non-click)
    slate, winner, loser = pair.nonzero(as_tuple=True)
    if len(slate) == 0:  # in the words of the other losses
        return mean_of_rows(score, None, normalise, torch.zeros_like(click))
    pair_loss = F.softplus(score[slate, loser] - score[slate, winner])
    return mean_of_rows(pair_loss, None if weight is None else weight[slate, winner], normalise)


def _prepare(
    score: Tensor, clicked: Tensor, valid: Tensor | None, weight: Tensor | None
) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
    """Scores at least float32, where clicks and non-clicks are, and a weight for each entry."""
    click, non_click = split_slates(clicked, valid)
    require_shape(score, tuple(clicked.shape), "score")
    if weight is not None and weight.ndim == 1:
        require_shape(weight, tuple(score.shape[:1]), "weight")
        weight = weight[:, None].expand(score.shape)
    if weight is not None:
        require_shape(weight, tuple(score.shape), "weight")
    return at_least_float32(score), click, non_click, weight

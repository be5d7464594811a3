"""Softmax losses: a row's article against given negatives, uniform ones, or all articles (docs/mathematics.md 6).

Shapes: B rows of a batch, D dimensions, M negatives, N articles.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from feedgym.towers.checks import require, require_shape
from feedgym.towers.losses.common import (
    Normalise,
    at_least_float32,
    check_ids,
    check_log_q,
    check_temperature,
    mask_of,
    mean_of_rows,
    usable_rows,
)


def softmax_loss(
    positive: Tensor,
    negatives: Tensor,
    *,
    positive_log_q: Tensor | None = None,
    negative_log_q: Tensor | None = None,
    negative_mask: Tensor | None = None,
    temperature: float = 1.0,
    weight: Tensor | None = None,
    normalise: Normalise = "weight",
) -> Tensor:
    """Softmax loss of scores that are already there; the general form of the others.

    - Both log q given, hits kept: ranking NCE (Ma & Collins, EMNLP 2018), optimum log p + const for every
      number of negatives.
    - Only ``negative_log_q``, the log expected count, hits masked: an unbiased estimate of the full normaliser.
    - None: the optimum is log p / Q for negatives that are drawn from Q.
    Masking hits *and* correcting the positive overrates the head (docs/mathematics.md 6.3): leave it.

    Args:
        positive: score of the row's own article, float (B,).
        negatives: scores of its negatives, float (B, M).
        positive_log_q: log frequency of the row's own article among negatives, float (B,). Needs
            ``negative_log_q``.
        negative_log_q: log frequency, or log expected count, of each negative, float (B, M), or (M,) where all
            rows share them.
        negative_mask: True where there is a negative, bool (B, M). Rows without any are skipped;
            ``usable_rows(negative_mask)`` says which.
        temperature: divides the scores, > 0; log q is taken off after it.
        weight: weight of each row, float (B,), >= 0.
        normalise: divide by the sum of the weights or by the number of rows that are used.

    Returns:
        Loss in nats, a scalar.

    Raises:
        ValueError: on shapes that differ, log q that is not finite, bad weights, or no row with a negative.
    """
    check_temperature(temperature)
    _check_scores(positive, negatives, "negatives")
    dtype = torch.promote_types(at_least_float32(positive).dtype, negatives.dtype)
    own, others = positive.to(dtype) / temperature, negatives.to(dtype) / temperature
    mask = mask_of(negative_mask, negatives, "negative_mask")
    if negative_log_q is not None:
        shared = negative_log_q.ndim == 1
        shape = tuple(negatives.shape[1:] if shared else negatives.shape)
        others = others - check_log_q(negative_log_q, shape, "negative_log_q", dtype, None if shared else mask)
    if positive_log_q is not None:
        require(negative_log_q is not None, "negative_log_q", None, "values where positive_log_q is given")
        own = own - check_log_q(positive_log_q, tuple(own.shape), "positive_log_q", dtype)
    return _against(own, others, mask, weight, normalise)


def sampled_softmax_loss(
    user: Tensor,
    positive_item: Tensor,
    negative_item: Tensor,
    *,
    temperature: float = 1.0,
    weight: Tensor | None = None,
    negative_mask: Tensor | None = None,
    normalise: Normalise = "weight",
) -> Tensor:
    """Softmax loss against uniform negatives; optimum log p + const, without an offset, in two cases only.

    Either the negatives are independent draws over *all* articles, and one that equals the positive stays; or
    they are distinct and drawn from all articles *but* the positive. (Independent draws without the positive err
    by up to .07, distinct ones with it by as much: two negatives, six articles.) For the second case with shared
    negatives mask those that equal the row's positive.

    Args:
        user: user-tower output, float (B, D).
        positive_item: item-tower output of the row's own article, float (B, D).
        negative_item: item-tower output of the negatives, float (M, D) where all rows share them, or (B, M, D).
        temperature: divides the inner products, > 0.
        weight: weight of each row, float (B,), >= 0.
        negative_mask: True where there is a negative, bool (B, M). Rows without any are skipped.
        normalise: divide by the sum of the weights or by the number of rows that are used.

    Returns:
        Loss in nats, a scalar.

    Raises:
        ValueError: on shapes that differ, bad weights, or no row with a negative.
    """
    check_temperature(temperature)
    require(user.ndim == 2, "user", tuple(user.shape), "shape (B, D)")
    require_shape(positive_item, tuple(user.shape), "positive_item")
    rows, dim = user.shape
    fits = negative_item.ndim in (2, 3) and negative_item.shape[-1] == dim
    fits = fits and (negative_item.ndim == 2 or negative_item.shape[0] == rows)
    require(fits, "negative_item", tuple(negative_item.shape), f"shape (M, {dim}) or ({rows}, M, {dim})")
    require(negative_item.shape[-2] > 0, "negative_item", 0, "a negative at least")
    dtype = torch.promote_types(at_least_float32(user).dtype, positive_item.dtype)
    scaled, items = user.to(dtype) / temperature, negative_item.to(dtype)
    with torch.autocast(user.device.type, enabled=False):
        own = (scaled * positive_item.to(dtype)).sum(dim=1)
        others = scaled @ items.T if items.ndim == 2 else torch.einsum("bd,bmd->bm", scaled, items)  # (B, M)
    return _against(own, others, mask_of(negative_mask, others, "negative_mask"), weight, normalise)


def full_softmax_loss(
    user: Tensor,
    catalogue: Tensor,
    target_index: Tensor,
    *,
    temperature: float = 1.0,
    weight: Tensor | None = None,
    mask: Tensor | None = None,
    normalise: Normalise = "weight",
) -> Tensor:
    """Softmax loss over the whole catalogue; optimum log p + const. For small catalogues, and as the reference.

    Args:
        user: user-tower output, float (B, D).
        catalogue: item-tower output of all articles that were on offer, float (N, D).
        target_index: row in ``catalogue`` of the article that was clicked, int64 (B,).
        temperature: divides the inner products, > 0.
        weight: weight of each row, float (B,), >= 0.
        mask: True where an article was on offer to the row, bool (B, N); all, if None. Its own always was.
        normalise: divide by the sum of the weights or by their number.

    Returns:
        Loss in nats, a scalar.

    Raises:
        ValueError: on shapes that differ, an index outside the catalogue, fewer than two articles, or bad
            weights.
    """
    check_temperature(temperature)
    require(user.ndim == 2, "user", tuple(user.shape), "shape (B, D)")
    rows, dim = user.shape
    fits = catalogue.ndim == 2 and catalogue.shape[1] == dim and len(catalogue) > 1
    require(fits, "catalogue", tuple(catalogue.shape), f"shape (N, {dim}) with N > 1")
    check_ids(target_index, (rows,), "target_index")
    if rows:
        least, most = int(target_index.min()), int(target_index.max())
        inside = least >= 0 and most < len(catalogue)
        require(inside, "target_index", f"{least} to {most}", f"rows of the catalogue, 0 to {len(catalogue) - 1}")
    dtype = torch.promote_types(at_least_float32(user).dtype, catalogue.dtype)
    with torch.autocast(user.device.type, enabled=False):
        logits = (user.to(dtype) / temperature) @ catalogue.to(dtype).T  # (B, N)
        offered = mask_of(mask, logits, "mask")
        if offered is not None:
            offered = offered.clone().scatter_(1, target_index[:, None], True)
            logits = logits.masked_fill(~offered, -math.inf)
        row_loss = F.cross_entropy(logits, target_index, reduction="none")
    return mean_of_rows(row_loss, weight, normalise)


def _check_scores(positive: Tensor, negatives: Tensor, name: str) -> None:
    require(positive.ndim == 1, "positive", tuple(positive.shape), "shape (B,)")
    fits = negatives.ndim == 2 and len(negatives) == len(positive) and negatives.shape[1] > 0
    require(fits, name, tuple(negatives.shape), f"shape ({len(positive)}, M) with M > 0")


def _against(own: Tensor, others: Tensor, mask: Tensor | None, weight: Tensor | None, normalise: Normalise) -> Tensor:
    """Mean of -log softmax of ``own`` (B,) among itself and ``others`` (B, M)."""
    if mask is not None:
        others = others.masked_fill(~mask, -math.inf)
    logits = torch.cat([own[:, None], others], dim=1)  # (B, 1 + M)
    target = torch.zeros(len(own), dtype=torch.int64, device=own.device)
    row_loss = F.cross_entropy(logits, target, reduction="none")
    return mean_of_rows(row_loss, weight, normalise, None if mask is None else usable_rows(mask))

"""Losses of the two towers: pure functions without state, each the (weighted) mean over its rows.

Shapes: B rows of a batch, D dimensions, M extra negatives. Types: float64 stays float64, halves rise to
float32 (also under autocast), ids are int64.
Weights: ``normalise="weight"`` gives sum(w l) / sum(w), which is self-normalised: steady, and slightly biased
as an inverse-propensity estimate. ``normalise="count"`` gives sum(w l) / rows, which is unbiased.
"""

import math
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from feedgym.towers.checks import require, require_shape

Normalise = Literal["weight", "count"]
Correction = Literal["nce", "full", "none"]


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
    score = _at_least_float32(score)
    require_shape(target, tuple(score.shape), "target")
    return _mean((score - target.to(score.dtype)).square(), weight, normalise)


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
            of ``logit`` or its last axes, such as (K,) against (S, K). Gradients flow into it.
        negative_keep_rate: share of the non-clicks that was kept, in (0, 1].
        normalise: divide by the sum of the weights or by their number.

    Returns:
        Loss in nats, a scalar.

    Raises:
        ValueError: on shapes that differ, no row at all, a rate outside (0, 1], log_examination above 0 or
            not finite, or weights that are negative or sum to 0.
    """
    logit = _at_least_float32(logit)
    require_shape(clicked, tuple(logit.shape), "clicked")
    require(0 < negative_keep_rate <= 1, "negative_keep_rate", negative_keep_rate, "a share in (0, 1]")
    if log_examination is not None:
        logit = _seen_logit(logit, log_examination)
    if negative_keep_rate < 1:
        logit = logit - math.log(negative_keep_rate)
    row_loss = F.binary_cross_entropy_with_logits(logit, clicked.to(logit.dtype), reduction="none")
    return _mean(row_loss, weight, normalise)


def in_batch_softmax_loss(
    user: Tensor,
    item: Tensor,
    item_ids: Tensor,
    log_q: Tensor | None,
    *,
    correction: Correction = "nce",
    temperature: float = 1.0,
    weight: Tensor | None = None,
    normalise: Normalise = "weight",
    extra_item: Tensor | None = None,
    extra_ids: Tensor | None = None,
    extra_log_q: Tensor | None = None,
) -> Tensor:
    """In-batch softmax loss with the logQ correction: a row's own article against those of the other rows.

    - ``nce``: log q is taken off every column, the positive and every duplicate too (ranking NCE, Ma &
      Collins, EMNLP 2018, as in Yi et al., RecSys 2019, section 3). Optimum log p_u(i) + const at *every*
      batch size.
    - ``full``: the positive uncorrected, the others less log((B - 1) q), accidental hits masked: an unbiased
      estimate of the full normaliser. Worse than ``nce`` at small B, equal from B = 64 on.
    - ``none``: plain. Optimum log p_u(i) / q(i): popularity is removed.
    Masking hits *and* correcting the positive is not offered: it overrates the head, the more the larger the
    batch.

    An item bias enters as a column: [u, 1] and [v, b].

    Args:
        user: user-tower output, float (B, D).
        item: item-tower output of the row's own article, float (B, D).
        item_ids: article ids, int64 (B,).
        log_q: log of each article's share of the batch rows, float (B,). With extra negatives: log of its
            expected count among the negatives, log((B - 1) q + M / N_live), used as it is. Unused (or None)
            with ``none``.
        correction: see above.
        temperature: divides the inner products, > 0. The offset comes after it: (s - log q) / T would have
            the optimum T log p + (1 - T) log q, at T = .05 little but popularity.
        weight: weight of each row, float (B,), >= 0.
        normalise: divide by the sum of the weights or by their number.
        extra_item: item-tower output of negatives that all rows share, float (M, D), such as uniform draws
            from the live articles (mixed negative sampling, Yang et al., WWW 2020).
        extra_ids: their ids, int64 (M,).
        extra_log_q: log of their expected count, float (M,), as for ``log_q``. Unused (or None) with
            ``none``.

    Returns:
        Loss in nats, a scalar.

    Raises:
        ValueError: on shapes that differ, log q that is not finite, extra_* given in part, bad weights, or a
            batch without a negative.
    """
    require(correction in ("nce", "full", "none"), "correction", correction, "'nce', 'full' or 'none'")
    require(temperature > 0, "temperature", temperature, "> 0")
    require(user.ndim == 2, "user", tuple(user.shape), "shape (B, D)")
    require_shape(item, tuple(user.shape), "item")
    batch_size, dim = user.shape
    _check_ids(item_ids, batch_size, "item_ids")
    columns, column_ids = item, item_ids
    if extra_item is not None:
        require(extra_ids is not None, "extra_ids", extra_ids, "the ids of extra_item")
        assert extra_ids is not None
        require_shape(extra_item, (len(extra_ids), dim), "extra_item")
        _check_ids(extra_ids, len(extra_item), "extra_ids")
        columns, column_ids = torch.cat([item, extra_item]), torch.cat([item_ids, extra_ids])
    else:
        alone = extra_ids is None and extra_log_q is None
        require(alone, "extra_item", None, "vectors where extra_ids or extra_log_q is given")
    # All columns share the batch: with two articles among them every row has a negative, with one none has.
    # So there are no single rows to skip. `nce` and `none` keep duplicates and ask only for a second column.
    _check_negatives(column_ids, masked=correction == "full")

    dtype = torch.promote_types(_at_least_float32(user).dtype, item.dtype)
    # Scaling the (B, D) side is cheaper than scaling the (B, B + M) scores.
    scaled, columns = user.to(dtype) / temperature, columns.to(dtype)
    with torch.autocast(user.device.type, enabled=False):
        if correction == "none":
            logits = scaled @ columns.T
        else:
            offset = _log_q(log_q, batch_size, "log_q", dtype)
            if extra_item is not None:
                offset = torch.cat([offset, _log_q(extra_log_q, len(extra_item), "extra_log_q", dtype)])
            elif correction == "full":
                offset = offset + math.log(batch_size - 1)
            logits = torch.addmm(-offset, scaled, columns.T)  # (B, B + M)
            if correction == "full":
                hit = (column_ids == item_ids[:, None]).fill_diagonal_(False)
                logits = logits.masked_fill(hit, -math.inf)
                logits.diagonal().add_(offset[:batch_size])
        own = torch.arange(batch_size, device=user.device)
        row_loss = F.cross_entropy(logits, own, reduction="none")
    return _mean(row_loss, weight, normalise)


def _at_least_float32(values: Tensor) -> Tensor:
    return values if values.dtype == torch.float64 else values.float()


def _mean(row_loss: Tensor, weight: Tensor | None, normalise: Normalise) -> Tensor:
    require(normalise in ("weight", "count"), "normalise", normalise, "'weight' or 'count'")
    require(row_loss.numel() > 0, "rows", 0, "at least one")
    if weight is None:
        return row_loss.mean()
    require_shape(weight, tuple(row_loss.shape), "weight")
    weight = weight.to(row_loss.dtype)
    total = weight.sum()
    usable = bool((weight >= 0).all() & total.isfinite() & ((total > 0) | (normalise == "count")))
    require(usable, "weight", f"sum {total.item():g}, least {weight.min().item():g}", ">= 0 with a positive sum")
    return (weight * row_loss).sum() / (total if normalise == "weight" else row_loss.numel())


def _seen_logit(logit: Tensor, log_examination: Tensor) -> Tensor:
    """Log-odds of theta sigmoid(s) for s = ``logit`` and log theta = ``log_examination``."""
    log_theta = log_examination.to(logit.dtype)
    usable = bool((log_theta.isfinite() & (log_theta <= 0)).all())
    require(usable, "log_examination", _extremes(log_theta), "finite logs of chances, <= 0")
    shape = tuple(logit.shape)
    if log_theta.shape != logit.shape:
        fits = log_theta.ndim < logit.ndim and shape[logit.ndim - log_theta.ndim :] == tuple(log_theta.shape)
        require(fits, "log_examination", f"shape {tuple(log_theta.shape)}", f"{shape} or its last axes")
    # At theta = 1 log(1 - theta) has an infinite slope; the inner `where` keeps its 0 * inf out of the
    # gradient.
    certain = log_theta == 0
    log_miss = torch.log(-torch.expm1(torch.where(certain, -1.0, log_theta)))
    log_miss = torch.where(certain, -math.inf, log_miss)
    return log_theta - torch.logaddexp(-logit, log_miss)


def _log_q(log_q: Tensor | None, length: int, name: str, dtype: torch.dtype) -> Tensor:
    if log_q is None:
        raise ValueError(f"{name}: got None, needs the log frequency of each column (or correction='none')")
    require_shape(log_q, (length,), name)
    log_q = log_q.to(dtype)
    require(bool(log_q.isfinite().all()), name, _extremes(log_q), "finite values")
    return log_q


def _check_negatives(column_ids: Tensor, *, masked: bool) -> None:
    enough = len(column_ids) > 1 and not (masked and bool((column_ids == column_ids[0]).all()))
    seen = f"{len(column_ids)} columns with ids {column_ids[:3].tolist()}"
    require(enough, "item_ids", seen, "a negative: two columns, for correction='full' of different articles")


def _check_ids(ids: Tensor, length: int, name: str) -> None:
    require_shape(ids, (length,), name)
    require(ids.dtype == torch.int64, name, ids.dtype, "int64")


def _extremes(values: Tensor) -> str:
    return f"values from {values.min().item():g} to {values.max().item():g}"

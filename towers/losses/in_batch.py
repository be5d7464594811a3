"""In-batch softmax: a row's own article against those of the other rows (docs/mathematics.md 6.2 to 6.4).

Shapes: B rows of a batch, D dimensions, M extra negatives that all rows share, R of each row alone.
"""

import math
from typing import Literal

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
)

Correction = Literal["nce", "full", "none"]


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
    row_item: Tensor | None = None,
    row_ids: Tensor | None = None,
    row_log_q: Tensor | None = None,
    row_mask: Tensor | None = None,
    column_mask: Tensor | None = None,
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
        log_q: log of each article's share of the batch rows, float (B,). With extra or row negatives: log of
            its expected count among the negatives, log((B - 1) q + M / N_live), used as it is. Unused (or
            None) with ``none``.
        correction: see above.
        temperature: divides the inner products, > 0. The offset comes after it: (s - log q) / T would have
            the optimum T log p + (1 - T) log q, at T = .05 little but popularity.
        weight: weight of each row, float (B,), >= 0.
        normalise: divide by the sum of the weights or by their number.
        extra_item: item-tower output of negatives that all rows share, float (M, D), such as uniform draws
            from the live articles (mixed negative sampling, Yang et al., WWW 2020) or a memory of former
            batches.
        extra_ids: their ids, int64 (M,).
        extra_log_q: log of their expected count, float (M,), as for ``log_q``. Unused (or None) with
            ``none``.
        row_item: item-tower output of negatives of one row only, float (B, R, D), such as hard ones from its
            shortlist.
        row_ids: their ids, int64 (B, R).
        row_log_q: log of their expected count, float (B, R), as for ``log_q``. Unused (or None) with ``none``.
        row_mask: True where there is one, bool (B, R); all, if None.
        column_mask: True where a column of the batch or the extra ones is a negative of the row, such as an article
            that was live at the row's time, bool (B, B + M); all, if None. A row's own column always counts.

    Returns:
        Loss in nats, a scalar. A row without any negative (possible only where no other article is in the
        batch or the extra ones, or all are masked) is skipped.

    Raises:
        ValueError: on shapes that differ, log q that is not finite, extra_* or row_* given in part, bad
            weights, or a batch without a negative.
    """
    require(correction in ("nce", "full", "none"), "correction", correction, "'nce', 'full' or 'none'")
    check_temperature(temperature)
    require(user.ndim == 2, "user", tuple(user.shape), "shape (B, D)")
    require_shape(item, tuple(user.shape), "item")
    batch_size, dim = user.shape
    check_ids(item_ids, (batch_size,), "item_ids")
    columns, column_ids = item, item_ids
    if extra_item is not None:
        require(extra_ids is not None, "extra_ids", extra_ids, "the ids of extra_item")
        assert extra_ids is not None
        require_shape(extra_item, (len(extra_ids), dim), "extra_item")
        check_ids(extra_ids, (len(extra_item),), "extra_ids")
        columns, column_ids = torch.cat([item, extra_item]), torch.cat([item_ids, extra_ids])
    else:
        alone = extra_ids is None and extra_log_q is None
        require(alone, "extra_item", None, "vectors where extra_ids or extra_log_q is given")
    own_mask = _row_negatives(item_ids, row_item, row_ids, row_log_q, row_mask, dim, masked=correction == "full")
    allowed = None
    if column_mask is not None:
        require_shape(column_mask, (batch_size, len(column_ids)), "column_mask")
        require(column_mask.dtype == torch.bool, "column_mask", column_mask.dtype, "bool")
        allowed = column_mask.clone()
        allowed.diagonal().fill_(True)
    usable = _usable(column_ids, own_mask, item_ids, allowed, masked=correction == "full")

    dtype = torch.promote_types(at_least_float32(user).dtype, item.dtype)
    # Scaling the (B, D) side is cheaper than scaling the (B, B + M) scores.
    scaled, columns = user.to(dtype) / temperature, columns.to(dtype)
    with torch.autocast(user.device.type, enabled=False):
        if correction == "none":
            logits = scaled @ columns.T
            if allowed is not None:
                logits = logits.masked_fill(~allowed, -math.inf)
        else:
            offset = check_log_q(log_q, (batch_size,), "log_q", dtype)
            if extra_item is not None:
                extra_offset = check_log_q(extra_log_q, (len(extra_item),), "extra_log_q", dtype)
                offset = torch.cat([offset, extra_offset])
            elif correction == "full" and row_item is None:
                offset = offset + math.log(batch_size - 1)
            # Masked by what is added anyhow: a step of its own costs a pass over all scores, and another backward.
            added = -offset if allowed is None else torch.where(allowed, -offset, -math.inf)
            logits = torch.addmm(added, scaled, columns.T)  # (B, B + M)
            if correction == "full":
                hit = (column_ids == item_ids[:, None]).fill_diagonal_(False)
                logits = logits.masked_fill(hit, -math.inf)
                logits.diagonal().add_(offset[:batch_size])
        if row_item is not None:
            assert own_mask is not None
            alone_logits = torch.einsum("bd,brd->br", scaled, row_item.to(dtype))
            if correction != "none":
                shape = tuple(own_mask.shape)
                alone_logits = alone_logits - check_log_q(row_log_q, shape, "row_log_q", dtype, own_mask)
            logits = torch.cat([logits, alone_logits.masked_fill(~own_mask, -math.inf)], dim=1)  # (B, B + M + R)
        own = torch.arange(batch_size, device=user.device)
        row_loss = F.cross_entropy(logits, own, reduction="none")
    return mean_of_rows(row_loss, weight, normalise, usable)


def _row_negatives(
    item_ids: Tensor,
    row_item: Tensor | None,
    row_ids: Tensor | None,
    row_log_q: Tensor | None,
    row_mask: Tensor | None,
    dim: int,
    *,
    masked: bool,
) -> Tensor | None:
    """Where a row has a negative of its own, bool (B, R), less the hits where ``masked``; None without row_item."""
    if row_item is None:
        alone = row_ids is None and row_log_q is None and row_mask is None
        require(alone, "row_item", None, "vectors where row_ids, row_log_q or row_mask is given")
        return None
    require(row_ids is not None, "row_ids", row_ids, "the ids of row_item")
    assert row_ids is not None
    rows = len(item_ids)
    require(row_item.ndim == 3, "row_item", tuple(row_item.shape), f"shape ({rows}, R, {dim})")
    require_shape(row_item, (rows, row_item.shape[1], dim), "row_item")
    check_ids(row_ids, (rows, row_item.shape[1]), "row_ids")
    mask = mask_of(row_mask, row_ids, "row_mask")
    if mask is None:
        mask = torch.ones_like(row_ids, dtype=torch.bool)
    return mask & (row_ids != item_ids[:, None]) if masked else mask


def _usable(
    column_ids: Tensor, own_mask: Tensor | None, item_ids: Tensor, allowed: Tensor | None, *, masked: bool
) -> Tensor | None:
    """Rows with a negative, bool (B,); None for all.

    All columns share the batch: with two articles among them every row has a negative, with one none has. Only
    then do the rows' own negatives decide. `nce` and `none` keep duplicates and ask only for a second column. Where
    columns are masked, it is row by row what is left of ``allowed`` (B, columns), in which each row has its own.
    """
    if allowed is not None:
        least = 0 if masked else 1  # the row's own
        rows = (allowed & (column_ids != item_ids[:, None]) if masked else allowed).sum(dim=1) > least
        if own_mask is not None:
            rows |= own_mask.any(dim=1)
        require(bool(rows.any()), "column_mask", "no row with a negative", "a negative of a row at least")
        return rows
    if len(column_ids) > 1 and not (masked and bool((column_ids == column_ids[0]).all())):
        return None
    usable = None if own_mask is None else own_mask.any(dim=1)
    seen = f"{len(column_ids)} columns with ids {column_ids[:3].tolist()}"
    needed = "a negative: two columns, for correction='full' of different articles"
    require(usable is not None and bool(usable.any()), "item_ids", seen, needed)
    return usable

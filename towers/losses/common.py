"""What all losses share: types, means over rows, and which rows can teach anything.

Shapes: B rows, M negatives, S slates of K positions.
"""

import math
from typing import Literal

import torch
from torch import Tensor

from feedgym.towers.checks import require, require_shape

Normalise = Literal["weight", "count"]


def usable_rows(negative_mask: Tensor) -> Tensor:
    """Rows with at least one negative; the losses skip the others. ``(~usable_rows(mask)).sum()`` counts those.

    Args:
        negative_mask: True where there is a negative, bool (B, M).

    Returns:
        bool (B,).
    """
    return _bools(negative_mask, "negative_mask").any(dim=-1)


def usable_slates(clicked: Tensor, valid: Tensor | None = None) -> Tensor:
    """Slates with a click and a non-click: with all or none clicked there is nothing to compare.

    The slate losses skip the others, ``(~usable_slates(...)).sum()`` of them. (BCE still learns from those.)

    Args:
        clicked: bool or 0/1 (S, K).
        valid: True where an article was shown, bool (S, K).

    Returns:
        bool (S,).
    """
    click, non_click = split_slates(clicked, valid)
    return click.any(dim=1) & non_click.any(dim=1)


def split_slates(clicked: Tensor, valid: Tensor | None) -> tuple[Tensor, Tensor]:
    """Where there is a click, and where a non-click: bool (S, K) each, both False where nothing was shown."""
    require(clicked.ndim == 2, "clicked", tuple(clicked.shape), "shape (S, K)")
    binary = clicked.dtype == torch.bool or bool(((clicked == 0) | (clicked == 1)).all())
    require(binary, "clicked", "values between 0 and 1, or outside", "bool, or 0 and 1")
    click = clicked.bool()
    if valid is None:
        return click, ~click
    require_shape(valid, tuple(clicked.shape), "valid")
    valid = _bools(valid, "valid")
    return click & valid, ~click & valid


def at_least_float32(values: Tensor) -> Tensor:
    """Halves rise to float32, float64 stays."""
    return values if values.dtype == torch.float64 else values.float()


def mean_of_rows(row_loss: Tensor, weight: Tensor | None, normalise: Normalise, usable: Tensor | None = None) -> Tensor:
    """The (weighted) mean, over all entries or those of ``usable``.

    Args:
        row_loss: float, any shape; entries that are not usable may hold anything finite.
        weight: float >= 0, same shape.
        normalise: divide by the sum of the weights or by their number.
        usable: bool, same shape.

    Returns:
        A scalar.

    Raises:
        ValueError: if no row is left, or on weights of another shape, negative ones or with sum 0.
    """
    require(normalise in ("weight", "count"), "normalise", normalise, "'weight' or 'count'")
    require(row_loss.numel() > 0, "rows", 0, "at least one")
    if weight is not None:
        require_shape(weight, tuple(row_loss.shape), "weight")
    if usable is not None and not bool(usable.all()):
        row_loss = row_loss[usable]
        weight = None if weight is None else weight[usable]
        require(row_loss.numel() > 0, "rows", f"{usable.numel()}, all without a negative", "one that has a negative")
    if weight is None:
        return row_loss.mean()
    weight = weight.to(row_loss.dtype)
    total = weight.sum()
    fits = bool((weight >= 0).all() & total.isfinite() & ((total > 0) | (normalise == "count")))
    require(fits, "weight", f"sum {total.item():g}, least {weight.min().item():g}", ">= 0 with a positive sum")
    return (weight * row_loss).sum() / (total if normalise == "weight" else row_loss.numel())


def mask_of(mask: Tensor | None, values: Tensor, name: str) -> Tensor | None:
    """``mask`` once checked: bool, of the shape of ``values``."""
    if mask is None:
        return None
    require_shape(mask, tuple(values.shape), name)
    return _bools(mask, name)


def check_log_q(
    log_q: Tensor | None, shape: tuple[int, ...], name: str, dtype: torch.dtype, mask: Tensor | None = None
) -> Tensor:
    """``log_q`` in ``dtype``: there, of this shape and finite (where ``mask`` is True; 0 elsewhere)."""
    if log_q is None:
        raise ValueError(f"{name}: got None, needs the log frequency of each column (or correction='none')")
    require_shape(log_q, shape, name)
    log_q = log_q.to(dtype)
    if mask is not None:
        log_q = log_q.masked_fill(~mask, 0.0)
    require(bool(log_q.isfinite().all()), name, extremes(log_q), "finite values")
    return log_q


def check_ids(ids: Tensor, shape: tuple[int, ...], name: str) -> None:
    """Refuse ids of another shape or type."""
    require_shape(ids, shape, name)
    require(ids.dtype == torch.int64, name, ids.dtype, "int64")


def check_temperature(temperature: float) -> None:
    """Refuse what is not a positive number."""
    require(0 < temperature < math.inf, "temperature", temperature, "> 0")


def extremes(values: Tensor) -> str:
    """The range of ``values``, for error messages."""
    return f"values from {values.min().item():g} to {values.max().item():g}" if values.numel() else "no values"


def _bools(mask: Tensor, name: str) -> Tensor:
    require(mask.dtype == torch.bool, name, mask.dtype, "bool, True where there is an entry")
    return mask

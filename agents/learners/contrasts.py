"""What a click is contrasted with, by which loss: ``CONTRASTS``, name -> loss. A new one is a function and a line here.

Shapes: B clicks of a batch, S negatives that all share, R of a row's own, E columns of u' and v'.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from feedgym.agents.learners.settings import ContrastiveConfig
from feedgym.env.checks import require
from feedgym.towers.losses import (
    bpr_loss,
    ccl_loss,
    full_softmax_loss,
    gbce_loss,
    in_batch_softmax_loss,
    sampled_bce_loss,
    sampled_softmax_loss,
    softmax_loss,
)
from feedgym.towers.negatives import Negatives


@dataclass(frozen=True)
class Contrast:
    """A batch of clicks with its negatives, embedded."""

    config: ContrastiveConfig
    user: Tensor
    """u', (B, E)"""
    item: Tensor
    """v' of what was clicked, (B, E)"""
    item_ids: Tensor
    """(B,)"""
    shared: Tensor
    """v' of shared negatives, (S, E)"""
    row: Tensor
    """v' of each row's own negatives, (B, R, E); anything where the id is -1."""
    negatives: Negatives
    weight: Tensor | None
    """(B,)"""
    catalogue: Callable[[], tuple[Tensor, Tensor]]
    """v' of all live articles and the clicked ones (N, E), and where each row's article is among them (B,)."""
    num_live: int
    constant: Tensor
    """What u' . v' lacks to be the score, (B,): no softmax sees it, losses of absolute scores do."""
    dim: int
    """Columns of u' and v' that hold the towers' vectors; the rest are bias and age."""
    offered: Callable[[], Tensor | None] = lambda: None
    """Which of ``catalogue`` was live at each row's time, bool (B, N); None: all."""

    @property
    def positive(self) -> Tensor:
        """Scores of what was clicked, (B,)."""
        return (self.user * self.item).sum(dim=1)

    @cached_property
    def others(self) -> tuple[Tensor, Tensor, Tensor]:
        """Scores, log expected counts and mask of all columns that a row's positive competes with, (B, M) each."""
        n, b = self.negatives, len(self.user)
        scores, log_q = [], []
        if n.in_batch:
            scores.append(self.user @ self.item.T)
            log_q.append(_tensor(n.log_q_positive).expand(b, b))
        if len(n.shared_ids):
            scores.append(self.user @ self.shared.T)
            log_q.append(_tensor(n.log_q_shared).expand(b, -1))
        if n.row_ids.shape[1]:
            scores.append(torch.einsum("be,bre->br", self.user, self.row))
            log_q.append(_tensor(n.log_q_row))
        return torch.cat(scores, dim=1), torch.cat(log_q, dim=1), self.competes

    @cached_property
    def competes(self) -> Tensor:
        """Columns of ``others`` that are a negative of the row, the same article again included, bool (B, M)."""
        n, b = self.negatives, len(self.user)
        own, num_batch = torch.from_numpy(n.row_ids >= 0), b if n.in_batch else 0
        if n.mask is not None:
            all_share = torch.from_numpy(n.mask)
        else:
            all_share = torch.ones(b, num_batch + len(n.shared_ids), dtype=torch.bool)
            all_share[:, :num_batch].fill_diagonal_(False)
        return torch.cat([all_share, own], dim=1)

    @cached_property
    def is_apart(self) -> Tensor:
        """Columns of ``others`` that hold another article than the row's, as pairs must, bool (B, M)."""
        n, b = self.negatives, len(self.user)
        ids = [self.item_ids.expand(b, -1)] if n.in_batch else []
        if len(n.shared_ids):
            ids.append(torch.from_numpy(n.shared_ids).expand(b, -1))
        if n.row_ids.shape[1]:
            ids.append(torch.from_numpy(n.row_ids))
        columns = torch.cat(ids, dim=1)
        return (columns != self.item_ids[:, None]) & self.competes

    @property
    def has_negatives(self) -> bool:
        """Whether any row that weighs something has a negative: not so in a newsroom of one article."""
        settings = self.config
        if settings.loss == "full_softmax":
            return self.num_live > 1
        if settings.loss not in ("bpr", "bce", "ccl") and not (
            settings.loss == "softmax" and settings.correction == "full"
        ):
            if self.negatives.mask is None:
                return True  # a hit counts as one there
            left = self.negatives.mask.any(axis=1) | (self.negatives.row_ids >= 0).any(axis=1)
            usable = torch.from_numpy(left)
        else:
            usable = self.is_apart.any(dim=1)
        return bool((usable if self.weight is None else usable & (self.weight > 0)).any())


def contrast_loss(contrast: Contrast) -> Tensor | None:
    """The loss that the settings name, a scalar; None where there is nothing to contrast with."""
    return CONTRASTS[contrast.config.loss](contrast) if contrast.has_negatives else None


def _softmax(c: Contrast) -> Tensor:
    """Softmax with the logQ correction, whatever drew the negatives (docs/mathematics.md 6.2 to 6.4)."""
    n, settings = c.negatives, c.config
    if n.in_batch:
        extra, own = len(n.shared_ids) > 0, n.row_ids.shape[1] > 0
        # Of a batch alone the loss is told shares, not expected counts: it counts the other rows itself.
        others = 0.0 if extra or own else math.log(len(c.user) - 1)
        return in_batch_softmax_loss(
            c.user,
            c.item,
            c.item_ids,
            _tensor(n.log_q_positive - others),
            correction=settings.correction,
            temperature=settings.softmax_temperature,
            weight=c.weight,
            extra_item=c.shared if extra else None,
            extra_ids=torch.from_numpy(n.shared_ids) if extra else None,
            extra_log_q=_tensor(n.log_q_shared) if extra else None,
            row_item=c.row if own else None,
            row_ids=torch.from_numpy(n.row_ids) if own else None,
            row_log_q=_tensor(n.log_q_row) if own else None,
            row_mask=torch.from_numpy(n.row_ids >= 0) if own else None,
            column_mask=None if n.mask is None else torch.from_numpy(n.mask),
        )
    scores, log_q, mask = c.others if settings.correction != "full" else (*c.others[:2], c.is_apart)
    corrected = settings.correction != "none"
    return softmax_loss(
        c.positive,
        scores,
        positive_log_q=_tensor(n.log_q_positive) if settings.correction == "nce" else None,
        negative_log_q=log_q if corrected else None,
        negative_mask=mask,
        temperature=settings.softmax_temperature,
        weight=c.weight,
    )


def _sampled_softmax(c: Contrast) -> Tensor:
    """Against uniform draws, hits kept: exact without any correction (docs/mathematics.md 6.3)."""
    mask = None if c.negatives.mask is None else c.competes
    return sampled_softmax_loss(
        c.user, c.item, c.shared, temperature=c.config.softmax_temperature, weight=c.weight, negative_mask=mask
    )


def _full_softmax(c: Contrast) -> Tensor:
    """Against every live article."""
    catalogue, place = c.catalogue()
    temperature, offered = c.config.softmax_temperature, c.offered()
    return full_softmax_loss(c.user, catalogue, place, temperature=temperature, weight=c.weight, mask=offered)


def _bpr(c: Contrast) -> Tensor:
    """Pairs of a click and a negative (docs/mathematics.md 6.5): the optimum is log p / Q, whatever drew them."""
    return bpr_loss(c.positive, c.others[0], mask=c.is_apart, weight=c.weight)


def _gbce(c: Contrast) -> Tensor:
    """Sampled BCE, calibrated to the whole catalogue (Petrov & Macdonald, RecSys 2023)."""
    scores, num_items = c.others[0] + c.constant[:, None], max(c.num_live, c.others[0].shape[1] + 1)
    # Out of reach, so that it adds nothing; the share of the articles that is drawn is the same for all rows.
    scores = scores.masked_fill(~c.competes, -1e4)
    return gbce_loss(c.positive + c.constant, scores, num_items=num_items, t=c.config.gbce_t, weight=c.weight)


def _bce(c: Contrast) -> Tensor:
    """Binary cross-entropy of the click and its negatives, as SASRec has it (Kang & McAuley, ICDM 2018)."""
    # A row without a negative would only learn to be liked.
    weight = c.competes.any(dim=1).float()
    weight = weight if c.weight is None else weight * c.weight
    scores = c.others[0] + c.constant[:, None]
    return sampled_bce_loss(c.positive + c.constant, scores, mask=c.competes, weight=weight)


def _ccl(c: Contrast) -> Tensor:
    """Cosine contrastive loss (SimpleX; Mao et al., CIKM 2021), of the vectors alone: bias and age learn nothing."""
    margin, negative_weight, d = c.config.ccl_margin, c.config.ccl_negative_weight, c.dim
    unit = torch.nn.functional.normalize
    user, item = unit(c.user[:, :d], dim=1), unit(c.item[:, :d], dim=1)
    cosines = []
    if c.negatives.in_batch:
        cosines.append(user @ item.T)
    if len(c.negatives.shared_ids):
        cosines.append(user @ unit(c.shared[:, :d], dim=1).T)
    if c.negatives.row_ids.shape[1]:
        cosines.append(torch.einsum("be,bre->br", user, unit(c.row[..., :d], dim=2)))
    others, apart = torch.cat(cosines, dim=1), c.is_apart
    # The mean is over negatives: what is none is moved out of reach, and the rest weighs as much more.
    negative = others.masked_fill(~apart, -1.0)
    share = apart.sum(dim=1).clamp(min=1) / apart.shape[1]
    positive = (user * item).sum(dim=1)
    pushed = margin + (negative - margin) / share[:, None]
    return ccl_loss(positive, pushed, margin=margin, negative_weight=negative_weight, weight=c.weight)


CONTRASTS: dict[str, Callable[[Contrast], Tensor]] = {
    "softmax": _softmax,
    "sampled_softmax": _sampled_softmax,
    "full_softmax": _full_softmax,
    "bpr": _bpr,
    "bce": _bce,
    "gbce": _gbce,
    "ccl": _ccl,
}
"""Losses by name."""

_ONLY = {"sampled_softmax": ("uniform",), "gbce": ("uniform",)}
"""Losses that are right for these negatives alone."""


def check_contrast(config: ContrastiveConfig) -> None:
    """Refuse a loss that its negatives do not fit.

    Raises:
        ValueError: naming the setting.
    """
    allowed = _ONLY.get(config.loss)
    fits = allowed is None or config.negatives in allowed
    require(fits, "negatives", config.negatives, f"{' or '.join(allowed or ())} with loss={config.loss}")


def _tensor(values: object) -> Tensor:
    return torch.as_tensor(values, dtype=torch.float32)

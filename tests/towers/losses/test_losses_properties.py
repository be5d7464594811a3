"""What holds for every loss: shifts, order, large scores, halves, autocast, gradients."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor

from feedgym.towers import losses

GENERATOR = torch.Generator().manual_seed(11)
B, M, K, D, N = 6, 4, 5, 3, 8


def eighths(*shape: int) -> Tensor:
    """Numbers between -2 and 2 that halves hold exactly, so that only the arithmetic could lose digits."""
    return torch.randint(-16, 17, shape, generator=GENERATOR).double() / 8


def chances(*shape: int) -> Tensor:
    return torch.rand(shape, generator=GENERATOR, dtype=torch.float64) * 0.8 + 0.1


@dataclass(frozen=True)
class Case:
    call: Callable[..., Tensor]
    scores: dict[str, Tensor]
    """What the loss is differentiated by, a row each (but the catalogue); vectors if ``vectors``."""
    rows: dict[str, Tensor]
    """What else there is for each row."""
    shared: dict[str, object]
    """What all rows share."""
    vectors: bool = False
    shifts: bool = True
    """Does a constant per row cancel?"""

    def loss(self, **changes: object) -> Tensor:
        return self.call(**{**self.scores, **self.rows, **self.shared, **changes})


IDS = torch.tensor([0, 1, 0, 2, 3, 1])
MASK = torch.tensor([[True, True, False, True]] * 4 + [[False] * 4] + [[True] * 4])
CLICKED = torch.tensor([[1, 0, 0, 0, 1], [0] * 5, [0, 0, 1, 0, 0], [1] * 5, [0, 1, 1, 0, 0], [0, 0, 0, 0, 1]]).bool()
VALID = torch.tensor([[True] * 5] * 3 + [[True, True, False, True, True]] * 3)
PAIRS = {"positive": eighths(B), "negative": eighths(B, M)}
SLATES = {"score": eighths(B, K)}
SLATE_ROWS = {"clicked": CLICKED, "valid": VALID, "weight": chances(B, K)}
VECTORS = {"user": eighths(B, D), "item": eighths(B, D)}
IN_BATCH_ROWS = {"item_ids": IDS, "log_q": chances(4).log()[IDS], "weight": chances(B)}
EXTRA = {"extra_item": eighths(3, D), "extra_ids": torch.tensor([5, 0, 6]), "extra_log_q": chances(3).log()}
OWN = {
    "row_item": eighths(B, 2, D),
    "row_ids": torch.tensor([[7, 0], [1, 1], [0, 2], [9, 8], [3, 4], [5, 5]]),
    "row_log_q": chances(B, 2).log(),
    "row_mask": torch.tensor([[True, True], [True, False], [False, False], [True, True], [True, True], [False, True]]),
}
CASES = {
    "mse": Case(losses.mse_loss, {"score": eighths(B, K)}, {"target": chances(B, K)}, {}, shifts=False),
    "bce": Case(
        losses.bce_loss,
        {"logit": eighths(B, K)},
        {"clicked": CLICKED, "weight": chances(B, K)},
        {"log_examination": chances(K).log(), "negative_keep_rate": 0.3},
        shifts=False,
    ),
    "ips_bce": Case(
        losses.ips_bce_loss, {"logit": eighths(B, K)}, {"clicked": CLICKED}, {"examination": chances(K)}, shifts=False
    ),
    "softmax": Case(
        losses.softmax_loss,
        {"positive": eighths(B), "negatives": eighths(B, M)},
        {
            "positive_log_q": chances(B).log(),
            "negative_log_q": chances(B, M).log(),
            "negative_mask": MASK,
            "weight": chances(B),
        },
        {"temperature": 0.5},
    ),
    "bpr": Case(losses.bpr_loss, PAIRS, {"mask": MASK, "weight": chances(B)}, {}),
    "gbce": Case(losses.gbce_loss, PAIRS, {"weight": chances(B)}, {"num_items": 9}, shifts=False),
    "ccl": Case(losses.ccl_loss, PAIRS, {"weight": chances(B)}, {"margin": 0.31, "negative_weight": 2.0}, shifts=False),
    "slate_softmax": Case(losses.slate_softmax_loss, SLATES, SLATE_ROWS, {}),
    "slate_bpr": Case(losses.slate_bpr_loss, SLATES, SLATE_ROWS, {}),
    "sampled_softmax": Case(
        losses.sampled_softmax_loss,
        {"user": eighths(B, D), "positive_item": eighths(B, D)},
        {"negative_mask": MASK},
        {"negative_item": eighths(M, D), "temperature": 0.5},
        vectors=True,
    ),
    "sampled_softmax_rows": Case(
        losses.sampled_softmax_loss,
        {"user": eighths(B, D), "positive_item": eighths(B, D), "negative_item": eighths(B, M, D)},
        {},
        {},
        vectors=True,
    ),
    "full_softmax": Case(
        losses.full_softmax_loss,
        {"user": eighths(B, D), "catalogue": eighths(N, D)},
        {"target_index": torch.tensor([0, 1, 7, 7, 3, 2])},
        {"temperature": 2.0},
        vectors=True,
    ),
    "in_batch_nce": Case(losses.in_batch_softmax_loss, VECTORS, IN_BATCH_ROWS, {"temperature": 0.5}, vectors=True),
    "in_batch_full": Case(
        losses.in_batch_softmax_loss, VECTORS, IN_BATCH_ROWS, {"correction": "full", **EXTRA}, vectors=True
    ),
    "in_batch_none": Case(
        losses.in_batch_softmax_loss, VECTORS, IN_BATCH_ROWS, {"correction": "none", **EXTRA}, vectors=True
    ),
    "in_batch_own": Case(
        losses.in_batch_softmax_loss, VECTORS, {**IN_BATCH_ROWS, **OWN}, {**EXTRA, "temperature": 0.5}, vectors=True
    ),
    "in_batch_full_own": Case(
        losses.in_batch_softmax_loss, VECTORS, {**IN_BATCH_ROWS, **OWN}, {"correction": "full"}, vectors=True
    ),
}
every_loss = pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
ITEMS = ("item", "positive_item", "negative_item", "catalogue", "extra_item", "row_item")


def with_ones(items: Tensor) -> Tensor:
    return torch.cat([items, items.new_ones(*items.shape[:-1], 1)], dim=-1)


@every_loss
def test_a_constant_per_row_cancels_exactly_where_it_should(case: Case) -> None:
    shift = torch.linspace(-20, 30, B, dtype=torch.float64)
    if case.vectors:  # [u, shift] with [v, 1]
        known: dict[str, Any] = {**case.scores, **case.rows, **case.shared}
        moved = {name: with_ones(known[name]) for name in ITEMS if name in known}
        moved["user"] = torch.cat([case.scores["user"], shift[:, None]], dim=1)
    else:
        moved = {name: x + shift.view(-1, *[1] * (x.ndim - 1)) for name, x in case.scores.items()}
    same = case.loss(**moved).item() == pytest.approx(case.loss().item(), abs=1e-9)
    assert same is case.shifts


@every_loss
def test_the_order_of_the_rows_does_not_matter(case: Case) -> None:
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    moved = {name: x[order] for name, x in {**case.scores, **case.rows}.items() if name != "catalogue"}
    assert case.loss(**moved).item() == pytest.approx(case.loss().item(), abs=1e-12)
    name = next(iter(case.scores))  # it does matter which score belongs to which row
    assert case.loss(**{name: case.scores[name][order]}).item() != pytest.approx(case.loss().item(), abs=1e-4)


@every_loss
@pytest.mark.parametrize("size", [1e4, -1e4])
def test_gradients_stay_finite_at_large_scores(case: Case, size: float) -> None:
    first = next(iter(case.scores)) if case.vectors else None  # scores are the product of user and item
    leaves = {
        name: (x.float() * (size if first in (None, name) else 1)).requires_grad_() for name, x in case.scores.items()
    }
    loss = case.loss(**leaves)
    loss.backward()
    assert loss.isfinite()
    assert loss.dtype == torch.float32
    for leaf in leaves.values():
        assert leaf.grad is not None
        assert leaf.grad.isfinite().all()
        assert (leaf.grad != 0).any()


@every_loss
@pytest.mark.parametrize("half", [torch.float16, torch.bfloat16])
def test_halves_give_float32_losses_with_all_digits(case: Case, half: torch.dtype) -> None:
    loss = case.loss(**{name: x.to(half) for name, x in case.scores.items()})
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(case.loss().item(), rel=2e-6)


@every_loss
def test_autocast_changes_nothing(case: Case) -> None:
    thirds = {name: x / 3 for name, x in case.scores.items()}  # what bfloat16 cannot hold
    singles = {name: x.float() for name, x in thirds.items()}
    with torch.autocast("cpu", dtype=torch.bfloat16):
        single, double = case.loss(**singles), case.loss(**thirds)
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.bfloat16  # autocast is on
    assert single.dtype == torch.float32
    assert single.item() == case.loss(**singles).item()
    assert double.dtype == torch.float64
    assert double.item() == case.loss(**thirds).item()


@every_loss
def test_gradients_are_those_of_finite_differences(case: Case) -> None:
    leaves = [(x + 0.013).requires_grad_() for x in case.scores.values()]
    names = tuple(case.scores)
    assert torch.autograd.gradcheck(lambda *xs: case.loss(**dict(zip(names, xs, strict=True))), leaves)

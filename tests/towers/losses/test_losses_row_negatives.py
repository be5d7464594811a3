"""In-batch softmax with negatives of one row only: equal to the plain form, row by row."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from feedgym.towers.losses import in_batch_softmax_loss

GENERATOR = torch.Generator().manual_seed(5)
B, D, R, M = 5, 3, 3, 2


def normal(*shape: int) -> Tensor:
    return torch.randn(shape, generator=GENERATOR, dtype=torch.float64)


USER, ITEM, EXTRA, OWN = normal(B, D), normal(B, D), normal(M, D), normal(B, R, D)
IDS = torch.tensor([0, 1, 0, 2, 3])
EXTRA_IDS = torch.tensor([1, 4])
OWN_IDS = torch.tensor([[0, 5, 6], [2, 3, 1], [0, 0, 7], [8, 2, 2], [9, 5, 3]])
MASK = torch.tensor([[True, True, False], [True, False, True], [False] * 3, [True] * 3, [False, True, True]])
LOG_Q, EXTRA_LOG_Q, OWN_LOG_Q = normal(4)[IDS], normal(M), normal(B, R)
SHARED: dict[str, Any] = {"extra_item": EXTRA, "extra_ids": EXTRA_IDS, "extra_log_q": EXTRA_LOG_Q}
ALONE: dict[str, Any] = {"row_item": OWN, "row_ids": OWN_IDS, "row_log_q": OWN_LOG_Q, "row_mask": MASK}


def slow(correction: str, *, shared: bool, temperature: float = 1.0) -> list[float]:
    """Loss of each row, column by column."""
    losses = []
    for row in range(B):
        columns = [(ITEM[j], int(IDS[j]), LOG_Q[j], j == row) for j in range(B)]
        if shared:
            columns += [(EXTRA[m], int(EXTRA_IDS[m]), EXTRA_LOG_Q[m], False) for m in range(M)]
        columns += [(OWN[row, r], int(OWN_IDS[row, r]), OWN_LOG_Q[row, r], False) for r in range(R) if MASK[row, r]]
        total = 0.0
        for item, id_, log_q, own in columns:
            hit = id_ == int(IDS[row]) and not own
            if correction == "full" and hit:
                continue
            offset = 0.0 if correction == "none" or (correction == "full" and own) else float(log_q)
            score = float(USER[row] @ item) / temperature - offset
            total += math.exp(score)
            if own:
                positive = score
        losses.append(math.log(total) - positive)
    return losses


@pytest.mark.parametrize("correction", ["nce", "full", "none"])
@pytest.mark.parametrize("shared", [False, True])
def test_equals_the_plain_form(correction: Any, shared: Any) -> None:
    rows = slow(correction, shared=shared, temperature=0.5)
    settings = {"correction": correction, "temperature": 0.5, **ALONE, **(SHARED if shared else {})}
    loss = in_batch_softmax_loss(USER, ITEM, IDS, LOG_Q, **settings)
    assert loss.item() == pytest.approx(sum(rows) / B, abs=1e-12)
    weight = torch.arange(B)
    loss = in_batch_softmax_loss(USER, ITEM, IDS, LOG_Q, weight=weight, **settings)
    assert loss.item() == pytest.approx(sum(w * row for w, row in enumerate(rows)) / 10, abs=1e-12)


def test_a_row_does_not_see_the_negatives_of_another() -> None:
    def loss_of_row(row: int, own: Tensor) -> float:
        only = torch.eye(B, dtype=torch.float64)[row]
        return in_batch_softmax_loss(USER, ITEM, IDS, LOG_Q, weight=only, **{**ALONE, "row_item": own}).item()

    moved = OWN.clone()
    moved[3] += 1.0
    for row in range(B):
        assert (loss_of_row(row, moved) == loss_of_row(row, OWN)) is (row != 3)


def test_what_is_masked_may_hold_anything() -> None:
    own, log_q = OWN.clone(), OWN_LOG_Q.clone()
    own[~MASK], log_q[~MASK] = 1e3, -math.inf
    own.requires_grad_()
    loss = in_batch_softmax_loss(USER, ITEM, IDS, LOG_Q, **{**ALONE, "row_item": own, "row_log_q": log_q})
    plain = in_batch_softmax_loss(USER, ITEM, IDS, LOG_Q, **ALONE)
    assert loss.item() == pytest.approx(plain.item(), abs=1e-12)
    loss.backward()
    assert own.grad is not None
    assert (own.grad[~MASK] == 0).all()
    assert (own.grad[MASK] != 0).all()


def test_rows_without_any_negative_are_skipped() -> None:
    """Where all rows clicked one article, `full` has only the rows' own negatives, of which row 2 has none."""
    same = torch.zeros(B, dtype=torch.int64)
    loss = in_batch_softmax_loss(USER, ITEM, same, LOG_Q, correction="full", **ALONE)
    rows = []
    for row in (0, 1, 3, 4):
        use = MASK[row] & (OWN_IDS[row] != 0)
        logits = torch.cat([(USER[row] @ ITEM[row])[None], OWN[row, use] @ USER[row] - OWN_LOG_Q[row, use]])
        rows.append(-logits.log_softmax(0)[0].item())
    assert loss.item() == pytest.approx(sum(rows) / 4, abs=1e-12)
    # A batch of one row is no error where that row has a negative of its own.
    first = {name: x[:1] for name, x in ALONE.items()}
    assert in_batch_softmax_loss(USER[:1], ITEM[:1], IDS[:1], LOG_Q[:1], **first).isfinite()
    third = {name: x[2:3] for name, x in ALONE.items()}
    with pytest.raises(ValueError, match="negative"):
        in_batch_softmax_loss(USER[2:3], ITEM[2:3], IDS[2:3], LOG_Q[2:3], **third)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"row_item": None}, "row_item: got None"),
        ({"row_ids": None}, "row_ids: got None"),
        ({"row_log_q": None}, "row_log_q: got None"),
        ({"row_item": OWN[:, :2]}, "row_ids: got shape"),
        ({"row_item": OWN[:, :, :2]}, "row_item: got shape"),
        ({"row_item": OWN[:2]}, "row_item: got shape"),
        ({"row_item": OWN[0]}, "row_item: got"),
        ({"row_ids": OWN_IDS.float()}, "row_ids: got torch.float32, needs int64"),
        ({"row_mask": MASK[:, :2]}, "row_mask: got shape"),
        ({"row_mask": MASK.float()}, "row_mask: got torch.float32"),
        ({"row_log_q": OWN_LOG_Q / 0}, "row_log_q: got 'values from"),
        ({"row_log_q": OWN_LOG_Q[:, :2]}, "row_log_q: got shape"),
    ],
)
def test_refusals_name_the_argument(changes: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        in_batch_softmax_loss(USER, ITEM, IDS, LOG_Q, **{**ALONE, **changes})

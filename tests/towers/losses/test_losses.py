"""Regression losses and the in-batch softmax: fixed values (float64), gradients, types, refusals."""

import math
from typing import Any, cast

import pytest
import torch
from torch import Tensor

from feedgym.towers.losses import bce_loss, in_batch_softmax_loss, mse_loss

SCORE = torch.tensor([[2.0, 0.0, -1.0], [0.5, 0.5, 1.0]], dtype=torch.float64)
CLICKED = torch.tensor([[1, 0, 0], [0, 1, 1]], dtype=torch.bool)
THETA = torch.tensor([1.0, 0.6, 0.3], dtype=torch.float64)

USER = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]], dtype=torch.float64)
ITEM = torch.tensor([[1.0, 0.5], [-0.5, 1.0], [1.0, 0.5]], dtype=torch.float64)
IDS = torch.tensor([0, 1, 0])
Q = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
EXTRA = torch.tensor([[0.2, 0.4], [0.5, -0.5]], dtype=torch.float64)
EXTRA_IDS = torch.tensor([2, 1])


def in_batch(correction: str = "nce", **changes: Any) -> Tensor:
    arguments: dict[str, Any] = {
        "user": USER,
        "item": ITEM,
        "item_ids": IDS,
        "log_q": Q.log()[IDS],
        "correction": correction,
    }
    return in_batch_softmax_loss(**{**arguments, **changes})


def mixed(correction: str, **changes: Any) -> Tensor:
    expected = 2 * Q + 2 / 3  # B - 1 = 2 in-batch draws, and 2 uniform ones over 3 live articles
    extra = {"extra_item": EXTRA, "extra_ids": EXTRA_IDS, "extra_log_q": expected.log()[EXTRA_IDS]}
    return in_batch(correction, **{"log_q": expected.log()[IDS], **extra, **changes})


def masked_with_log_q() -> Tensor:
    """The control: hits masked although the positive is corrected, as libraries offer and we do not."""
    logits = USER @ ITEM.T - Q.log()[IDS]
    hit = (IDS[:, None] == IDS) & ~torch.eye(3, dtype=torch.bool)
    return torch.nn.functional.cross_entropy(logits.masked_fill(hit, -math.inf), torch.arange(3))


@pytest.mark.parametrize(
    ("seen", "value"),
    [
        (lambda: mse_loss(SCORE, CLICKED), 0.4166666667),
        (lambda: mse_loss(SCORE, CLICKED, weight=torch.arange(1, 7).view(2, 3)), 0.2976190476),
        (lambda: bce_loss(SCORE, CLICKED), 0.4824587558),
        (lambda: bce_loss(SCORE, CLICKED, log_examination=THETA.log()), 0.6739901152),
        (lambda: bce_loss(SCORE, CLICKED, negative_keep_rate=0.1), 1.1518101103),
        (lambda: in_batch("none"), 0.8184292528),
        (lambda: in_batch("none", log_q=None), 0.8184292528),
        (lambda: in_batch("nce"), 0.7903680933),
        (lambda: in_batch("nce", temperature=0.5), 0.6331533655),
        (lambda: in_batch("full"), 0.5295797786),
        (lambda: mixed("nce"), 1.1964605441),
        (lambda: mixed("full"), 0.7173496256),
        (masked_with_log_q, 0.4470775943),
    ],
)
def test_fixed_values(seen: Any, value: Any) -> None:
    loss = seen()
    assert loss.dtype == torch.float64
    assert loss.item() == pytest.approx(value, abs=1e-9)


def test_bias_gradient_is_mean_prediction_less_mean_click_rate() -> None:
    bias = torch.zeros((), dtype=torch.float64, requires_grad=True)
    bce_loss(SCORE + bias, CLICKED).backward()
    assert bias.grad is not None
    assert bias.grad.item() == pytest.approx(0.1042859567, abs=1e-9)
    assert bias.grad.item() == pytest.approx((SCORE.sigmoid() - CLICKED.double()).mean().item(), abs=1e-12)


def test_examined_bce_equals_its_plain_form_and_learns_examination() -> None:
    log_theta = THETA.log().requires_grad_()
    score = SCORE.clone().requires_grad_()
    rate = THETA * SCORE.sigmoid()
    plain = -torch.where(CLICKED, rate.log(), torch.log1p(-rate))
    loss = bce_loss(score, CLICKED, log_examination=log_theta)
    assert loss.item() == pytest.approx(plain.mean().item(), abs=1e-12)
    loss.backward()
    # Position 0 has theta = 1, where log(1 - theta) has no finite slope.
    assert score.grad is not None
    assert log_theta.grad is not None
    assert score.grad.isfinite().all()
    assert log_theta.grad.isfinite().all()
    # dl/ds at theta = 1 is sigmoid(s) - y, whatever the form.
    torch.testing.assert_close(score.grad[:, 0] * 6, (SCORE.sigmoid() - CLICKED.double())[:, 0])


def test_thinned_non_clicks_leave_the_true_rate_as_optimum() -> None:
    # 1,000 impressions at rate .04 with examination .5, one in ten non-clicks kept: 20 clicks, 98 non-clicks.
    clicked = torch.tensor([1.0] * 20 + [0.0] * 98, dtype=torch.float64)
    logit = torch.tensor(math.log(0.04 / 0.96), dtype=torch.float64, requires_grad=True)
    log_half = torch.full((118,), math.log(0.5), dtype=torch.float64)
    for rate, optimal in ((0.1, True), (0.2, False)):
        (slope,) = torch.autograd.grad(
            bce_loss(logit.expand(118), clicked, log_examination=log_half, negative_keep_rate=rate), logit
        )
        assert (abs(slope.item()) < 1e-12) is optimal


def test_row_weights() -> None:
    weight = torch.tensor([0.0, 3.0, 1.0])
    each = [in_batch(weight=torch.eye(3)[row]).item() for row in range(3)]
    assert in_batch(weight=weight).item() == pytest.approx((3 * each[1] + each[2]) / 4)
    assert in_batch(weight=weight, normalise="count").item() == pytest.approx((3 * each[1] + each[2]) / 3)
    assert in_batch().item() == pytest.approx(sum(each) / 3)
    assert bce_loss(SCORE, CLICKED, weight=2 * torch.ones(2, 3), normalise="count").item() == pytest.approx(
        2 * 0.4824587558
    )


@pytest.mark.parametrize("correction", ["nce", "full", "none"])
@pytest.mark.parametrize("call", [in_batch, mixed])
def test_constant_and_order_do_not_matter(call: Any, correction: Any) -> None:
    ones = torch.ones(3, 1, dtype=torch.float64)
    shifts = torch.tensor([[5.0], [-3.0], [40.0]], dtype=torch.float64)
    shifted = {"user": torch.cat([USER, shifts], 1), "item": torch.cat([ITEM, ones], 1)}
    order = torch.tensor([2, 0, 1])
    permuted = {"user": USER[order], "item": ITEM[order], "item_ids": IDS[order]}
    if call is mixed:
        shifted["extra_item"] = torch.cat([EXTRA, ones[:2]], 1)
        permuted["log_q"] = (2 * Q + 2 / 3).log()[IDS[order]]
    else:
        permuted["log_q"] = Q.log()[IDS[order]]
    value = call(correction).item()
    assert call(correction, **shifted).item() == pytest.approx(value, abs=1e-9)
    assert call(correction, **permuted).item() == pytest.approx(value, abs=1e-12)


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_gradients_stay_finite_at_large_scores(sign: float) -> None:
    size = sign * 1e4
    for loss in (
        lambda s: bce_loss(s, CLICKED),
        lambda s: bce_loss(s, CLICKED, log_examination=THETA.float().log()),
        lambda s: bce_loss(s, CLICKED, negative_keep_rate=0.01),
        lambda s: mse_loss(s, CLICKED),
    ):
        score = (SCORE.float() * size).requires_grad_()
        value = loss(score)
        value.backward()
        assert value.isfinite()
        assert score.grad is not None
        assert score.grad.isfinite().all()
    for correction in ("nce", "full", "none"):
        user = (USER.float() * size).requires_grad_()
        value = in_batch(correction, user=user, item=ITEM.float())
        value.backward()
        assert value.isfinite()
        assert user.grad is not None
        assert user.grad.isfinite().all()


@pytest.mark.parametrize("half", [torch.float16, torch.bfloat16])
def test_halves_rise_to_float32(half: Any) -> None:
    assert mse_loss(SCORE.to(half), CLICKED).dtype == torch.float32
    assert bce_loss(SCORE.to(half), CLICKED, log_examination=THETA.log()).dtype == torch.float32
    for correction in ("nce", "full", "none"):
        loss = in_batch(correction, user=USER.to(half), item=ITEM.to(half))
        assert loss.dtype == torch.float32
        # These inputs are exact in halves: a product in half precision would show in the fourth digit.
        assert loss.item() == pytest.approx(in_batch(correction).item(), abs=1e-6)


def test_autocast_does_not_lower_the_scores() -> None:
    user = torch.randn(64, 16, generator=torch.Generator().manual_seed(1))
    ids = torch.arange(64)
    arguments = (user, user.flip(0), ids, torch.full((64,), -4.0))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert (user @ user.T).dtype == torch.bfloat16  # autocast is on
        inside = in_batch_softmax_loss(*arguments)
        doubled = in_batch("nce")
    assert inside.dtype == torch.float32
    assert inside.item() == in_batch_softmax_loss(*arguments).item()
    assert doubled.dtype == torch.float64


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: mse_loss(SCORE, CLICKED[0]), r"target: got shape \(3,\), needs \(2, 3\)"),
        (lambda: mse_loss(SCORE[:0], CLICKED[:0]), "rows: got 0"),
        (lambda: bce_loss(SCORE, CLICKED[:, :2]), "clicked"),
        (lambda: bce_loss(SCORE, CLICKED, weight=torch.ones(3)), "weight"),
        (lambda: bce_loss(SCORE, CLICKED, weight=torch.zeros(2, 3)), "positive sum"),
        (lambda: bce_loss(SCORE, CLICKED, weight=-torch.ones(2, 3)), "weight"),
        (lambda: bce_loss(SCORE, CLICKED, log_examination=THETA), "log_examination: got 'values from 0.3"),
        (lambda: bce_loss(SCORE, CLICKED, log_examination=THETA[:2].log()), "log_examination"),
        (lambda: bce_loss(SCORE, CLICKED, negative_keep_rate=0.0), "negative_keep_rate: got 0.0"),
        (lambda: bce_loss(SCORE, CLICKED, normalise=cast("Any", "mean")), "normalise: got 'mean'"),
        (lambda: in_batch("masked"), "correction: got 'masked'"),
        (lambda: in_batch(temperature=0.0), "temperature"),
        (lambda: in_batch(item=ITEM[:2]), "item: got shape"),
        (lambda: in_batch(item_ids=IDS[:2]), "item_ids: got shape"),
        (lambda: in_batch(item_ids=IDS.float()), "item_ids: got torch.float32, needs int64"),
        (lambda: in_batch(log_q=None), "log_q: got None"),
        (lambda: in_batch(log_q=torch.tensor([-1.0, -math.inf, -1.0])), "log_q: got 'values from -inf"),
        (lambda: in_batch(log_q=Q.log()[:2]), "log_q: got shape"),
        (lambda: in_batch("full", item_ids=torch.zeros(3, dtype=torch.int64)), "needs a negative"),
        (lambda: in_batch(user=USER[:1], item=ITEM[:1], item_ids=IDS[:1], log_q=Q[:1]), "needs a negative"),
        (lambda: in_batch(extra_item=EXTRA), "extra_ids: got None"),
        (lambda: in_batch(extra_item=EXTRA, extra_ids=EXTRA_IDS), "extra_log_q: got None"),
        (lambda: in_batch(extra_ids=EXTRA_IDS), "extra_item: got None"),
        (lambda: mixed("nce", extra_item=EXTRA[:, :1]), "extra_item: got shape"),
    ],
)
def test_refusals_name_the_argument(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()

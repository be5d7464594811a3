"""Softmax, pair, slate and examination losses: fixed values (float64), skipped rows, refusals."""

import math
from typing import Any

import pytest
import torch

from feedgym.towers.losses import (
    bce_loss,
    bpr_loss,
    ccl_loss,
    examination_posterior,
    full_softmax_loss,
    gbce_beta,
    gbce_loss,
    in_batch_softmax_loss,
    ips_bce_loss,
    sampled_softmax_loss,
    slate_bpr_loss,
    slate_softmax_loss,
    softmax_loss,
    usable_rows,
    usable_slates,
)
from feedgym.towers.losses.examination import LearnedExamination


def doubles(*rows: object) -> torch.Tensor:
    return torch.tensor(rows, dtype=torch.float64)


SCORE = doubles([2.0, 0.0, -1.0], [0.5, 0.5, 1.0])
CLICKED = torch.tensor([[True, False, False], [False, True, True]])
THETA = doubles(1.0, 0.6, 0.3)
USER = doubles([1.0, 0.0], [0.0, 1.0], [1.0, 1.0])
ITEM = doubles([1.0, 0.5], [-0.5, 1.0], [1.0, 0.5])
IDS = torch.tensor([0, 1, 0])
LOG_Q = doubles(0.5, 0.3, 0.2).log()
POSITIVE, NEGATIVE = doubles(1.0, 0.0), doubles([0.0, 2.0], [0.0, -1.0])


def softplus(x: float) -> float:
    return math.log1p(math.exp(x))


def others_of(row: int) -> list[int]:
    return [j for j in range(3) if j != row]


def in_batch_by_hand(*, masked: bool, temperature: float = 1.0) -> torch.Tensor:
    """`nce`, or the `full` form, through the general softmax loss with the columns written out."""
    scores = USER @ ITEM.T
    own = scores.diagonal()
    negatives = torch.stack([scores[row, others_of(row)] for row in range(3)])
    ids = torch.stack([IDS[others_of(row)] for row in range(3)])
    if masked:
        log_count = LOG_Q[ids] + math.log(2)
        return softmax_loss(own, negatives, negative_log_q=log_count, negative_mask=ids != IDS[:, None])
    return softmax_loss(own, negatives, positive_log_q=LOG_Q[IDS], negative_log_q=LOG_Q[ids], temperature=temperature)


@pytest.mark.parametrize(
    ("seen", "value"),
    [
        (lambda: ips_bce_loss(SCORE, CLICKED, THETA), 0.0380143114),
        (lambda: ips_bce_loss(SCORE, CLICKED, THETA, clip=1.0), 0.4824587558),  # no boost left: plain BCE
        (lambda: ips_bce_loss(SCORE, CLICKED, THETA, clip=1e3), 0.0380143114),
        (lambda: slate_softmax_loss(SCORE, CLICKED), 0.4456900614),
        (lambda: slate_softmax_loss(SCORE, CLICKED.long()), 0.4456900614),
        (lambda: slate_bpr_loss(SCORE, CLICKED), 0.3356848818),
        (lambda: bpr_loss(POSITIVE, NEGATIVE), 0.6582330608),
        (lambda: torch.tensor(gbce_beta(256, 3417, 0.75), dtype=torch.float64), 0.3062060890),
        (lambda: in_batch_by_hand(masked=False), 0.7903680933),
        (lambda: in_batch_by_hand(masked=False, temperature=0.5), 0.6331533655),
        (lambda: in_batch_by_hand(masked=True), 0.5295797786),
    ],
)
def test_fixed_values(seen: Any, value: Any) -> None:
    loss = seen()
    assert loss.dtype == torch.float64
    assert loss.item() == pytest.approx(value, abs=1e-9)


def test_values_worked_out_by_hand() -> None:
    assert bpr_loss(POSITIVE, doubles(3.0, -1.0)).item() == pytest.approx((softplus(2) + softplus(-1)) / 2)
    # Cosines .9 against .5 and .1, margin .3: 1 - .9 + 4/2 (.2 + 0); .2 against .3 and -.6: 1 - .2 + 0.
    ccl = ccl_loss(doubles(0.9, 0.2), doubles([0.5, 0.1], [0.3, -0.6]), margin=0.3, negative_weight=4.0)
    assert ccl.item() == pytest.approx((0.5 + 0.8) / 2)
    # alpha = 2/5, t = .5: beta = .4 (.5 (1 - 2.5) + 2.5) = .7; three terms a row.
    gbce = gbce_loss(POSITIVE, NEGATIVE, num_items=6, t=0.5)
    first = 0.7 * softplus(-1) + softplus(0) + softplus(2)
    second = 0.7 * softplus(0) + softplus(0) + softplus(-1)
    assert gbce.item() == pytest.approx((first + second) / 6)
    assert gbce_beta(2, 6, 0.0) == 1.0
    assert gbce_beta(2, 6, 1.0) == pytest.approx(0.4)
    # Article 3 not clicked at theta = .3, c = .5: .15 / .85.
    assert examination_posterior(doubles(0.5), doubles(0.3)).item() == pytest.approx(3 / 17)
    certain = examination_posterior(doubles([0.5, 1.0, 1.0], [0.0, 0.5, 1.0]), doubles(1.0, 1.0, 0.5))
    torch.testing.assert_close(certain, doubles([1.0, 1.0, 0.0], [1.0, 1.0, 0.0]))


def test_sampled_and_full_softmax_equal_their_plain_forms() -> None:
    negative = doubles([0.2, 0.4], [0.5, -0.5])
    scores = USER @ torch.cat([ITEM, negative]).T
    columns = torch.stack([scores[row, [row, 3, 4]] for row in range(3)]) / 0.5
    plain = -columns.log_softmax(dim=1)[:, 0]
    for shared in (negative, negative.expand(3, 2, 2)):
        loss = sampled_softmax_loss(USER, ITEM, shared, temperature=0.5)
        assert loss.item() == pytest.approx(plain.mean().item(), abs=1e-12)
    weight = doubles(1.0, 0.0, 3.0)
    loss = sampled_softmax_loss(USER, ITEM, negative, temperature=0.5, weight=weight)
    assert loss.item() == pytest.approx(((plain[0] + 3 * plain[2]) / 4).item(), abs=1e-12)
    target = torch.tensor([2, 0, 1])
    plain = -(USER @ ITEM.T / 0.5).log_softmax(dim=1)[torch.arange(3), target]
    loss = full_softmax_loss(USER, ITEM, target, temperature=0.5)
    assert loss.item() == pytest.approx(plain.mean().item(), abs=1e-12)
    loss = full_softmax_loss(USER, ITEM, target, temperature=0.5, weight=weight, normalise="count")
    assert loss.item() == pytest.approx(((plain[0] + 3 * plain[2]) / 3).item(), abs=1e-12)


def test_weights_of_clicks_and_of_slates() -> None:
    # One click of the first slate, two of the second; pairs: two and two.
    click = [slate_softmax_loss(SCORE, CLICKED, weight=torch.eye(6)[at].view(2, 3)).item() for at in (0, 4, 5)]
    weight = doubles([2.0, 9.0, 9.0], [9.0, 1.0, 3.0])  # the weights of non-clicks are not used
    loss = slate_softmax_loss(SCORE, CLICKED, weight=weight).item()
    assert loss == pytest.approx((2 * click[0] + click[1] + 3 * click[2]) / 6)
    loss = slate_softmax_loss(SCORE, CLICKED, weight=doubles(2.0, 1.0)).item()
    assert loss == pytest.approx((2 * click[0] + click[1] + click[2]) / 4)
    loss = slate_softmax_loss(SCORE, CLICKED, weight=doubles(2.0, 1.0), normalise="count").item()
    assert loss == pytest.approx((2 * click[0] + click[1] + click[2]) / 3)
    pairs = [softplus(-2), softplus(-3), softplus(0), softplus(-0.5)]
    assert slate_bpr_loss(SCORE, CLICKED, weight=weight).item() == pytest.approx(
        (2 * pairs[0] + 2 * pairs[1] + pairs[2] + 3 * pairs[3]) / 8
    )


def test_rows_without_negatives_are_skipped_and_counted() -> None:
    scores = doubles([0.0, 2.0], [math.nan, math.inf], [1.0, math.nan])
    mask = torch.tensor([[True, True], [False, False], [True, False]])
    assert usable_rows(mask).tolist() == [True, False, True]
    assert int((~usable_rows(mask)).sum()) == 1
    own = doubles(1.0, 0.5, 0.0)
    losses: list[tuple[Any, str, list[float]]] = [
        (softmax_loss, "negative_mask", [math.log(math.e + 1 + math.e**2) - 1, softplus(1)]),
        (bpr_loss, "mask", [(softplus(-1) + softplus(1)) / 2, softplus(1)]),
    ]
    for loss_of, name, value in losses:
        positive, negative = own.clone().requires_grad_(), scores.clone().requires_grad_()
        loss = loss_of(positive, negative, **{name: mask})
        assert loss.item() == pytest.approx(sum(value) / 2)
        loss.backward()
        assert positive.grad is not None
        assert negative.grad is not None
        assert positive.grad[1] == 0
        assert (negative.grad[~mask] == 0).all()
        assert negative.grad.isfinite().all()
        weighted = loss_of(own, scores, **{name: mask}, weight=doubles(1.0, 50.0, 3.0), normalise="count")
        assert weighted.item() == pytest.approx((value[0] + 3 * value[1]) / 2)
        with pytest.raises(ValueError, match="rows: got '3, all without a negative'"):
            loss_of(own, scores, **{name: torch.zeros_like(mask)})
    one = bpr_loss(own, scores[:, 0], mask=mask[:, 0])
    assert one.item() == pytest.approx((softplus(-1) + softplus(1)) / 2)
    items = torch.randn(3, 2, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    masked = sampled_softmax_loss(USER, ITEM, items, negative_mask=mask)
    first = sampled_softmax_loss(USER[:1], ITEM[:1], items[:1])
    third = sampled_softmax_loss(USER[2:], ITEM[2:], items[2:, :1])
    assert masked.item() == pytest.approx(((first + third) / 2).item())


@pytest.mark.parametrize("loss_of", [slate_softmax_loss, slate_bpr_loss])
def test_slates_with_all_or_no_clicks_are_skipped_and_counted(loss_of: Any) -> None:
    score = torch.cat([SCORE, doubles([1.0, 2.0, 3.0], [4.0, 5.0, 6.0], [1.0, 1.0, math.nan])]).requires_grad_()
    clicked = torch.cat([CLICKED, torch.tensor([[False] * 3, [True] * 3, [True, True, False]])])
    valid = torch.ones(5, 3, dtype=torch.bool)
    valid[4, 2] = False  # its only non-click was not shown
    assert usable_slates(clicked, valid).tolist() == [True, True, False, False, False]
    loss = loss_of(score, clicked, valid=valid)
    assert loss.item() == pytest.approx(loss_of(SCORE, CLICKED).item(), abs=1e-12)
    loss.backward()
    assert score.grad is not None
    assert score.grad.isfinite().all()
    assert (score.grad[2:] == 0).all()
    assert (score.grad[:2] != 0).any(dim=1).all()
    for rows in ([2], [3], [4], [2, 3, 4]):
        with pytest.raises(ValueError, match="all without a negative"):
            loss_of(score[rows], clicked[rows], valid=valid[rows])


@pytest.mark.parametrize("loss_of", [slate_softmax_loss, slate_bpr_loss])
def test_articles_that_were_not_shown_do_not_count(loss_of: Any) -> None:
    padded = torch.cat([SCORE, doubles([50.0], [-50.0])], dim=1)
    clicked = torch.cat([CLICKED, torch.tensor([[False], [True]])], dim=1)
    valid = torch.tensor([[True, True, True, False]] * 2)
    assert loss_of(padded, clicked, valid=valid).item() == pytest.approx(loss_of(SCORE, CLICKED).item(), abs=1e-12)
    assert loss_of(padded, clicked).item() > 10


def test_learned_examination_starts_at_one_over_position_and_keeps_the_top_fixed() -> None:
    examination = LearnedExamination(4)
    torch.testing.assert_close(examination().exp(), torch.tensor([1.0, 1 / 2, 1 / 3, 1 / 4]))
    assert [name for name, _ in examination.named_parameters()] == ["strength"]
    bce_loss(SCORE.float(), CLICKED, log_examination=LearnedExamination(3)()).backward()
    with torch.no_grad():
        examination.strength.copy_(torch.tensor([-200.0, 0.0, 200.0]))
    log_theta = examination()
    assert log_theta[0] == 0
    assert (log_theta <= 0).all()
    loss = bce_loss(torch.zeros(2, 4), torch.ones(2, 4), log_examination=log_theta)
    loss.backward()
    assert examination.strength.grad is not None
    assert examination.strength.grad.isfinite().all()
    assert LearnedExamination(1)().tolist() == [0.0]
    with pytest.raises(ValueError, match="num_positions: got 0"):
        LearnedExamination(0)


LONELY = torch.zeros(3, dtype=torch.int64)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ips_bce_loss(SCORE, CLICKED, THETA - 0.3), r"examination: got 'values from 0 to 0.7'"),
        (lambda: ips_bce_loss(SCORE, CLICKED, THETA[:2]), "examination: got 'shape"),
        (lambda: ips_bce_loss(SCORE, CLICKED, THETA, clip=0.5), "clip: got 0.5"),
        (lambda: ips_bce_loss(SCORE, CLICKED[:1], THETA), "clicked: got shape"),
        (lambda: softmax_loss(POSITIVE, NEGATIVE[:1]), "negatives: got"),
        (lambda: softmax_loss(POSITIVE, NEGATIVE[:, :0]), "M > 0"),
        (lambda: softmax_loss(POSITIVE[:, None], NEGATIVE), "positive: got"),
        (lambda: softmax_loss(POSITIVE, NEGATIVE, temperature=-1.0), "temperature: got -1.0"),
        (lambda: softmax_loss(POSITIVE, NEGATIVE, positive_log_q=POSITIVE), "negative_log_q: got None"),
        (lambda: softmax_loss(POSITIVE, NEGATIVE, negative_log_q=LOG_Q), "negative_log_q: got shape"),
        (lambda: softmax_loss(POSITIVE, NEGATIVE, negative_log_q=NEGATIVE.log()), "negative_log_q: got 'values"),
        (lambda: softmax_loss(POSITIVE, NEGATIVE, negative_mask=CLICKED), "negative_mask: got shape"),
        (lambda: softmax_loss(POSITIVE, NEGATIVE, negative_mask=NEGATIVE), "negative_mask: got torch.float64"),
        (lambda: softmax_loss(POSITIVE, NEGATIVE, weight=THETA), "weight: got shape"),
        (lambda: softmax_loss(POSITIVE[:0], NEGATIVE[:0]), "rows: got 0"),
        (lambda: sampled_softmax_loss(USER, ITEM, ITEM[:, :1]), "negative_item: got"),
        (lambda: sampled_softmax_loss(USER, ITEM, ITEM[None]), "negative_item: got"),
        (lambda: sampled_softmax_loss(USER, ITEM, ITEM[:0]), "negative_item: got 0"),
        (lambda: sampled_softmax_loss(USER, ITEM[:2], ITEM), "positive_item: got shape"),
        (lambda: full_softmax_loss(USER, ITEM, IDS - 1), "target_index: got '-1 to 0'"),
        (lambda: full_softmax_loss(USER, ITEM, IDS + 2), "target_index: got '2 to 3'"),
        (lambda: full_softmax_loss(USER, ITEM, IDS.float()), "target_index: got torch.float32"),
        (lambda: full_softmax_loss(USER, ITEM[:1], LONELY), "catalogue: got"),
        (lambda: bpr_loss(POSITIVE, NEGATIVE[:1]), "negative: got"),
        (lambda: bpr_loss(POSITIVE, POSITIVE[:1]), "negative: got"),
        (lambda: bpr_loss(POSITIVE, NEGATIVE, mask=CLICKED), "mask: got shape"),
        (lambda: gbce_loss(POSITIVE, NEGATIVE, num_items=2), "num_negatives: got 2, needs '?1 to num_items - 1 = 1"),
        (lambda: gbce_loss(POSITIVE, NEGATIVE, num_items=6, t=1.5), "t: got 1.5"),
        (lambda: ccl_loss(POSITIVE, NEGATIVE, margin=2.0, negative_weight=1.0), "margin: got 2.0"),
        (lambda: ccl_loss(POSITIVE, NEGATIVE, margin=0.0, negative_weight=-1.0), "negative_weight: got -1.0"),
        (lambda: slate_softmax_loss(SCORE, CLICKED[:, :2]), "score: got shape"),
        (lambda: slate_softmax_loss(SCORE[0], CLICKED[0]), "clicked: got"),
        (lambda: slate_softmax_loss(SCORE, SCORE), "clicked: got"),
        (lambda: slate_bpr_loss(SCORE, CLICKED, valid=CLICKED.float()), "valid: got torch.float32"),
        (lambda: slate_bpr_loss(SCORE, CLICKED, valid=CLICKED[:1]), "valid: got shape"),
        (lambda: slate_bpr_loss(SCORE, CLICKED, weight=THETA), "weight: got shape"),
        (lambda: slate_bpr_loss(SCORE, CLICKED, weight=-torch.ones(2)), "weight: got 'sum"),
        (lambda: examination_posterior(SCORE, THETA), "click_probability: got 'values from -1 to 2'"),
        (lambda: examination_posterior(THETA, SCORE), "examination: got 'values from -1 to 2'"),
        (lambda: examination_posterior(SCORE.sigmoid(), THETA[:2]), "examination: got 'shape"),
        (lambda: in_batch_softmax_loss(USER, ITEM, LONELY, LOG_Q, correction="full"), "needs 'a negative|negative"),
    ],
)
def test_refusals_name_the_argument(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()

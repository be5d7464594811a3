"""Losses as papers have them: BCE with drawn negatives, and a click against some non-clicks of its slate."""

import itertools
import math

import numpy as np
import pytest
import torch
from scipy import stats

from feedgym.towers.losses import drawn_non_clicks, gbce_loss, sampled_bce_loss, slate_softmax_loss


def softplus(x: float) -> float:
    return max(x, 0.0) + math.log1p(math.exp(-abs(x)))


def test_sampled_bce_by_hand_and_as_gbce_at_0() -> None:
    positive = torch.tensor([1.0, -0.5], dtype=torch.float64)
    negative = torch.tensor([[0.3, 2.0], [-1.0, 0.7]], dtype=torch.float64)
    rows = [softplus(-1.0) + softplus(0.3) + softplus(2.0), softplus(0.5) + softplus(-1.0) + softplus(0.7)]
    assert sampled_bce_loss(positive, negative).item() == pytest.approx(sum(rows) / 2, rel=1e-12)
    weight = torch.tensor([1.0, 3.0], dtype=torch.float64)
    assert sampled_bce_loss(positive, negative, weight=weight).item() == pytest.approx((rows[0] + 3 * rows[1]) / 4)
    # As published the mean over terms; here their sum: a factor, which no optimum sees.
    gbce = gbce_loss(positive, negative, num_items=50, t=0.0)
    assert sampled_bce_loss(positive, negative).item() == pytest.approx(3 * gbce.item(), rel=1e-12)
    mask = torch.tensor([[True, False], [False, False]])
    masked = [softplus(-1.0) + softplus(0.3), softplus(0.5)]
    assert sampled_bce_loss(positive, negative, mask=mask).item() == pytest.approx(sum(masked) / 2, rel=1e-12)


def test_one_uniform_negative_leads_to_log_p() -> None:
    """Enumerated: the optimum is s = log(p / Q), here log(p N), whatever is clicked how often."""
    p = torch.tensor([0.5, 0.25, 0.15, 0.1], dtype=torch.float64)
    score = torch.zeros(4, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS([score], max_iter=200, tolerance_grad=1e-12, tolerance_change=0.0)
    click, drawn = (grid.ravel() for grid in torch.meshgrid(torch.arange(4), torch.arange(4), indexing="ij"))

    def closure() -> torch.Tensor:
        optimiser.zero_grad()
        loss = sampled_bce_loss(score[click], score[drawn][:, None], weight=p[click] / 4)
        loss.backward()
        return loss

    optimiser.step(closure)
    np.testing.assert_allclose(score.detach().numpy(), np.log(4 * p.numpy()), atol=1e-6)


def slates() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    score = torch.randn(40, 7, generator=generator, dtype=torch.float64)
    shown = torch.rand(40, 7, generator=generator) < 0.8
    clicked = (torch.rand(40, 7, generator=generator) < 0.3) & shown
    return score, clicked, shown


@pytest.mark.parametrize("count", [1, 2, 4, 7, 99])
def test_a_click_against_some_non_clicks_equals_a_plain_loop(count: int) -> None:
    score, clicked, shown = slates()
    luck = torch.rand(40, 7, 7, generator=torch.Generator().manual_seed(5))
    against = drawn_non_clicks(luck, shown & ~clicked, count)
    total, clicks = 0.0, 0
    for s in range(40):
        left = [k for k in range(7) if shown[s, k] and not clicked[s, k]]
        for k in range(7):
            drawn = sorted(left, key=lambda j: luck[s, k, j].item())[:count]
            assert sorted(drawn) == against[s, k].nonzero().ravel().tolist()
            if clicked[s, k] and drawn:
                rest = sum(math.exp(score[s, j].item()) for j in [k, *drawn])
                total, clicks = total + math.log(rest) - score[s, k].item(), clicks + 1
    assert clicks > 40
    found = slate_softmax_loss(score, clicked, valid=shown, against=against)
    assert found.item() == pytest.approx(total / clicks, rel=1e-12)
    whole = slate_softmax_loss(score, clicked, valid=shown).item()
    assert (found.item() == pytest.approx(whole, rel=1e-12)) == (count >= 7)


def test_some_of_a_slate_have_the_optimum_of_all() -> None:
    """Enumerated: every pattern of clicks, every click of it, every non-click that may be drawn (K = 1)."""
    chance = [0.5, 0.3, 0.2, 0.1]
    clicked, against, weight = [], [], []
    for pattern in itertools.product((0, 1), repeat=4):
        lost = [j for j in range(4) if not pattern[j]]
        mass = math.prod(c if won else 1 - c for c, won in zip(chance, pattern, strict=True))
        for i, j in itertools.product([i for i in range(4) if pattern[i]], lost):
            clicked.append([k == i for k in range(4)])
            against.append([[k == j for k in range(4)]] * 4)
            weight.append(mass / len(lost))
    score = torch.zeros(4, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS([score], max_iter=300, tolerance_grad=1e-13, tolerance_change=0.0)

    def closure() -> torch.Tensor:
        optimiser.zero_grad()
        rows = torch.tensor(clicked)
        loss = slate_softmax_loss(
            score.expand(len(rows), 4), rows, against=torch.tensor(against), weight=torch.tensor(weight).double()
        )
        loss.backward()
        return loss

    optimiser.step(closure)
    found, wanted = score.detach().numpy(), np.log(np.array(chance) / (1 - np.array(chance)))
    np.testing.assert_allclose(found - found.mean(), wanted - wanted.mean(), atol=1e-6)


def test_every_non_click_is_drawn_as_often() -> None:
    luck = torch.rand(6000, 5, 5, generator=torch.Generator().manual_seed(8))
    non_click = torch.tensor([False, True, True, True, True]).expand(6000, 5)
    drawn = drawn_non_clicks(luck, non_click, 2)
    assert (drawn.sum(dim=2) == 2).all()
    assert stats.chisquare(drawn[:, 0, 1:].sum(dim=0).numpy()).pvalue > 1e-3
    assert not drawn[..., 0].any()


def test_a_click_without_non_clicks_teaches_nothing_and_has_a_finite_gradient() -> None:
    score = torch.tensor([[1e4, -1e4], [2.0, 0.0]], requires_grad=True)
    clicked = torch.tensor([[True, True], [True, False]])
    against = drawn_non_clicks(torch.rand(2, 2, 2, generator=torch.Generator().manual_seed(1)), ~clicked, 1)
    loss = slate_softmax_loss(score, clicked, against=against)
    loss.backward()
    assert loss.item() == pytest.approx(softplus(-2.0), rel=1e-6)
    assert score.grad is not None
    assert torch.equal(score.grad[0], torch.zeros(2))
    assert score.grad.isfinite().all()

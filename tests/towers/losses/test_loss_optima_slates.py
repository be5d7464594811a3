"""Where losses of served slates have their optimum, with and without position bias: all slates are enumerated.

Four articles with click rates c once examined; slates of three, drawn one by one in proportion to 8, 4, 2, 1 (so an
article is on .975, .902, .723, .400 of the slates). A loss sees every (slate, clicks) as a row weighted by its
chance; LBFGS starts from zero. Errors are of scores, centred where the loss leaves a constant.
"""

import functools
import itertools
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from feedgym.towers.losses import (
    bce_loss,
    examination_posterior,
    full_softmax_loss,
    ips_bce_loss,
    mse_loss,
    slate_bpr_loss,
    slate_softmax_loss,
    usable_slates,
)
from feedgym.towers.losses.examination import LearnedExamination
from helpers.towers import minimise as minimise_from_zero

C = torch.tensor([0.5, 0.3, 0.2, 0.1], dtype=torch.float64)
LOGIT = C.logit()
minimise = functools.partial(minimise_from_zero, shape=(4,))
THETA = torch.tensor([1.0, 0.6, 0.3], dtype=torch.float64)
ALWAYS = torch.ones_like(THETA)
LURE = torch.tensor([8.0, 4.0, 2.0, 1.0], dtype=torch.float64)
SLATES = torch.tensor(list(itertools.permutations(range(4), 3)))  # (24, 3)
PATTERNS = torch.tensor(list(itertools.product([False, True], repeat=3)))  # (8, 3)


def slate_chances() -> Tensor:
    drawn = LURE[SLATES]
    left = LURE.sum() - drawn.cumsum(dim=1) + drawn
    return (drawn / left).prod(dim=1)


def served(theta: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Every slate with every pattern of clicks: articles (192, 3), clicked (192, 3), chance (192,)."""
    slate, clicked = SLATES.repeat_interleave(8, dim=0), PATTERNS.repeat(24, 1)
    rate = theta * C[slate]
    chance = torch.where(clicked, rate, 1 - rate).prod(dim=1)
    return slate, clicked, chance * slate_chances().repeat_interleave(8)


def slot_propensity() -> Tensor:
    """Chance of each article at each position, (4, 3)."""
    place = torch.zeros(4, 3, dtype=torch.float64)
    for slate, chance in zip(SLATES.tolist(), slate_chances().tolist(), strict=True):
        for position, article in enumerate(slate):
            place[article, position] += chance
    return place


def centred(scores: Tensor) -> Tensor:
    return scores - scores.mean()


def close(seen: Tensor, truth: Tensor, tolerance: float = 1e-7) -> bool:
    return bool((seen - truth).abs().max() < tolerance)


def bce_optimum(theta: Tensor, **settings: Any) -> Tensor:
    slate, clicked, chance = served(theta)
    weight = chance[:, None].expand(-1, 3)
    return minimise(lambda scores: bce_loss(scores[slate], clicked, weight=weight, **settings))


def test_the_population_is_the_one_of_the_table() -> None:
    assert close(slot_propensity().sum(dim=1), torch.tensor([0.975, 0.902, 0.723, 0.400]).double(), 5e-4)
    for theta in (ALWAYS, THETA):
        assert served(theta)[2].sum().item() == pytest.approx(1.0)


def test_mse_gives_the_mean_whatever_the_policy_showed() -> None:
    slate, clicked, chance = served(ALWAYS)
    weight = chance[:, None].expand(-1, 3)
    assert close(minimise(lambda scores: mse_loss(scores[slate], clicked, weight=weight)), C)


def test_without_position_bias_bce_gives_the_click_rate() -> None:
    assert close(bce_optimum(ALWAYS), LOGIT)


@pytest.mark.parametrize("loss_of", [slate_softmax_loss, slate_bpr_loss])
def test_without_position_bias_slate_losses_give_the_logit_and_exposure_cancels(loss_of: Any) -> None:
    slate, clicked, chance = served(ALWAYS)
    optimum = minimise(lambda scores: loss_of(scores[slate], clicked, weight=chance))
    assert close(centred(optimum), centred(LOGIT))
    # Another policy, which shows article 0 at the bottom or not at all, has the same optimum.
    other = chance * torch.where((slate[:, :2] == 0).any(dim=1), 0.0, 1.0)
    optimum = minimise(lambda scores: loss_of(scores[slate], clicked, weight=other))
    assert close(centred(optimum), centred(LOGIT))


def test_bce_that_ignores_examination_learns_the_rate_at_the_positions_served() -> None:
    place = slot_propensity()
    seen = C * (place * THETA).sum(dim=1) / place.sum(dim=1)
    optimum = bce_optimum(THETA).sigmoid()
    assert close(optimum, seen, 1e-9)
    assert close(optimum, torch.tensor([0.390, 0.189, 0.103, 0.050]).double(), 6e-4)


def test_bce_with_examination_gives_the_logit_once_examined() -> None:
    assert close(bce_optimum(THETA, log_examination=THETA.log()), LOGIT)
    assert not close(bce_optimum(THETA, log_examination=(THETA * 0.9).log()), LOGIT, 0.1)


def test_ips_bce_gives_the_logit_once_examined_and_clipping_biases() -> None:
    slate, clicked, chance = served(THETA)
    weight = chance[:, None].expand(-1, 3)

    def optimum(clip: float | None) -> Tensor:
        return minimise(lambda scores: ips_bce_loss(scores[slate], clicked, THETA, clip=clip, weight=weight))

    assert close(optimum(None), LOGIT)
    assert close(optimum(4.0), LOGIT)  # above the largest boost, 1 / .3
    place = slot_propensity()
    clipped = C * (place * THETA / THETA.clamp(min=0.5)).sum(dim=1) / place.sum(dim=1)
    assert close(optimum(2.0).sigmoid(), clipped)


def test_an_additive_position_logit_is_close_but_not_exact() -> None:
    slate, clicked, chance = served(THETA)
    weight = chance[:, None].expand(-1, 3)

    def loss(values: Tensor) -> Tensor:
        shallow = torch.cat([values.new_zeros(1), values[4:]])
        return bce_loss(values[slate] + shallow, clicked, weight=weight)

    rate = minimise(loss, shape=(6,))[:4].sigmoid()
    assert close(rate, torch.tensor([0.489, 0.310, 0.217, 0.114]).double(), 6e-4)
    assert (rate - C).abs().max().item() == pytest.approx(0.017, abs=5e-4)


def test_examination_is_learned_with_the_clicks() -> None:
    slate, clicked, chance = served(THETA)
    weight = chance[:, None].expand(-1, 3)
    examination = LearnedExamination(3).double()

    def loss(scores: Tensor) -> Tensor:
        return bce_loss(scores[slate], clicked, weight=weight, log_examination=examination())

    scores = minimise(loss, others=tuple(examination.parameters()))
    assert close(scores.sigmoid(), C)
    assert close(examination().exp().detach(), THETA)


def test_without_exchanged_positions_examination_is_not_identified() -> None:
    """The control: one slate only, and c and theta end up elsewhere with the same loss."""
    slate, clicked, chance = (x[:8] for x in served(THETA))
    assert (slate == slate[0]).all()
    weight = chance[:, None].expand(-1, 3)
    examination = LearnedExamination(3).double()
    nn.init.constant_(examination.strength, -1.0)

    def loss(scores: Tensor) -> Tensor:
        return bce_loss(scores[slate], clicked, weight=weight, log_examination=examination())

    scores = minimise(loss, others=tuple(examination.parameters()))
    assert not close(examination().exp().detach(), THETA, 0.1)
    truth = bce_loss(LOGIT[slate], clicked, weight=weight, log_examination=THETA.log())
    assert loss(scores).item() == pytest.approx(truth.item(), abs=1e-9)


def test_slate_softmax_that_ignores_examination_is_stretched() -> None:
    slate, clicked, chance = served(THETA)
    optimum = centred(minimise(lambda scores: slate_softmax_loss(scores[slate], clicked, weight=chance)))
    assert close(optimum, torch.tensor([1.285, 0.303, -0.391, -1.197]).double(), 6e-4)
    assert (optimum - centred(LOGIT)).abs().max().item() == pytest.approx(0.18, abs=0.005)


def test_clicks_as_softmax_positives_learn_exposure_unless_weighted() -> None:
    """Over all four articles: the log share of the clicks; by 1 / (slot propensity x theta) log c + const."""
    slate, clicked, chance = served(THETA)
    row, position = clicked.nonzero(as_tuple=True)
    article, place = slate[row, position], slot_propensity()

    def optimum(weight: Tensor) -> Tensor:
        def loss(scores: Tensor) -> Tensor:
            user = torch.ones(len(row), 1, dtype=torch.float64)
            return full_softmax_loss(user, scores[:, None], article, weight=weight)

        return minimise(loss)

    share = optimum(chance[row]).softmax(dim=0)
    assert close(share, (C * (place * THETA).sum(dim=1)) / (C * (place * THETA).sum(dim=1)).sum())
    assert close(share, torch.tensor([0.589, 0.264, 0.116, 0.031]).double(), 6e-4)
    weighted = optimum(chance[row] / (place[article, position] * THETA[position]))
    assert close(centred(weighted), centred(C.log()))
    assert close(weighted.softmax(dim=0), torch.tensor([0.455, 0.273, 0.182, 0.091]).double(), 6e-4)


@pytest.mark.parametrize("loss_of", [slate_softmax_loss, slate_bpr_loss])
def test_slate_losses_with_weighted_clicks_are_not_exact(loss_of: Any) -> None:
    """By 1/theta they come closer: their non-clicks are still partly of articles that nobody looked at.

    By 1/(slot propensity x theta), which the softmax over the catalogue needs, they are far off: a slate's exposure
    cancels already, and is put back by the weight.
    """
    slate, clicked, chance = served(THETA)
    place = slot_propensity()[slate, torch.arange(3)]

    def miss(weight: Tensor) -> float:
        optimum = minimise(lambda scores: loss_of(scores[slate], clicked, weight=weight))
        return (centred(optimum) - centred(LOGIT)).abs().max().item()

    assert miss(chance[:, None] / THETA) == pytest.approx(0.071, abs=0.002)
    assert miss(chance[:, None] / (THETA * place)) == pytest.approx(0.65, abs=0.01)


def test_non_clicks_weighted_by_the_posterior_have_the_truth_as_fixed_point() -> None:
    slate, clicked, chance = served(THETA)
    weight = torch.where(clicked, 1.0, examination_posterior(C[slate], THETA)) * chance[:, None]
    assert close(minimise(lambda scores: bce_loss(scores[slate], clicked, weight=weight)), LOGIT)
    wrong = torch.where(clicked, 1.0, THETA) * chance[:, None]
    assert not close(minimise(lambda scores: bce_loss(scores[slate], clicked, weight=wrong)), LOGIT, 0.02)


def test_weights_by_propensity_need_the_count_to_be_unbiased() -> None:
    """Three impressions of chance .5, .25, .25 weighted by 1/chance: their mean estimate is the plain sum."""
    score = torch.tensor([0.3, -1.0, 2.0], dtype=torch.float64)
    clicked = torch.tensor([1.0, 0.0, 1.0], dtype=torch.float64)
    chance = torch.tensor([0.5, 0.25, 0.25], dtype=torch.float64)
    each = torch.stack([bce_loss(score[i : i + 1], clicked[i : i + 1]) for i in range(3)])
    ways: list[tuple[Any, bool]] = [("count", True), ("weight", False)]
    for normalise, unbiased in ways:
        total = 0.0
        for pair in itertools.product(range(3), repeat=2):
            at = torch.tensor(pair)
            value = bce_loss(score[at], clicked[at], weight=1 / chance[at], normalise=normalise)
            total += (chance[at].prod() * value).item()
        target = each.sum().item() if unbiased else each.mean().item()
        assert (total == pytest.approx(target, abs=1e-12)) is unbiased


def test_slates_with_all_or_no_clicks_teach_the_slate_losses_nothing() -> None:
    slate, clicked, chance = served(ALWAYS)
    keep = usable_slates(clicked)
    assert int((~keep).sum()) == 48  # of 192: 24 slates with all, 24 with no clicks
    for loss_of in (slate_softmax_loss, slate_bpr_loss):
        every = loss_of(LOGIT[slate], clicked, weight=chance)
        assert every.item() == pytest.approx(loss_of(LOGIT[slate][keep], clicked[keep], weight=chance[keep]).item())

"""Policy gradients where hardly anything is live, or the softmax is peaked: what a small or sharp site meets."""

from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from feedgym.agents import make_agent
from feedgym.agents.learners.gradients.candidates import Candidates
from feedgym.agents.learners.gradients.policy_gradient import Logged, log_slot_marginal
from feedgym.agents.slate_policy.importance import importance_weight
from feedgym.agents.slate_policy.slates import sample_slates, slot_marginal
from feedgym.env import Feed, FeedConfig, NewsroomConfig
from feedgym.env.arrays import Doubles
from helpers.driving import drive
from helpers.gradients import identity, policy_gradient

ESTIMATORS: tuple[str, ...] = ("inclusion", "marginal", "chen", "none", "prefix", "joint")
NOTHING = -torch.inf
# Two articles live, four positions; five live, of which two are in the tail; none live.
HEAD = [[0.4, -0.3, NOTHING], [1.0, 0.2, -0.5], [NOTHING] * 3]
TAIL, PER_DRAW, LIVE = [[NOTHING], [0.3], [NOTHING]], [0.0, 2.0, 0.0], [2.0, 5.0, 0.0]
COLUMN = [[1, 0, -1, -1], [2, 0, 1, -1], [-1] * 4]


def doubles(values: Any) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def candidates(rows: slice = slice(None)) -> tuple[Candidates, Tensor]:
    head = doubles(HEAD)[rows].requires_grad_()
    return Candidates(head, doubles(TAIL)[rows], doubles(PER_DRAW)[rows], doubles(LIVE)[rows]), head


def terms(
    estimator: str, epsilon: float, weigh: Any = identity, rows: slice = slice(None)
) -> tuple[Tensor, Tensor, Doubles, Tensor]:
    """Coefficients, logs of chances and weights of the visits, and the gradient in the head."""
    both, head = candidates(rows)
    column = torch.tensor(COLUMN)[rows]
    shown = column >= 0
    logged = Logged(
        inclusion=torch.where(shown, doubles([0.7, 0.5, 0.3, 0.8]), 1.0),
        first=torch.where(shown, doubles([0.3, 0.2, 0.1, 0.4]), 1.0),
        slot_propensity=torch.where(shown, 0.3, 1.0).double(),
        time=doubles([4.0] * len(column)),
        slot_marginal=torch.where(shown, 0.15, 1.0).double(),
    )
    advantage = torch.where(shown, doubles([0.5, -1.0, 2.0, 9.0]), torch.nan)
    coefficient, log_chance, weight = policy_gradient(estimator, both.policy(epsilon), column, logged, advantage, weigh)
    (gradient,) = torch.autograd.grad((coefficient * log_chance).sum(), head)
    return coefficient, log_chance.detach(), weight, gradient


@pytest.mark.parametrize("epsilon", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_a_small_catalogue_gives_numbers(estimator: str, epsilon: float) -> None:
    """Parameters are shared: one visit's NaN would be every article's."""
    coefficient, log_chance, weight, gradient = terms(estimator, epsilon)
    for got in (coefficient, log_chance, torch.from_numpy(weight), gradient):
        assert torch.isfinite(got).all()
    assert (gradient[2] == 0).all()
    assert (gradient.abs().amax(dim=1)[:2] > 1e-3).all() == (epsilon < 1)
    alone = terms(estimator, epsilon, rows=slice(0, 2))
    np.testing.assert_allclose(gradient[:2], alone[3], rtol=1e-12, atol=1e-15)


def test_nothing_live_has_no_entropy_and_no_divergence() -> None:
    both, head = candidates()
    prior, _ = candidates()
    prior = Candidates(0.5 * prior.head.detach(), prior.tail, prior.tail_weight, prior.num_live)
    for function in (both.entropy(), both.divergence(prior)):
        assert (function[:2] > 1e-3).all()
        assert function[2] == 0.0
        (gradient,) = torch.autograd.grad(function.sum(), head, retain_graph=True)
        assert torch.isfinite(gradient).all()
        assert (gradient[2] == 0).all()


def test_where_newton_starts_does_not_matter() -> None:
    policy = candidates()[0].policy(0.1)
    expected = policy.inclusion_time(2)
    assert expected[2] == 1.0  # nobody arrives: any finite time does
    for start in (1e-3, 0.9, 3.0, 50.0, 1e6):
        got = policy.inclusion_time(2, torch.full((3,), start, dtype=torch.float64))
        np.testing.assert_allclose(got[:2].detach(), expected[:2].detach(), rtol=1e-11)
        assert torch.isfinite(got).all()


@pytest.mark.parametrize("estimator", ["inclusion", "marginal", "chen", "prefix"])
def test_padding_is_not_in_the_mean_of_the_ratios(estimator: str) -> None:
    """`nis` divides by a mean over what was shown; the ratio of padding, 1 by convention, is no observation."""
    _, _, ratio, _ = terms(estimator, 0.1)
    shown = np.array(COLUMN) >= 0
    assert abs(ratio[shown].mean() - 1) > 0.1
    _, _, weight, _ = terms(estimator, 0.1, lambda pi, beta, a: importance_weight(pi, beta, "nis"))
    np.testing.assert_allclose(weight[shown], ratio[shown] / ratio[shown].mean(), rtol=1e-12)
    assert (weight[~shown] == 0).all()


# (N, M, K, epsilon, sd of the logits)
SHARP = [
    (1000, 40, 4, 0.05, 1.0),
    (400, 200, 10, 0.05, 4.0),
    (2000, 20, 10, 0.05, 3.0),
    (400, 60, 8, 0.01, 3.0),
    (400, 60, 8, 0.01, 6.0),
]


@pytest.mark.parametrize("case", SHARP, ids=str)
def test_slot_marginals_of_a_peaked_softmax(case: tuple[int, int, int, float, float]) -> None:
    """Within .005 of the exact ones. With nodes spread as for a flat softmax, the top articles' were up to .8 off."""
    num_live, listed, size, epsilon, sd = case
    visits = 64
    rng = np.random.default_rng(0)
    logits, shortlist = sd * rng.normal(size=(visits, listed)), np.tile(np.arange(listed), (visits, 1))
    slates = sample_slates(rng, logits, shortlist, np.arange(num_live), size, epsilon).article_id
    exact = slot_marginal(slates, logits, shortlist, num_live, epsilon, size)
    explored = slates >= listed
    head = np.concatenate([logits, np.where(explored, -1000.0, -np.inf)], axis=1)
    others = num_live - listed - explored.sum(axis=1)
    both = Candidates(
        torch.from_numpy(head), doubles([[-1000.0]] * visits), torch.from_numpy(others), doubles([num_live] * visits)
    )
    policy = both.policy(epsilon)
    column = torch.from_numpy(np.where(explored, listed + np.arange(size), slates))
    got = log_slot_marginal(policy, policy.head.gather(1, column), column).exp().numpy()
    assert np.abs(got / exact - 1).max() < 5e-3


@pytest.mark.parametrize("estimator", ["inclusion", "marginal"])
def test_an_agent_lives_through_an_empty_newsroom(estimator: str) -> None:
    """Visits to a catalogue of none, of one, and of fewer articles than positions, in one training batch."""
    site = FeedConfig(
        num_readers=150, days=3.0, tick_hours=1.0, slate_size=4, newsroom=NewsroomConfig(articles_per_day=0.3)
    )
    feed = Feed(site, seed=2)
    settings = {"max_steps": 5, "shortlist_size": 20, "tail_draws": 16, "policy_batch": 64}
    agent = make_agent("reinforce", estimator=estimator, **settings).start(feed)
    served = drive(agent, feed)
    shown = Counter(np.concatenate([(slates.article_id >= 0).sum(axis=1) for slates, _ in served]).tolist())
    assert {0, 1, 2} <= set(shown)
    assert all(np.isfinite(value) for value in agent.metrics().values())
    for name, array in agent.snapshot().items():
        assert array.dtype.kind != "f" or np.isfinite(array).all(), name

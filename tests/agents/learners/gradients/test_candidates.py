"""Which softmax is differentiated, and from how many of its articles it is estimated (docs/mathematics.md 3.3).

Here the full softmax stands as a head of all articles; the stratified one must come near it, and equal it where each
draw of the tail stands for itself.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from feedgym.agents.learners.gradients.candidates import Candidates
from feedgym.agents.learners.gradients.policy_gradient import Logged, log_inclusion, log_slot_marginal
from feedgym.agents.slate_policy.slates import sample_slates, slot_marginal
from feedgym.env.arrays import Doubles
from helpers.gradients import all_in_head, policy_gradient, slots_of
from helpers.plain.mixture import all_slates

EPSILONS = [0.0, 0.05, 1.0]
EMPTY = -torch.inf


def doubles(*shape: int, fill: float = 0.0) -> Tensor:
    return torch.full(shape, fill, dtype=torch.float64)


def random_candidates(seed: int = 0, each: float = 1.0) -> tuple[Candidates, Tensor]:
    """Two visits with 7 and 5 articles in the head, 6 and 2 draws, and the logits (2, 16) behind them."""
    rng = np.random.default_rng(seed)
    logits = torch.tensor(1.5 * rng.normal(size=(2, 16)), requires_grad=True)
    shown = torch.ones(2, 16, dtype=torch.bool)
    shown[:, [7, 14, 15]] = False
    shown[1, [5, 6, 8, 9, 10, 11]] = False
    padded = torch.where(shown, logits, EMPTY)
    weight = doubles(2, fill=each)
    num_live = (shown[:, :8].sum(dim=1) + weight * shown[:, 8:].sum(dim=1)).double()
    return Candidates(padded[:, :8], padded[:, 8:], weight, num_live), logits


def numerical(function: Callable[[Tensor], Tensor], at: Tensor, step: float = 1e-5) -> Doubles:
    """Central differences of the sum of ``function``, in the shape of ``at``."""
    slope = np.zeros(tuple(at.shape))
    with torch.no_grad():
        for index in np.ndindex(*slope.shape):
            moved = []
            for sign in (1, -1):
                x = at.detach().clone()
                x[index] += sign * step
                moved.append(function(x).sum().item())
            slope[index] = (moved[0] - moved[1]) / (2 * step)
    return slope


def like(candidates: Candidates, logits: Tensor) -> Candidates:
    """The same padding with other logits (2, 16)."""
    head = logits[:, :8].masked_fill(torch.isneginf(candidates.head), EMPTY)
    return replace(candidates, head=head, tail=logits[:, 8:].masked_fill(torch.isneginf(candidates.tail), EMPTY))


# Full softmax, not the shortlist

REWARD = torch.tensor([0.3, 0.28, 0.26, 0.24, 0.22] + [0.1] * 14 + [1.0], dtype=torch.float64)


def two_slot_value(p: Tensor, epsilon: float = 0.2) -> Tensor:
    """Expected reward of slates of two, (B,), of a softmax (B, N)."""
    odds = p / (1 - p)
    inclusion = p * (1 + odds.sum(dim=1, keepdim=True) - odds)
    return (1 - epsilon) * inclusion @ REWARD + epsilon * 2 * REWARD.mean()


def test_two_slot_value_equals_enumeration() -> None:
    pairs = torch.from_numpy(all_slates(20, 2))
    policy = all_in_head((-0.2 * torch.arange(20, dtype=torch.float64)).repeat(len(pairs), 1)).policy(0.2)
    joint = slots_of(policy, pairs).sum(dim=1).exp()
    assert joint.sum().item() == pytest.approx(1.0, abs=1e-12)
    expected = (joint * REWARD[pairs].sum(dim=1)).sum().item()
    assert two_slot_value(policy.head[:1].exp()).item() == pytest.approx(expected, abs=1e-12)


def two_slot_gradient(p: Doubles, epsilon: float = 0.2) -> Doubles:
    """Of ``two_slot_value`` in the logits, (B, N): the closed form, for many steps."""
    reward = REWARD.numpy()
    odds = p / (1 - p)
    by_p = (1 + odds.sum(axis=1, keepdims=True) - odds) * reward
    by_p += ((p @ reward)[:, None] - p * reward) / (1 - p) ** 2
    gradient: Doubles = (1 - epsilon) * p * (by_p - (p * by_p).sum(axis=1, keepdims=True))
    return gradient


def test_only_the_full_softmax_finds_an_article_outside_the_shortlist() -> None:
    """Row 0 differentiates all 20 articles, row 1 the shortlist of five; both serve the shortlist. 20,000 steps."""
    z = np.tile(-0.2 * np.arange(20.0), (2, 1))

    def listed() -> Doubles:
        """-200 outside the shortlist: live and explored, with no share of the softmax."""
        fifth = np.sort(z, axis=1)[:, -5, None]
        return np.where(z >= fifth, z, -200.0)

    def softmax(z: Doubles) -> Doubles:
        exp = np.exp(z - z.max(axis=1, keepdims=True))
        chances: Doubles = exp / exp.sum(axis=1, keepdims=True)
        return chances

    entered = None
    for step in range(20_000):
        differentiated = listed()
        if entered is None and differentiated[0, 19] > -200:
            entered = step
        differentiated[0] = z[0]
        gradient = two_slot_gradient(softmax(differentiated))
        if step % 1000 == 602:  # among them the one that lets it in
            leaf = torch.from_numpy(differentiated).requires_grad_()
            value = two_slot_value(all_in_head(leaf).policy(0.2).head.exp()).sum()
            np.testing.assert_allclose(gradient, torch.autograd.grad(value, leaf)[0], rtol=0, atol=1e-13)
        z += 0.5 * gradient
    assert entered == 1602
    served = two_slot_value(torch.from_numpy(softmax(listed())))
    np.testing.assert_allclose(served, (1.1139399896, 0.5377495084), rtol=0, atol=1e-10)
    assert z[1].argmin() == 19
    assert z[1, 19] == pytest.approx(-0.2 * 19)


# The normaliser


@pytest.mark.parametrize(
    ("head", "draws", "mean", "sd"),
    [(200, 100, -0.0075, 0.115), (200, 1000, -0.0010, 0.036), (0, 100, -0.069, 0.367), (0, 1000, -0.010, 0.123)],
)
def test_error_of_the_normaliser(head: int, draws: int, mean: float, sd: float) -> None:
    """The figures are of one catalogue of 10,000 logits; those of others are up to a third away."""
    repetitions, num_live = 2000, 10_000
    rng = np.random.default_rng(0)
    z = -np.sort(-2 * rng.normal(size=num_live))
    tail = rng.integers(head, num_live, (repetitions, draws))
    each = doubles(repetitions, fill=(num_live - head) / draws)
    top = torch.from_numpy(z[:head]).expand(repetitions, head)
    candidates = Candidates(top, torch.from_numpy(z[tail]), each, doubles(repetitions, fill=num_live))
    error = candidates.log_normaliser().numpy() - np.log(np.exp(z).sum())
    assert error.std(ddof=1) == pytest.approx(sd, rel=0.06)
    assert abs(error.mean() - mean) < 4 * sd / np.sqrt(repetitions)


def test_draws_that_stand_for_themselves_are_the_full_softmax() -> None:
    both, _ = random_candidates(1)
    full = all_in_head(torch.cat([both.head, both.tail], dim=1))
    full = replace(full, num_live=both.num_live)
    torch.testing.assert_close(both.log_normaliser(), full.log_normaliser(), rtol=1e-13, atol=0)
    torch.testing.assert_close(both.entropy(), full.entropy(), rtol=1e-13, atol=1e-14)
    for epsilon in EPSILONS:
        mine, expected = both.policy(epsilon), full.policy(epsilon)
        torch.testing.assert_close(torch.cat([mine.head, mine.tail], dim=1), expected.head, rtol=1e-13, atol=0)
        torch.testing.assert_close(mine.inclusion_time(4), expected.inclusion_time(4), rtol=1e-10, atol=0)
        total = mine.head.exp().sum(dim=1) + mine.tail.exp().sum(dim=1)
        torch.testing.assert_close(total, doubles(2, fill=1.0), rtol=1e-13, atol=0)
        column = torch.tensor([[0, 3, 6], [2, 4, -1]])
        torch.testing.assert_close(mine.log_unshown(column), expected.log_unshown(column), rtol=1e-13, atol=0)
        torch.testing.assert_close(slots_of(mine, column), slots_of(expected, column), rtol=1e-13, atol=0)


def test_a_draw_that_stands_for_two_is_two_articles() -> None:
    both, _ = random_candidates(2, each=2.0)
    full = all_in_head(torch.cat([both.head, both.tail, both.tail], dim=1))
    full = replace(full, num_live=both.num_live)
    torch.testing.assert_close(both.log_normaliser(), full.log_normaliser(), rtol=1e-13, atol=0)
    torch.testing.assert_close(both.entropy(), full.entropy(), rtol=1e-13, atol=1e-14)
    other, _ = random_candidates(3, each=2.0)
    other_full = all_in_head(torch.cat([other.head, other.tail, other.tail], dim=1))
    torch.testing.assert_close(both.divergence(other), full.divergence(other_full), rtol=1e-12, atol=1e-14)
    for epsilon in EPSILONS:
        mine, expected = both.policy(epsilon), full.policy(epsilon)
        torch.testing.assert_close(mine.head, expected.head[:, :8], rtol=1e-13, atol=0)
        torch.testing.assert_close(mine.inclusion_time(3), expected.inclusion_time(3), rtol=1e-10, atol=0)
        column = torch.tensor([[0, 3, 6], [2, 4, -1]])
        torch.testing.assert_close(slots_of(mine, column), slots_of(expected, column), rtol=1e-13, atol=0)


# Divergence and entropy


def test_divergence() -> None:
    both, logits = random_candidates(4, each=3.0)
    other, _ = random_candidates(5, each=3.0)
    other = like(both, torch.cat([other.head, other.tail], dim=1).nan_to_num(neginf=0.0))
    got = both.divergence(other)
    for row in range(2):
        counts = np.repeat([1.0, 3.0], 8)
        chances = []
        for candidates in (both, other):
            z = torch.cat([candidates.head, candidates.tail], dim=1)[row].detach().numpy()
            chances.append(np.exp(z) / (counts * np.exp(z)).sum())
        p, q = chances
        some = p > 0
        expected = (counts[some] * p[some] * np.log(p[some] / q[some])).sum()
        assert got[row].item() == pytest.approx(expected, rel=1e-12)
    assert got.min().item() > 0.1
    np.testing.assert_allclose(both.divergence(both).detach(), 0.0, atol=1e-14)
    (gradient,) = torch.autograd.grad(got.sum(), logits)
    expected_gradient = numerical(lambda z: like(both, z).divergence(other), logits)
    np.testing.assert_allclose(gradient, expected_gradient, rtol=0, atol=1e-8)
    # A shift of all logits is the same policy.
    torch.testing.assert_close(like(both, logits + 5.0).divergence(other), got, rtol=1e-10, atol=0)


def test_entropy() -> None:
    logits = torch.tensor([[1.0, 0.2, -0.5, 0.7, EMPTY]], dtype=torch.float64, requires_grad=True)
    entropy = all_in_head(logits).entropy()
    assert entropy.item() == pytest.approx(1.260719891, abs=1e-9)
    (gradient,) = torch.autograd.grad(entropy.sum(), logits)
    expected = (-0.157352065, 0.078249443, 0.103579099, -0.024476477, 0.0)
    np.testing.assert_allclose(gradient[0], expected, rtol=0, atol=1e-9)
    both, leaf = random_candidates(6, each=2.5)
    (gradient,) = torch.autograd.grad(both.entropy().sum(), leaf)
    slope = numerical(lambda z: like(both, z).entropy(), leaf)
    np.testing.assert_allclose(gradient, slope, rtol=0, atol=1e-8)


# The time of the race


@pytest.mark.parametrize("each", [1.0, 40.0])
def test_inclusion_time_expects_k_arrivals(each: float) -> None:
    both, _ = random_candidates(7, each)
    w = both.policy(0.05)
    for size in (1, 3, 5):
        time = w.inclusion_time(size)
        chances = [-torch.expm1(-part.exp() * time[:, None]) for part in (w.head, w.tail)]
        total = chances[0].sum(dim=1) + each * chances[1].sum(dim=1)
        torch.testing.assert_close(total, doubles(2, fill=size), rtol=1e-10, atol=0)


@pytest.mark.parametrize("start", [1e-3, 0.5, 3.0, 1e3, 1e6])
def test_inclusion_time_from_anywhere(start: float) -> None:
    """From far above too, where Newton on a concave count overshoots; value and gradient."""
    both, logits = random_candidates(12, each=40.0)
    w = both.policy(0.05)
    expected, got = w.inclusion_time(4), w.inclusion_time(4, doubles(2, fill=start))
    torch.testing.assert_close(got, expected, rtol=1e-11, atol=0)
    slopes = [torch.autograd.grad(time.sum(), logits, retain_graph=True)[0] for time in (got, expected)]
    torch.testing.assert_close(*slopes, rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("each", [1.0, 40.0])
def test_implicit_gradient_of_the_time(each: float) -> None:
    both, logits = random_candidates(8, each)
    time = both.policy(0.05).inclusion_time(4)
    (gradient,) = torch.autograd.grad(time.sum(), logits)
    slope = numerical(lambda z: like(both, z).policy(0.05).inclusion_time(4), logits)
    assert np.abs(slope).max() > 0.01
    np.testing.assert_allclose(gradient, slope, rtol=1e-6, atol=1e-6)


def test_inclusion_time_of_fewer_articles_than_positions() -> None:
    """Two, three and none: .02 short of all of them, so that the time is a number."""
    logits = [[1.0, 0.0, EMPTY, EMPTY], [0.5, EMPTY, 2.0, -1.0], [EMPTY] * 4]
    few = all_in_head(torch.tensor(logits, dtype=torch.float64))
    num_live = torch.tensor([2.0, 3.0, 0.0], dtype=torch.float64)
    policy = replace(few, num_live=num_live).policy(0.0)
    time = policy.inclusion_time(5)
    chance = log_inclusion(policy, policy.head, time, 5).exp()
    torch.testing.assert_close(chance[:2].sum(dim=1), num_live[:2] - 0.02, rtol=1e-12, atol=0)
    assert chance[torch.isneginf(few.head)].max() < 1e-290
    assert time[2] == 1


# No NaN


ESTIMATORS: tuple[str, ...] = ("inclusion", "marginal", "chen", "none", "prefix", "joint")


@pytest.mark.parametrize("epsilon", EPSILONS)
def test_gradients_past_padding_are_numbers(epsilon: float) -> None:
    """And those of padding are 0, for everything that a learner differentiates."""
    both, logits = random_candidates(9, each=5.0)
    other, _ = random_candidates(10, each=5.0)
    column = torch.tensor([[0, 3, 6], [2, 4, -1]])
    ones = doubles(2, 3, fill=0.5)
    logged = Logged(ones, ones, ones, doubles(2, fill=4.0), ones)
    policy = both.policy(epsilon)
    terms = {
        "entropy": both.entropy().sum(),
        "divergence": both.divergence(other).sum(),
        "time": policy.inclusion_time(3).sum(),
    }
    for estimator in ESTIMATORS:
        coefficient, log_chance, _ = policy_gradient(estimator, policy, column, logged, ones, lambda p, b, a: p / b)
        terms[estimator] = (coefficient * log_chance).sum()
    padded = torch.isneginf(torch.cat([both.head, both.tail], dim=1))
    for name, term in terms.items():
        assert torch.isfinite(term), name
        (gradient,) = torch.autograd.grad(term, logits, retain_graph=True)
        assert torch.isfinite(gradient).all(), name
        assert (gradient[padded] == 0).all(), name
        moves = epsilon < 1 or name in ("entropy", "divergence", "time")
        assert (gradient.abs().max() > 1e-4) == moves, name  # all exploration: nothing to learn


def test_without_a_tail() -> None:
    both, _ = random_candidates(11)
    alone = Candidates(both.head, doubles(2, 4, fill=EMPTY), doubles(2), both.num_live)
    bare = all_in_head(both.head)
    torch.testing.assert_close(alone.log_normaliser(), bare.log_normaliser(), rtol=1e-14, atol=0)
    torch.testing.assert_close(alone.entropy(), bare.entropy(), rtol=1e-14, atol=0)
    got, expected = alone.policy(0.0), bare.policy(0.0)
    torch.testing.assert_close(got.head, expected.head, rtol=1e-14, atol=0)
    torch.testing.assert_close(got.inclusion_time(3), expected.inclusion_time(3), rtol=1e-12, atol=0)


# Slot marginals of a large site


@pytest.mark.parametrize(
    ("z", "epsilon", "within"),
    [
        (1.5 * np.sqrt(2) * np.cos(np.arange(200)), 0.05, 7e-3),
        (3.0 * np.sqrt(2) * np.cos(np.arange(200)), 0.05, 8e-3),
        (-0.3 * np.arange(200), 0.05, 2e-3),
        (-1.2 * np.arange(200), 0.005, 1.2e-2),
    ],
    ids=["spread 1.5", "spread 3", "peaked", "one takes most"],
)
def test_slot_marginals_of_the_large_example(z: Doubles, epsilon: float, within: float) -> None:
    """N = 5000, M = 200, K = 10: the Poisson process for the light ones costs at most ``within``, relative.

    The last is a peaked softmax with little exploration: its worst slate is the ten likeliest upside down.
    """
    num_live, listed, size, visits = 5000, 200, 10, 40
    logits, shortlist = np.tile(z, (visits, 1)), np.tile(np.arange(listed), (visits, 1))
    slates = sample_slates(np.random.default_rng(1), logits, shortlist, np.arange(num_live), size, epsilon).article_id
    slates[0] = np.argsort(-z)[:size]  # the likeliest
    slates[1] = np.argsort(-z)[size - 1 :: -1]
    slates[2, ::2] = 4000 + np.arange(5)
    assert (slates >= listed).sum() >= 5  # explored ones among them
    exact = slot_marginal(slates, logits, shortlist, num_live, epsilon, size)

    # The head: the shortlist, then the slate's explored articles; one draw stands for all the others.
    explored = slates >= listed
    outside = torch.from_numpy(np.where(explored, -200.0, -np.inf))
    head = torch.cat([torch.from_numpy(logits), outside], dim=1)
    others = torch.from_numpy(num_live - listed - explored.sum(axis=1)).double()
    candidates = Candidates(head, doubles(visits, 1, fill=-200.0), others, doubles(visits, fill=num_live))
    column = torch.from_numpy(np.where(explored, listed + np.arange(size), slates))
    policy = candidates.policy(epsilon)
    got = log_slot_marginal(policy, policy.head.gather(1, column), column).exp().numpy()
    error = np.abs(got / exact - 1)
    assert error.max() < within

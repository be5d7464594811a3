"""Importance weights on the worlds of docs/mathematics.md 10.1: ten actions, one state, a logit for each.

"Exact gradient" is the expectation of the update over the log: ``logit += rate (c - pi sum(c))``, with c of each action
its chance in the log times its coefficient. Where only a limit is asked for, larger steps go there sooner.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from feedgym.agents.learners.gradients.candidates import Candidates
from feedgym.agents.learners.gradients.policy_gradient import Logged
from feedgym.agents.off_policy import effective_sample_size
from feedgym.agents.slate_policy.importance import PAPER_CAP, WEIGHT_METHODS, importance_weight, top_k_multiplier
from feedgym.env.arrays import Doubles
from helpers.gradients import policy_gradient

REWARD = np.arange(1.0, 11.0)
BETA = (11.0 - REWARD) / 55.0
TOP_K_REWARD = np.array([10.0, 9.0] + [1.0] * 8)
UNIFORM = np.full(10, 0.1)
EXACT: dict[str, Any] = {"rtol": 0, "atol": 1e-9}
Coefficient = Callable[[Doubles], Doubles]
"""Of the chances pi (10,) to the expected coefficient of each action's ``grad log pi`` (10,)."""


def softmax(logits: Doubles) -> Doubles:
    exp = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return exp / exp.sum(axis=-1, keepdims=True)


def climb(coefficient: Coefficient, steps: list[int], rate: float) -> list[Doubles]:
    """Chances after each number of exact-gradient steps from zero logits."""
    logits, seen = np.zeros(10), []
    for step in range(1, max(steps) + 1):
        pi = softmax(logits)
        c = coefficient(pi)
        logits += rate * (c - pi * c.sum())
        if step in steps:
            seen.append(softmax(logits))
    return seen


def corrected(method: str, **options: Any) -> Coefficient:
    return lambda pi: BETA * importance_weight(pi, BETA, method, **options) * REWARD


def top_k(k: int) -> Coefficient:
    return lambda pi: UNIFORM * importance_weight(pi, UNIFORM, "none") * top_k_multiplier(pi, k) * TOP_K_REWARD


# One action


def test_the_log() -> None:
    assert abs(BETA @ REWARD - 4.0) < 1e-12
    weights = importance_weight(BETA, BETA, "none")
    np.testing.assert_array_equal(weights, np.ones(10))


def test_no_correction_goes_to_beta_times_reward() -> None:
    """The estimator ``none`` itself, with one position and no exploration."""
    column = torch.arange(10)[:, None]
    beta = torch.from_numpy(BETA)[:, None]
    logged = Logged(beta, beta, beta)
    empty = torch.zeros((10, 0), dtype=torch.float64)
    nobody, ten = torch.zeros(10, dtype=torch.float64), torch.full((10,), 10.0, dtype=torch.float64)
    logits = torch.zeros(10, dtype=torch.float64, requires_grad=True)
    for _ in range(800):
        policy = Candidates(logits.expand(10, 10), empty, nobody, ten).policy(0.0)
        coefficient, log_chance, _ = policy_gradient(
            "none", policy, column, logged, torch.from_numpy(REWARD)[:, None], lambda pi, beta, a: pi / 0.0
        )
        expected = (beta * coefficient * log_chance).sum()
        (gradient,) = torch.autograd.grad(expected, logits)
        logits = (logits + 2.0 * gradient).detach().requires_grad_()
    pi = softmax(logits.detach().numpy())
    half = (0.0454545, 0.0818182, 0.1090909, 0.1272727, 0.1363636)
    np.testing.assert_allclose(pi, half + half[::-1], rtol=0, atol=1e-6)
    assert pi @ REWARD == pytest.approx(5.5, abs=1e-6)


def test_weights_of_a_log_likelihood() -> None:
    (pi,) = climb(lambda pi: BETA * importance_weight(np.ones(10), BETA, "none") * REWARD, [1000], 0.1)
    np.testing.assert_allclose(pi, REWARD / 55, **EXACT)
    assert pi @ REWARD == pytest.approx(7.0, abs=1e-9)


def test_corrected() -> None:
    at = climb(corrected("none"), [100, 1000, 10_000], 0.1)
    np.testing.assert_allclose([pi[9] for pi in at], (0.948032895, 0.996961338, 0.999712903), rtol=0, atol=1e-6)
    np.testing.assert_allclose([pi @ REWARD for pi in at], (9.836016, 9.990422, 9.999093), rtol=0, atol=1e-6)


def test_cap_sets_the_limit() -> None:
    (pi,) = climb(corrected("cap"), [40_000], 0.5)
    best = PAPER_CAP * BETA[9] * 10 / 9
    assert best == pytest.approx(0.405768423, abs=1e-9)
    np.testing.assert_allclose(pi, [0.0] * 8 + [1 - best, best], rtol=0, atol=1e-4)
    assert pi @ REWARD == pytest.approx(9.4057, abs=1e-4)


@pytest.mark.parametrize(
    ("corrects", "expected", "sd"), [(False, 0.0457, 0.0009), (True, 0.9975, 0.0019)], ids=["none", "corrected"]
)
def test_stochastic_gradient(corrects: bool, expected: float, sd: float) -> None:
    """Five seeds side by side, each with its own log of 32 rows a step."""
    seeds, batch, rate, steps = 5, 32, 0.01, 20_000
    rng = np.random.default_rng(11)
    logits = np.zeros((seeds, 10))
    row = np.repeat(np.arange(seeds), batch)
    until = np.cumsum(BETA)[:-1]
    for _ in range(steps):
        action = np.searchsorted(until, rng.random(seeds * batch), side="right")
        pi = softmax(logits)
        omega = importance_weight(pi[row, action], BETA[action], "none") if corrects else 1.0
        c = np.bincount(10 * row + action, omega * REWARD[action], minlength=10 * seeds).reshape(seeds, 10) / batch
        logits += rate * (c - pi * c.sum(axis=1, keepdims=True))
    best = softmax(logits)[:, 9]
    assert best.mean() == pytest.approx(expected, abs=0.005)
    assert best.std(ddof=1) < 3 * sd  # of five draws, seldom far off: a lower limit would say little


# K actions


def top_k_value(pi: Doubles, k: int) -> float:
    return float(TOP_K_REWARD @ (1 - (1 - pi) ** k))


def test_top_1_takes_the_best() -> None:
    (pi,) = climb(top_k(1), [10_000], 1.0)
    assert pi[0] > 0.999


def test_top_2_shares() -> None:
    (pi,) = climb(top_k(2), [10_000], 0.1)
    np.testing.assert_allclose(pi[:3], (0.526218691, 0.473566911, 0.0000267997), rtol=0, atol=1e-6)
    assert pi[2] == pytest.approx(0.0000267997, abs=1e-10)
    (limit,) = climb(top_k(2), [70_000], 0.3)
    np.testing.assert_allclose(limit, [10 / 19, 9 / 19] + [0.0] * 8, rtol=0, atol=1e-5)
    assert TOP_K_REWARD @ (1 - (1 - np.array([10 / 19, 9 / 19] + [0.0] * 8)) ** 2) == pytest.approx(5149 / 361)
    assert top_k_value(limit, 2) == pytest.approx(5149 / 361, abs=1e-4)


@pytest.mark.parametrize(
    ("k", "steps", "first", "within", "value"),
    [
        (3, 120_000, (0.513167019, 0.486832981, 0.0), 2e-5, 16.6299365),
        (16, 4_000, (0.205954562, 0.200357526, 0.074210989), 1e-9, 24.1691111),
    ],
)
def test_top_k_optimum(k: int, steps: int, first: tuple[float, ...], within: float, value: float) -> None:
    (pi,) = climb(top_k(k), [steps], 0.1)
    np.testing.assert_allclose(pi[:3], first, rtol=0, atol=within)
    assert top_k_value(pi, k) == pytest.approx(value, abs=1e-6 if k == 16 else 2e-4)
    optimum = np.array(first[:2] + ((1 - sum(first[:2])) / 8,) * 8)
    assert top_k_value(optimum, k) == pytest.approx(value, abs=1e-6)


@pytest.mark.parametrize("k", [1, 2, 3, 16])
def test_top_k_is_the_gradient_of_being_among_k_draws(k: int) -> None:
    logits = np.random.default_rng(k).normal(size=10)
    pi = softmax(logits)
    c = pi * top_k_multiplier(pi, k) * TOP_K_REWARD
    step = 1e-5
    slope = [
        (top_k_value(softmax(logits + step * e), k) - top_k_value(softmax(logits - step * e), k)) / (2 * step)
        for e in np.eye(10)
    ]
    np.testing.assert_allclose(c - pi * c.sum(), slope, rtol=0, atol=1e-7)


def test_top_1_changes_nothing() -> None:
    np.testing.assert_array_equal(top_k_multiplier([[0.0, 0.3], [0.9, 1.0]], 1), np.ones((2, 2)))
    np.testing.assert_allclose(top_k_multiplier([0.0, 0.5, 1.0], 3), [3.0, 0.75, 0.0], rtol=1e-15)


# Weights of a batch


OMEGA, ADVANTAGE = np.array([0.5, 1.0, 4.0, 30.0]), np.array([1.0, -1.0, 2.0, 1.0])


def clip_objective(log_omega: Doubles, delta: float = 0.2) -> Doubles:
    omega = np.exp(log_omega)
    return np.minimum(omega * ADVANTAGE, np.clip(omega, 1 - delta, 1 + delta) * ADVANTAGE)


def test_weights_of_a_batch() -> None:
    beta = np.array([0.5, 0.1, 0.02, 0.001])
    pi = OMEGA * beta
    near: dict[str, Any] = {"rtol": 0, "atol": 1e-6}
    nis = importance_weight(pi, beta, "nis")
    np.testing.assert_allclose(nis, (0.056338, 0.112676, 0.450704, 3.380282), **near)
    assert nis.mean() == pytest.approx(1.0, abs=1e-12)
    np.testing.assert_allclose(importance_weight(pi, beta), (0.5, 1.0, 4.0, 20.085537), **near)
    np.testing.assert_allclose(importance_weight(pi, beta, "cap", cap=3.0), (0.5, 1.0, 3.0, 3.0), **near)
    np.testing.assert_allclose(importance_weight(pi, beta, "none"), OMEGA, rtol=1e-14)
    clip = importance_weight(pi, beta, "clip", advantage=ADVANTAGE)
    np.testing.assert_allclose(clip * ADVANTAGE, (0.5, -1.0, 0.0, 0.0), **near)
    np.testing.assert_allclose(clip_objective(np.log(OMEGA)), (0.5, -1.0, 2.4, 1.2), **near)
    assert effective_sample_size(OMEGA) == pytest.approx(1.373944, abs=1e-6)


@pytest.mark.parametrize("delta", [0.05, 0.2, 0.7])
def test_clip_is_the_slope_of_its_objective(delta: float) -> None:
    """All four corners: A of both signs, omega on both sides of the band."""
    log_omega = np.log(np.array([0.1, 1.03, 2.5, 0.9]))
    step = 1e-6
    slope = (clip_objective(log_omega + step, delta) - clip_objective(log_omega - step, delta)) / (2 * step)
    for signs in (ADVANTAGE, -ADVANTAGE):
        weight = importance_weight(np.exp(log_omega), np.ones(4), "clip", delta=delta, advantage=signs)
        if signs is ADVANTAGE:
            np.testing.assert_allclose(weight * signs, slope, rtol=0, atol=1e-8)
        flat = [s * (w - 1) > delta if s > 0 else 1 - w > delta for s, w in zip(signs, np.exp(log_omega), strict=True)]
        np.testing.assert_array_equal(weight == 0, flat)


def test_effective_sample_size() -> None:
    assert effective_sample_size(np.ones(7)) == 7.0
    assert effective_sample_size(np.array([0.0, 0.0, 5.0])) == 1.0
    assert effective_sample_size(np.zeros(3)) == 0.0
    assert effective_sample_size(np.zeros(0)) == 0.0


@pytest.mark.parametrize("method", WEIGHT_METHODS)
def test_any_shape(method: str) -> None:
    rng = np.random.default_rng(2)
    pi, beta, advantage = rng.random((5, 3)), rng.random((5, 3)) + 0.1, rng.normal(size=(5, 3))
    got = importance_weight(pi, beta, method, advantage=advantage)
    flat = importance_weight(pi.ravel(), beta.ravel(), method, advantage=advantage.ravel())
    assert got.dtype == np.float64
    np.testing.assert_array_equal(got, flat.reshape(5, 3))
    nothing = importance_weight(np.zeros(0), np.zeros(0), method, advantage=np.zeros(0))
    assert nothing.shape == (0,)


def test_estimated_propensities_cut_the_variance() -> None:
    """The share of each action in the log as its propensity (Hirano et al. 2003)."""
    logs, rows = 2000, 1000
    pi, chance = softmax(0.3 * REWARD), REWARD / 12
    value = pi @ chance
    assert value == pytest.approx(0.638805088, abs=1e-9)
    rng = np.random.default_rng(7)
    action = np.searchsorted(np.cumsum(BETA)[:-1], rng.random((logs, rows)), side="right")
    reward = rng.random((logs, rows)) < chance[action]
    count = np.bincount((10 * np.arange(logs)[:, None] + action).ravel(), minlength=10 * logs).reshape(logs, 10)
    estimated = np.take_along_axis(count / rows, action, axis=1)
    for beta, sd in ((BETA[action], 0.0653899), (estimated, 0.0307200)):
        ips = (importance_weight(pi[action], beta, "none") * reward).mean(axis=1)
        assert ips.std(ddof=1) == pytest.approx(sd, rel=0.05)
        assert abs(ips.mean() - value) < 4 * sd / np.sqrt(logs)


def test_entropy() -> None:
    head = torch.tensor([[1.0, 0.2, -0.5, 0.7]], dtype=torch.float64, requires_grad=True)
    none = torch.zeros(1, dtype=torch.float64)
    candidates = Candidates(head, torch.zeros((1, 0), dtype=torch.float64), none, none + 4)
    entropy = candidates.entropy()
    (gradient,) = torch.autograd.grad(entropy.sum(), head)
    np.testing.assert_allclose(entropy.detach(), [1.260719891], **EXACT)
    np.testing.assert_allclose(gradient[0], (-0.157352065, 0.078249443, 0.103579099, -0.024476477), **EXACT)


@pytest.mark.parametrize(
    ("arguments", "options", "name"),
    [
        (([0.5], [0.5]), {"method": "ppo"}, "method"),
        (([0.5, 0.5], [0.5]), {}, "beta"),
        (([0.5], [0.0]), {}, "beta"),
        (([0.5], [-0.1]), {"method": "none"}, "beta"),
        (([0.5], [np.nan]), {"method": "none"}, "beta"),
        (([0.5], [0.5]), {"method": "cap", "cap": 0.0}, "cap"),
        (([0.5], [0.5]), {"method": "clip"}, "advantage"),
        (([0.5], [0.5]), {"method": "clip", "advantage": [1.0, 1.0]}, "advantage"),
        (([0.5], [0.5]), {"method": "clip", "advantage": [1.0], "delta": 0.0}, "delta"),
    ],
)
def test_refuses(arguments: tuple[Any, Any], options: dict[str, Any], name: str) -> None:
    with pytest.raises(ValueError, match=f"{name}: got "):
        importance_weight(*arguments, **options)


def test_top_k_refuses() -> None:
    with pytest.raises(ValueError, match="k: got 0"):
        top_k_multiplier([0.5], 0)

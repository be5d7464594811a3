"""Estimators of the slate policy's gradient, on the toy of docs/mathematics.md 10.2: all of its 336 slates at once.

The plain versions work in numpy from closed forms and enumeration; the shipped ones by autodiff.
Shapes: S = 336 slates, K = 3 positions, 8 articles, 4 of them in the shortlist: gradients (S, 4) are by their logits.
"""

import itertools
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from feedgym.agents.learners.gradients.candidates import Candidates, LogWeights
from feedgym.agents.learners.gradients.policy_gradient import (
    Logged,
    log_inclusion,
    log_slot_marginal,
    log_slot_propensity,
)
from feedgym.agents.slate_policy.importance import importance_weight
from feedgym.agents.slate_policy.slates import slate_log_propensity
from feedgym.env.arrays import Doubles
from helpers.gradients import policy_gradient

N, K, EPSILON = 8, 3, 0.1
SHORTLIST = np.array([1, 3, 4, 6])
LOGGER, TARGET = np.array([1.0, 0.2, -0.5, 0.7]), np.array([0.0, 0.7, 0.5, 0.7])
SLATES = np.array(list(itertools.permutations(range(N), K)))
APPEAL = 0.05 + 0.55 * np.arange(N) / 7
ESTIMATORS: tuple[str, ...] = ("inclusion", "marginal", "chen", "none", "prefix", "joint")
EXACT: dict[str, Any] = {"rtol": 0, "atol": 1e-9}
LOW = -200.0
"""Logit of an article outside the shortlist: live, so explored, but with no share of the softmax."""


def identity(pi: Doubles, beta: Doubles, advantage: Doubles) -> Doubles:
    return importance_weight(pi, beta, "none")


# The shipped side


def log_weights(logits: Tensor, shortlist: Any = SHORTLIST) -> LogWeights:
    """Of logits (B, 4)."""
    head = torch.full((len(logits), N), LOW, dtype=torch.float64)
    head = head.index_copy(1, torch.as_tensor(shortlist), logits)
    none = torch.zeros(len(logits), dtype=torch.float64)
    return Candidates(head, torch.zeros((len(logits), 0), dtype=torch.float64), none, none + N).log_weights(EPSILON)


def each_slate(logits: Doubles) -> Tensor:
    """Logits of the toy, a row of their own for each slate: (S, 4)."""
    return torch.tensor(np.tile(logits, (len(SLATES), 1)), requires_grad=True)


def log_slots(weights: LogWeights, slates: Any = SLATES) -> Tensor:
    return log_slot_propensity(weights.head.gather(1, torch.as_tensor(slates)))


def logged_slates(slates: Any = SLATES) -> Logged:
    weights = log_weights(torch.tensor(np.tile(LOGGER, (len(slates), 1))))
    shown = weights.head.gather(1, torch.as_tensor(slates))
    marginal = Plain(LOGGER).marginal[np.arange(K), slates]
    slots = log_slot_propensity(shown).exp()
    return Logged(shown, weights.inclusion_time(K), slots, torch.from_numpy(marginal))


def shipped(estimator: str, advantage: Doubles, weigh: Any = identity) -> tuple[Doubles, Doubles]:
    """Gradient that each slate gives, (S, 4), and its weights (S, K)."""
    logits = each_slate(TARGET)
    coefficient, log_chance, weight = policy_gradient(
        estimator, log_weights(logits), torch.as_tensor(SLATES), logged_slates(), torch.from_numpy(advantage), weigh
    )
    assert not coefficient.requires_grad
    (gradient,) = torch.autograd.grad((coefficient * log_chance).sum(), logits)
    return gradient.numpy(), weight


# The plain side


class Plain:
    """Everything of one policy by enumeration."""

    def __init__(self, logits: Doubles) -> None:
        p = np.exp(logits) / np.exp(logits).sum()
        self.w = np.full(N, EPSILON / N)
        self.w[SHORTLIST] += (1 - EPSILON) * p
        share = np.zeros(N)  # s_a: whether a shown article came from the softmax
        share[SHORTLIST] = (1 - EPSILON) * p / self.w[SHORTLIST]
        self.share = share
        own = (np.arange(N)[:, None] == SHORTLIST).astype(float)
        self.d_log_w = share[:, None] * (own - p)  # (N, 4)
        self.q, self.d_log_q = np.zeros((len(SLATES), K)), np.zeros((len(SLATES), K, 4))
        for s, slate in enumerate(SLATES):
            for k, a in enumerate(slate):
                left = 1 - self.w[slate[:k]].sum()
                self.q[s, k] = self.w[a] / left
                before = (self.w[slate[:k], None] * self.d_log_w[slate[:k]]).sum(axis=0)
                self.d_log_q[s, k] = self.d_log_w[a] + before / left
        self.joint = self.q.prod(axis=1)
        d_joint = self.joint[:, None] * self.d_log_q.sum(axis=1)
        self.marginal, self.d_marginal = np.zeros((K, N)), np.zeros((K, N, 4))
        for k in range(K):
            np.add.at(self.marginal[k], SLATES[:, k], self.joint)
            np.add.at(self.d_marginal[k], SLATES[:, k], d_joint)
        self.inclusion, self.d_inclusion = self.marginal.sum(axis=0), self.d_marginal.sum(axis=0)
        low, high = 0.0, 1e3
        for _ in range(200):
            self.time = (low + high) / 2
            if (1 - np.exp(-self.w * self.time)).sum() < K:
                low = self.time
            else:
                high = self.time
        alive, dw = np.exp(-self.w * self.time), self.w[:, None] * self.d_log_w
        d_time = -self.time * (alive @ dw) / (alive @ self.w)
        self.by_time = 1 - alive
        self.d_by_time = alive[:, None] * (self.time * dw + self.w[:, None] * d_time)


def plain(estimator: str, reward: Doubles, baseline: float) -> Doubles:
    """Gradient that each slate gives, (S, 4): docs/mathematics.md 3.2, with nothing done to the weights."""
    pi, beta, slot = Plain(TARGET), Plain(LOGGER), np.arange(K)
    rho, advantage = pi.q / beta.q, reward - baseline
    if estimator == "joint":
        return (rho.prod(axis=1) * advantage.sum(axis=1))[:, None] * pi.d_log_q.sum(axis=1)
    if estimator == "prefix":
        product = rho.cumprod(axis=1) * advantage
        later = np.stack([product[:, k:].sum(axis=1) for k in range(K)], axis=1)
        return (later[:, :, None] * pi.d_log_q).sum(axis=1)
    if estimator == "marginal":
        per_slot = pi.d_marginal[slot, SLATES] / beta.marginal[slot, SLATES][:, :, None]
    elif estimator == "exact inclusion":
        per_slot = (pi.d_inclusion / beta.inclusion[:, None])[SLATES]
    elif estimator == "inclusion":
        per_slot = (pi.d_by_time / beta.by_time[:, None])[SLATES]
    elif estimator == "chen alpha":
        d_alpha = (K * (1 - pi.w) ** (K - 1) * pi.w)[:, None] * pi.d_log_w
        per_slot = (d_alpha / beta.inclusion[:, None])[SLATES]
    elif estimator == "chen":
        per_slot = ((pi.w / beta.w * K * (1 - pi.w) ** (K - 1))[:, None] * pi.d_log_w)[SLATES]
    elif estimator == "none":
        per_slot = pi.d_log_q
    else:
        per_slot = rho[:, :, None] * pi.d_log_q
    return (advantage[:, :, None] * per_slot).sum(axis=1)


def rewards(kind: str) -> Doubles:
    """Expected reward of each position given the slate, (S, K)."""
    appeal = APPEAL[SLATES]
    if kind == "additive":
        return appeal
    if kind == "position":
        return appeal * np.array([1.0, 0.7, 0.5])
    stays = np.cumprod(1 - appeal / 2, axis=1)
    return appeal * np.concatenate([np.ones((len(SLATES), 1)), stays[:, :-1]], axis=1)


TRUE: dict[str, tuple[tuple[float, ...], float]] = {
    "additive": ((-0.071108961, -0.008705243, 0.017788626, 0.062025579), 1.022122978),
    "position": ((-0.055854245, -0.013809280, 0.011340934, 0.058322591), 0.754504479),
    "cascade": ((-0.047144067, -0.007946781, 0.009956074, 0.045134774), 0.864180436),
}


# Weights, chances and their gradients (6.2)


def test_table_of_weights() -> None:
    weights = log_weights(torch.tensor(LOGGER[None]))
    w = weights.head.exp().numpy()[0]
    np.testing.assert_allclose(w[SHORTLIST], (0.385436829, 0.180071319, 0.095713454, 0.288778398), **EXACT)
    np.testing.assert_allclose(w[[0, 2, 5, 7]], 0.0125, **EXACT)
    np.testing.assert_allclose(
        Plain(LOGGER).share[SHORTLIST], (0.967569264, 0.930583060, 0.869401851, 0.956714214), **EXACT
    )
    assert log_slots(log_weights(each_slate(LOGGER))).sum(dim=1).exp().sum().item() == pytest.approx(1.0, abs=1e-12)


@pytest.mark.parametrize(
    ("slate", "log_chance", "gradient"),
    [
        ((1, 3, 0), -5.729385252, (0.879247335, 0.618230096, -0.346628913, -1.150848519)),
        ((6, 1, 4), -3.079580502, (-0.032048459, -0.963519231, 0.390932361, 0.604635330)),
        ((0, 2, 5), None, (0.0, 0.0, 0.0, 0.0)),
    ],
)
def test_table_of_gradients(slate: tuple[int, ...], log_chance: float | None, gradient: tuple[float, ...]) -> None:
    logits = torch.tensor(LOGGER[None], requires_grad=True)
    slots = log_slots(log_weights(logits), [slate])
    if log_chance is not None:
        assert slots.sum().item() == pytest.approx(log_chance, abs=1e-9)
    if slate == (1, 3, 0):
        np.testing.assert_allclose(slots.detach()[0], (-0.953377968, -1.227558736, -3.548448548), **EXACT)
    (got,) = torch.autograd.grad(slots.sum(), logits)
    np.testing.assert_allclose(got[0], gradient, **EXACT)


def test_new_policy_on_logged_slates() -> None:
    slates = [(1, 3, 0), (6, 1, 4), (3, 7, 1)]
    weights = log_weights(torch.tensor(np.tile(TARGET, (3, 1))), [1, 3, 4, 7])
    got = log_slots(weights, slates).sum(dim=1)
    np.testing.assert_allclose(got, (-6.832449403, -7.559760439, -3.259822781), **EXACT)


@pytest.mark.parametrize("epsilon", [0.1, 1e-3, 1e-6])
def test_sharp_policies_lose_no_more_than_what_cancels(epsilon: float) -> None:
    """Nearly all mass is taken after one article: against the version that builds what is left from the end.

    Logits of 50 carry a rounding of 7e-15, which what is left, some epsilon, makes the larger.
    """
    sharp = LOGGER / 0.02
    head = torch.full((len(SLATES), N), -5000.0, dtype=torch.float64)
    head[:, SHORTLIST] = torch.from_numpy(sharp)
    none = torch.zeros(len(SLATES), dtype=torch.float64)
    candidates = Candidates(head, torch.zeros((len(SLATES), 0), dtype=torch.float64), none, none + N)
    got = log_slots(candidates.log_weights(epsilon)).sum(dim=1)
    tile = (len(SLATES), 1)
    expected, _ = slate_log_propensity(SLATES, np.tile(sharp, tile), np.tile(SHORTLIST, tile), N, epsilon)
    np.testing.assert_allclose(got, expected, rtol=0, atol=2e-14 / epsilon)


@pytest.mark.parametrize("logits", [LOGGER, TARGET, 4 * LOGGER], ids=["logger", "target", "sharp"])
def test_autodiff_equals_the_closed_form(logits: Doubles) -> None:
    """On every slate, position by position, and with the joint's own formula of docs/mathematics.md 3.2."""
    leaf = each_slate(logits)
    slots = log_slots(log_weights(leaf))
    plain_side = Plain(logits)
    np.testing.assert_allclose(slots.detach(), np.log(plain_side.q), **EXACT)
    for k in range(K):
        (gradient,) = torch.autograd.grad(slots[:, k].sum(), leaf, retain_graph=True)
        np.testing.assert_allclose(gradient, plain_side.d_log_q[:, k], **EXACT)
    (gradient,) = torch.autograd.grad(slots.sum(), leaf)
    shown = plain_side.w[SLATES]
    left = 1 - np.cumsum(shown, axis=1) + shown
    after = (1 / left).sum(axis=1, keepdims=True) - np.cumsum(1 / left, axis=1)
    c = 1 + shown * after
    np.testing.assert_allclose(gradient, (c[:, :, None] * plain_side.d_log_w[SLATES]).sum(axis=1), **EXACT)


def test_inclusion_by_time() -> None:
    weights = log_weights(torch.tensor(LOGGER[None]))
    time = weights.inclusion_time(K)
    assert time.item() == pytest.approx(5.57573755, abs=1e-7)
    cheap = log_inclusion(weights.head, time).exp()[0].numpy()
    assert cheap.sum() == pytest.approx(K, abs=1e-12)
    exact = Plain(LOGGER).inclusion
    np.testing.assert_allclose(exact[SHORTLIST], (0.884775572, 0.662826040, 0.403230140, 0.817355797), **EXACT)
    assert np.abs(cheap / exact - 1).max() == pytest.approx(0.16, abs=0.005)


def test_slot_marginals() -> None:
    """Of every article and position by enumeration: within 4e-6 at the default nodes, 1e-7 at 64."""
    columns = torch.arange(N)[None].expand(K, N).T  # row a: article a at each position
    weights = log_weights(torch.tensor(np.tile(LOGGER, (N, 1))))
    exact = Plain(LOGGER).marginal
    np.testing.assert_allclose(exact[1, SHORTLIST], (0.301460505, 0.214227361, 0.124758156, 0.289721944), **EXACT)
    np.testing.assert_allclose(exact[2, SHORTLIST], (0.197878239, 0.268527360, 0.182758529, 0.238855454), **EXACT)
    for options, within in (({}, 4e-6), ({"nodes": 64}, 1e-7)):
        got = log_slot_marginal(weights, weights.head.gather(1, columns), columns, **options).exp().numpy()
        np.testing.assert_allclose(got, exact.T, rtol=within)


# The estimators (docs/mathematics.md 3.2 and 10.6)


@pytest.mark.parametrize("kind", TRUE)
def test_true_gradients(kind: str) -> None:
    """The value of the target by autodiff over all slates."""
    gradient, value = TRUE[kind]
    logits = torch.tensor(TARGET[None], requires_grad=True)
    weights = log_weights(logits.expand(len(SLATES), 4))
    got = (log_slots(weights).sum(dim=1).exp() * torch.from_numpy(rewards(kind).sum(axis=1))).sum()
    assert got.item() == pytest.approx(value, abs=1e-9)
    np.testing.assert_allclose(torch.autograd.grad(got, logits)[0][0], gradient, **EXACT)


@pytest.mark.parametrize("kind", TRUE)
@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_equals_the_plain_version(estimator: str, kind: str) -> None:
    """Slate by slate. Only `marginal` approximates, by its nodes."""
    baseline = TRUE[kind][1] / K
    got, _ = shipped(estimator, rewards(kind) - baseline)
    expected = plain(estimator, rewards(kind), baseline)
    assert np.abs(expected).max() > 0.05
    within = 3e-5 if estimator == "marginal" else 1e-9
    np.testing.assert_allclose(got, expected, rtol=0, atol=within)


# Relative bias, cosine to the true gradient (where the page has it), trace of the covariance per slate.
TABLE = {
    "joint, no baseline": ((0, None, 4.317), (0, None, 2.346), (0, 1, 2.992)),
    "joint": ((0, None, 0.1200), (0, None, 0.0568), (0, 1, 0.0558)),
    "prefix": ((0, None, 0.0861), (0, None, 0.0415), (0, 1, 0.0531)),
    "marginal": ((0, None, 0.00583), (0, None, 0.01494), (0.378, 0.9998, 0.01030)),
    "exact inclusion": ((0, None, 0.00131), (0.171, None, 0.00371), (0.308, 0.9997, 0.00237)),
    "inclusion": ((0.110, None, 0.00131), (0.196, None, 0.00395), (0.313, 0.993, 0.00249)),
    "chen alpha": ((0.239, None, 0.00153), (0.212, None, 0.00545), (0.508, 0.970, 0.00335)),
    "chen": ((1.90, None, 0.0126), (1.62, None, 0.0645), (2.93, 0.939, 0.0370)),
    "slot": ((0.550, None, 0.00367), (0.366, None, 0.0148), (0.868, 0.940, 0.0093)),
}


@pytest.mark.parametrize("row", TABLE)
def test_table_of_estimators(row: str) -> None:
    """Shipped where it is shipped: `inclusion` is the page's "by t*"; the exact one and two more are plain only."""
    estimator = row.removesuffix(", no baseline")
    for kind, (bias, cosine, variance) in zip(TRUE, TABLE[row], strict=True):
        truth = np.array(TRUE[kind][0])
        baseline = 0.0 if estimator != row else TRUE[kind][1] / K
        if estimator in ESTIMATORS:
            each, _ = shipped(estimator, rewards(kind) - baseline)
        else:
            each = plain(estimator, rewards(kind), baseline)
        chance = Plain(LOGGER).joint
        mean = chance @ each
        seen_bias = np.linalg.norm(mean - truth) / np.linalg.norm(truth)
        seen_variance = chance @ np.square(each - mean).sum(axis=1)
        # Three digits are printed, four of some; a bias of 0 holds to rounding, or to the nodes of `marginal`.
        assert seen_bias == pytest.approx(bias, rel=5e-3, abs=2e-5 if estimator == "marginal" else 1e-8), kind
        assert seen_variance == pytest.approx(variance, rel=5e-3), kind
        if cosine is not None:
            assert mean @ truth / np.linalg.norm(mean) / np.linalg.norm(truth) == pytest.approx(cosine, abs=6e-4)


# What becomes of the weights


def capped(cap: float) -> Callable[..., Doubles]:
    return lambda pi, beta, advantage: importance_weight(pi, beta, "cap", cap=cap)


@pytest.mark.parametrize("estimator", ["inclusion", "marginal", "chen", "prefix", "joint"])
def test_ratios_that_are_weighed(estimator: str) -> None:
    pi, beta, slot = Plain(TARGET), Plain(LOGGER), np.arange(K)
    product = (pi.q / beta.q).cumprod(axis=1)
    ratio = {
        "inclusion": (pi.by_time / beta.by_time)[SLATES],
        "marginal": pi.marginal[slot, SLATES] / beta.marginal[slot, SLATES],
        "chen": (pi.w / beta.w)[SLATES],
        "prefix": product,
        "joint": np.repeat(product[:, -1:], K, axis=1),
    }[estimator]
    within: dict[str, Any] = {"rtol": 2e-5 if estimator == "marginal" else 1e-10}
    advantage = rewards("cascade") - 0.2
    _, weight = shipped(estimator, advantage)
    np.testing.assert_allclose(weight, ratio, **within)
    assert ratio.min() < 0.9
    assert ratio.max() > 1.3
    gradient, weight = shipped(estimator, advantage, capped(1.1))
    np.testing.assert_allclose(weight, np.minimum(ratio, 1.1), **within)
    # A weight of 0 everywhere leaves nothing; one position's leaves that position's part.
    nothing, _ = shipped(estimator, advantage, lambda pi, beta, a: np.zeros_like(pi))
    assert np.abs(gradient).max() > 0.01
    np.testing.assert_array_equal(nothing, 0.0)
    clip = partial(importance_weight, method="clip", delta=0.1)
    _, weight = shipped(estimator, advantage, lambda pi, beta, a: clip(pi, beta, advantage=a))
    sign = np.broadcast_to(advantage.sum(axis=1, keepdims=True), ratio.shape) if estimator == "joint" else advantage
    flat = np.where(sign > 0, ratio > 1.1, ratio < 0.9)
    np.testing.assert_allclose(weight, np.where(flat, 0.0, ratio), **within)


def test_no_correction_weighs_nothing() -> None:
    _, weight = shipped("none", rewards("additive"), lambda pi, beta, a: np.full_like(pi, np.nan))
    np.testing.assert_array_equal(weight, 1.0)

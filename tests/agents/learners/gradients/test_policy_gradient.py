"""Estimators of the slate policy's gradient, on the toy of docs/mathematics.md 10.2: all of its 336 slates at once.

The plain versions work in numpy from closed forms and enumeration (``helpers.plain.mixture``); the shipped ones by
autodiff.
Shapes: S = 336 slates, K = 3 positions, 8 articles, 4 of them in the shortlist: gradients (S, 4) are by their logits.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from feedgym.agents.learners.gradients.candidates import LearnedPolicy
from feedgym.agents.learners.gradients.policy_gradient import Logged, log_inclusion, log_slot_marginal
from feedgym.agents.slate_policy.importance import importance_weight
from feedgym.agents.slate_policy.slates import slate_log_propensity
from feedgym.env.arrays import Doubles
from helpers.gradients import all_in_head, identity, logged_of, policy_gradient, slots_of
from helpers.plain.mixture import Mixture, all_slates, plain_gradient

N, K, EPSILON = 8, 3, 0.1
SHORTLIST = np.array([1, 3, 4, 6])
LOGGER, TARGET = np.array([1.0, 0.2, -0.5, 0.7]), np.array([0.0, 0.7, 0.5, 0.7])
SLATES = all_slates(N, K)
PI, BETA = (Mixture(logits, SHORTLIST, N, K, EPSILON) for logits in (TARGET, LOGGER))
APPEAL = 0.05 + 0.55 * np.arange(N) / 7
ESTIMATORS: tuple[str, ...] = ("inclusion", "marginal", "chen", "none", "prefix", "joint")
EXACT: dict[str, Any] = {"rtol": 0, "atol": 1e-9}
MARGINAL = 1e-6
"""Relative error that the nodes of the quadrature leave."""
LOW = -40.0
"""Logit of an article outside the shortlist: live, so explored, but with no share of the softmax."""


# The shipped side


def policy_of(logits: Tensor, shortlist: Any = SHORTLIST, epsilon: float = EPSILON) -> LearnedPolicy:
    """Of logits (B, 4)."""
    head = torch.full((len(logits), N), LOW, dtype=torch.float64)
    return all_in_head(head.index_copy(1, torch.as_tensor(shortlist), logits)).policy(epsilon)


def each_slate(logits: Doubles) -> Tensor:
    """Logits of the toy, a row of their own for each slate: (S, 4)."""
    return torch.tensor(np.tile(logits, (len(SLATES), 1)), requires_grad=True)


def log_slots(policy: LearnedPolicy, slates: Any = SLATES) -> Tensor:
    return slots_of(policy, torch.as_tensor(slates))


def logged_slates() -> Logged:
    marginal = BETA.marginal[np.arange(K), SLATES]
    return logged_of(policy_of(each_slate(LOGGER).detach()), torch.as_tensor(SLATES), marginal)


def shipped(estimator: str, advantage: Doubles, weigh: Any = identity) -> tuple[Doubles, Doubles]:
    """Gradient that each slate gives, (S, 4), and its weights (S, K)."""
    logits = each_slate(TARGET)
    coefficient, log_chance, weight = policy_gradient(
        estimator, policy_of(logits), torch.as_tensor(SLATES), logged_slates(), torch.from_numpy(advantage), weigh
    )
    assert not coefficient.requires_grad
    (gradient,) = torch.autograd.grad((coefficient * log_chance).sum(), logits)
    return gradient.numpy(), weight


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
    "additive": ((-0.07234303, -0.0029064, 0.0208391, 0.05441032), 1.020481012),
    "position": ((-0.05664447, -0.01052621, 0.01297999, 0.0541907), 0.753686548),
    "cascade": ((-0.04770563, -0.00402895, 0.01190016, 0.03983442), 0.863732046),
}


# Chances and their gradients (docs/mathematics.md 10.2)


@pytest.mark.parametrize(
    ("slate", "log_chance", "slots", "gradient"),
    [
        (
            (6, 1, 4),
            -2.898412329,
            (-1.242095674, -0.547793769, -1.108522886),
            (-0.01222979, -1.11697691, 0.43992529, 0.68928140),
        ),
        (
            (1, 3, 6),
            -2.392279280,
            (-0.953377968, -1.163931405, -0.274969908),
            (0.58371926, 0.49426130, -0.48024744, -0.59773312),
        ),
        ((1, 3, 0), -8.119696253, (-0.953377968, -1.163931405, -6.002386881), (0.0, 0.0, 0.0, 0.0)),
        ((0, 2, 5), -8.119696253, (-4.382026635, -1.945910149, -1.791759469), (0.0, 0.0, 0.0, 0.0)),
    ],
)
def test_table_of_chances_and_gradients(
    slate: tuple[int, ...], log_chance: float, slots: tuple[float, ...], gradient: tuple[float, ...]
) -> None:
    logits = torch.tensor(LOGGER[None], requires_grad=True)
    found = log_slots(policy_of(logits), [slate])
    assert found.sum().item() == pytest.approx(log_chance, abs=1e-9)
    np.testing.assert_allclose(found.detach()[0], slots, **EXACT)
    (got,) = torch.autograd.grad(found.sum(), logits)
    np.testing.assert_allclose(got[0], gradient, rtol=0, atol=1e-8)


def test_chances_of_all_slates_sum_to_one() -> None:
    total = log_slots(policy_of(each_slate(LOGGER))).sum(dim=1).exp().sum()
    assert total.item() == pytest.approx(1.0, abs=1e-12)


def test_new_policy_on_logged_slates() -> None:
    target = torch.tensor(np.tile(TARGET, (2, 1)))
    got = log_slots(policy_of(target), [(6, 1, 4), (1, 3, 6)]).sum(dim=1)
    np.testing.assert_allclose(got, (-3.630307540, -3.627084570), **EXACT)
    got = log_slots(policy_of(target[:1], [1, 3, 4, 7]), [(3, 7, 1)]).sum(dim=1)
    np.testing.assert_allclose(got, (-3.110835754,), **EXACT)


@pytest.mark.parametrize("epsilon", [0.1, 1e-3, 1e-6, 0.0])
def test_sharp_policies_lose_nothing(epsilon: float) -> None:
    """Nearly all mass is taken after one article: against the served policy's own chances.

    Logits of 50 carry a rounding of 7e-15.
    """
    sharp = LOGGER / 0.02
    policy = policy_of(torch.from_numpy(np.tile(sharp, (len(SLATES), 1))), epsilon=epsilon)
    tile = (len(SLATES), 1)
    got = log_slots(policy).numpy()
    expected, slots = slate_log_propensity(SLATES, np.tile(sharp, tile), np.tile(SHORTLIST, tile), N, epsilon)
    of_both = np.isin(SLATES, SHORTLIST).all(axis=1) if epsilon == 0 else np.ones(len(SLATES), dtype=bool)
    assert expected[of_both].min() < -60 * (epsilon == 0) - 7
    np.testing.assert_allclose(got.sum(axis=1)[of_both], expected[of_both], rtol=1e-13, atol=1e-13)
    np.testing.assert_allclose(got[of_both], np.log(slots[of_both]), rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("epsilon", [0.1, 0.02, 0.0])
@pytest.mark.parametrize("logits", [LOGGER, TARGET, 4 * LOGGER], ids=["logger", "target", "sharp"])
def test_autodiff_equals_the_closed_form(logits: Doubles, epsilon: float) -> None:
    """On every slate, position by position, and ``d log P/dz = (1-eps) PL_K / F_K d log PL_K/dz`` of the whole."""
    leaf, plain = each_slate(logits), Mixture(logits, SHORTLIST, N, K, max(epsilon, 1e-300))
    slots = log_slots(policy_of(leaf, epsilon=epsilon))
    # Without exploration slates of the shortlist alone are possible.
    possible = np.flatnonzero(np.isin(SLATES, SHORTLIST).all(axis=1)) if epsilon == 0 else np.arange(len(SLATES))
    np.testing.assert_allclose(slots.detach().numpy()[possible], np.log(plain.q[possible]), **EXACT)
    for k in range(K):
        (gradient,) = torch.autograd.grad(slots[:, k].sum(), leaf, retain_graph=True)
        np.testing.assert_allclose(gradient.numpy()[possible], plain.d_log_q[possible, k], **EXACT)
    whole = torch.autograd.grad(slots.sum(), leaf)[0].numpy()
    kept = (1 - epsilon) * plain.pl[:, -1] / plain.prefix[:, -1]
    some = np.flatnonzero(plain.pl[:, -1] > 0)
    of_softmax = plain.d_pl[some, -1] / plain.pl[some, -1, None]
    np.testing.assert_allclose(whole[some], kept[some, None] * of_softmax, **EXACT)
    assert len(some) == 24
    if epsilon:
        assert np.abs(whole[np.setdiff1d(possible, some)]).max() < 1e-12


def test_inclusion_by_time() -> None:
    policy = policy_of(torch.tensor(LOGGER[None]))
    time = policy.inclusion_time(K)
    assert time.item() == pytest.approx(6.793611334, abs=1e-9)
    cheap = log_inclusion(policy, policy.head, time, K).exp()[0].numpy()
    assert cheap.sum() == pytest.approx(K, abs=1e-12)
    np.testing.assert_allclose(cheap, BETA.by_time, rtol=1e-10)
    exact = BETA.inclusion
    np.testing.assert_allclose(exact[SHORTLIST], (0.876907609, 0.712668645, 0.427437176, 0.832986570), **EXACT)
    np.testing.assert_allclose(exact[[0, 2, 5, 7]], 0.0375, **EXACT)
    assert np.abs(cheap / exact - 1).max() == pytest.approx(0.07, abs=0.001)


def test_derivatives_of_the_inclusion() -> None:
    """The exact one by enumeration, and by what is shipped: the sum over positions of ``log_slot_marginal``."""
    expected = {
        1: (0.1005660, -0.0330737, -0.0448547, -0.0226376),
        4: (-0.0448547, -0.1375996, 0.2550505, -0.0725962),
    }
    for article, slope in expected.items():
        np.testing.assert_allclose(BETA.d_inclusion[article], slope, rtol=0, atol=1e-7)
        logits = torch.tensor(LOGGER[None], requires_grad=True)
        policy, column = policy_of(logits), torch.full((1, K), article)
        found = log_slot_marginal(policy, policy.head.gather(1, column), column).exp().sum()
        assert found.item() == pytest.approx(BETA.inclusion[article], rel=1e-6)
        np.testing.assert_allclose(torch.autograd.grad(found, logits)[0][0], slope, rtol=0, atol=1e-6)


def test_slot_marginals() -> None:
    """Of every article and position by enumeration: the nodes that are taken by themselves are enough."""
    columns = torch.arange(N)[None].expand(K, N).T  # row a: article a at each position
    policy = policy_of(torch.tensor(np.tile(LOGGER, (N, 1))))
    exact = BETA.marginal
    np.testing.assert_allclose(exact[1, SHORTLIST], (0.301011061, 0.222367281, 0.127277586, 0.299344072), **EXACT)
    np.testing.assert_allclose(exact[2, SHORTLIST], (0.190459719, 0.310230045, 0.204446136, 0.244864101), **EXACT)
    np.testing.assert_allclose(exact[:, [0, 2, 5, 7]], 0.0125, **EXACT)
    got = log_slot_marginal(policy, policy.head.gather(1, columns), columns).exp().numpy()
    np.testing.assert_allclose(got, exact.T, rtol=MARGINAL)


@pytest.mark.parametrize("sd", [0.5, 4.0, 16.0, 50.0])
def test_floors_hold_whatever_the_logits(sd: float) -> None:
    """``m_k >= eps / N`` and ``i >= eps K / N``: no ratio to them exceeds N / eps, or N / (eps K)."""
    rng = np.random.default_rng(2)
    policy = all_in_head(torch.from_numpy(sd * rng.normal(size=(50, 12)))).policy(0.05)
    column = torch.from_numpy(np.argsort(rng.random((50, 12)), axis=1)[:, :4])
    log_p = policy.head.gather(1, column)
    marginal = log_slot_marginal(policy, log_p, column).exp()
    inclusion = log_inclusion(policy, log_p, policy.inclusion_time(4), 4).exp()
    assert (marginal >= 0.05 / 12).all()
    assert (inclusion >= 0.05 * 4 / 12).all()
    if sd >= 16:  # they are reached, and the chances given those above have none
        assert marginal.min() < 1.001 * 0.05 / 12
        explored = policy.head.argsort(dim=1, descending=True)[:, [0, 9, 10, 11]]  # after the likeliest
        assert slots_of(policy, explored).exp()[:, 1].max() < 0.2 * 0.05 / 12


# The estimators (docs/mathematics.md 3.2 and 10.6)


@pytest.mark.parametrize("kind", TRUE)
def test_true_gradients(kind: str) -> None:
    """The value of the target by autodiff over all slates."""
    gradient, value = TRUE[kind]
    logits = torch.tensor(TARGET[None], requires_grad=True)
    policy = policy_of(logits.expand(len(SLATES), 4))
    got = (log_slots(policy).sum(dim=1).exp() * torch.from_numpy(rewards(kind).sum(axis=1))).sum()
    assert got.item() == pytest.approx(value, abs=1e-9)
    np.testing.assert_allclose(torch.autograd.grad(got, logits)[0][0], gradient, rtol=0, atol=1e-8)


@pytest.mark.parametrize("kind", TRUE)
@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_equals_the_plain_version(estimator: str, kind: str) -> None:
    """Slate by slate. Only `marginal` approximates, by its nodes."""
    advantage = rewards(kind) - TRUE[kind][1] / K
    got, _ = shipped(estimator, advantage)
    expected = plain_gradient(estimator, PI, BETA, advantage)
    assert np.abs(expected).max() > 0.05
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-6 if estimator == "marginal" else 1e-9)


# Relative bias, cosine to the true gradient (where the page has it), trace of the covariance per slate.
TABLE = {
    "joint, no baseline": ((0, None, 5.281), (0, None, 2.869), (0, 1, 3.656)),
    "joint": ((0, None, 0.10650), (0, None, 0.05192), (0, 1, 0.04992)),
    "prefix": ((0, None, 0.07744), (0, None, 0.03993), (0, 1, 0.05158)),
    "marginal": ((0, None, 0.00696), (0, None, 0.01514), (0.389, 0.9998, 0.01102)),
    "exact inclusion": ((0, None, 0.00111), (0.202, 0.997, 0.00276), (0.304, 0.9998, 0.00181)),
    "inclusion": ((0.156, 0.991, 0.00099), (0.250, 0.995, 0.00281), (0.275, 0.988, 0.00178)),
    "chen alpha": ((0.353, 0.946, 0.00153), (0.275, 0.962, 0.00528), (0.652, 0.940, 0.00321)),
    "chen": ((2.12, 0.896, 0.0128), (1.82, 0.911, 0.0678), (3.29, 0.889, 0.0381)),
    "slot": ((0.620, 0.893, 0.00849), (0.409, 0.953, 0.01728), (0.940, 0.906, 0.01296)),
}


@pytest.mark.parametrize("row", TABLE)
def test_table_of_estimators(row: str) -> None:
    """Shipped where it is shipped: `inclusion` is the page's "by t*"; the exact one and two more are plain only."""
    estimator = row.removesuffix(", no baseline")
    for kind, (bias, cosine, variance) in zip(TRUE, TABLE[row], strict=True):
        truth = np.array(TRUE[kind][0])
        advantage = rewards(kind) - (0.0 if estimator != row else TRUE[kind][1] / K)
        if estimator in ESTIMATORS:
            each, _ = shipped(estimator, advantage)
        else:
            each = plain_gradient(estimator, PI, BETA, advantage)
        chance = BETA.joint
        mean = chance @ each
        seen_bias = np.linalg.norm(mean - truth) / np.linalg.norm(truth)
        seen_variance = chance @ np.square(each - mean).sum(axis=1)
        # Three digits are printed, four of some; a bias of 0 holds to the digits of TRUE, or the nodes of `marginal`.
        assert seen_bias == pytest.approx(bias, rel=3e-3, abs=1e-5 if estimator == "marginal" else 1e-6), kind
        assert seen_variance == pytest.approx(variance, rel=4e-3), kind
        if cosine is not None:
            assert mean @ truth / np.linalg.norm(mean) / np.linalg.norm(truth) == pytest.approx(cosine, abs=6e-4)


# What becomes of the weights


def capped(cap: float) -> Callable[..., Doubles]:
    return lambda pi, beta, advantage: importance_weight(pi, beta, "cap", cap=cap)


@pytest.mark.parametrize("estimator", ["inclusion", "marginal", "chen", "prefix", "joint"])
def test_ratios_that_are_weighed(estimator: str) -> None:
    slot, product = np.arange(K), PI.prefix / BETA.prefix
    ratio = {
        "inclusion": (PI.by_time / BETA.by_time)[SLATES],
        "marginal": PI.marginal[slot, SLATES] / BETA.marginal[slot, SLATES],
        "chen": (PI.first / BETA.first)[SLATES],
        "prefix": product,
        "joint": np.repeat(product[:, -1:], K, axis=1),
    }[estimator]
    within: dict[str, Any] = {"rtol": MARGINAL if estimator == "marginal" else 1e-10}
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

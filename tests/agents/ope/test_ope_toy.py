"""Off-policy estimators against enumeration: the toy of docs/mathematics.md 10.2 and 10.3, and other tiny worlds.

All slates times all outcomes are the rows of a "log", each with its exact chance: expectations and standard
deviations are sums. Shapes: S slates, K positions, N articles, n = S 2^K rows.
"""

from itertools import permutations
from typing import Any

import numpy as np
import pytest

from feedgym.agents.ope import (
    ArticleTimes,
    LoggedSlates,
    effective_sample_size,
    inclusion_ips,
    pair_chances,
    pseudo_inverse_weights,
    rips,
    sips,
    slot_expectation,
    target_propensities,
)
from helpers.plain.toy_world import (
    EXACT,
    LISTED,
    LOGGER,
    MU,
    READERS,
    TABLE,
    TARGET,
    TRUTH,
    World,
    small_world,
    weights,
)


@pytest.mark.parametrize("column", range(3))
def test_table_of_the_toy(toy: World, column: int) -> None:
    name = list(READERS)[column]
    found, p, value = toy.estimates(READERS[name])
    assert abs(p.sum() - 1) < 1e-12
    np.testing.assert_allclose(value, TRUTH[name], rtol=0, atol=EXACT)
    for estimator, line in TABLE.items():
        mean, sd = line[column]
        terms = found[estimator].terms
        assert terms.value(p) == pytest.approx(mean, abs=EXACT), estimator
        if sd is not None:
            assert np.sqrt(p @ np.square(terms.influence(p))) == pytest.approx(sd, abs=1e-6), estimator


@pytest.mark.parametrize("reader", list(READERS))
def test_self_normalised_have_the_same_limit(toy: World, reader: str) -> None:
    found, p, _ = toy.estimates(READERS[reader])
    for name in ("sips", "rips", "iips"):
        assert found[f"sn{name}"].terms.value(p) == pytest.approx(found[name].terms.value(p), abs=1e-12)


def test_weights_of_the_toy(toy: World) -> None:
    p, rho = toy.p["beta"], toy.rho
    joint = rho.prod(axis=1)
    assert p @ joint == pytest.approx(1.0, abs=1e-12)
    assert np.sqrt(p @ np.square(joint - 1)) == pytest.approx(1.35557686, abs=EXACT)
    at = toy.row((1, 3, 0))
    r = np.ones_like(rho)
    near: dict[str, Any] = {"rtol": 0, "atol": 1e-9}
    np.testing.assert_allclose(sips(rho, r).terms.weight[at], [0.331852678], **near)
    np.testing.assert_allclose(rips(rho, r).terms.weight[at], (0.382181141, 0.434376937, 0.331852678), **near)
    np.testing.assert_allclose(toy.m_ratio[at], (0.382181141, 1.228444704, 0.849401959), **near)
    np.testing.assert_allclose(toy.pi_weight[at], 0.287245835, **near)
    assert p @ toy.pi_weight == pytest.approx(1.0, abs=1e-9)


def shares(world: World) -> tuple[float, float, float]:
    """Limits of ESS / n: joint, two-slot prefix, inclusion."""
    p = world.p["beta"]
    joint, two = world.rho.prod(axis=1), world.rho[:, :2].prod(axis=1)
    pooled = (p @ world.i_ratio.mean(axis=1)) ** 2 / (p @ np.square(world.i_ratio).mean(axis=1))
    return 1 / (p @ joint**2), 1 / (p @ two**2), float(pooled)


def test_effective_sizes_of_the_toy(toy: World) -> None:
    np.testing.assert_allclose(shares(toy), (0.3524, 0.4995, 0.8804), rtol=0, atol=5e-5)
    other = World(toy.beta, weights([1, 3, 4, 7], TARGET, 8, 0.1), 3)
    np.testing.assert_allclose(shares(other), (0.01265, 0.0387, 0.2302), rtol=0, atol=5e-5)


def test_estimates_report_these_sizes(toy: World) -> None:
    """A log whose slates stand in it as often as their chance says."""
    count = np.random.default_rng(0).multinomial(20_000, toy.p["beta"])
    rho, i_ratio = np.repeat(toy.rho, count, axis=0), np.repeat(toy.i_ratio, count, axis=0)
    r = np.ones_like(rho)
    for estimate, share in ((sips(rho, r), 0.3524), (rips(rho, r), 0.3524), (inclusion_ips(i_ratio, r), 0.8804)):
        assert estimate.effective_sample_size / 20_000 == pytest.approx(share, rel=0.05)
    # An article's inclusion says nothing of a position: only the mean over positions is 1.
    assert inclusion_ips(i_ratio, r).mean_weight == pytest.approx(i_ratio.mean(), rel=1e-12)
    assert abs(i_ratio.mean(axis=0) - 1).max() > 0.03
    assert sips(rho[:, :2], r[:, :2]).effective_sample_size / 20_000 == pytest.approx(0.4995, rel=0.05)


def test_no_support_without_exploration() -> None:
    """docs/mathematics.md 2.4: the mean weight tells."""
    beta, pi = weights(LISTED, LOGGER, 8, 0.0), weights([1, 3, 4, 7], LOGGER, 8, 0.0)
    slates = np.array(list(permutations(LISTED, 3)))
    world = object.__new__(World)
    world.slates = slates
    q_beta, q_pi = world._slots(beta), world._slots(pi)
    found = sips(q_pi / q_beta, MU[slates])
    assert found.terms.value(q_beta.prod(axis=1)) == pytest.approx(0.0904124, abs=1e-7)
    assert q_beta.prod(axis=1) @ found.terms.weight[:, 0] == pytest.approx(0.1161260, abs=1e-7)
    every = np.array(list(permutations([1, 3, 4, 7], 3)))
    world.slates = every
    assert world._slots(pi).prod(axis=1) @ MU[every].sum(axis=1) == pytest.approx(1.0224107, abs=1e-7)


def test_slot_expectation_is_the_mean_over_what_is_left() -> None:
    world, _ = small_world(6)
    q = np.random.default_rng(1).normal(size=(3, 5))
    shown = q[np.arange(3)[None, :, None], world.slates[:, None, :]]
    total = np.broadcast_to(q @ world.pi, (len(world.slates), 3))
    got = slot_expectation(total, world.pi[world.slates], shown)
    for s, slate in enumerate(world.slates[::7]):
        for k in range(3):
            left = [a for a in range(5) if a not in slate[:k]]
            assert got[7 * s, k] == pytest.approx(world.pi[left] @ q[k, left] / world.pi[left].sum(), abs=1e-12)


def test_target_propensities_of_the_shipped_policy(toy: World) -> None:
    """Logged and target chances from logits and shortlists are those of the enumeration."""
    n = len(toy.slates)
    made = np.full(n, 5.0)
    articles = ArticleTimes(np.array([0.0] * 8 + [6.0]), np.array([9.0] * 8 + [30.0]))
    log = LoggedSlates(
        reader_id=np.arange(n),
        article_id=toy.slates,
        reward=np.zeros((n, 3)),
        slot_propensity=toy.q["beta"],
        num_live=np.full(n, 8),
        made_hours=made,
    )
    listed, logits = np.tile(LISTED, (n, 1)), np.tile(TARGET, (n, 1))
    found = target_propensities(log, logits, listed, 0.1, articles=articles)
    np.testing.assert_allclose(found.slot_propensity, toy.q["pi"], rtol=0, atol=1e-12)
    assert found.slot_marginal is not None
    assert found.inclusion is not None
    slot = np.arange(3)
    np.testing.assert_allclose(found.slot_marginal, toy.marginal["pi"][slot, toy.slates], rtol=1e-5)
    np.testing.assert_allclose(found.inclusion, toy.marginal["pi"].sum(axis=0)[toy.slates], rtol=1e-5)
    assert target_propensities(log, logits, listed, 0.1, articles=articles, marginals=False).inclusion is None
    listed[7, 1] = 8  # published later
    with pytest.raises(ValueError, match=r"shortlist: got .article 8 in row 7, not live at 5 h"):
        target_propensities(log, logits, listed, 0.1, articles=articles)


def test_pseudo_inverse_by_context(toy: World) -> None:
    """Visits of two contexts get the weights of their own."""
    other, _ = small_world(3, n=8)
    pairs = [(pair_chances(w.slates, w.p["pi"], 8)[0], pair_chances(w.slates, w.p["beta"], 8)[1]) for w in (toy, other)]
    context = np.arange(len(toy.slates)) % 2
    single, double = (np.stack([pair[part] for pair in pairs]) for part in (0, 1))
    got = pseudo_inverse_weights(toy.slates, single, double, 8, context)
    np.testing.assert_allclose(got, np.where(context == 0, toy.pi_weight, other.pi_weight), rtol=0, atol=1e-9)


def test_pseudo_inverse_refuses(toy: World) -> None:
    single, double = pair_chances(toy.slates, toy.p["beta"], 8)
    for call, text in (
        (lambda: pseudo_inverse_weights(toy.slates, single, double, 1000), "K N <= 2000"),
        (lambda: pseudo_inverse_weights(toy.slates - 1, single, double, 8), "slates: got .*no padding"),
        (lambda: pseudo_inverse_weights(toy.slates, single[:-1], double, 8), "target_single: got"),
        (lambda: pseudo_inverse_weights(toy.slates, single, double[:-1], 8), "logged_double: got"),
        (lambda: pseudo_inverse_weights(toy.slates, single, double, 8, np.zeros(3)), "context: got"),
        (lambda: pseudo_inverse_weights(toy.slates, single, double, 8, np.ones(336)), "context: got"),
        (lambda: pair_chances(toy.slates, toy.p["beta"] / 2, 8), "chance: got 0.5.*a sum of 1"),
        (lambda: pair_chances(toy.slates, toy.p["beta"][:-1], 8), "chance: got"),
    ):
        with pytest.raises(ValueError, match=text):
            call()


def test_slot_expectation_refuses() -> None:
    with pytest.raises(ValueError, match="weight: got"):
        slot_expectation(np.zeros((2, 3)), np.zeros((2, 2)), np.zeros((2, 3, 3)))
    with pytest.raises(ValueError, match="q_shown: got"):
        slot_expectation(np.zeros((2, 3)), np.zeros((2, 3)), np.zeros((2, 3)))


def test_pooled_size() -> None:
    assert effective_sample_size([[1.0, 1.0], [1.0, 1.0]]) == 4.0

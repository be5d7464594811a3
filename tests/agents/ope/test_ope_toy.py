"""Off-policy estimators against enumeration: the toy of docs/mathematics.md 10.2 and 10.3, and other tiny worlds.

All slates times all outcomes are the rows of a "log", each with its exact chance: expectations and standard
deviations are sums. Shapes: S slates, K positions, N articles, n = S 2^K rows.
"""

from typing import Any

import numpy as np
import pytest

from feedgym.agents.ope import (
    ArticleTimes,
    LoggedSlates,
    effective_sample_size,
    inclusion_ips,
    mixed_expectation,
    pair_chances,
    pseudo_inverse_weights,
    rips,
    sips,
    slot_expectation,
    target_propensities,
)
from feedgym.agents.slate_policy import Draw, kept_share
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
    policy,
    small_world,
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
    assert np.sqrt(p @ np.square(joint - 1)) == pytest.approx(1.477309009, abs=EXACT)
    at = toy.row((6, 1, 4))
    r = np.ones_like(rho)
    near: dict[str, Any] = {"rtol": 0, "atol": 1e-8}
    np.testing.assert_allclose(sips(rho, r).terms.weight[at], [0.48099654], **near)
    np.testing.assert_allclose(rips(rho, r).terms.weight[at], (0.98333993, 0.35938488, 0.48099654), **near)
    np.testing.assert_allclose(toy.m_ratio[at], (0.98333993, 0.57524895, 1.24210873), **near)
    np.testing.assert_allclose(toy.i_ratio[at], (0.94441626, 0.62067992, 1.71334872), **near)
    np.testing.assert_allclose(toy.pi_weight[at], 0.47805069, **near)
    assert p @ toy.pi_weight == pytest.approx(1.0, abs=1e-9)
    # What only exploration shows has the same chance under both.
    assert joint[toy.row((1, 3, 0))] == pytest.approx(1.0, abs=1e-12)


def shares(world: World) -> tuple[float, float, float]:
    """Limits of ESS / n: joint, two-slot prefix, inclusion."""
    p = world.p["beta"]
    joint, two = world.rho.prod(axis=1), world.rho[:, :2].prod(axis=1)
    pooled = (p @ world.i_ratio.mean(axis=1)) ** 2 / (p @ np.square(world.i_ratio).mean(axis=1))
    return 1 / (p @ joint**2), 1 / (p @ two**2), float(pooled)


def test_effective_sizes_of_the_toy(toy: World) -> None:
    np.testing.assert_allclose(shares(toy), (0.314224, 0.481005, 0.894470), rtol=0, atol=5e-7)


def test_another_shortlist_has_support_at_a_price(toy: World) -> None:
    other = World(toy.beta, policy([1, 3, 4, 7], TARGET, 8, 0.1), 3)
    np.testing.assert_allclose(shares(other), (0.007878, 0.032956, 0.157245), rtol=0, atol=5e-7)
    assert toy.p["beta"] @ other.rho.prod(axis=1) == pytest.approx(1.0, abs=1e-12)
    found, p, value = other.estimates(READERS["additive"])
    assert value[0] == pytest.approx(1.079345631, abs=EXACT)
    for name in ("sips", "rips", "iips", "inclusion"):
        assert found[name].terms.value(p) == pytest.approx(value[0], abs=EXACT), name


def test_estimates_report_these_sizes(toy: World) -> None:
    """A log whose slates stand in it as often as their chance says."""
    count = np.random.default_rng(0).multinomial(20_000, toy.p["beta"])
    rho, i_ratio = np.repeat(toy.rho, count, axis=0), np.repeat(toy.i_ratio, count, axis=0)
    r = np.ones_like(rho)
    for estimate, share in ((sips(rho, r), 0.3142), (rips(rho, r), 0.3142), (inclusion_ips(i_ratio, r), 0.8945)):
        assert estimate.effective_sample_size / 20_000 == pytest.approx(share, rel=0.05)
    # An article's inclusion says nothing of a position: only the mean over positions is 1.
    assert inclusion_ips(i_ratio, r).mean_weight == pytest.approx(i_ratio.mean(), rel=1e-12)
    assert abs(i_ratio.mean(axis=0) - 1).max() > 0.03
    assert sips(rho[:, :2], r[:, :2]).effective_sample_size / 20_000 == pytest.approx(0.4810, rel=0.05)


def test_no_support_without_exploration() -> None:
    """docs/mathematics.md 2.4: the mean weight tells."""
    world = World(policy(LISTED, LOGGER, 8, 0.0), policy([1, 3, 4, 7], LOGGER, 8, 0.0), 3)
    found, logged = sips(world.rho, MU[world.slates]), world.p["beta"]
    assert found.terms.value(logged) == pytest.approx(0.0904124, abs=1e-7)
    assert logged @ found.terms.weight[:, 0] == pytest.approx(0.1161260, abs=1e-7)
    assert world.p["pi"] @ MU[world.slates].sum(axis=1) == pytest.approx(1.0224107, abs=1e-7)


def test_expectations_are_the_mean_over_what_is_left() -> None:
    """Of a visit that does not explore, and of both kinds: by the target's own chances given the articles above."""
    world, _ = small_world(6)
    q = np.random.default_rng(1).normal(size=(3, 5))
    shown = q[np.arange(3)[None, :, None], world.slates[:, None, :]]
    p, one_of = world.pi.p, np.full(5, 0.2)
    total, live = (np.broadcast_to(q @ chance, (len(world.slates), 3)) for chance in (p, one_of))
    from_softmax = slot_expectation(total, p[world.slates], shown)
    both = mixed_expectation(world.kept_share(), total, p[world.slates], live, one_of[world.slates], shown)
    for s, slate in enumerate(world.slates[::7]):
        for k in range(3):
            left = [a for a in range(5) if a not in slate[:k]]
            assert from_softmax[7 * s, k] == pytest.approx(p[left] @ q[k, left] / p[left].sum(), abs=1e-12)
            alike = (world.slates[:, :k] == slate[:k]).all(axis=1)
            chance = world.p["pi"][alike] / world.p["pi"][alike].sum()
            assert both[7 * s, k] == pytest.approx(chance @ q[k, world.slates[alike, k]], abs=1e-12)


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
    kept = kept_share(toy.slates, Draw.of(logits, listed, 8, 0.1, 3))
    np.testing.assert_allclose(kept, toy.kept_share(), rtol=0, atol=1e-12)
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


def test_expectations_refuse() -> None:
    one = np.zeros((2, 3))
    with pytest.raises(ValueError, match="kept: got"):
        mixed_expectation(np.zeros(3), one, one, one, one, np.zeros((2, 3, 3)))
    with pytest.raises(ValueError, match="weight: got"):
        slot_expectation(np.zeros((2, 3)), np.zeros((2, 2)), np.zeros((2, 3, 3)))
    with pytest.raises(ValueError, match="q_shown: got"):
        slot_expectation(np.zeros((2, 3)), np.zeros((2, 3)), np.zeros((2, 3)))


def test_pooled_size() -> None:
    assert effective_sample_size([[1.0, 1.0], [1.0, 1.0]]) == 4.0

"""Estimators on logs that are drawn from worlds whose value is known: bias, variance, the rate of the error."""

import numpy as np
import pytest

from feedgym.agents.ope import (
    cascade_dr,
    iips,
    inclusion_ips,
    mixed_expectation,
    pseudo_inverse,
    rips,
    sips,
)
from feedgym.env.arrays import Doubles
from helpers.plain.toy_world import READERS, TABLE, World, cascade, independent, looks_ahead, small_world


@pytest.mark.parametrize("reader", list(READERS))
def test_sampled_log(toy: World, reader: str) -> None:
    """100,000 visits, drawn: estimates within 4 standard errors of their own expectation, and of their own error."""
    reward, chance = READERS[reader](toy.slates)
    p = (toy.p["beta"][:, None] * chance).ravel()
    row = np.random.default_rng(3).choice(len(p), 100_000, p=p / p.sum())
    slate, r = row // len(reward), reward[row % len(reward)]
    column = list(READERS).index(reader)
    drawn = {
        "sips": sips(toy.rho[slate], r),
        "rips": rips(toy.rho[slate], r),
        "iips": iips(toy.m_ratio[slate], r),
        "inclusion": inclusion_ips(toy.i_ratio[slate], r),
        "pi": pseudo_inverse(toy.pi_weight[slate], r.sum(axis=1)),
    }
    for name, estimate in drawn.items():
        mean, sd = TABLE[name][column]
        assert sd is not None
        assert abs(estimate.value - mean) < 4 * sd / np.sqrt(100_000), name
        assert estimate.standard_error == pytest.approx(sd / np.sqrt(100_000), rel=0.05), name


def errors(toy: World, reader: str, name: str) -> tuple[Doubles, Doubles]:
    """Root-mean-square error and mean error in its own standard errors, at 1e3, 1e4 and 1e5 visits."""
    found, p, value = toy.estimates(READERS[reader])
    rng = np.random.default_rng(12)
    off = np.array(
        [
            [found[name].terms.value(c.astype(float)) - value[0] for c in rng.multinomial(n, p / p.sum(), size=200)]
            for n in (1_000, 10_000, 100_000)
        ]
    )
    return np.sqrt(np.square(off).mean(axis=1)), off.mean(axis=1) / (off.std(axis=1, ddof=1) / np.sqrt(200))


@pytest.mark.parametrize(
    ("reader", "name"),
    [("position", "sniips"), ("position", "iips"), ("position", "sips"), ("cascade", "rips"), ("cascade", "snrips")],
)
def test_errors_fall_like_the_root(toy: World, reader: str, name: str) -> None:
    error, distance = errors(toy, reader, name)
    assert -0.6 < np.polyfit([3, 4, 5], np.log10(error), 1)[0] < -0.4
    assert abs(distance[-1]) < 4


def test_the_right_estimator_for_the_reader(toy: World) -> None:
    assert (errors(toy, "position", "iips")[0] < 0.7 * errors(toy, "position", "sips")[0]).all()
    error, distance = errors(toy, "cascade", "iips")
    assert abs(distance[-1]) > 20  # biased, where rips is not
    assert error[-1] > 3 * errors(toy, "cascade", "rips")[0][-1]
    assert np.polyfit([3, 4, 5], np.log10(error), 1)[0] > -0.4  # nor does it fall like the root


UNBIASED = {
    "additive": {"sips", "rips", "iips", "inclusion", "pi"},
    "position": {"sips", "rips", "iips", "pi"},
    "cascade": {"sips", "rips"},
    "looks ahead": {"sips"},
}


@pytest.mark.parametrize("kind", list(UNBIASED))
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_who_is_unbiased_for_whom(kind: str, seed: int) -> None:
    world, mu = small_world(seed)
    reader = {
        "additive": independent(mu, np.ones(3)),
        "position": independent(mu, np.array([1.0, 0.6, 0.2])),
        "cascade": cascade(mu, 0.9),
        "looks ahead": looks_ahead(mu),
    }[kind]
    found, p, value = world.estimates(reader)
    bias = {name: abs(found[name].terms.value(p) - value[0]) for name in TABLE}
    for name in TABLE:
        if name in UNBIASED[kind]:
            assert bias[name] < 1e-9, name
        elif (kind, name) != ("looks ahead", "inclusion"):
            assert bias[name] > 1e-4, name


@pytest.mark.parametrize("kind", ["cascade", "looks ahead"])
def test_cascade_dr_with_any_model(kind: str) -> None:
    """A random Q_k(article above, article): unbiased for the cascade, not for a reader who looks ahead."""
    world, mu = small_world(4)
    n, k = len(mu), world.k
    model = np.random.default_rng(8).normal(size=(k, n + 1, n))
    above = np.concatenate([np.full((len(world.slates), 1), n), world.slates[:, :-1]], axis=1)
    slot = np.arange(k)
    every = model[slot, above]  # (S, K, N): Q_k of every article
    q = np.take_along_axis(every, world.slates[:, :, None], axis=2)[:, :, 0]
    q_pi = mixed_expectation(
        world.kept_share(),
        every @ world.pi.p,
        world.pi.p[world.slates],
        every.mean(axis=2),
        np.full(world.slates.shape, 1 / n),
        every.transpose(0, 1, 2)[np.arange(len(world.slates))[:, None, None], slot[:, None], world.slates[:, None, :]],
    )
    reader = cascade(mu) if kind == "cascade" else looks_ahead(mu)
    reward, chance = reader(world.slates)
    p = (world.p["beta"][:, None] * chance).ravel()
    value = world.p["pi"] @ (chance @ reward.sum(axis=1))
    rho, q, q_pi = (np.repeat(x, len(reward), axis=0) for x in (world.rho, q, q_pi))
    r = np.tile(reward, (len(world.slates), 1))
    found = cascade_dr(rho, r, q, q_pi)
    if kind == "cascade":
        assert found.terms.value(p) == pytest.approx(value, abs=1e-10)
        assert abs(cascade_dr(rho, r, q, q_pi + 0.1).terms.value(p) - value) > 0.05
    else:
        assert abs(found.terms.value(p) - value) > 1e-4
    nothing = np.zeros_like(r)
    np.testing.assert_allclose(cascade_dr(rho, r, nothing, nothing).terms.base, rips(rho, r).terms.base, rtol=1e-14)


def test_the_right_model_cuts_the_variance() -> None:
    world, mu = small_world(5)
    reward, chance = independent(mu, np.ones(3))(world.slates)
    p = (world.p["beta"][:, None] * chance).ravel()

    def to_the_end(k: int, given: int) -> Doubles:
        """The target's reward from slot k on, given the first ``given`` articles of each slate, (S,)."""
        alike = (world.slates[:, None, :given] == world.slates[None, :, :given]).all(axis=2)
        return alike @ (world.p["pi"] * mu[world.slates[:, k:]].sum(axis=1)) / (alike @ world.p["pi"])

    q = np.stack([to_the_end(k, k + 1) for k in range(3)], axis=1)
    q_pi = np.stack([to_the_end(k, k) for k in range(3)], axis=1)
    rho, q, q_pi = (np.repeat(x, len(reward), axis=0) for x in (world.rho, q, q_pi))
    r = np.tile(reward, (len(world.slates), 1))
    plain, robust = rips(rho, r).terms, cascade_dr(rho, r, q, q_pi).terms
    assert robust.value(p) == pytest.approx(world.p["pi"] @ mu[world.slates].sum(axis=1), abs=1e-10)
    np.testing.assert_allclose(q_pi[:, 0], robust.value(p), rtol=1e-10)  # its first column is the direct method
    assert p @ np.square(robust.influence(p)) < 0.7 * (p @ np.square(plain.influence(p)))

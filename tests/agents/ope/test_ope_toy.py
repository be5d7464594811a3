"""Off-policy estimators against enumeration: the toy of docs/mathematics.md 10.2 and 10.3, and other tiny worlds.

All slates times all outcomes are the rows of a "log", each with its exact chance: expectations and standard
deviations are sums. Shapes: S slates, K positions, N articles, n = S 2^K rows.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import permutations, product

import numpy as np
import pytest

from feedgym.agents.ope import (
    ArticleTimes,
    Estimate,
    LoggedSlates,
    cascade_dr,
    effective_sample_size,
    iips,
    inclusion_ips,
    pair_chances,
    pseudo_inverse,
    pseudo_inverse_weights,
    rips,
    sips,
    slot_expectation,
    sniips,
    snrips,
    snsips,
    target_propensities,
)
from feedgym.env.arrays import Doubles, Ints

EXACT = 1e-8
Outcomes = Callable[[Ints], tuple[Doubles, Doubles]]
"""Of slates (S, K): rewards (2^K, K) and the chance of each given each slate, (S, 2^K)."""


@dataclass
class World:
    """Two Plackett-Luce policies over N articles."""

    beta: Doubles
    pi: Doubles
    k: int

    def __post_init__(self) -> None:
        n = len(self.beta)
        self.slates = np.array(list(permutations(range(n), self.k)))
        self.q = {name: self._slots(w) for name, w in (("beta", self.beta), ("pi", self.pi))}
        self.p = {name: q.prod(axis=1) for name, q in self.q.items()}
        self.marginal = {
            name: np.stack([np.bincount(self.slates[:, k], p, minlength=n) for k in range(self.k)])
            for name, p in self.p.items()
        }
        slot = np.arange(self.k)
        self.rho = self.q["pi"] / self.q["beta"]
        self.m_ratio = self.marginal["pi"][slot, self.slates] / self.marginal["beta"][slot, self.slates]
        self.i_ratio = (self.marginal["pi"].sum(axis=0) / self.marginal["beta"].sum(axis=0))[self.slates]
        single, _ = pair_chances(self.slates, self.p["pi"], n)
        _, double = pair_chances(self.slates, self.p["beta"], n)
        self.pi_weight = pseudo_inverse_weights(self.slates, single, double, n)

    def _slots(self, w: Doubles) -> Doubles:
        shown = w[self.slates]
        return shown / (1.0 - np.cumsum(shown, axis=1) + shown)

    def row(self, slate: tuple[int, ...]) -> int:
        return int(np.flatnonzero((self.slates == slate).all(axis=1))[0])

    def estimates(self, outcomes: Outcomes) -> tuple[dict[str, Estimate], Doubles, Doubles]:
        """Estimates of the enumerated log, the chance of each row (n,), and the true value of both policies."""
        reward, chance = outcomes(self.slates)
        many = len(reward)
        r = np.tile(reward, (len(self.slates), 1))
        rho, m, i = (np.repeat(x, many, axis=0) for x in (self.rho, self.m_ratio, self.i_ratio))
        weight = np.repeat(self.pi_weight, many)
        found = {
            "sips": sips(rho, r),
            "rips": rips(rho, r),
            "iips": iips(m, r),
            "inclusion": inclusion_ips(i, r),
            "pi": pseudo_inverse(weight, r.sum(axis=1)),
            "snsips": snsips(rho, r),
            "snrips": snrips(rho, r),
            "sniips": sniips(m, r),
            "slot": iips(rho, r),  # single slot ratios: wrong for everybody
        }
        value = np.array([self.p[name] @ (chance @ reward.sum(axis=1)) for name in ("pi", "beta")])
        return found, (self.p["beta"][:, None] * chance).ravel(), value


def clicks(k: int) -> Doubles:
    return np.array(list(product((0.0, 1.0), repeat=k)))


def independent(mu: Doubles, examine: Doubles) -> Outcomes:
    def outcomes(slates: Ints) -> tuple[Doubles, Doubles]:
        reward = clicks(slates.shape[1])
        chance = (mu[slates] * examine)[:, None, :]
        return reward, np.where(reward > 0, chance, 1 - chance).prod(axis=2)

    return outcomes


def cascade(mu: Doubles, leave: float = 0.5) -> Outcomes:
    """From the top down; after a click the reader leaves with chance ``leave``."""

    def outcomes(slates: Ints) -> tuple[Doubles, Doubles]:
        reward = clicks(slates.shape[1])
        here, gone = np.ones((len(slates), len(reward))), np.zeros((len(slates), len(reward)))
        for k in range(slates.shape[1]):
            clicked, chance = reward[:, k] > 0, mu[slates[:, k]][:, None]
            gone = np.where(clicked, 0.0, gone) + np.where(clicked, here * chance * leave, 0.0)
            here = np.where(clicked, here * chance * (1 - leave), here * (1 - chance))
        return reward, here + gone

    return outcomes


def looks_ahead(mu: Doubles) -> Outcomes:
    """The last article decides whether the first is clicked: neither cascade nor independent."""

    def outcomes(slates: Ints) -> tuple[Doubles, Doubles]:
        reward = clicks(slates.shape[1])
        chance = mu[slates]
        chance[:, 0] = mu[slates[:, 0]] * (0.2 + 0.8 * (mu[slates[:, -1]] > mu.mean()))
        return reward, np.where(reward > 0, chance[:, None], 1 - chance[:, None]).prod(axis=2)

    return outcomes


def weights(shortlist: list[int], logits: list[float], n: int, epsilon: float) -> Doubles:
    w = np.full(n, epsilon / n)
    z = np.exp(np.array(logits))
    w[shortlist] += (1 - epsilon) * z / z.sum()
    return w


LISTED = [1, 3, 4, 6]
LOGGER, TARGET = [1.0, 0.2, -0.5, 0.7], [0.0, 0.7, 0.5, 0.7]
MU = 0.05 + 0.55 * np.arange(8) / 7
EXAMINE = np.array([1.0, 0.7, 0.5])
READERS = {
    "additive": independent(MU, np.ones(3)),
    "position": independent(MU, EXAMINE),
    "cascade": cascade(MU),
}
TRUTH = {
    "additive": (1.02212298, 0.95155842),
    "position": (0.75450448, 0.69096481),
    "cascade": (0.86418044, 0.82041004),
}
TABLE = {
    "sips": ((1.02212298, 2.081353), (0.75450448, 1.701145), (0.86418044, 1.687211)),
    "rips": ((1.02212298, 1.529586), (0.75450448, 1.233101), (0.86418044, 1.241988)),
    "iips": ((1.02212298, 0.912402), (0.75450448, 0.844336), (0.88789131, 0.780326)),
    "inclusion": ((1.02212298, 0.879746), (0.73340724, 0.789266), (0.87627678, 0.734548)),
    "pi": ((1.02212298, 1.957927), (0.75450448, 1.610080), (0.86419464, 1.589843)),
    "slot": ((1.04605203, None), (0.76781826, None), (0.90005489, None)),
}


@pytest.fixture(scope="module")
def toy() -> World:
    return World(weights(LISTED, LOGGER, 8, 0.1), weights(LISTED, TARGET, 8, 0.1), 3)


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
    near = {"rtol": 0, "atol": 1e-9}
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


# docs/mathematics.md 5.5, in short: 200 logs of each size, as counts of the enumerated rows


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


# Which estimator is unbiased for which reader


def small_world(seed: int, n: int = 5, k: int = 3) -> tuple[World, Doubles]:
    rng = np.random.default_rng(seed)
    beta, pi = rng.dirichlet(np.full(n, 3.0), size=2)
    return World(0.8 * beta + 0.2 / n, pi, k), rng.uniform(0.05, 0.9, size=n)


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
    q_pi = slot_expectation(
        every @ world.pi,
        world.pi[world.slates],
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


# The shipped policy's propensities


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

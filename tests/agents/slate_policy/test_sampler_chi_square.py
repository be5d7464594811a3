"""Sampled slates follow the joint propensity that they are logged with: chi-square on fixed seeds."""

import itertools
import math
from collections.abc import Sequence

import numpy as np
import pytest

from feedgym.agents.slate_policy.race import draw_tail
from feedgym.agents.slate_policy.slates import Slates, sample_slates, slate_log_propensity
from helpers.chances import Joint, p_value, pooled

SHORTLIST, LOGITS = (
    (1, 3, 4, 6),
    (1.0, 0.2, -0.5, 0.7),
)  # the toy of docs/mathematics.md 10.2: N = 8, K = 3, epsilon = .1


def weights_of(
    logits: Sequence[float], shortlist: Sequence[int], live: Sequence[int], epsilon: float
) -> dict[int, float]:
    mass = {a: math.exp(z) for a, z in zip(shortlist, logits, strict=True) if a >= 0}
    total = sum(mass.values())
    return {a: epsilon / len(live) + (1 - epsilon) * mass.get(a, 0.0) / max(total, 1e-300) for a in live}


def joint_of(weights: dict[int, float], slate_size: int) -> Joint:
    """Sequential draws without replacement; -1 pads slates that are longer than the catalogue."""
    shown = min(slate_size, len(weights))
    joint = {}
    for slate in itertools.permutations(weights, shown):
        chance, left = 1.0, math.fsum(weights.values())
        for article in slate:
            chance *= weights[article] / left
            left -= weights[article]
        joint[slate + (-1,) * (slate_size - shown)] = chance
    return joint


def draw(
    num_visits: int,
    logits: Sequence[float],
    shortlist: Sequence[int],
    live: Sequence[int],
    k: int,
    epsilon: float,
) -> Slates:
    return sample_slates(
        np.random.default_rng(11),
        np.tile(np.array(logits, dtype=float), (num_visits, 1)),
        np.tile(np.array(shortlist, dtype=int), (num_visits, 1)),
        np.array(live),
        k,
        epsilon,
    )


@pytest.fixture(scope="module")
def toy() -> np.ndarray:
    return draw(200_000, LOGITS, SHORTLIST, range(8), 3, 0.1).article_id


def test_the_toy_follows_its_stated_joint(toy: np.ndarray) -> None:
    joint = joint_of(weights_of(LOGITS, SHORTLIST, range(8), 0.1), 3)
    every = np.array(list(joint))
    stated, _ = slate_log_propensity(every, np.tile(LOGITS, (336, 1)), np.tile(SHORTLIST, (336, 1)), 8, 0.1)
    np.testing.assert_allclose(np.exp(stated), list(joint.values()), rtol=1e-12)
    assert len(pooled(toy, joint)[0]) == 277
    assert p_value(toy, joint) > 1e-4


def test_draws_with_replacement_are_rejected(toy: np.ndarray) -> None:
    """The product of the weights is what a sampler without renormalisation follows: the check can fail."""
    weights = weights_of(LOGITS, SHORTLIST, range(8), 0.1)
    product = {s: math.prod(weights[a] for a in s) for s in itertools.permutations(range(8), 3)}
    total = sum(product.values())
    assert p_value(toy, {s: p / total for s, p in product.items()}) < 1e-12


CASES = {
    # name: logits, shortlist, live, K, epsilon. The tail is permuted when fewer than 4 K articles are in it.
    "tail drawn by rejection": ((1.0, 0.0), (21, 5), (3, 5, *range(20, 34)), 3, 0.6),
    "tail alone": ((), (), (9, 4, 2, 7, 30, 11, 12, 13, 14, 15, 16, 17, 18), 3, 1.0),
    "tail permuted": ((0.5, -1.0, 0.3), (4, 2, 9), (9, 4, 2, 7, 30), 3, 0.8),
    "one article outside": ((0.5, -1.0, 0.3, 0.0), (4, 2, 9, 7), (9, 4, 2, 7, 30), 3, 0.3),
    "no exploration": ((0.5, -1.0, 0.3, 1.0), (4, 2, 9, 7), (9, 4, 2, 7), 3, 0.0),
    "everything listed": ((0.5, -1.0, 0.3, 1.0), (4, 2, 9, 7), (9, 4, 2, 7), 2, 0.4),
    "more positions than articles": ((1.0, -0.5), (2, 4), (4, 7, 2, 9), 6, 0.5),
}


@pytest.mark.parametrize("name", CASES)
def test_every_path_of_the_sampler(name: str) -> None:
    logits, shortlist, live, k, epsilon = CASES[name]
    slates = draw(60_000, logits, shortlist, live, k, epsilon).article_id
    assert p_value(slates, joint_of(weights_of(logits, shortlist, live, epsilon), k)) > 1e-3
    if name != "tail alone":  # where the weights are equal whatever epsilon is
        wrong = min(1.0, epsilon + 0.1)
        assert p_value(slates, joint_of(weights_of(logits, shortlist, live, wrong), k)) < 1e-6


def test_rows_with_their_own_epsilon_and_padding_do_not_disturb_each_other() -> None:
    live = (*range(40, 52), 3)
    rows = [  # epsilon, logits and shortlist of each kind of visit, -1 pads
        (0.0, (1.0, 0.2, -0.4), (41, 3, 50)),
        (0.2, (0.3, np.nan, 1.0), (3, -1, 45)),
        (0.9, (np.nan, np.nan, 0.0), (-1, -1, 40)),
        (1.0, (np.nan, np.nan, np.nan), (-1, -1, -1)),
    ]
    kind = np.random.default_rng(2).integers(len(rows), size=160_000)
    slates = sample_slates(
        np.random.default_rng(8),
        np.array([r[1] for r in rows])[kind],
        np.array([r[2] for r in rows])[kind],
        np.array(live),
        2,
        np.array([r[0] for r in rows])[kind],
    )
    for i, (epsilon, logits, shortlist) in enumerate(rows):
        weights = {a: w for a, w in weights_of(logits, shortlist, live, epsilon).items() if w > 0}
        joint = joint_of(weights, 2)
        assert p_value(slates.article_id[kind == i], joint) > 1e-3
        logged = np.array([math.log(joint[s]) for s in map(tuple, slates.article_id[kind == i][:500].tolist())])
        np.testing.assert_allclose(slates.log_propensity[kind == i][:500], logged, rtol=1e-9)


@pytest.mark.parametrize("num_live", [9, 40])  # permuted, drawn by rejection
def test_tail_articles_are_uniform_and_independent_of_position(num_live: int) -> None:
    live = np.random.default_rng(0).permutation(num_live) + 100
    shortlist = np.tile([100, -1, 103], (40_000, 1))
    wanted = np.tile([2, 1, 0, 2], 10_000)
    tail = draw_tail(np.random.default_rng(4), shortlist, live, wanted)
    assert np.array_equal(tail >= 0, np.arange(2) < wanted[:, None])
    rest = sorted(set(live.tolist()) - {100, 103})
    pairs: Joint = {pair: 1 / (len(rest) * (len(rest) - 1)) for pair in itertools.permutations(rest, 2)}
    assert p_value(tail[wanted == 2], pairs) > 1e-3
    assert p_value(tail[wanted == 1][:, :1], {(a,): 1 / len(rest) for a in rest}) > 1e-3

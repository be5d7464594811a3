"""Sampled slates follow the joint propensity that they are logged with: chi-square on fixed seeds."""

import itertools
import math
from collections.abc import Sequence

import numpy as np
import pytest

from feedgym.agents.slate_policy.race import draw_uniform
from feedgym.agents.slate_policy.slates import Slates, sample_slates, slate_log_propensity
from helpers.chances import Joint, binomial_interval, p_value, pooled
from helpers.plain.policy import plain_joint, plain_softmax

SHORTLIST, LOGITS = (
    (1, 3, 4, 6),
    (1.0, 0.2, -0.5, 0.7),
)  # the toy of docs/mathematics.md 10.2: N = 8, K = 3, epsilon = .1


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
    joint = plain_joint(plain_softmax(LOGITS, SHORTLIST), range(8), 0.1, 3)
    every = np.array(list(joint))
    stated, _ = slate_log_propensity(every, np.tile(LOGITS, (336, 1)), np.tile(SHORTLIST, (336, 1)), 8, 0.1)
    np.testing.assert_allclose(np.exp(stated), list(joint.values()), rtol=1e-12)
    assert len(joint) == len(pooled(toy, joint)[0]) == 336
    assert p_value(toy, joint) > 1e-4


def test_other_policies_are_rejected(toy: np.ndarray) -> None:
    """Epsilon within the weights of every position, and draws with replacement: the check can fail."""
    p = plain_softmax(LOGITS, SHORTLIST)
    weights = {a: 0.1 / 8 + 0.9 * p.get(a, 0.0) for a in range(8)}
    assert p_value(toy, plain_joint(weights, range(8), 0.0, 3)) < 1e-12
    product = {s: math.prod(weights[a] for a in s) for s in itertools.permutations(range(8), 3)}
    total = sum(product.values())
    assert p_value(toy, {s: p / total for s, p in product.items()}) < 1e-12


CASES = {
    # name: logits, shortlist, live, K, epsilon. All are permuted when fewer than 4 K articles are live.
    "drawn again": ((1.0, 0.0), (21, 5), (3, 5, *range(20, 34)), 3, 0.6),
    "exploration alone": ((), (), (9, 4, 2, 7, 30, 11, 12, 13, 14, 15, 16, 17, 18), 3, 1.0),
    "permuted": ((0.5, -1.0, 0.3), (4, 2, 9), (9, 4, 2, 7, 30), 3, 0.8),
    "one article outside": ((0.5, -1.0, 0.3, 0.0), (4, 2, 9, 7), (9, 4, 2, 7, 30), 3, 0.3),
    "no exploration": ((0.5, -1.0, 0.3, 1.0), (4, 2, 9, 7), (9, 4, 2, 7), 3, 0.0),
    "everything listed": ((0.5, -1.0, 0.3, 1.0), (4, 2, 9, 7), (9, 4, 2, 7), 2, 0.4),
    "more positions than articles": ((1.0, -0.5), (2, 4), (4, 7, 2, 9), 6, 0.5),
}


@pytest.mark.parametrize("name", CASES)
def test_every_path_of_the_sampler(name: str) -> None:
    logits, shortlist, live, k, epsilon = CASES[name]
    slates = draw(60_000, logits, shortlist, live, k, epsilon).article_id
    p = plain_softmax(logits, shortlist)
    assert p_value(slates, plain_joint(p, live, epsilon, k)) > 1e-3
    if epsilon < 1:
        assert p_value(slates, plain_joint(p, live, epsilon + 0.1, k)) < 1e-6


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
        joint = plain_joint(plain_softmax(logits, shortlist), live, epsilon, 2)
        assert p_value(slates.article_id[kind == i], joint) > 1e-3
        logged = np.array([math.log(joint[s]) for s in map(tuple, slates.article_id[kind == i][:500].tolist())])
        np.testing.assert_allclose(slates.log_propensity[kind == i][:500], logged, rtol=1e-9)


@pytest.mark.parametrize("num_live", [7, 40])  # permuted, drawn again
def test_explored_articles_are_uniform_and_independent_of_position(num_live: int) -> None:
    live = np.random.default_rng(0).permutation(num_live) + 100
    slates = draw_uniform(np.random.default_rng(4), live, 40_000, 2)
    pairs: Joint = dict.fromkeys(itertools.permutations(live.tolist(), 2), 1 / (num_live * (num_live - 1)))
    assert p_value(slates, pairs) > 1e-3
    assert (
        p_value(draw_uniform(np.random.default_rng(5), live, 20_000, 1), {(int(a),): 1 / num_live for a in live}) > 1e-3
    )


def test_the_coin_is_apart_from_the_slate(toy: np.ndarray) -> None:
    """Which articles an exploring visit shows does not depend on how its race would have ended."""
    slates = draw(200_000, LOGITS, SHORTLIST, range(8), 3, 0.1)
    uniform: Joint = dict.fromkeys(itertools.permutations(range(8), 3), 1 / 336)
    assert p_value(slates.article_id[slates.explored], uniform) > 1e-3
    assert (
        p_value(slates.article_id[~slates.explored], plain_joint(plain_softmax(LOGITS, SHORTLIST), [], 0.0, 3)) > 1e-3
    )
    low, high = binomial_interval(200_000, 0.1)
    assert low <= slates.explored.sum() <= high

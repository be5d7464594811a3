"""Exact propensities: the table of docs/mathematics.md 10.2, and equality with sequential draws."""

import itertools
import math
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feedgym.agents.slate_policy.draw import Draw
from feedgym.agents.slate_policy.inclusion import slate_marginals
from feedgym.agents.slate_policy.slates import greedy_slates, kept_share, sample_slates, slate_log_propensity
from feedgym.agents.slate_policy.softmax import softmax_of
from helpers.chances import binomial_interval
from helpers.plain.policy import plain_prefixes, plain_slots, plain_softmax

# The toy of docs/mathematics.md 10.2.
N, K, EPSILON = 8, 3, 0.1
SHORTLIST, LOGITS = (1, 3, 4, 6), (1.0, 0.2, -0.5, 0.7)
TARGET_SHORTLIST, TARGET_LOGITS = (1, 3, 4, 7), (0.0, 0.7, 0.5, 0.7)
ALL_SLATES = np.array(list(itertools.permutations(range(N), K)))
EXACT: dict[str, Any] = {"rtol": 0, "atol": 1e-9}


def propensity(
    slates: Any,
    logits: Sequence[float],
    shortlist: Sequence[int],
    num_live: int = N,
    epsilon: float = EPSILON,
) -> tuple[np.ndarray, np.ndarray]:
    """The shipped function with one policy for every slate."""
    slates = np.asarray(slates)
    tile = lambda row: np.tile(np.asarray(row), (len(slates), 1))
    return slate_log_propensity(slates, tile(logits), tile(shortlist), num_live, epsilon)


def test_softmax() -> None:
    softmax = softmax_of(Draw.of([LOGITS], [SHORTLIST], N, EPSILON, 1))
    weight = np.exp(LOGITS)
    np.testing.assert_allclose(np.exp(softmax.log_p[0]), weight / weight.sum(), rtol=1e-14)
    np.testing.assert_allclose(softmax.log_normaliser, [np.log(weight.sum())], rtol=1e-14)
    np.testing.assert_allclose(np.exp([softmax.log_keep[0], softmax.log_explore[0]]), [0.9, 0.1], rtol=1e-14)
    assert softmax.num_live == [N]


def test_the_propensities_of_all_slates_sum_to_one() -> None:
    assert len(ALL_SLATES) == 336
    for logits, shortlist in ((LOGITS, SHORTLIST), (TARGET_LOGITS, TARGET_SHORTLIST)):
        log_propensity, _ = propensity(ALL_SLATES, logits, shortlist)
        assert abs(np.exp(log_propensity).sum() - 1) < 1e-12


def test_joint_and_slots() -> None:
    log_propensity, slot = propensity([(6, 1, 4), (1, 3, 6), (1, 3, 0), (0, 2, 5)], LOGITS, SHORTLIST)
    expected = [-2.898412329, -2.392279280, -8.119696253, -8.119696253]
    np.testing.assert_allclose(log_propensity, expected, **EXACT)
    np.testing.assert_allclose(
        np.log(slot),
        [
            [-1.242095674, -0.547793769, -1.108522886],
            [-0.953377968, -1.163931405, -0.274969908],
            [-0.953377968, -1.163931405, -6.002386881],
            [-4.382026635, -1.945910149, -1.791759469],
        ],
        **EXACT,
    )
    assert log_propensity.dtype == slot.dtype == np.float64


def test_a_logged_slate_under_a_new_policy() -> None:
    own, _ = propensity([(6, 1, 4), (1, 3, 6)], TARGET_LOGITS, SHORTLIST)
    np.testing.assert_allclose(own, [-3.630307540, -3.627084570], **EXACT)
    other, _ = propensity([(3, 7, 1)], TARGET_LOGITS, TARGET_SHORTLIST)
    np.testing.assert_allclose(other, [-3.110835754], **EXACT)


@pytest.mark.parametrize("temperature", [0.02, 0.002])
def test_a_peaked_softmax_without_exploration_keeps_its_digits(temperature: float) -> None:
    """docs/mathematics.md 2.1: one minus a cumulative sum gives -3.26 or -6.31 instead of -3.059e-07."""
    logits = np.array(LOGITS) / temperature
    log_propensity, slot = propensity([(1, 6, 3)], logits.tolist(), SHORTLIST, epsilon=0.0)
    truth = 0.0
    for k, column in enumerate((0, 3, 1)):
        later = [c for c in (0, 3, 1, 2) if c not in (0, 3, 1)[: k + 1]]
        truth -= math.log1p(math.fsum(math.exp(logits[c] - logits[column]) for c in later))
    np.testing.assert_allclose(log_propensity, truth, rtol=1e-12)
    if temperature == 0.02:
        np.testing.assert_allclose(log_propensity, -3.059e-07, rtol=1e-4)
    backwards, _ = propensity([(4, 3, 6)], logits.tolist(), SHORTLIST, epsilon=0.0)
    differences = (logits[2] - logits[0]) + (logits[1] - logits[0]) + (logits[3] - logits[0])
    np.testing.assert_allclose(backwards, differences, rtol=1e-6)  # the least likely slate
    assert np.all(slot <= 1)


def test_missing_support_shows_in_the_mean_weight() -> None:
    """docs/mathematics.md 2.4: without exploration, articles outside the logger's shortlist are lost for ever.

    The target there keeps the logger's four logits and only its shortlist differs.
    """
    logger, _ = propensity(ALL_SLATES, LOGITS, SHORTLIST, epsilon=0.0)
    target, _ = propensity(ALL_SLATES, LOGITS, TARGET_SHORTLIST, epsilon=0.0)
    reward = (0.05 + 0.55 * ALL_SLATES / 7).sum(axis=1)
    served = logger > -np.inf
    assert abs((np.exp(target) * reward).sum() - 1.0224107) < 1e-7
    weight = np.exp(target[served] - logger[served])
    assert abs((np.exp(logger[served]) * weight).sum() - 0.1161260) < 1e-7
    assert abs((np.exp(logger[served]) * weight * reward[served]).sum() - 0.0904124) < 1e-7


@st.composite
def policies(draw: st.DrawFn) -> dict[str, Any]:
    """A batch of visits with ragged shortlists and an epsilon each, over one live catalogue in any order."""
    num_live = draw(st.integers(1, 40))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    width, num_rows = draw(st.integers(1, num_live)), draw(st.integers(1, 5))
    live = rng.permutation(1000)[:num_live]
    shortlist = np.stack([rng.permutation(live)[:width] for _ in range(num_rows)])
    shortlist[rng.random(shortlist.shape) < draw(st.sampled_from([0.0, 0.3]))] = -1
    shortlist[:, 0] = np.where(shortlist.max(axis=1) < 0, live[0], shortlist[:, 0])
    logits = rng.normal(scale=draw(st.sampled_from([0.1, 1.0, 5.0])), size=shortlist.shape)
    logits[shortlist < 0] = draw(st.sampled_from([np.nan, np.inf, 0.0]))
    epsilon = rng.choice([0.0, 1e-6, 0.1, 0.7, 1.0], size=num_rows)
    slate_size = draw(st.integers(1, 12))
    return {"rng": rng, "logits": logits, "shortlist": shortlist, "live_ids": live, "epsilon": epsilon} | {
        "slate_size": slate_size
    }


@given(policies())
@settings(max_examples=150, deadline=None, derandomize=True)
def test_sampled_slates_state_their_propensity_under_sequential_draws(case: dict[str, Any]) -> None:
    slates = sample_slates(**case)
    live, shortlist, logits = case["live_ids"].tolist(), case["shortlist"], case["logits"]
    for b, slate in enumerate(slates.article_id.tolist()):
        p, epsilon = plain_softmax(logits[b].tolist(), shortlist[b].tolist()), case["epsilon"][b]
        slots = plain_slots(slate, p, live, epsilon)
        np.testing.assert_allclose(slates.slot_propensity[b], slots, rtol=1e-9)
        np.testing.assert_allclose(slates.log_propensity[b], np.log(slots).sum(), rtol=1e-9, atol=1e-12)
        shown = [a for a in slate if a >= 0]
        assert min(slots) > 0
        available = len(live) if slates.explored[b] else sum(w > 0 for w in p.values())
        assert len(set(shown)) == len(shown) == min(len(slate), available)
        assert slates.explored[b] <= (epsilon > 0)
        assert slates.explored[b] >= (epsilon == 1)
        assert slates.in_shortlist[b].tolist() == [a >= 0 and a in shortlist[b] for a in slate]
        expected = [logits[b, shortlist[b] == a][0] if a >= 0 and a in shortlist[b] else np.nan for a in slate]
        np.testing.assert_array_equal(slates.logit[b], expected)


@given(policies())
@settings(max_examples=100, deadline=None, derandomize=True)
def test_logged_slates_have_the_propensity_of_sequential_draws(case: dict[str, Any]) -> None:
    """Any slate, likely or not, under any policy: so also those that the policy never serves."""
    rng, live, num_rows = case["rng"], case["live_ids"], len(case["shortlist"])
    slates = np.full((num_rows, case["slate_size"]), -1)
    for row in slates:
        shown = rng.permutation(live)[: len(row)]
        row[: len(shown)] = shown
    log_propensity, slot = slate_log_propensity(
        slates, case["logits"], case["shortlist"], np.full(num_rows, len(live)), case["epsilon"]
    )
    for b in range(num_rows):
        p = plain_softmax(case["logits"][b].tolist(), case["shortlist"][b].tolist())
        slots = plain_slots(slates[b].tolist(), p, live.tolist(), case["epsilon"][b])
        np.testing.assert_allclose(slot[b], slots, rtol=1e-9)
        if min(slots) > 0:
            np.testing.assert_allclose(log_propensity[b], np.log(slots).sum(), rtol=1e-9, atol=1e-12)
        else:
            assert log_propensity[b] == -np.inf


def test_sampling_and_recomputing_agree_at_full_size() -> None:
    rng = np.random.default_rng(3)
    live = rng.permutation(50_000)[:10_000]
    shortlist = np.stack([rng.choice(live, 100, replace=False) for _ in range(64)])
    logits = rng.normal(scale=2, size=shortlist.shape)
    epsilon = rng.random(64)
    slates = sample_slates(rng, logits, shortlist, live, 10, epsilon)
    log_propensity, slot = slate_log_propensity(slates.article_id, logits, shortlist, len(live), epsilon)
    np.testing.assert_allclose(log_propensity, slates.log_propensity, rtol=1e-13)
    np.testing.assert_allclose(slot, slates.slot_propensity, rtol=1e-13)
    assert not slates.in_shortlist.all()
    assert slates.in_shortlist.any()


def test_the_same_stream_gives_the_same_slates() -> None:
    draw = lambda seed: (
        sample_slates(
            np.random.default_rng(seed), np.zeros((50, 4)), np.tile(SHORTLIST, (50, 1)), np.arange(N), K, 0.5
        ).article_id
    )
    np.testing.assert_array_equal(draw(1), draw(1))
    assert (draw(1) != draw(2)).any()


def test_impossible_slates_have_propensity_zero_without_a_warning() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        twice, _ = propensity([(1, 3, 1), (0, 0, 1)], LOGITS, SHORTLIST)
        outside, slot = propensity([(1, 0, 3)], LOGITS, SHORTLIST, epsilon=0.0)
        unfilled, _ = propensity([(1, -1, 3)], LOGITS, SHORTLIST)
    assert np.all(twice == -np.inf)
    assert np.all(outside == -np.inf)
    assert slot[0, 1] == 0
    assert np.all(unfilled == -np.inf)


def test_more_positions_than_articles_are_padded() -> None:
    rng = np.random.default_rng(0)
    slates = sample_slates(rng, np.zeros((20, 2)), np.full((20, 2), (7, 3)), np.array([7, 3]), 4, 0.5)
    assert np.all(np.sort(slates.article_id[:, :2]) == [3, 7])
    assert np.all(slates.article_id[:, 2:] == -1)
    assert np.all(slates.slot_propensity[:, 1:] == 1)
    assert np.all(np.isnan(slates.logit[:, 2:]))
    assert not slates.in_shortlist[:, 2:].any()
    again, slot = slate_log_propensity(slates.article_id, np.zeros((20, 2)), np.full((20, 2), (7, 3)), 2, 0.5)
    np.testing.assert_array_equal(again, slates.log_propensity)
    np.testing.assert_array_equal(slot, slates.slot_propensity)


def test_a_short_shortlist_is_padded_unless_the_visit_explores() -> None:
    slates = sample_slates(np.random.default_rng(0), np.zeros((400, 1)), np.full((400, 1), 7), np.arange(9), 3, 0.5)
    assert 0.4 < slates.explored.mean() < 0.6
    assert np.all(slates.article_id[~slates.explored] == [7, -1, -1])
    assert np.all(slates.article_id[slates.explored] >= 0)
    np.testing.assert_allclose(slates.log_propensity[~slates.explored], math.log(0.5), rtol=1e-12)


def test_without_exploration_a_short_shortlist_is_padded() -> None:
    slates = sample_slates(np.random.default_rng(0), np.zeros((5, 2)), np.tile([4, 2], (5, 1)), np.arange(9), 3, 0.0)
    assert np.all(np.sort(slates.article_id[:, :2]) == [2, 4])
    assert np.all(slates.article_id[:, 2] == -1)
    np.testing.assert_allclose(slates.log_propensity, math.log(1 / 2), rtol=1e-15)


def test_minus_infinity_leaves_an_article_to_exploration() -> None:
    logits, shortlist = (0.0, -np.inf, 1.0), (5, 6, 7)
    _, slot = propensity([(6, 5, 7)], logits, shortlist, num_live=10, epsilon=0.2)
    np.testing.assert_allclose(slot[0, 0], 0.02, rtol=1e-12)
    assert propensity([(5, 7, 6)], logits, shortlist, num_live=10, epsilon=0.0)[0] == -np.inf
    padded, _ = propensity([(5, 7, -1)], logits, shortlist, num_live=10, epsilon=0.0)
    np.testing.assert_allclose(padded, propensity([(5, 7)], (0.0, 1.0), (5, 7), 10, 0.0)[0], rtol=1e-12)


@pytest.mark.parametrize("slate", [(6, 1, 4), (1, 3, 0), (0, 2, 5), (1, 3, 6)])
def test_how_likely_a_visit_explores_given_what_stands_above(slate: tuple[int, ...]) -> None:
    found = kept_share(np.array([slate]), Draw.of([LOGITS], [SHORTLIST], N, EPSILON, K))[0]
    both, by_softmax, _ = plain_prefixes(slate, plain_softmax(LOGITS, SHORTLIST), range(N), EPSILON)
    expected = [0.9, *(0.9 * pl / f for pl, f in zip(by_softmax[:2], both[:2], strict=True))]
    np.testing.assert_allclose(found, expected, rtol=1e-12)


@pytest.mark.parametrize("spread", [0.5, 2.0, 4.0, 8.0, 16.0])
def test_epsilon_is_the_share_explored_however_peaked_the_softmax(spread: float) -> None:
    """With epsilon inside the draw weights the share of positions from outside the shortlist was .816 at 8."""
    rng, visits, live = np.random.default_rng(20), 20_000, 800
    logits = spread * rng.standard_normal((visits, 100))
    shortlist = np.tile(np.arange(100), (visits, 1))
    slates = sample_slates(rng, logits, shortlist, np.arange(live), 8, 0.05, check=False)
    low, high = binomial_interval(visits, 0.05)
    assert low <= slates.explored.sum() <= high
    assert slates.explored.mean() == pytest.approx(0.05, rel=0.1)
    outside = ~slates.in_shortlist
    assert not outside[~slates.explored].any()
    assert outside[slates.explored].mean() == pytest.approx(700 / 800, abs=0.02)


def test_chances_have_floors_whatever_the_logits() -> None:
    logits, shortlist = (0.0, -400.0, -500.0), (1, 3, 4)
    draw = Draw.of([logits], [shortlist], N, EPSILON, K)
    for slate in itertools.permutations(range(N), K):
        found = slate_marginals([slate], draw)
        assert found.slot_marginal.min() >= EPSILON / N
        assert found.inclusion.min() >= EPSILON * K / N
    assert propensity([(1, 0, 2)], logits, shortlist)[1].min() > 0


def test_full_exploration_needs_no_logits() -> None:
    nothing = np.zeros((100, 0))
    slates = sample_slates(np.random.default_rng(0), nothing, nothing.astype(int), np.arange(50, 70), 5, 1.0)
    np.testing.assert_allclose(np.exp(slates.log_propensity), 1 / (20 * 19 * 18 * 17 * 16), rtol=1e-12)
    assert np.all((slates.article_id >= 50) & (slates.article_id < 70))
    assert not slates.in_shortlist.any()


def test_an_empty_batch() -> None:
    slates = sample_slates(np.random.default_rng(0), np.zeros((0, 4)), np.zeros((0, 4), int), np.arange(9), 3, 0.1)
    assert slates.article_id.shape == slates.slot_propensity.shape == (0, 3)
    assert slates.log_propensity.shape == (0,)
    assert greedy_slates(np.zeros((0, 4)), np.zeros((0, 4), int), 3).shape == (0, 3)


def test_greedy_takes_the_top_and_breaks_ties_by_the_smaller_id() -> None:
    logits = np.array([[0.0, 2.0, 2.0, 1.0], [1.0, np.nan, -np.inf, 3.0]])
    shortlist = np.array([[5, 9, 4, 1], [8, -1, 3, 2]])
    np.testing.assert_array_equal(greedy_slates(logits, shortlist, 3), [[4, 9, 1], [2, 8, -1]])
    np.testing.assert_array_equal(greedy_slates(logits, shortlist, 5), [[4, 9, 1, 5, -1], [2, 8, -1, -1, -1]])


def test_greedy_is_the_limit_of_a_falling_temperature() -> None:
    rng = np.random.default_rng(5)
    logits, shortlist = rng.normal(size=(30, 12)), np.stack([rng.permutation(40)[:12] for _ in range(30)])
    cold = sample_slates(rng, logits / 1e-9, shortlist, np.arange(40), 6, 0.0)
    np.testing.assert_array_equal(greedy_slates(logits, shortlist, 6), cold.article_id)
    np.testing.assert_allclose(cold.log_propensity, 0, atol=1e-300)


GOOD: dict[str, Any] = {
    "logits": np.zeros((3, 4)),
    "shortlist": np.tile(SHORTLIST, (3, 1)),
    "live_ids": np.arange(N),
    "slate_size": K,
    "epsilon": 0.1,
}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"logits": np.array([[0.0] * 4, [0.0] * 4, [0.0, np.nan, 0, 0]])}, "logits: got 'nan in row 2'"),
        ({"logits": np.array([[0.0] * 4, [0.0, np.inf, 0, 0], [0.0] * 4])}, "logits: got 'inf in row 1'"),
        ({"logits": np.full((3, 4), -np.inf)}, "logits: got 'no finite logit in row 0"),
        ({"logits": np.zeros((3, 5))}, r"logits: got \(3, 5\), needs the shortlist's shape \(3, 4\)"),
        ({"logits": np.zeros((3, 4), int)}, "logits: got dtype"),
        ({"shortlist": np.zeros((3, 4))}, "shortlist: got dtype"),
        ({"shortlist": np.arange(4)}, "shortlist: got .*needs 2 axes"),
        ({"shortlist": np.tile((1, 3, 4, -2), (3, 1))}, "shortlist: got -2"),
        ({"shortlist": np.array([SHORTLIST, (1, 3, 3, 6), SHORTLIST])}, "article 3 twice in row 1"),
        (
            {"shortlist": np.array([SHORTLIST, SHORTLIST, (1, 3, 99, 6)])},
            "article 99 in row 2, which is not live",
        ),
        ({"live_ids": np.array([1, 3, 4]), "check": False}, "shortlist: got '4 articles in row 0'"),
        ({"live_ids": np.array([], int)}, "live_ids: got 'no article'"),
        ({"live_ids": np.array([1, 3, 4, 6, 6])}, "live_ids: got 'article .6. twice'"),
        ({"live_ids": np.array([1.0, 3, 4, 6])}, "live_ids: got dtype"),
        ({"slate_size": 0}, "slate_size: got 0"),
        ({"slate_size": 2.0}, "slate_size: got 2.0"),
        ({"epsilon": 1.5}, r"epsilon: got \[1.5\], needs 0 <= epsilon <= 1"),
        ({"epsilon": np.array([0.1, np.nan, 0.1])}, r"epsilon: got \[nan\]"),
        ({"epsilon": np.array([0.1, 0.1])}, r"epsilon: got \(2,\)"),
    ],
)
def test_bad_input_is_named(change: dict[str, Any], message: str) -> None:
    sample_slates(np.random.default_rng(0), **GOOD)
    with pytest.raises(ValueError, match=message):
        sample_slates(np.random.default_rng(0), **(GOOD | change))


def test_bad_logged_slates_are_named() -> None:
    with pytest.raises(ValueError, match="slates: got '3 articles from outside the shortlist in row 0'"):
        propensity([(0, 2, 5)], LOGITS, SHORTLIST, num_live=6)
    with pytest.raises(ValueError, match="num_live: got 0"):
        propensity([(1, 3, 4)], LOGITS, SHORTLIST, num_live=0)
    with pytest.raises(ValueError, match=r"slates: got .*needs 1 rows"):
        slate_log_propensity(np.ones((2, 3), int), [LOGITS], [SHORTLIST], N, EPSILON)
    with pytest.raises(ValueError, match="logits: got 'nan in row 0'"):
        greedy_slates(np.array([[np.nan, 1.0]]), np.array([[1, 2]]), 1)

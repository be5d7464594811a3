"""Inclusion probabilities and slot marginals against enumeration and known values (docs/mathematics.md 10.2)."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feedgym.agents.slate_policy.draw import Draw
from feedgym.agents.slate_policy.inclusion import (
    cheap_inclusion,
    inclusion_probability,
    inclusion_time,
    slate_marginals,
    slot_marginal,
)
from feedgym.agents.slate_policy.slates import inclusion_probability as published_name
from feedgym.agents.slate_policy.slates import sample_slates
from helpers.plain.policy import plain_marginals, plain_softmax

TOY: dict[str, Any] = {
    "logits": np.array([[1.0, 0.2, -0.5, 0.7]]),
    "shortlist": np.array([[1, 3, 4, 6]]),
    "num_live": 8,
    "epsilon": 0.1,
    "slate_size": 3,
}
ARTICLES = [1, 3, 4, 6, 0]


def test_published_values_of_the_toy() -> None:
    expected = [0.876907609, 0.712668645, 0.427437176, 0.832986570, 0.0375]
    inclusion = inclusion_probability([ARTICLES], **TOY)[0]
    assert inclusion == pytest.approx(expected, rel=1e-5)
    # Four articles outside the shortlist alike, so the sum over all live ones is K.
    assert inclusion[:4].sum() + 4 * inclusion[4] == pytest.approx(3.0, rel=1e-5)
    second = [slot_marginal([[2 if a != 2 else 5, a]], **TOY)[0, 1] for a in ARTICLES]
    assert second == pytest.approx([0.301011061, 0.222367281, 0.127277586, 0.299344072, 0.0125], rel=1e-5)
    third = [slot_marginal([[2, 5, a]], **TOY)[0, 2] for a in ARTICLES]
    assert third == pytest.approx([0.190459719, 0.310230045, 0.204446136, 0.244864101, 0.0125], rel=1e-5)
    first = slot_marginal([[1]], **TOY)[0, 0]
    assert first == pytest.approx(0.385436829, rel=1e-5)
    fine = inclusion_probability([ARTICLES], **TOY, nodes=64)[0]
    assert fine == pytest.approx(expected, rel=1e-8)
    target = inclusion_probability([ARTICLES], **{**TOY, "logits": np.array([[0.0, 0.7, 0.5, 0.7]])}, nodes=64)[0]
    assert target == pytest.approx([0.544278941, 0.786686060, 0.732348940, 0.786686060, 0.0375], rel=1e-8)


def test_published_time_and_the_cheap_version() -> None:
    time = inclusion_time(Draw.of(**TOY))
    assert time == pytest.approx([6.793611334], abs=1e-9)
    p = plain_softmax(TOY["logits"][0], TOY["shortlist"][0])
    log_p = np.log([[p.get(a, 1e-300) for a in range(8)]])
    assert cheap_inclusion(log_p, time, 0.1, 3 / 8).sum() == pytest.approx(3.0, rel=1e-12)


@pytest.mark.parametrize(
    ("spread", "expected", "time"),
    [
        (1.5, [0.155676077, 0.0617662140, 0.00842070897, 0.00256993308], 10.609433577),
        (3.0, [0.227864626, 0.0360527607, 0.000731965655, 0.000155394600], 10.970636302),
        (8.0, [0.368304827, 0.00261046445, 0.000100050206, 0.000100000076], 11.782802798),
    ],
)
def test_published_values_at_real_size(spread: float, expected: list[float], time: float) -> None:
    logits = spread * np.sqrt(2.0) * np.cos(np.arange(200.0))[None]
    shortlist = np.arange(200)[None]
    # j indexes z_j as published: articles 0 .. 3.
    found = inclusion_probability([[0, 1, 2, 3, 4999]], logits, shortlist, 5000, 0.05, 10)[0]
    assert found[:4] == pytest.approx(expected, rel=1e-6)
    assert found[4] == pytest.approx(0.0001, rel=1e-12)
    assert inclusion_time(Draw.of(logits, shortlist, 5000, 0.05, 10)) == pytest.approx([time], abs=1e-8)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(
    live=st.integers(2, 7),
    listed=st.integers(0, 7),
    slate_size=st.integers(1, 3),
    epsilon=st.sampled_from([0.0, 0.05, 0.5, 1.0]),
    spread=st.sampled_from([0.3, 1.0, 6.0]),
    seed=st.integers(0, 10**6),
)
def test_enumeration(live: int, listed: int, slate_size: int, epsilon: float, spread: float, seed: int) -> None:
    listed, slate_size = min(listed, live), min(slate_size, live)
    if epsilon < 1.0:
        listed = max(listed, 1)
    rng = np.random.default_rng(seed)
    logits, ids = spread * rng.standard_normal(listed), rng.permutation(live)[:listed]
    # A padded column and a second row that differs: rows do not touch each other.
    z = np.stack([np.append(logits, 9.9), np.append(logits[::-1], 0.0)])
    shortlist = np.stack([np.append(ids, -1), np.append(ids, -1)])
    every = np.tile(np.arange(live), (2, 1))
    found = inclusion_probability(every, z, shortlist, live, epsilon, slate_size)
    for row, order in enumerate((logits, logits[::-1])):
        m = plain_marginals(plain_softmax(order.tolist(), ids.tolist()), range(live), epsilon, slate_size)
        np.testing.assert_allclose(found[row], m.sum(axis=1), rtol=1e-6, atol=1e-15)
        shown = rng.permutation(live)[:slate_size]
        slots = slot_marginal(np.stack([shown] * 2), z, shortlist, live, epsilon, slate_size)[row]
        np.testing.assert_allclose(slots, m[shown, range(slate_size)], rtol=1e-6, atol=1e-15)


def test_sampled_slates_show_articles_as_often_as_stated() -> None:
    rng, draws, live = np.random.default_rng(3), 40_000, 60
    logits, shortlist = 2.0 * rng.standard_normal(20), np.arange(20)
    slates = sample_slates(
        rng, np.tile(logits, (draws, 1)), np.tile(shortlist, (draws, 1)), np.arange(live), 5, 0.1
    ).article_id
    count = np.bincount(slates.ravel(), minlength=live)
    stated = inclusion_probability([np.arange(live)], logits[None], shortlist[None], live, 0.1, 5)[0]
    error = (count - draws * stated) / np.sqrt(draws * stated * (1 - stated))
    assert stated.sum() == pytest.approx(5.0, rel=1e-6)
    assert np.abs(error).max() < 4.0
    # Draws with replacement, as published for top-K REINFORCE, are another policy.
    p = plain_softmax(logits.tolist(), shortlist.tolist())
    replaced = 1 - (1 - np.array([0.1 / live + 0.9 * p.get(a, 0.0) for a in range(live)])) ** 5
    assert np.abs((count - draws * replaced) / np.sqrt(draws * replaced * (1 - replaced))).max() > 10.0


def test_near_certain_articles_are_not_lost_to_cancellation() -> None:
    """A peaked softmax: taking the top article out of the count by division would lose all digits."""
    logits = np.array([[30.0, 28.0, 27.0, 0.0, -1.0]])
    shortlist = np.arange(5)[None]
    m = plain_marginals(plain_softmax(logits[0].tolist(), range(5)), range(7), 0.2, 3)
    found = inclusion_probability([np.arange(7)], logits, shortlist, 7, 0.2, 3)[0]
    np.testing.assert_allclose(found, m.sum(axis=1), rtol=1e-6)


def counted(w: np.ndarray, article: int, slate_size: int) -> np.ndarray:
    """m_k of one article in a race, (K,): all others counted one by one at 1,500 times, trapezoids in log t."""
    others = np.delete(w, article)
    lowest = np.sort(others[others > 0])[-min(slate_size + 1, len(others))]
    v = np.linspace(np.log(1e-10), np.log(60.0 * slate_size / lowest), 1500)
    t = np.exp(v)
    count = np.zeros((slate_size, len(t)))
    count[0] = 1.0
    for rate in others:
        x = -np.expm1(-rate * t)
        count[1:], count[0] = count[1:] * (1 - x) + count[:-1] * x, count[0] * (1 - x)
    return (v[1] - v[0]) * (count * w[article] * t * np.exp(-w[article] * t)).sum(axis=1)


@pytest.mark.parametrize(
    ("live", "listed", "slate_size", "epsilon", "spread"),
    [
        (300, 200, 10, 0.05, 1.5),
        (300, 200, 10, 0.05, 4.0),
        (300, 200, 10, 0.05, 8.0),
        (300, 200, 10, 0.003, 8.0),
        (800, 100, 8, 0.05, 8.0),
        (800, 100, 8, 0.05, 16.0),
        (300, 100, 10, 0.0, 4.0),
        (300, 100, 2, 0.05, 8.0),
        (300, 100, 1, 0.05, 4.0),
        (300, 150, 50, 0.05, 3.0),  # taking articles out of the count by division gives nonsense here
        (60, 55, 50, 0.1, 1.0),
        (24, 20, 10, 0.05, 0.5),
    ],
)
def test_peaked_and_long_slates_against_plain_counting(
    live: int, listed: int, slate_size: int, epsilon: float, spread: float
) -> None:
    rng = np.random.default_rng(4)
    logits, ids = spread * rng.standard_normal(listed), rng.permutation(live)[:listed]
    best = ids[np.argsort(-logits)]
    asked = [best[0], best[1], best[5], best[11]]
    if epsilon > 0:
        asked.append(np.setdiff1d(np.arange(live), ids)[0])
    softmax = plain_softmax(logits.tolist(), ids.tolist())
    w = np.array([softmax.get(a, 0.0) for a in range(live)])
    raced = np.array([counted(w, a, slate_size) if w[a] else np.zeros(slate_size) for a in asked])
    plain = (1 - epsilon) * raced + epsilon / live
    policy = (logits[None], ids[None], live, epsilon, slate_size)
    found = inclusion_probability([asked], *policy)[0]
    np.testing.assert_allclose(found, plain.sum(axis=1), rtol=1e-7)
    # On top, where they are as a rule, and at the bottom, where the best hardly ever are.
    few = min(len(asked), slate_size)
    padding = [-1] * (slate_size - few)
    for slate, slots in (
        (asked[:few] + padding, range(few)),
        (padding + asked[:few][::-1], range(slate_size - 1, slate_size - 1 - few, -1)),
    ):
        marginal = slate_marginals([slate], Draw.of(*policy))
        place = [slate.index(a) for a in asked[:few]]
        truth = plain[range(few), list(slots)]
        np.testing.assert_allclose(marginal.slot_marginal[0, place], truth, rtol=1e-6, atol=1e-12)
        np.testing.assert_allclose(marginal.inclusion[0, place], found[:few], rtol=1e-12)


def test_sixteen_nodes_are_not_enough_where_logits_are_far_apart() -> None:
    rng = np.random.default_rng(1)
    logits, shortlist = 8.0 * rng.standard_normal((4, 100)), np.tile(np.arange(100), (4, 1))
    slates = np.argsort(-logits, axis=1)[:, :10]
    fine = slate_marginals(slates, Draw.of(logits, shortlist, 900, 0.001, 10), nodes=200)
    few = slate_marginals(slates, Draw.of(logits, shortlist, 900, 0.001, 10), nodes=16)
    own = slate_marginals(slates, Draw.of(logits, shortlist, 900, 0.001, 10))
    assert np.abs(few.slot_marginal / fine.slot_marginal - 1).max() > 1e-4
    np.testing.assert_allclose(own.slot_marginal, fine.slot_marginal, rtol=1e-6)
    np.testing.assert_allclose(own.inclusion, fine.inclusion, rtol=1e-7)


def test_long_slates_do_not_underflow() -> None:
    """e^-t, the chance that nobody has arrived, is below the smallest double when the slate fills up."""
    rng = np.random.default_rng(2)
    for listed, size in ((400, 370), (300, 285)):  # e^-3284 and e^-3025 as they fill
        z, shortlist = rng.standard_normal((1, listed)), np.arange(listed)[None]
        found = inclusion_probability([range(listed)], z, shortlist, listed, 0.3, size)[0]
        assert found.sum() == pytest.approx(size, rel=1e-7)


def test_one_pass_gives_what_the_single_functions_give() -> None:
    rng = np.random.default_rng(8)
    z, shortlist = 3 * rng.standard_normal((40, 30)), np.tile(np.arange(30), (40, 1))
    slates = sample_slates(rng, z, shortlist, np.arange(200), 6, 0.2).article_id
    both = slate_marginals(slates, Draw.of(z, shortlist, 200, 0.2, 6))
    assert np.array_equal(both.inclusion, inclusion_probability(slates, z, shortlist, 200, 0.2, 6))
    assert np.array_equal(both.slot_marginal, slot_marginal(slates, z, shortlist, 200, 0.2, 6))
    assert np.array_equal(both.inclusion_time, inclusion_time(Draw.of(z, shortlist, 200, 0.2, 6)))


def test_an_article_that_is_asked_for_twice_gets_one_answer() -> None:
    once = [slot_marginal([[1, 6, 0]], **TOY)[0], slot_marginal([[6, 1, 0]], **TOY)[0]]
    twice = slate_marginals([[1, 1, 0]], Draw.of(**TOY))
    assert twice.slot_marginal[0] == pytest.approx([once[0][0], once[1][1], once[0][2]], rel=1e-9)
    assert twice.inclusion[0, 0] == twice.inclusion[0, 1]


def test_pure_exploration_has_a_closed_form() -> None:
    nothing, none = np.zeros((1, 0)), np.zeros((1, 0), dtype=np.int64)
    found = slate_marginals([[3, 9, 5]], Draw.of(nothing, none, 40, 1.0, 3))
    assert found.slot_marginal.tolist() == [[1 / 40] * 3]
    assert found.inclusion.tolist() == [[3 / 40] * 3]
    nearly = slate_marginals([[3, 9, 5]], Draw.of(np.zeros((1, 40)), np.arange(40)[None], 40, 0.5, 3))
    assert nearly.inclusion_time[0] == pytest.approx(-40 * np.log1p(-3 / 40), rel=1e-9)
    assert nearly.slot_marginal[0] == pytest.approx([1 / 40] * 3, rel=1e-7)
    assert nearly.inclusion[0] == pytest.approx([3 / 40] * 3, rel=1e-7)
    # Rows of both kinds in one batch.
    both = Draw.of(np.zeros((2, 40)), [list(range(40))] * 2, 40, [0.5, 1.0], 3)
    mixed = slate_marginals([[3, 9, 5]] * 2, both)
    assert mixed.inclusion[0] == pytest.approx(mixed.inclusion[1], rel=1e-7)
    full = slate_marginals([[1, 0, -1]], Draw.of(nothing, none, 2, 1.0, 3))
    assert full.inclusion.tolist() == [[1.0] * 3]
    assert full.slot_marginal.tolist() == [[0.5, 0.5, 1.0]]


def test_padding_and_what_cannot_be_shown() -> None:
    settings_ = {**TOY, "epsilon": 0.0}
    assert inclusion_probability([[-1, 0]], **settings_)[0].tolist() == [1.0, 0.0]
    assert slot_marginal([[-1, -1, 0]], **settings_)[0].tolist() == [1.0, 1.0, 0.0]
    everyone = inclusion_probability([[1, 3, 4, 6]], **{**settings_, "slate_size": 4})[0]
    assert everyone == pytest.approx(np.ones(4), abs=1e-7)


def test_rows_do_not_depend_on_the_batch() -> None:
    rng = np.random.default_rng(0)
    z, shortlist = 2 * rng.standard_normal((300, 30)), np.tile(np.arange(30), (300, 1))
    slates = rng.permuted(shortlist, axis=1)[:, :10]
    whole = inclusion_probability(slates, z, shortlist, 500, 0.1, 10)
    assert len(whole) * 10 * 16 > 1 << 15  # more than one block
    for part in (slice(0, 1), slice(7, 90)):
        np.testing.assert_allclose(
            inclusion_probability(slates[part], z[part], shortlist[part], 500, 0.1, 10), whole[part], rtol=1e-12
        )


def test_bad_arguments_are_named() -> None:
    with pytest.raises(ValueError, match="slate_size: got 0, needs an integer >= 1"):
        inclusion_probability([[1]], **{**TOY, "slate_size": 0})
    with pytest.raises(ValueError, match=r"slates: got \(2, 1\), needs 1 rows, as the shortlist"):
        inclusion_probability([[1], [2]], **TOY)
    with pytest.raises(ValueError, match=r"slates: got \(1, 4\), needs at most slate_size \(3\) columns"):
        slot_marginal([[1, 3, 4, 6]], **TOY)
    seen = (
        r"slates: got '5 articles from outside the shortlist in row 0', needs no more than num_live leaves there \(4\)"
    )
    with pytest.raises(ValueError, match=seen):
        inclusion_probability([[0, 2, 5, 7, 8]], **TOY)


def test_the_published_name_is_the_same_function() -> None:
    assert published_name is inclusion_probability

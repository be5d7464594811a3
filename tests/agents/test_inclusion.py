"""Inclusion probabilities and slot marginals against enumeration and the published values (algorithms.md 6.2)."""

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feedgym.agents.inclusion import cheap_inclusion, inclusion_probability, inclusion_time, slot_marginal
from feedgym.agents.slate_policy import inclusion_probability as published_name
from feedgym.agents.slate_policy import sample_slates

TOY = {
    "logits": np.array([[1.0, 0.2, -0.5, 0.7]]),
    "shortlist": np.array([[1, 3, 4, 6]]),
    "num_live": 8,
    "epsilon": 0.1,
    "slate_size": 3,
}
ARTICLES = [1, 3, 4, 6, 0]


def weights(logits: list[float], listed: list[int], live: int, epsilon: float) -> np.ndarray:
    """Plain draw weights of articles 0 .. live - 1."""
    w = np.full(live, epsilon / live)
    if listed:
        p = np.exp(np.array(logits) - max(logits))
        w[listed] += (1 - epsilon) * p / p.sum()
    return w


def enumerated(w: np.ndarray, slate_size: int) -> np.ndarray:
    """m_k(a), (N, K), from all slates."""
    m = np.zeros((len(w), slate_size))
    for slate in permutations(range(len(w)), slate_size):
        chance, left = 1.0, w.sum()
        for a in slate:
            if w[a] == 0:
                chance = 0.0
                break
            chance *= w[a] / left
            left -= w[a]
        if chance:
            m[list(slate), range(slate_size)] += chance
    return m


def test_published_values_of_the_toy() -> None:
    inclusion = inclusion_probability([ARTICLES], **TOY)[0]
    assert inclusion == pytest.approx([0.884775572, 0.662826040, 0.403230140, 0.817355797, 0.057953113], rel=1e-5)
    # Four tail articles alike, so the sum over all live ones is K.
    assert inclusion[:4].sum() + 4 * inclusion[4] == pytest.approx(3.0, rel=1e-5)
    second = [slot_marginal([[2 if a != 2 else 5, a]], **TOY)[0, 1] for a in ARTICLES]
    assert second == pytest.approx([0.301460505, 0.214227361, 0.124758156, 0.289721944, 0.017458008], rel=1e-5)
    third = [slot_marginal([[2, 5, a]], **TOY)[0, 2] for a in ARTICLES]
    assert third == pytest.approx([0.197878239, 0.268527360, 0.182758529, 0.238855454, 0.027995104], rel=1e-5)
    first = slot_marginal([[1]], **TOY)[0, 0]
    assert first == pytest.approx(0.385436829, rel=1e-5)
    fine = inclusion_probability([ARTICLES], **TOY, nodes=64)[0]
    assert fine == pytest.approx([0.884775572, 0.662826040, 0.403230140, 0.817355797, 0.057953113], rel=1e-7)


def test_published_time_and_the_cheap_version() -> None:
    time = inclusion_time(**TOY)
    assert time == pytest.approx([5.57573755], abs=1e-7)
    w = weights([1.0, 0.2, -0.5, 0.7], [1, 3, 4, 6], 8, 0.1)
    assert cheap_inclusion(w[None], time).sum() == pytest.approx(3.0, rel=1e-12)


@pytest.mark.parametrize(
    ("spread", "expected", "tail", "time"),
    [
        (1.5, [0.15550323, 0.061533568, 0.0083819348, 0.0025615138], 0.00010491381, 10.545886857),
        (3.0, [0.22743742, 0.035778499, 0.00073419293, 0.00016268370], 0.00010777633, 10.863678868),
    ],
)
def test_published_values_at_real_size(spread: float, expected: list[float], tail: float, time: float) -> None:
    logits = spread * np.sqrt(2.0) * np.cos(np.arange(200.0))[None]
    shortlist = np.arange(200)[None]
    # j indexes z_j as published: articles 0 .. 3.
    found = inclusion_probability([[0, 1, 2, 3, 4999]], logits, shortlist, 5000, 0.05, 10)[0]
    assert found[:4] == pytest.approx(expected, rel=1e-6)
    assert found[4] == pytest.approx(tail, rel=1e-6)
    assert inclusion_time(logits, shortlist, 5000, 0.05, 10) == pytest.approx([time], abs=1e-8)


@settings(max_examples=40, deadline=None, derandomize=True)
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
    if epsilon == 0.0:
        listed = max(listed, slate_size)
        spread = min(spread, 1.0)  # without exploration a weight may be next to nothing: see MOST_NODES
    elif epsilon < 1.0:
        listed = max(listed, 1)
    rng = np.random.default_rng(seed)
    logits, ids = spread * rng.standard_normal(listed), rng.permutation(live)[:listed]
    # A padded column and a second row that differs: rows do not touch each other.
    z = np.stack([np.append(logits, 9.9), np.append(logits[::-1], 0.0)])
    shortlist = np.stack([np.append(ids, -1), np.append(ids, -1)])
    every = np.tile(np.arange(live), (2, 1))
    found = inclusion_probability(every, z, shortlist, live, epsilon, slate_size)
    for row, order in enumerate((logits, logits[::-1])):
        m = enumerated(weights(order.tolist(), ids.tolist(), live, epsilon), slate_size)
        np.testing.assert_allclose(found[row], m.sum(axis=1), rtol=2e-4, atol=2e-5)
        shown = rng.permutation(live)[:slate_size]
        slots = slot_marginal(np.stack([shown] * 2), z, shortlist, live, epsilon, slate_size)[row]
        np.testing.assert_allclose(slots, m[shown, range(slate_size)], rtol=2e-4, atol=2e-5)


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
    w = weights(logits.tolist(), shortlist.tolist(), live, 0.1)
    replaced = 1 - (1 - w) ** 5
    assert np.abs((count - draws * replaced) / np.sqrt(draws * replaced * (1 - replaced))).max() > 10.0


def test_near_certain_articles_are_not_lost_to_cancellation() -> None:
    """A peaked softmax: taking the top article out of the count by division would lose all digits."""
    logits = np.array([[30.0, 28.0, 27.0, 0.0, -1.0]])
    shortlist = np.arange(5)[None]
    m = enumerated(weights(logits[0].tolist(), [0, 1, 2, 3, 4], 7, 0.2), 3)
    found = inclusion_probability([np.arange(7)], logits, shortlist, 7, 0.2, 3)[0]
    np.testing.assert_allclose(found, m.sum(axis=1), rtol=1e-4)


def test_a_peaked_policy_gets_the_nodes_it_needs() -> None:
    """Sixteen would step over the head's arrivals: trained logits are this far apart."""
    rng = np.random.default_rng(1)
    logits, shortlist = 6.0 * rng.standard_normal((4, 100)), np.tile(np.arange(100), (4, 1))
    head = np.argsort(-logits, axis=1)[:, :12]
    fine = inclusion_probability(head, logits, shortlist, 900, 0.05, 8, nodes=2000)
    few = inclusion_probability(head, logits, shortlist, 900, 0.05, 8, nodes=16)
    assert np.abs(few / fine - 1).max() > 1e-3
    np.testing.assert_allclose(inclusion_probability(head, logits, shortlist, 900, 0.05, 8), fine, rtol=1e-6)


def test_padding_and_what_cannot_be_shown() -> None:
    settings_ = {**TOY, "epsilon": 0.0}
    assert inclusion_probability([[-1, 0]], **settings_)[0].tolist() == [1.0, 0.0]
    assert slot_marginal([[-1, -1, 0]], **settings_)[0].tolist() == [1.0, 1.0, 0.0]
    everyone = inclusion_probability([[1, 3, 4, 6]], **{**settings_, "slate_size": 4}, nodes=100)[0]
    assert everyone == pytest.approx(np.ones(4), abs=1e-4)


def test_rows_do_not_depend_on_the_batch() -> None:
    rng = np.random.default_rng(0)
    z, shortlist = 2 * rng.standard_normal((300, 30)), np.tile(np.arange(30), (300, 1))
    slates = rng.permuted(shortlist, axis=1)[:, :10]
    whole = inclusion_probability(slates, z, shortlist, 500, 0.1, 10)
    assert len(whole) * 10 * 16 > 1 << 15
    for part in (slice(0, 1), slice(7, 90)):
        np.testing.assert_allclose(
            inclusion_probability(slates[part], z[part], shortlist[part], 500, 0.1, 10), whole[part], rtol=1e-12
        )


def test_bad_arguments_are_named() -> None:
    with pytest.raises(ValueError, match="slate_size: got 0, needs >= 1"):
        inclusion_probability([[1]], **{**TOY, "slate_size": 0})
    with pytest.raises(ValueError, match=r"slates: got \(2, 1\), needs 1 rows, as the shortlist"):
        inclusion_probability([[1], [2]], **TOY)
    with pytest.raises(ValueError, match=r"slates: got \(1, 4\), needs at most slate_size \(3\) columns"):
        slot_marginal([[1, 3, 4, 6]], **TOY)


def test_the_published_name_is_the_same_function() -> None:
    assert published_name is inclusion_probability

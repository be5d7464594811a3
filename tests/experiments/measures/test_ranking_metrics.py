"""Ranking metrics: values worked out by hand, ties against all their orders, and what must not matter."""

import itertools
from collections.abc import Callable

import numpy as np
import pytest

from feedgym.env.arrays import Doubles
from feedgym.experiments.measures.ranking_metrics import mrr, ndcg_at_k, ranks, recall_at_k, top_weight

Metric = Callable[[Doubles, Doubles], Doubles]
METRICS: dict[str, Metric] = {
    "recall": lambda score, gain: recall_at_k(score, gain, 3),
    "ndcg": lambda score, gain: ndcg_at_k(score, gain, 3),
    "mrr": mrr,
}


def plain(name: str, order: tuple[int, ...], gain: Doubles) -> float:
    """One row, articles in a known order: the textbook's loops."""
    discount = [1 / np.log2(rank + 2) for rank in range(3)]
    if name == "recall":
        return float(sum(gain[a] for a in order[:3]) / gain.sum())
    if name == "mrr":
        return float(sum(gain[a] / (rank + 1) for rank, a in enumerate(order)) / gain.sum())
    best = sorted(gain, reverse=True)
    ideal = sum(d * g for d, g in zip(discount, best, strict=False))
    return float(sum(d * gain[a] for d, a in zip(discount, order, strict=False)) / ideal)


def test_known_values() -> None:
    score, gain = np.array([[3.0, 1.0, 2.0]]), np.array([[0.0, 1.0, 2.0]])  # order 0, 2, 1
    assert recall_at_k(score, gain, 1) == pytest.approx([0.0])
    assert recall_at_k(score, gain, 2) == pytest.approx([2 / 3])
    assert recall_at_k(score, gain, 5) == pytest.approx([1.0])
    assert mrr(score, gain) == pytest.approx([(2 / 2 + 1 / 3) / 3])
    second = 1 / np.log2(3)
    assert ndcg_at_k(score, gain, 2) == pytest.approx([2 * second / (2 + second)])
    # One relevant article: the usual reciprocal rank.
    assert mrr(score, np.array([[0.0, 1.0, 0.0]])) == pytest.approx([1 / 3])


@pytest.mark.parametrize("name", METRICS)
def test_ties_are_the_mean_over_all_their_orders(name: str) -> None:
    rng = np.random.default_rng(5)
    score = rng.integers(0, 3, (20, 6)).astype(np.float64)
    gain = rng.random((20, 6)) * (rng.random((20, 6)) < 0.6)
    gain[:, 0] += 0.1
    found = METRICS[name](score, gain)
    for row in range(20):
        orders = [
            order
            for order in itertools.permutations(range(6))
            if all(score[row, a] >= score[row, b] for a, b in itertools.pairwise(order))
        ]
        assert len(orders) > 1
        assert found[row] == pytest.approx(np.mean([plain(name, order, gain[row]) for order in orders]), rel=1e-12)


@pytest.mark.parametrize("name", METRICS)
def test_without_ties_it_is_the_plain_sum_and_the_order_of_articles_does_not_matter(name: str) -> None:
    rng = np.random.default_rng(6)
    score, gain = rng.random((30, 40)), rng.random((30, 40))
    found = METRICS[name](score, gain)
    for row in range(30):
        order = tuple(np.argsort(-score[row]).tolist())
        assert found[row] == pytest.approx(plain(name, order, gain[row]), rel=1e-12)
    mixed = rng.permutation(40)
    assert METRICS[name](score[:, mixed], gain[:, mixed]) == pytest.approx(found, rel=1e-12)
    assert METRICS[name](np.exp(score), 7.0 * gain) == pytest.approx(found, rel=1e-12)


def test_rows_with_and_without_ties_do_not_touch_each_other() -> None:
    rng = np.random.default_rng(7)
    score, gain = rng.random((4, 9)), rng.random((4, 9))
    score[2, 3] = score[2, 7]
    alone = np.concatenate([mrr(score[i : i + 1], gain[i : i + 1]) for i in range(4)])
    assert mrr(score, gain) == pytest.approx(alone, rel=1e-12)


def test_no_scores_are_as_good_as_chance() -> None:
    gain = np.random.default_rng(8).random((5, 200))
    assert recall_at_k(np.zeros((5, 200)), gain, 10) == pytest.approx(np.full(5, 10 / 200))
    harmonic = (1 / np.arange(1, 201)).sum()
    assert mrr(np.zeros((5, 200)), gain) == pytest.approx(np.full(5, harmonic / 200))


def test_the_best_order_has_ndcg_1_and_no_other_has() -> None:
    gain = np.random.default_rng(9).random((6, 50))
    assert ndcg_at_k(gain, gain, 10) == pytest.approx(np.ones(6))
    assert (ndcg_at_k(-gain, gain, 10) < 0.5).all()


def test_a_row_without_gain_is_not_a_number_and_the_others_are() -> None:
    gain = np.array([[0.0, 0.0], [1.0, 0.0]])
    for metric in METRICS.values():
        assert np.isnan(metric(np.array([[1.0, 2.0], [1.0, 2.0]]), gain)).tolist() == [True, False]


def test_infinite_scores_rank_and_empty_catalogues_pass() -> None:
    score = np.array([[-np.inf, 0.0, np.inf, -np.inf]])
    assert ranks(score).above.tolist() == [[2, 1, 0, 2]]
    assert ranks(score).tied.tolist() == [[2, 1, 1, 2]]
    assert np.isnan(mrr(np.zeros((2, 0)), np.zeros((2, 0)))).all()
    assert len(recall_at_k(np.zeros((0, 4)), np.zeros((0, 4)), 2)) == 0


def test_bad_input_is_named() -> None:
    with pytest.raises(ValueError, match="score: got 'NaN'"):
        mrr(np.array([[0.0, np.nan]]), np.ones((1, 2)))
    with pytest.raises(ValueError, match=r"gain: got -1\.0, needs >= 0 everywhere"):
        mrr(np.zeros((1, 2)), np.array([[1.0, -1.0]]))
    with pytest.raises(ValueError, match="gain: got nan"):
        mrr(np.zeros((1, 2)), np.array([[1.0, np.nan]]))
    with pytest.raises(ValueError, match=r"gain: got \(1, 3\), needs \(1, 2\)"):
        mrr(np.zeros((1, 2)), np.ones((1, 3)))
    with pytest.raises(ValueError, match="k: got 0, needs >= 1"):
        recall_at_k(np.zeros((1, 2)), np.ones((1, 2)), 0)
    with pytest.raises(ValueError, match=r"weight: got \(3,\), needs \(2,\)"):
        ranks(np.zeros((1, 2))).expected(top_weight(3, 1))

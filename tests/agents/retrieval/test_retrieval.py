"""Exact retrieval equals brute force under any churn, to the last byte whatever the batch."""

from typing import Any

import faiss
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feedgym.agents.retrieval.kernels.order import sort_by_score
from feedgym.agents.retrieval.registry import ItemIndex, SlotArrayIndex, make_index
from helpers.draws import normal

DIM = 5


def filled(num_articles: int, dim: int = DIM, seed: int = 0) -> SlotArrayIndex:
    rng = np.random.default_rng(seed)
    index = SlotArrayIndex(dim, capacity=4)
    index.add(rng.permutation(3 * num_articles)[:num_articles], normal(rng, num_articles, dim))
    return index


def brute_force(
    stored: dict[int, np.ndarray], queries: np.ndarray, k: int
) -> tuple[list[list[int]], list[list[float]]]:
    """The slow version: all inner products, sorted by (-score, id)."""
    ids, scores = [], []
    for query in queries:
        ranked = sorted((-float(query @ v), a) for a, v in stored.items())[:k]
        missing = k - len(ranked)
        ids.append([a for _, a in ranked] + [-1] * missing)
        scores.append([-s for s, _ in ranked] + [-np.inf] * missing)
    return ids, scores


@given(st.data())
@settings(max_examples=60, deadline=None, derandomize=True)
def test_any_churn_leaves_the_answer_of_brute_force(data: st.DataObject) -> None:
    """Small whole numbers as vectors: float32 sums are exact, and ties are many."""
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    index, stored = SlotArrayIndex(DIM, capacity=1), dict[int, np.ndarray]()
    whole = lambda rows: rng.integers(-2, 3, (rows, DIM)).astype(np.float32)
    for step in data.draw(st.lists(st.sampled_from(["add", "add", "remove", "update", "restore"]), max_size=12)):
        present = rng.permutation(np.array(list(stored), dtype=np.int64))
        some = present[: data.draw(st.integers(0, len(present)))]
        if step == "add":
            new = np.setdiff1d(rng.integers(0, 500, data.draw(st.integers(0, 40))), present)
            vectors = whole(len(new))
            index.add(new, vectors)
            stored |= dict(zip(new.tolist(), vectors, strict=True))
        elif step == "remove":
            index.remove(some)
            stored = {a: v for a, v in stored.items() if a not in some}
        elif step == "update":
            vectors = whole(len(some))
            index.update(some, vectors)
            stored |= dict(zip(some.tolist(), vectors, strict=True))
        else:
            state = index.snapshot()
            index = SlotArrayIndex(DIM)
            index.add(np.array([3]), whole(1))  # to be forgotten
            index.restore(state)
        assert len(index) == len(stored)
        assert sorted(index.ids.tolist()) == sorted(stored)
        k, queries = data.draw(st.integers(1, 12)), whole(6)
        ids, scores = index.search(queries, k)
        expected_ids, expected_scores = brute_force(stored, queries, k)
        assert ids.tolist() == expected_ids
        assert scores.tolist() == expected_scores


def test_real_vectors_at_news_size_equal_brute_force() -> None:
    index, queries = filled(4000, dim=66), normal(np.random.default_rng(1), 300, 66)
    ids, scores = index.search(queries, 100)
    truth = queries.astype(np.float64) @ index.vectors.T.astype(np.float64)
    order = np.argsort(-truth, axis=1)[:, :100]
    assert (ids != index.ids[order]).mean() < 1e-3  # near ties in float32
    np.testing.assert_allclose(scores, np.take_along_axis(truth, order, axis=1), rtol=1e-4)
    assert np.all(np.diff(scores, axis=1) <= 0)
    assert ids.dtype == np.int64
    assert scores.dtype == np.float32


def test_same_bytes_whatever_the_batch_and_the_history() -> None:
    index, queries = filled(3000, dim=66), normal(np.random.default_rng(2), 1000, 66)
    # Near ties: copies that differ in the last bits, which BLAS orders by its own rounding.
    near = index.vectors[:1000] * (1 + np.float32(2e-7) * normal(np.random.default_rng(3), 1000, 1))
    index.add(np.arange(10_000, 11_000), near)
    ids, scores = index.search(queries, 50)
    for size in (1, 7, 64):
        parts = [index.search(queries[i : i + size], 50) for i in range(0, len(queries), size)]
        assert np.concatenate([p[0] for p in parts]).tobytes() == ids.tobytes()
        assert np.concatenate([p[1] for p in parts]).tobytes() == scores.tobytes()
    shuffled, order = SlotArrayIndex(66), np.random.default_rng(4).permutation(len(index))
    shuffled.add(index.ids[order], index.vectors[order])
    again = shuffled.search(np.asfortranarray(queries), 50)
    assert again[0].tobytes() == ids.tobytes()
    assert again[1].tobytes() == scores.tobytes()


def test_faiss_alone_would_change_with_the_batch() -> None:
    """The control: why the scores are recomputed row by row."""
    index, queries = filled(3000, dim=66), normal(np.random.default_rng(2), 64, 66)
    index.search(queries, 50)  # sets the threshold: BLAS from 8 queries on
    together, _ = faiss.knn(queries, index.vectors, 50, metric=faiss.METRIC_INNER_PRODUCT)
    alone, _ = faiss.knn(queries[:1], index.vectors, 50, metric=faiss.METRIC_INNER_PRODUCT)
    assert together[:1].tobytes() != alone.tobytes()


@pytest.mark.parametrize("batch", [1, 64])
def test_ties_go_to_the_smaller_id_however_many_there_are(batch: int) -> None:
    rng = np.random.default_rng(0)
    ids = rng.permutation(2000)
    vectors = np.ones((2000, DIM), dtype=np.float32)
    vectors[ids >= 1990] = 2  # ten better ones, then 1,990 equal ones
    index = SlotArrayIndex(DIM)
    index.add(ids, vectors)
    found, _ = index.search(np.ones((batch, DIM), dtype=np.float32), 15)
    assert found.tolist() == [[*range(1990, 2000), 0, 1, 2, 3, 4]] * batch
    found, scores = index.search(np.zeros((batch, DIM), dtype=np.float32), 3)
    assert found.tolist() == [[0, 1, 2]] * batch
    assert np.all(scores == 0)


def test_negative_zero_ties_with_zero() -> None:
    scores = np.array([[0.0, -0.0, -1.5, 0.0, 2.0]], dtype=np.float32)
    ids, ranked = sort_by_score(scores, np.array([[9, 8, 1, 7, 3]]), 5)
    assert ids.tolist() == [[3, 7, 8, 9, 1]]
    assert ranked.tolist() == [[2.0, 0.0, 0.0, 0.0, -1.5]]


def test_more_wanted_than_there_are() -> None:
    index = filled(3)
    ids, scores = index.search(np.ones((2, DIM), dtype=np.float32), 5)
    assert np.all(ids[:, 3:] == -1)
    assert np.all(np.isneginf(scores[:, 3:]))
    assert sorted(ids[0, :3].tolist()) == sorted(index.ids.tolist())
    ids, scores = SlotArrayIndex(DIM).search(np.ones((2, DIM), dtype=np.float32), 2)
    assert ids.tolist() == [[-1, -1]] * 2
    assert np.all(np.isneginf(scores))
    assert filled(3).search(np.ones((0, DIM), dtype=np.float32), 2)[0].shape == (0, 2)


def test_scores_are_those_of_the_stored_vectors() -> None:
    index, queries = filled(200), normal(np.random.default_rng(1), 4, DIM)
    ids, scores = index.search(queries, 7)
    row = {a: i for i, a in enumerate(index.ids.tolist())}
    gathered = index.vectors[[[row[a] for a in line] for line in ids.tolist()]]
    assert np.einsum("bd,bkd->bk", queries, gathered).tobytes() == scores.tobytes()


def test_removed_articles_never_come_back() -> None:
    index = filled(500)
    best, _ = index.search(np.ones((1, DIM), dtype=np.float32), 20)
    index.remove(best[0])
    assert not np.isin(index.search(np.ones((1, DIM), dtype=np.float32), 480)[0], best).any()
    index.remove(index.ids.copy())
    assert len(index) == 0


def test_a_restored_index_goes_on_byte_for_byte() -> None:
    index = filled(300)
    index.remove(index.ids[50:80].copy())
    other = SlotArrayIndex(DIM)
    other.restore(index.snapshot())
    for each in (index, other):
        each.remove(each.ids[10:20].copy())
        each.add(np.array([5000, 4000]), np.ones((2, DIM), dtype=np.float32))
    assert index.ids.tobytes() == other.ids.tobytes()
    assert index.vectors.tobytes() == other.vectors.tobytes()
    state = index.snapshot()
    index.update(index.ids.copy(), np.zeros((len(index), DIM), dtype=np.float32))
    assert state["vectors"].tobytes() == other.vectors.tobytes()  # a snapshot is a copy


def test_faiss_uses_blas_from_eight_queries_on() -> None:
    if not hasattr(faiss.cvar, "distance_compute_blas_threshold"):
        pytest.skip("this faiss has no such global")
    faiss.cvar.distance_compute_blas_threshold = 128_000
    filled(10, dim=66).search(np.ones((1, 66), dtype=np.float32), 1)
    assert faiss.cvar.distance_compute_blas_threshold == 8 * 66


def test_search_threads_reach_faiss() -> None:
    index = SlotArrayIndex(DIM, search_threads=2)
    index.add(np.array([1]), np.ones((1, DIM), dtype=np.float32))
    index.search(np.ones((1, DIM), dtype=np.float32), 1)
    assert faiss.omp_get_max_threads() == 2
    filled(3).search(np.ones((1, DIM), dtype=np.float32), 1)
    assert faiss.omp_get_max_threads() == 1


def test_make_index() -> None:
    index: ItemIndex = make_index("exact", DIM, search_threads=1)
    assert isinstance(index, SlotArrayIndex)
    assert index.exact
    index.rebuild()
    with pytest.raises(ValueError, match="kind: got 'kd-tree', needs one of exact, "):
        make_index("kd-tree", DIM)
    with pytest.raises(TypeError, match="nlist"):
        make_index("exact", DIM, nlist=3)
    with pytest.raises(ValueError, match="dim: got 0"):
        make_index("exact", 0)


ONE, TWO = np.array([7]), np.array([7, 8])
ROW = np.ones((1, DIM), dtype=np.float32)
NAN_ROW = np.full((1, DIM), np.nan, dtype=np.float32)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda i: i.add(np.array([1]), ROW), "ids: got 'article 1 which is in the index already'"),
        (lambda i: i.add(np.array([7, 7]), np.vstack([ROW, ROW])), "ids: got 'article .7. twice'"),
        (lambda i: i.add(np.array([-1]), ROW), "ids: got 'article -1'"),
        (lambda i: i.add(np.array([2**31]), ROW), "ids: got 'article 2147483648'"),
        (lambda i: i.add(np.array([7.0]), ROW), "ids: got 'float64"),
        (lambda i: i.add(ONE, NAN_ROW), "vectors: got 'NaN or inf in row .0.'"),
        (
            lambda i: i.add(ONE, ROW.astype(np.float64)),
            "vectors: got 'float64 .*needs a float32 array .rows, 5.",
        ),
        (lambda i: i.add(ONE, ROW[:, :4]), r"vectors: got 'float32 \(1, 4\)'"),
        (lambda i: i.add(TWO, ROW), r"vectors: got \(1, 5\), needs 2 rows"),
        (lambda i: i.update(ONE, ROW), "ids: got 'article 7 which is not in the index'"),
        (lambda i: i.update(np.array([1]), NAN_ROW), "vectors: got 'NaN or inf"),
        (lambda i: i.remove(np.array([1, 7])), "ids: got 'article 7 which is not in the index'"),
        (lambda i: i.remove(np.array([99_999])), "ids: got 'article 99999 which is not in the index'"),
        (lambda i: i.remove(np.array([1, 1])), "ids: got 'article .1. twice'"),
        (lambda i: i.search(NAN_ROW, 1), "queries: got 'NaN or inf in row .0.'"),
        (lambda i: i.search(ROW[0], 1), r"queries: got 'float32 \(5,\)'"),
        (lambda i: i.search(ROW * np.float32(1e38), 1), "queries: got 'scores up to"),
        (lambda i: i.search(ROW, 0), "k: got 0"),
        (lambda i: i.restore({"ids": ONE}), "state: got"),
    ],
)
def test_bad_input_is_named_and_changes_nothing(call: Any, message: str) -> None:
    index = SlotArrayIndex(DIM)
    index.add(np.array([1, 2]), np.full((2, DIM), 5, dtype=np.float32))
    with pytest.raises(ValueError, match=message):
        call(index)
    assert index.ids.tolist() == [1, 2]
    assert np.all(index.vectors == 5)
    with pytest.raises(ValueError, match="read-only"):
        index.vectors[0] = 0

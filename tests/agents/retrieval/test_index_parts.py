"""What indexes are made of, each against its plain version."""

import tracemalloc
from collections.abc import Callable
from typing import Any

import faiss
import numpy as np
import pytest

from feedgym.agents.retrieval.kernels import flat
from feedgym.agents.retrieval.kernels.by_id import ById
from feedgym.agents.retrieval.kernels.flat import largest_products
from feedgym.agents.retrieval.kernels.order import best
from feedgym.agents.retrieval.kernels.scores import faiss_scores, row_scores
from feedgym.agents.retrieval.registry import make_index
from helpers.draws import normal

DIM = 18


@pytest.mark.parametrize("score", [row_scores, faiss_scores])
def test_scores_are_inner_products_whatever_the_batch(score: Callable[..., Any]) -> None:
    queries, vectors = normal(0, 300, DIM), normal(1, 500, DIM)
    slots = np.random.default_rng(2).integers(0, 500, (300, 40))
    scores = score(queries, vectors, slots)  # 300 x 40 x 18: several blocks
    plain = np.einsum("bd,bwd->bw", queries.astype(float), vectors[slots].astype(float))
    np.testing.assert_allclose(scores, plain, rtol=1e-5, atol=1e-5)
    for size in (1, 7):
        parts = [score(queries[i : i + size], vectors, slots[i : i + size]) for i in range(0, 21, size)]
        assert np.concatenate(parts).tobytes() == scores[:21].tobytes()


def test_faiss_scores_are_the_bytes_that_lists_return() -> None:
    """So that what a finder returns of the very same vectors need not be computed again."""
    queries, vectors, metric = normal(0, 30, 66), normal(1, 2000, 66), faiss.METRIC_INNER_PRODUCT
    cells = faiss.IndexFlatIP(66)
    lists = faiss.IndexIVFFlat(cells, 66, 20, metric)
    lists.train(vectors)
    lists.nprobe = 7
    lists.add(vectors)
    scores, slots = lists.search(queries, 50)
    assert faiss_scores(queries, vectors, slots).tobytes() == scores.tobytes()
    assert np.isneginf(faiss_scores(queries, vectors, np.full((30, 2), -1))).all()


@pytest.mark.parametrize("kind", ["ivf:nprobe=3", "hnsw:ef=120"])
def test_an_approximate_index_returns_the_scores_of_one_kernel(kind: str) -> None:
    """Also where a graph's walk would round them otherwise, four rows at a time."""
    queries, vectors = normal(0, 30, 66), normal(1, 2000, 66)
    index = make_index(kind, 66)
    index.add(np.arange(2000), vectors)
    ids, scores = index.search(queries, 50)
    assert faiss_scores(queries, vectors, ids).tobytes() == scores.tobytes()


@pytest.mark.parametrize(("batch", "rows"), [(1, 300), (40, 300), (40, 5000)])
def test_flat_search_finds_the_largest_products(batch: int, rows: int) -> None:
    queries, vectors = normal(0, batch, DIM), normal(1, rows, DIM)
    least, found = largest_products(queries, vectors, 30, 1)
    products = queries.astype(float) @ vectors.T.astype(float)
    order = np.argsort(-products, axis=1)[:, :30]
    assert np.array_equal(np.sort(found, axis=1), np.sort(order, axis=1))
    np.testing.assert_allclose(least, np.take_along_axis(products, order, axis=1)[:, -1], rtol=1e-4)
    everything = largest_products(queries, vectors[:30].copy(), 30, 1)[1]
    assert np.array_equal(np.sort(everything, axis=1), np.tile(np.arange(30), (batch, 1)))


def test_answers_do_not_depend_on_how_flat_search_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    index, queries = make_index("exact", DIM), normal(0, 100, DIM)
    near = normal(1, 500, DIM) * (1 + np.float32(2e-7) * normal(2, 500, 1))  # near ties, to tell roundings apart
    index.add(np.arange(1000), np.vstack([normal(1, 500, DIM), near]))
    answers = []
    for few, block in ((0, 1 << 20), (4096, 1 << 20), (4096, 5000)):  # faiss; one product; products in blocks of five
        monkeypatch.setattr(flat, "_FEW_ROWS", few)
        monkeypatch.setattr(flat, "_BLOCK", block)
        ids, scores = index.search(queries, 40)
        answers.append(ids.tobytes() + scores.tobytes())
    assert len(set(answers)) == 1


def test_the_best_by_score_then_by_id() -> None:
    rng = np.random.default_rng(0)
    for width in (1, 5, 40, 900):
        scores = rng.integers(-3, 4, (60, width)).astype(np.float32) * rng.choice([1, 0.5, -0.0], (60, 1))
        scores[:20] = np.sort(normal(1, 20, width), axis=1)[:, ::-1]  # in order as they are
        ids = np.stack([rng.permutation(1000)[:width] for _ in range(60)])
        none = rng.random((60, width)) < 0.2
        none[:10] = False
        scores[none], ids[none] = -np.inf, -1
        for k in (1, 5, 50, 400):
            found_ids, found = best(scores.astype(np.float32), ids, k)
            assert found_ids.shape == found.shape == (60, k)
            assert found_ids.flags.c_contiguous
            for row in range(60):
                pairs = sorted((-float(s), int(a)) for s, a in zip(scores[row], ids[row], strict=True) if a >= 0)[:k]
                missing = k - len(pairs)
                assert found_ids[row].tolist() == [a for _, a in pairs] + [-1] * missing
                assert found[row].tolist() == [-s for s, _ in pairs] + [-np.inf] * missing
            assert not np.signbit(found[found == 0]).any()  # one zero


def test_numbers_by_id() -> None:
    numbers = ById()
    assert numbers[np.array([[0, 5], [-1, 10**6]])].tolist() == [[-1, -1], [-1, -1]]
    numbers[np.array([7, 1023, 1024, 5000])] = np.arange(4)
    numbers[np.array([7])] = 9
    assert numbers[np.array([7, 1023, 1024, 5000, 5001, 4999, -1, 2**31])].tolist() == [9, 1, 2, 3, -1, -1, -1, -1]
    numbers[np.array([1023])] = -1
    assert numbers[np.array([1022, 1023, 1024])].tolist() == [-1, -1, 2]
    numbers[np.zeros(0, dtype=np.int64)] = 5


def test_an_update_touches_what_it_changes() -> None:
    """O(m): of 50,000 articles ten are exchanged. No room is taken that grows with the rest, and the rest stays."""
    n, m = 50_000, 10
    index = make_index("exact", 4)
    index.add(np.arange(n), normal(0, n, 4), np.linspace(0, 48, n))
    index.add(np.arange(n, n + m), normal(1, m, 4), np.full(m, 48.0))  # arrays have doubled
    for first in range(0, 5 * m, m):
        before = index.ids.copy()
        gone, new = np.arange(first, first + m), np.arange(n + m + first, n + 2 * m + first)
        tracemalloc.start()
        index.remove(gone)
        index.add(new, normal(2, m, 4), np.full(m, 48.0))
        index.update(new, normal(3, m, 4))
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < n // 2  # bytes: half a byte for each article
        assert np.count_nonzero(index.ids != before) <= 2 * m

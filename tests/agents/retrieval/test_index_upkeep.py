"""What keeps an index as good as it was: builds, tombstones, scales, sizes, shards."""

import itertools
import math
from typing import Any

import numpy as np
import pytest

from feedgym.agents.retrieval.approximate import ApproximateIndex
from feedgym.agents.retrieval.auto import AutoIndex
from feedgym.agents.retrieval.geometry import Geometry
from feedgym.agents.retrieval.ivf import cells_of
from feedgym.agents.retrieval.registry import column_scale_of, make_index
from feedgym.agents.retrieval.upkeep import SAMPLE, Schedule, Upkeep

DIM = 16
N = 2000
NEVER = {"retrain_share": 1e9, "recall_drop": 1e9}


def topics(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((30, DIM))


def draw(centres: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Articles or readers around topics."""
    rng = np.random.default_rng(seed)
    around = centres[rng.integers(0, len(centres), count)] + 0.5 * rng.standard_normal((count, DIM))
    return around.astype(np.float32)


def turned_over(kind: str, **settings: float) -> tuple[Any, float]:
    """An index all of whose articles were replaced, 5 % at a time, by those of other topics; recall before."""
    old, new = topics(0), topics(1)
    index: Any = make_index(kind, DIM, **settings)
    index.add(np.arange(N), draw(old, N, 2), np.zeros(N))
    index.search(draw(old, SAMPLE, 3), 20)
    before = index.recall()
    step = N // 20
    for i in range(20):
        ids = np.arange(i * step, (i + 1) * step)
        index.remove(ids)
        index.add(ids + N, draw(new, step, 10 + i), np.full(step, i + 1.0))
        index.search(draw(new if i > 10 else old, SAMPLE, 40 + i), 20)
    return index, before


IVF = {"nprobe": 6, "nlist": 50}


def test_cells_learned_of_yesterday_find_today_badly_and_a_build_repairs_it() -> None:
    index, before = turned_over("ivf", **IVF, **NEVER)
    stale = index.recall()
    index.rebuild()
    assert before > 0.95
    assert stale < 0.85
    assert index.recall() > 0.95


@pytest.mark.parametrize(
    "settings",
    [
        {"retrain_share": 0.5, "recall_drop": 1e9},
        {"retrain_share": 1e9, "recall_drop": 0.02},
        {"retrain_share": 1e9, "recall_drop": 1e9, "retrain_hours": 3.0},
    ],
)
def test_each_clause_of_the_schedule_alone_keeps_recall(settings: dict[str, float]) -> None:
    index, before = turned_over("ivf", **IVF, **settings)
    assert index.recall() > before - 0.02


@pytest.mark.parametrize(
    ("kind", "stated"),
    [("ivf:nprobe=8", 0.98), ("ivf", 0.99), ("ivf-sq8", 0.99), ("ivf-sq8:nprobe=8", 0.98), ("hnsw", 0.98)],
)
def test_recall_after_a_turnover_is_as_stated(kind: str, stated: float) -> None:
    index, before = turned_over(kind)
    assert min(before, index.recall()) >= stated


def test_one_byte_per_coordinate_needs_rescoring() -> None:
    recalls = []
    for rescored in (1, 4):
        index: Any = make_index("ivf-sq8", DIM, rescored=rescored)
        # One coordinate far from the others takes up the range of nothing but itself; noise of 1e-3 is below a byte.
        vectors = 1 + 1e-3 * np.random.default_rng(0).standard_normal((N, DIM)).astype(np.float32)
        vectors[:2] = [[5.0], [-5.0]]
        index.add(np.arange(N), vectors)
        index.search(draw(topics(0), SAMPLE, 1), 100)
        recalls.append(index.recall())
    assert recalls[0] < 0.5
    assert recalls[1] > recalls[0] + 0.05


def test_tombstones_never_pass_their_share_and_are_never_returned() -> None:
    index: Any = make_index("hnsw", DIM, recall_drop=1e9)
    index.add(np.arange(300), draw(topics(0), 300, 1))
    most, queries = 0, draw(topics(0), 10, 2)
    for i in range(30):
        index.remove(np.arange(10 * i, 10 * i + 10))
        index.add(np.arange(300 + 10 * i, 310 + 10 * i), draw(topics(0), 10, 3 + i))
        rows = index._finder._id_of[:-1]
        assert len(rows) == index._finder._index.ntotal
        dead = int(np.count_nonzero(rows < 0))
        assert dead <= 0.3 * len(rows)
        assert set(rows[rows >= 0]) == set(index.ids)
        most = max(most, dead)
        assert set(index.search(queries, 40)[0].ravel()) <= set(index.ids)
        assert (index._finder.find(queries, 40)[1] >= 0).all()  # tombstones take no room in what is found
    assert most > 50  # the graph is not built anew each time


def builds_of(index: ApproximateIndex) -> list[int]:
    """Sizes at each build from now on."""
    sizes: list[int] = []
    build = index._finder.build
    index._finder.build = lambda ids, vectors: (sizes.append(len(ids)), build(ids, vectors))[1]  # type: ignore[method-assign]
    return sizes


def test_growth_one_by_one_builds_a_logarithmic_number_of_times() -> None:
    index: Any = make_index("ivf", 2)
    sizes = builds_of(index)
    for i in range(400):
        index.add(np.array([i]), np.ones((1, 2), dtype=np.float32))
    assert 5 < len(sizes) < 20
    assert all(later >= 1.4 * former for former, later in itertools.pairwise(sizes[2:]))


def test_a_build_does_not_depend_on_the_history() -> None:
    states = []
    for seed in (1, 2):
        order = np.random.default_rng(seed).permutation(N)
        for kind in ("ivf", "hnsw"):
            index: Any = make_index(kind, DIM)
            index.add(order, draw(topics(0), N, 1)[order])
            index.rebuild()
            states.append(index.snapshot()["finder/faiss"].tobytes())
    assert states[0] == states[2]
    assert states[1] == states[3]


def test_the_sample_is_the_latest_queries_however_they_came() -> None:
    queries = draw(topics(0), 3 * SAMPLE + 5, 1)
    samples = []
    for size in (1, 7, 64, 1000):
        upkeep = Upkeep(DIM, Schedule())
        for i in range(0, len(queries), size):
            upkeep.remember(queries[i : i + size], 9)
        sample, k = upkeep.sample
        assert k == 9
        samples.append(sample.tobytes())
    assert len(set(samples)) == 1
    assert {row.tobytes() for row in sample} == {row.tobytes() for row in queries[-SAMPLE:]}


def test_cells_by_size() -> None:
    assert [cells_of(n) for n in (0, 38, 1000, 10_000, 100_000, 1_000_000)] == [1, 1, 25, 256, 1265, 4000]


# Scales: the caution of docs/mathematics.md 8.3


def with_hours(num_articles: int, spread: float) -> tuple[np.ndarray, np.ndarray]:
    """Embeddings with a column of hours, and readers to whom 24 hours are worth 2.4 standard deviations."""
    rng = np.random.default_rng(5)
    vectors, queries = 0.1 * draw(topics(0), num_articles, 1), draw(topics(0), SAMPLE, 2)
    hours = spread * rng.uniform(0, 48, num_articles)
    rate = np.full(SAMPLE, 0.1 * (queries @ vectors.T).std() / spread)
    return np.column_stack([vectors, hours]).astype(np.float32), np.column_stack([queries, rate]).astype(np.float32)


@pytest.mark.parametrize("kind", ["ivf:nprobe=8", "hnsw"])
def test_hours_in_a_column_ruin_recall_unless_scaled(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    vectors, queries = with_hours(N, 1.0)
    unscaled = Geometry(np.zeros(DIM + 1, dtype=np.float32), np.ones(DIM + 1, dtype=np.float32))
    recalls = []
    for scaled in (True, False):
        if not scaled:
            monkeypatch.setattr(Geometry, "of", lambda _: unscaled)
        index: Any = make_index(kind, DIM + 1)
        index.add(np.arange(N), vectors)
        exact = make_index("exact", DIM + 1)
        exact.add(np.arange(N), vectors)
        ids, scores = index.search(queries, N)  # all of them: the scores are those of the vectors, whatever the scale
        assert np.array_equal(np.sort(ids, axis=1), np.tile(np.arange(N), (len(queries), 1)))
        # faiss adds up in another order than numpy does.
        np.testing.assert_allclose(scores, exact.search(queries, N)[1], rtol=1e-4, atol=1e-4)
        index.search(queries, 20)
        recalls.append(index.recall())
    assert recalls[0] > 0.9
    assert recalls[1] < 0.6


def test_only_columns_of_outlying_spread_are_scaled() -> None:
    rng = np.random.default_rng(0)
    spread = np.array([1, 2, 0.5, 1, 0, 3, 100, 1e30])
    vectors = (rng.standard_normal((4000, 8)) * spread + 7).astype(np.float32)
    scale = column_scale_of(vectors)
    np.testing.assert_array_equal(scale[:6], 1)
    np.testing.assert_allclose(scale[6:], 2 / spread[6:], rtol=0.1)  # 2: the median of what moves
    geometry = Geometry.of(vectors)
    placed = geometry.items(vectors)
    np.testing.assert_allclose(placed.mean(axis=0), 0, atol=0.1)
    np.testing.assert_allclose(placed[:, :6], vectors[:, :6] - vectors[:, :6].mean(axis=0), atol=1e-5)
    scaled = rng.standard_normal((5, 8)) / np.array([1, 1, 1, 1, 1, 1, 100, 1e30])
    queries = scaled.astype(np.float32)
    here = geometry.queries(queries).astype(float) @ placed.T.astype(float)
    there = queries.astype(float) @ vectors.T.astype(float)
    np.testing.assert_allclose(np.ptp(here - there, axis=1), 0, atol=1e-4)
    assert column_scale_of(vectors[:0]).tolist() == [1] * 8
    assert column_scale_of(vectors[:1]).tolist() == [1] * 8


@pytest.mark.parametrize("kind", ["hnsw:ef=100", "ivf:nprobe=16", "ivf-sq8:nprobe=16"])
def test_what_all_vectors_have_in_common_hides_nothing(kind: str) -> None:
    """As text embeddings do, they lie in a narrow cone: hnsw found a sixth of the best."""
    rng = np.random.default_rng(0)
    vectors = 0.05 * rng.standard_normal((6000, 32), dtype=np.float32)
    queries = rng.standard_normal((64, 32), dtype=np.float32)
    found = []
    for common in (0.0, 3.0):
        rows = vectors.copy()
        rows[:, 0] += common
        index = make_index(kind, 32)
        index.add(np.arange(6000), rows, np.zeros(6000))
        best = np.argsort(-(queries @ rows.T), axis=1)[:, :100]
        ids, _ = index.search(queries, 100)
        found.append(np.mean([len(np.intersect1d(a, b)) for a, b in zip(ids, best, strict=True)]))
    assert found[1] > found[0] - 1.0
    assert found[0] > (95.0 if kind.startswith("hnsw") else 10.0)


def test_the_scale_stays_from_one_build_to_the_next() -> None:
    index: Any = make_index("ivf", DIM + 1, recall_drop=1e9)
    index.add(np.arange(N), with_hours(N, 1.0)[0])
    first = index._geometry
    index.add(np.arange(N, N + 100), with_hours(100, 1e3)[0])
    assert index._geometry is first
    index.update(index.ids.copy(), with_hours(N + 100, 1e3)[0])
    assert index._geometry.scale[-1] < first.scale[-1] / 500


# All vectors anew


def rebased(vectors: np.ndarray, hours: float) -> np.ndarray:
    """The last two columns are hours since a reference, and exp(hours / 24): the reference moves on."""
    moved = vectors.copy()
    moved[:, -2] -= np.float32(hours)
    moved[:, -1] *= np.float32(math.exp(-hours / 24))
    return moved


def aged(num_articles: int) -> np.ndarray:
    hours = np.random.default_rng(3).uniform(0, 48, num_articles)
    return np.column_stack([draw(topics(0), num_articles, 1), hours, np.exp(hours / 24)]).astype(np.float32)


@pytest.mark.parametrize("kind", ["ivf:nprobe=6+nlist=50", "ivf-sq8:nprobe=6+nlist=50", "hnsw"])
def test_a_rebase_of_age_columns_builds_nothing_and_changes_no_answer(kind: str) -> None:
    vectors, queries = aged(N), np.column_stack([draw(topics(0), SAMPLE, 2), np.tile([0.1, 2.0], (SAMPLE, 1))])
    index: Any = make_index(kind, DIM + 2)
    index.add(np.arange(N), vectors)
    sizes, placed = builds_of(index), index.snapshot()["finder/faiss"].tobytes()
    first, _ = index.search(queries.astype(np.float32), 20)
    before = index.recall()
    order = np.random.default_rng(4).permutation(N)
    for day in range(1, 4):
        index.update(order, rebased(vectors, 24.0 * day)[order])
        queries[:, -1] *= math.e  # what the reader's column does
        ids, scores = index.search(queries.astype(np.float32), 20)
        # All scores of a query are shifted alike: the same candidates, the same order but for near ties.
        assert np.mean(ids == first) > 0.98
        gathered = rebased(vectors, 24.0 * day)[ids]
        np.testing.assert_allclose(scores, np.einsum("bd,bkd->bk", queries, gathered), rtol=1e-4, atol=1e-3)
        assert abs(index.recall() - before) < 0.005
    assert sizes == []
    assert index.snapshot()["finder/faiss"].tobytes() == placed


@pytest.mark.parametrize("kind", ["ivf:nprobe=6", "hnsw"])
def test_small_steps_of_all_vectors_keep_recall_and_cells_as_long_as_they_can(kind: str) -> None:
    """Cells stay for a drift of a tenth of the spread; a graph cannot move at all."""
    rng, vectors = np.random.default_rng(0), draw(topics(0), N, 1)
    index: Any = make_index(kind, DIM)
    index.add(np.arange(N), vectors)
    index.search(draw(topics(0), SAMPLE, 2), 20)
    before, sizes = index.recall(), builds_of(index)
    for step in range(1, 9):
        vectors = (vectors + 0.03 * vectors.std(axis=0) * rng.standard_normal(vectors.shape)).astype(np.float32)
        placed = index.snapshot()["finder/faiss"].tobytes()
        index.update(np.arange(N), vectors)
        assert index.snapshot()["finder/faiss"].tobytes() != placed
        assert index.recall() > before - 0.02
        assert len(sizes) == step // 4  # at .12 and .24
    sizes.clear()
    index.update(np.arange(N), draw(topics(1), N, 9))  # as a training does
    assert sizes == [N]


def test_how_far_all_vectors_have_moved() -> None:
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((4000, 6)) * np.array([1, 1, 1, 1, 50, 1]) + np.array([0, 5, 0, 0, 9, 0])
    vectors = vectors.astype(np.float32)
    geometry = Geometry.of(vectors)
    assert geometry.scale[4] < 0.1
    same, moved = geometry.following(vectors, vectors.copy())
    assert moved == 0
    assert same.scale.tolist() == geometry.scale.tolist()
    assert same.centre.tolist() == geometry.centre.tolist()
    stretched = (vectors * np.array([1, 2, 1, 1, 0.5, 1]) + np.array([0, 0, 700, 0, -3e4, 0])).astype(np.float32)
    followed, moved = geometry.following(vectors, stretched)
    assert moved < 1e-3
    np.testing.assert_allclose(followed.items(stretched), geometry.items(vectors), atol=2e-2)
    # A tenth of each column's spread, at random: a tenth.
    noisy = (vectors + 0.1 * vectors.std(axis=0) * rng.standard_normal(vectors.shape)).astype(np.float32)
    assert geometry.following(vectors, noisy)[1] == pytest.approx(0.1, rel=0.03)
    assert geometry.following(vectors, vectors[::-1].copy())[1] > 0.9
    assert geometry.following(vectors, 9 - vectors)[1] > 1.9  # a column turned round
    assert geometry.following(vectors[:1], vectors[1:2])[1] == 0  # one article: a shift
    assert geometry.following(np.zeros_like(vectors), vectors)[1] == math.inf


# Sizes and shards


def test_auto_follows_the_size_with_hysteresis() -> None:
    index: Any = make_index("auto:ivf_above=100+sq8_above=200", 2)
    assert isinstance(index, AutoIndex)
    seen, size = [], 0
    for target in (50, 100, 101, 90, 81, 79, 99, 150, 201, 161, 159, 500, 10, 0):
        if target > size:
            index.add(np.arange(size, target), np.ones((target - size, 2), dtype=np.float32))
        else:
            index.remove(np.arange(target, size))
        size = target
        seen.append((target, index.kind))
        assert len(index) == size
        assert index.exact == (index.kind == "exact")
        ids, _ = index.search(np.ones((1, 2), dtype=np.float32), 7)
        assert ids[0, : min(7, size)].tolist() == list(range(min(7, size)))
    kinds = ["exact", "exact", "ivf", "ivf", "ivf", "exact", "exact", "ivf", "ivf-sq8", "ivf-sq8", "ivf", "ivf-sq8"]
    assert [kind for _, kind in seen] == [*kinds, "exact", "exact"]

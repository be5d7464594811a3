"""The benchmark of indexes measures what it says; no assertion here depends on the machine's speed."""

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from feedgym.agents.retrieval.registry import make_index
from feedgym.experiments.benchmarks import index_tables as benchmark_index_tables
from feedgym.experiments.benchmarks import indexes as benchmark_indexes
from feedgym.experiments.benchmarks.bare_faiss import bare_of
from feedgym.experiments.benchmarks.indexes import (
    DIM,
    REFRESHED,
    REFRESHES,
    SEARCHED,
    refresh_figures,
    search_figures,
    take_turns,
    topic_vectors,
)

LIVE = 600


def filled() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    topics = topic_vectors(rng, np.zeros((1, DIM), dtype=np.float32), 20)
    hours = np.linspace(0, 48, LIVE, endpoint=False)
    return topic_vectors(rng, topics, LIVE), hours, topic_vectors(rng, topics, 40)


@pytest.mark.parametrize("kind", [*SEARCHED, "ivf-sq8:nprobe=64"])
def test_the_bare_calls_do_the_same_work(kind: str) -> None:
    """Same lists or graph, same parameters: they find what ours finds, but for near ties and too short lists."""
    vectors, hours, queries = filled()
    index = make_index(kind, DIM)
    index.add(np.arange(LIVE), vectors, hours)
    ours, _ = index.search(queries, 20)
    bare = bare_of(kind, vectors).search(queries, 20)
    same = np.mean([len(set(a) & set(b)) / 20 for a, b in zip(ours.tolist(), bare.tolist(), strict=True)])
    assert same > 0.98
    if kind.startswith("ivf:nprobe=16"):
        other = bare_of("ivf:nprobe=1", vectors).search(queries, 20)
        assert np.mean(other == bare) < 0.9  # settings arrive


@pytest.mark.parametrize("kind", ["ivf", "ivf-sq8"])
def test_a_bare_refresh_exchanges_articles(kind: str) -> None:
    vectors, _, queries = filled()
    bare: Any = bare_of(kind + ":nprobe=64", vectors)
    bare.refresh(np.arange(LIVE // 2), np.arange(LIVE, LIVE + 5), 3 * queries[:5], np.full(5, 50.0))
    assert bare._lists.ntotal == LIVE // 2 + 5
    if kind == "ivf":
        found = bare.search(queries[:5], 1)[:, 0]
        assert set(found) <= set(range(LIVE, LIVE + 5))


def test_ways_take_turns_with_other_queries_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, calls = [0.0], list[tuple[str, float]]()
    monkeypatch.setattr(time, "process_time", lambda: clock[0])

    def way(name: str, seconds: float) -> Callable[[np.ndarray], None]:
        def call(queries: np.ndarray) -> None:
            assert queries.shape == (2, 1)
            calls.append((name, float(queries[0, 0])))
            clock[0] += seconds

        return call

    pool = np.arange(8, dtype=np.float32)[:, None]
    seconds = take_turns({"a": way("a", 0.1), "b": way("b", 0.2)}, pool, 2, rounds=3, seconds_each=0.4)
    assert seconds["a"] == pytest.approx([0.1] * 3)
    assert seconds["b"] == pytest.approx([0.2] * 3)
    turns = calls[4:]  # after the tries
    assert [name for name, _ in turns] == (["a"] * 4 + ["b"] * 2) * 3
    assert [first for _, first in turns[:4]] == [0, 2, 4, 6]


def test_upkeep_checks_recall_once_a_round_and_nothing_builds(monkeypatch: pytest.MonkeyPatch) -> None:
    from feedgym.agents.retrieval.approximate import ApproximateIndex

    counts = {"recall": 0, "rebuild": 0}
    for name in counts:
        inner = getattr(ApproximateIndex, name)

        def counted(self: Any, name: str = name, inner: Any = inner) -> Any:
            counts[name] += 1
            return inner(self)

        monkeypatch.setattr(ApproximateIndex, name, counted)
    rounds = 3
    (figures,) = refresh_figures(LIVE, rounds, ("ivf",))
    # Built: at the first filling of two, when builds are measured, and before the rebase. Each measures recall.
    assert counts["rebuild"] == 4
    assert counts["recall"] - counts["rebuild"] == rounds * REFRESHES * 12 // 150
    assert figures.faiss_ms > 0
    assert figures.build_ms > figures.rebase_ms > 0  # k-means is the more work: an order of magnitude


def test_tables_have_a_row_for_each_size_and_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(benchmark_indexes, "BATCHES", (1, 8))
    searched = search_figures(LIVE, 1, 1e-4, ("exact", "ivf:nprobe=16"))
    text = benchmark_index_tables.search_table(searched)
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.strip().splitlines()[2:]]
    assert [row[:2] for row in rows] == [["600", "`exact`"], ["600", "`ivf:nprobe=16`"]]
    assert rows[1][3] == f"{searched[3].faiss_ms:.3f}, {searched[3].ratio:.2f}"
    exact, ivf = searched[0], searched[2]
    assert (exact.kind, exact.batch, ivf.kind, ivf.batch) == ("exact", 1, "ivf:nprobe=16", 1)
    assert exact.recall == exact.bare_recall == 1
    assert 0.5 < ivf.recall <= 1
    refreshed = refresh_figures(LIVE, 1, REFRESHED)
    assert [f.kind for f in refreshed] == list(REFRESHED)
    assert {f.kind for f in refreshed if f.build_ms == 0} == {"exact"}
    table = benchmark_index_tables.refresh_table(refreshed)
    assert len(table.strip().splitlines()) == 2 + len(REFRESHED)
    assert f"{refreshed[2].ratio:.2f}" in table

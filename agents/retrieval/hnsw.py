"""HNSW: a graph of neighbours, walked from layer to layer (Malkov & Yashunin, TPAMI 2020; faiss).

It cannot delete: what is gone stays in the graph as a tombstone, walked through and never returned, until 30 % of the
rows are dead and the graph is built anew. The best recall per comparison at large n, and the worst refresh.
Letters: B queries, n articles in the index, d coordinates.
"""

from typing import Any

import faiss
import numpy as np

from feedgym.agents.retrieval.approximate import ApproximateIndex
from feedgym.agents.retrieval.kernels.by_id import ById
from feedgym.agents.retrieval.kernels.checks import check_whole
from feedgym.agents.retrieval.kernels.order import nothing
from feedgym.agents.retrieval.upkeep import Schedule
from feedgym.env.arrays import Arrays, Floats, Ints
from feedgym.env.checks import require

_faiss: Any = faiss  # its stubs do not know all that is used here


class HnswFinder:
    """Graph of faiss with tombstones.

    Args:
        dim: d.
        m: neighbours of a row on each layer, twice that on the lowest.
        ef_construction: candidates while linking.
        ef: candidates while searching; at least what is asked for.
        dead_share: tombstones at which the graph is worn.
        search_threads: OpenMP threads of faiss in a search.
    """

    # A walk scores four rows at a time, which on some processors rounds otherwise than a row alone.
    scores_exactly = False

    def __init__(self, dim: int, m: int, ef_construction: int, ef: int, dead_share: float, search_threads: int) -> None:
        require(isinstance(m, int | np.integer) and m >= 2, "m", m, "an integer >= 2")
        check_whole(ef_construction, "ef_construction")
        check_whole(ef, "ef")
        require(0 < dead_share <= 1, "dead_share", dead_share, "in (0, 1]")
        self._dim, self._m, self._ef_construction, self._ef = dim, m, ef_construction, ef
        self._dead_share, self._threads = dead_share, search_threads
        self._selector: Any = None  # of rows that are no tombstones, made when it is needed
        self.build(np.zeros(0, dtype=np.int64), np.zeros((0, dim), dtype=np.float32))

    @property
    def worn(self) -> bool:
        """Whether too many rows are dead."""
        return self._num_dead > self._dead_share * self._num_rows

    def build(self, ids: Ints, vectors: Floats) -> None:
        """Forget tombstones, and link these articles."""
        self._index: Any = faiss.IndexHNSWFlat(self._dim, self._m, faiss.METRIC_INNER_PRODUCT)
        self._index.hnsw.efConstruction = self._ef_construction
        # By row, -1: a tombstone. One more stands at the end: row -1, where faiss found nothing.
        self._id_of: Ints = np.full(1, -1, dtype=np.int64)
        self._row_of = ById()
        self._num_dead = 0
        self.add(ids, vectors)

    place = build  # Links are between places: a graph cannot move.

    def add(self, ids: Ints, vectors: Floats) -> None:
        """Link articles as new rows."""
        # With more threads the graph would depend on their race. Layers are drawn by the number of rows, so that a
        # restored graph goes on as the first would have: faiss does not store its generator.
        faiss.omp_set_num_threads(1)
        rows = self._num_rows
        self._index.hnsw.rng = _faiss.RandomGenerator(rows)
        self._index.add(vectors)
        self._row_of[ids] = np.arange(rows, rows + len(ids))
        self._id_of = np.concatenate([self._id_of[:-1], ids, self._id_of[-1:]])
        self._selector = None

    def remove(self, ids: Ints) -> None:
        """Make tombstones of these articles' rows."""
        self._id_of[self._row_of[ids]] = -1
        self._num_dead += len(ids)
        self._selector = None

    def find(self, queries: Floats, count: int) -> tuple[Floats, Ints]:
        """The best live rows met on the walk, scores (B, count) and ids (B, count)."""
        if self._num_dead == self._num_rows:
            return nothing(len(queries), count)
        faiss.omp_set_num_threads(self._threads)
        if self._num_dead and self._selector is None:
            # O(rows), once per change: a tenth of a millisecond at 100k rows, where a search takes two.
            self._selector = _faiss.IDSelectorBitmap(np.packbits(self._id_of[:-1] >= 0, bitorder="little"))
        found = _faiss.SearchParametersHNSW(efSearch=max(self._ef, count), sel=self._selector)
        scores, rows = self._index.search(queries, count, params=found)
        return scores, self._id_of[rows]

    @property
    def _num_rows(self) -> int:
        return len(self._id_of) - 1

    def snapshot(self) -> Arrays:
        """The graph in faiss's own bytes, tombstones included, and the article of each row."""
        return {"faiss": faiss.serialize_index(self._index).copy(), "id_of": self._id_of[:-1].copy()}

    def restore(self, state: Arrays) -> None:
        """Go back to a snapshot."""
        self._index = faiss.deserialize_index(state["faiss"])
        rows = state["id_of"]
        self._id_of = np.append(rows, np.int64(-1))
        live = np.flatnonzero(rows >= 0)
        self._row_of = ById()
        self._row_of[rows[live]] = live
        self._num_dead = len(rows) - len(live)
        self._selector = None


def hnsw_index(
    dim: int,
    *,
    m: int = 32,
    ef_construction: int = 40,
    ef: int = 100,
    dead_share: float = 0.3,
    recall_drop: float = 0.02,
    search_threads: int = 1,
) -> ApproximateIndex:
    """Make an empty HNSW index.

    Args:
        dim: d.
        m: neighbours of a row.
        ef_construction: candidates while linking.
        ef: candidates while searching: 100 found .98 of the top 100 at 10k articles, .92 at 100k (400: .98).
        dead_share: tombstones at which the graph is built anew.
        recall_drop: and when recall on the latest queries has fallen by this.
        search_threads: OpenMP threads of faiss.
    """
    finder = HnswFinder(dim, m, ef_construction, ef, dead_share, search_threads)
    # By turnover only as the catalogue doubles: the scale of its columns was taken of few articles.
    schedule = Schedule(retrain_share=1.0, recall_drop=recall_drop)
    return ApproximateIndex(dim, finder, schedule, search_threads=search_threads)

"""Exact retrieval from a slot array: one row per live article, searched whole by faiss (towers.md 3.3).

Letters: B queries, n articles in the index, d coordinates, k articles wanted, m articles of one update.
"""

from __future__ import annotations

from typing import TypeVar

import faiss
import numpy as np
import numpy.typing as npt

from feedgym.agents.indexes.checks import (
    check_ids,
    check_rows,
    check_vectors,
    check_whole,
    refuse_absent,
    refuse_present,
)
from feedgym.agents.indexes.order import best, sort_by_score
from feedgym.env.arrays import Doubles, Floats, Ints
from feedgym.env.checks import require

Array = TypeVar("Array", Ints, Floats)

_SPARE = 8
"""Articles fetched beyond k: faiss orders near ties by rounding, and rescoring may swap the last few."""
_BLOCK = 1 << 21
"""Floats gathered at a time while rescoring (8 MiB), so that memory does not grow with B k d."""
_UNIT_ROUNDOFF = 2.0**-24
_LARGEST = float(np.finfo(np.float32).max)


class SlotArrayIndex:
    """Exact search over a slot array: updates cost O(m), a removed slot is filled by the last row.

    Scores are recomputed from the stored vectors row by row, in float32, and sorted by (-score, id). So the
    answer to a query is the same to the last byte whatever else is in the batch and whatever order articles
    came and went in.
    """

    exact = True

    def __init__(self, dim: int, *, capacity: int = 1024, search_threads: int = 1) -> None:
        """Make an empty index.

        Args:
            dim: d, coordinates of a vector.
            capacity: slots to allocate at first; doubled when full.
            search_threads: OpenMP threads of faiss (a global of faiss, set at every search). On busy cores a
                second thread spins at barriers: towers.md 3 saw 22,000 queries a second fall to 33.
        """
        for name, value in (("dim", dim), ("capacity", capacity), ("search_threads", search_threads)):
            check_whole(value, name)
        self.dim = int(dim)
        self.search_threads = int(search_threads)
        self._count = 0
        self._ids: Ints = np.empty(capacity, dtype=np.int64)
        self._vectors: Floats = np.empty((capacity, dim), dtype=np.float32)
        # Ids are dense and grow, so a plain array maps them to slots: 4 bytes per article ever published.
        self._slot_of: npt.NDArray[np.int32] = np.full(capacity, -1, dtype=np.int32)
        self._largest_norm = 0.0

    def __len__(self) -> int:
        """Number of articles in the index."""
        return self._count

    @property
    def ids(self) -> Ints:
        """Live article ids in slot order, (n,): a read-only view, valid until the next change."""
        return _read_only(self._ids[: self._count])

    @property
    def vectors(self) -> Floats:
        """Their vectors, float32 (n, d): a read-only view, valid until the next change."""
        return _read_only(self._vectors[: self._count])

    def add(self, ids: Ints, vectors: Floats, published_hours: Doubles | None = None) -> None:
        """Insert new articles (m,) with float32 vectors (m, d); nothing changes if any of them is refused.

        ``published_hours`` is not looked at: see ``ItemIndex``.
        """
        self._check(ids, vectors)
        refuse_present(ids, self._slots(ids) >= 0)
        count = self._count + len(ids)
        self._grow(count, int(ids.max(initial=-1)) + 1)
        self._ids[self._count : count] = ids
        self._vectors[self._count : count] = vectors
        self._slot_of[ids] = np.arange(self._count, count, dtype=np.int32)
        self._count = count

    def update(self, ids: Ints, vectors: Floats) -> None:
        """Overwrite the vectors of articles (m,) that are present, as a re-embedding does."""
        self._check(ids, vectors)
        self._vectors[self._present(ids)] = vectors

    def remove(self, ids: Ints) -> None:
        """Take articles (m,) out; nothing changes if any of them is absent."""
        check_ids(ids)
        slots = self._present(ids)
        kept = self._count - len(slots)
        removed = np.zeros(len(slots), dtype=np.bool_)  # of the last m slots
        removed[slots[slots >= kept] - kept] = True
        movers = kept + np.flatnonzero(~removed)
        holes = np.sort(slots[slots < kept])
        self._ids[holes] = self._ids[movers]
        self._vectors[holes] = self._vectors[movers]
        self._slot_of[ids] = -1
        self._slot_of[self._ids[holes]] = holes
        self._count = kept

    def search(self, queries: Floats, k: int) -> tuple[Ints, Floats]:
        """The k articles of largest inner product, ties to the smaller id.

        Args:
            queries: float32 (B, d), finite.
            k: articles wanted, >= 1.

        Returns:
            Article ids int64 (B, k) and scores float32 (B, k); beyond n articles the ids are -1 and the
            scores -inf.
        """
        norm = self.check_queries(queries, k)
        ids: Ints = np.full((len(queries), k), -1, dtype=np.int64)
        scores: Floats = np.full((len(queries), k), -np.inf, dtype=np.float32)
        if self._count == 0 or len(queries) == 0:
            return ids, scores
        queries = np.ascontiguousarray(queries)
        live = self._vectors[: self._count]
        wanted, fetched = min(k, self._count), min(k + _SPARE, self._count)
        approximate, slots = _faiss_search(queries, live, fetched, self.search_threads)
        step = max(1, _BLOCK // (fetched * self.dim))
        for start in range(0, len(queries), step):
            rows = slice(start, start + step)
            exact = np.einsum("bd,bkd->bk", queries[rows], live[slots[rows]])
            ids[rows, :wanted], scores[rows, :wanted] = sort_by_score(exact, self._ids[slots[rows]], wanted)
        if fetched < self._count:
            # Whatever was not fetched scores at most the last fetched one, plus the rounding of two sums of d
            # products (Higham 2002, eq. 3.5). Where that reaches the k-th score, as with many equal vectors,
            # look at all.
            slack = 2 * self.dim * _UNIT_ROUNDOFF * norm * self._largest_norm
            doubtful: Ints = np.flatnonzero(approximate[:, -1] + slack >= scores[:, wanted - 1])
            self._search_all(queries, doubtful, ids, scores)
        return ids, scores

    def rescore(self, queries: Floats, candidates: Ints, k: int) -> tuple[Ints, Floats]:
        """As ``search``, but among each query's candidates alone: what an approximate index has found.

        Args:
            queries: float32 (B, d), see ``check_queries``.
            candidates: article ids (B, w), distinct in a row; -1 and articles that are absent are passed over.
            k: articles wanted.

        Returns:
            Article ids int64 (B, k) and scores float32 (B, k), padded with -1 and -inf.
        """
        ids: Ints = np.full((len(queries), k), -1, dtype=np.int64)
        scores: Floats = np.full((len(queries), k), -np.inf, dtype=np.float32)
        queries = np.ascontiguousarray(queries)  # einsum adds up in the order of the memory
        slots = np.where(candidates >= 0, self._slots(np.maximum(candidates, 0)), np.int32(-1))
        step = max(1, _BLOCK // max(1, slots.shape[1] * self.dim))
        for start in range(0, len(queries), step):
            rows = slice(start, start + step)
            # Slot 0 stands in for what is not there.
            exact = np.einsum("bd,bkd->bk", queries[rows], self._vectors[np.maximum(slots[rows], 0)])
            exact[slots[rows] < 0] = -np.inf
            ids[rows], scores[rows] = best(exact, candidates[rows], k)
        return ids, scores

    def check_queries(self, queries: Floats, k: int) -> Doubles:
        """Refuse what cannot be searched for; the norms of the queries (B,)."""
        check_vectors(queries, self.dim, "queries")
        check_whole(k, "k")
        norm: Doubles = np.sqrt(np.einsum("bd,bd->b", queries, queries, dtype=np.float64))
        reach = float(norm.max(initial=0.0)) * self._largest_norm
        require(reach < _LARGEST, "queries", f"scores up to {reach:.3g}", f"scores below {_LARGEST:.3g}")
        return norm

    def recall(self) -> float:
        """1: exact search misses nothing."""
        return 1.0

    def rebuild(self) -> None:
        """Do nothing: exact search loses no recall under churn."""

    def snapshot(self) -> dict[str, npt.NDArray[np.generic]]:
        """The complete state, in slot order: ``ids`` int64 (n,) and ``vectors`` float32 (n, d)."""
        return {"ids": self._ids[: self._count].copy(), "vectors": self._vectors[: self._count].copy()}

    def restore(self, state: dict[str, npt.NDArray[np.generic]]) -> None:
        """Go back to the state that ``snapshot`` returned, replacing what is in the index."""
        missing = {"ids", "vectors"} - set(state)
        require(not missing, "state", sorted(state), "the keys ids and vectors")
        fresh = SlotArrayIndex(self.dim, capacity=max(1, len(state["ids"])), search_threads=self.search_threads)
        fresh.add(state["ids"], state["vectors"])  # type: ignore[arg-type]  # add checks the dtypes
        self.__dict__.update(fresh.__dict__)

    def _search_all(self, queries: Floats, rows: Ints, ids: Ints, scores: Floats) -> None:
        """Answer these rows from the scores of all n articles, in place."""
        live, k = self._vectors[: self._count], min(ids.shape[1], self._count)
        step = max(1, _BLOCK // self._count)
        for start in range(0, len(rows), step):
            part = rows[start : start + step]
            # The same subscripts as above, so the same bytes; all rows read one array, nothing is gathered.
            everyone = np.broadcast_to(live, (len(part), *live.shape))
            exact = np.einsum("bd,bkd->bk", queries[part], everyone)
            who = np.broadcast_to(self._ids[: self._count], exact.shape)
            ids[part, :k], scores[part, :k] = sort_by_score(exact, who, k)

    def _slots(self, ids: Ints) -> npt.NDArray[np.int32]:
        """Slot of each article (m,), -1 if absent."""
        known = ids < len(self._slot_of)
        return np.where(known, self._slot_of[np.where(known, ids, 0)], np.int32(-1))

    def _present(self, ids: Ints) -> npt.NDArray[np.int32]:
        slots = self._slots(ids)
        refuse_absent(ids, slots < 0)
        return slots

    def _grow(self, count: int, num_ids: int) -> None:
        """Make room for ``count`` slots and for the ids below ``num_ids``, by doubling."""
        if count > len(self._ids):
            capacity = max(count, 2 * len(self._ids))
            ids, vectors = self._ids, self._vectors
            self._ids = np.empty(capacity, dtype=np.int64)
            self._vectors = np.empty((capacity, self.dim), dtype=np.float32)
            self._ids[: self._count] = ids[: self._count]
            self._vectors[: self._count] = vectors[: self._count]
        if num_ids > len(self._slot_of):
            slot_of = np.full(max(num_ids, 2 * len(self._slot_of)), -1, dtype=np.int32)
            slot_of[: len(self._slot_of)] = self._slot_of
            self._slot_of = slot_of

    def _check(self, ids: Ints, vectors: Floats) -> None:
        check_rows(ids, vectors, self.dim)
        norms = np.einsum("md,md->m", vectors, vectors, dtype=np.float64)
        # Only ever raised, so O(m): too large a bound costs a few rows of _search_all, no correctness.
        self._largest_norm = max(self._largest_norm, float(np.sqrt(norms.max(initial=0.0))))


def _faiss_search(queries: Floats, live: Floats, k: int, threads: int) -> tuple[Floats, Ints]:
    """Scores (B, k) up to rounding, and slots (B, k), of the k largest inner products."""
    faiss.omp_set_num_threads(threads)
    # faiss >= 1.15 avoids BLAS while B d < 128000: 3.8 times slower at 64 queries of 100k articles (towers.md
    # 3, trap 2). Eight queries are the measured crossover. Older versions have no such global, and take BLAS
    # from 20 queries on.
    if hasattr(faiss.cvar, "distance_compute_blas_threshold"):
        faiss.cvar.distance_compute_blas_threshold = 8 * live.shape[1]
    scores, slots = faiss.knn(queries, live, k, metric=faiss.METRIC_INNER_PRODUCT)
    return scores, slots


def _read_only(view: Array) -> Array:
    view.flags.writeable = False
    return view

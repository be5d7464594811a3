"""Exact retrieval from a slot array: one row per live article, searched whole by faiss (towers.md 3.3).

Letters: B queries, n articles in the index, d coordinates, k articles wanted, m articles of one update.
"""

from __future__ import annotations

from typing import TypeVar

import faiss
import numpy as np
import numpy.typing as npt

from feedgym.env.checks import require

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]
Array = TypeVar("Array", Ints, Floats)

_SPARE = 8
"""Articles fetched beyond k: faiss orders near ties by rounding, and rescoring may swap the last few."""
_BLOCK = 1 << 21
"""Floats gathered at a time while rescoring (8 MiB), so that memory does not grow with B k d."""
_MAX_ID = 2**31 - 1
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
            require(isinstance(value, int | np.integer) and value >= 1, name, value, "an integer >= 1")
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

    def add(self, ids: Ints, vectors: Floats) -> None:
        """Insert new articles (m,) with float32 vectors (m, d); nothing changes if any of them is refused."""
        self._check(ids, vectors)
        self._refuse(ids, self._slots(ids) >= 0, "which is in the index already", "new articles (see update)")
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
        self._check(ids, None)
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
        self._check_vectors(queries, "queries")
        require(isinstance(k, int | np.integer) and k >= 1, "k", k, "an integer >= 1")
        ids: Ints = np.full((len(queries), k), -1, dtype=np.int64)
        scores: Floats = np.full((len(queries), k), -np.inf, dtype=np.float32)
        if self._count == 0 or len(queries) == 0:
            return ids, scores
        norm = np.sqrt(np.einsum("bd,bd->b", queries, queries, dtype=np.float64))
        reach = float(norm.max()) * self._largest_norm
        require(reach < _LARGEST, "queries", f"scores up to {reach:.3g}", f"scores below {_LARGEST:.3g}")

        queries = np.ascontiguousarray(queries)
        live = self._vectors[: self._count]
        wanted, fetched = min(k, self._count), min(k + _SPARE, self._count)
        approximate, slots = _faiss_search(queries, live, fetched, self.search_threads)
        step = max(1, _BLOCK // (fetched * self.dim))
        for start in range(0, len(queries), step):
            rows = slice(start, start + step)
            exact = np.einsum("bd,bkd->bk", queries[rows], live[slots[rows]])
            ids[rows, :wanted], scores[rows, :wanted] = _sort_by_score(exact, self._ids[slots[rows]], wanted)
        if fetched < self._count:
            # Whatever was not fetched scores at most the last fetched one, plus the rounding of two sums of d
            # products (Higham 2002, eq. 3.5). Where that reaches the k-th score, as with many equal vectors,
            # look at all.
            slack = 2 * self.dim * _UNIT_ROUNDOFF * norm * self._largest_norm
            doubtful: Ints = np.flatnonzero(approximate[:, -1] + slack >= scores[:, wanted - 1])
            self._search_all(queries, doubtful, ids, scores)
        return ids, scores

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
            ids[part, :k], scores[part, :k] = _sort_by_score(exact, who, k)

    def _slots(self, ids: Ints) -> npt.NDArray[np.int32]:
        """Slot of each article (m,), -1 if absent."""
        known = ids < len(self._slot_of)
        return np.where(known, self._slot_of[np.where(known, ids, 0)], np.int32(-1))

    def _present(self, ids: Ints) -> npt.NDArray[np.int32]:
        slots = self._slots(ids)
        self._refuse(ids, slots < 0, "which is not in the index", "articles of the index, see ids")
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

    def _check(self, ids: Ints, vectors: Floats | None) -> None:
        fits = isinstance(ids, np.ndarray) and ids.dtype == np.int64 and ids.ndim == 1
        require(fits, "ids", _kind(ids), "an int64 array (m,)")
        self._refuse(ids, (ids < 0) | (ids >= _MAX_ID), "", f"article ids from 0 to {_MAX_ID - 1}")
        ordered = np.sort(ids)
        twice = ordered[1:][ordered[1:] == ordered[:-1]]
        require(not len(twice), "ids", f"article {twice[:1]} twice", "distinct articles")
        if vectors is not None:
            self._check_vectors(vectors, "vectors")
            require(len(vectors) == len(ids), "vectors", vectors.shape, f"{len(ids)} rows, one per id")
            norms = np.einsum("md,md->m", vectors, vectors, dtype=np.float64)
            # Only ever raised, so O(m): too large a bound costs a few rows of _search_all, no correctness.
            self._largest_norm = max(self._largest_norm, float(np.sqrt(norms.max(initial=0.0))))

    def _check_vectors(self, vectors: Floats, name: str) -> None:
        fits = isinstance(vectors, np.ndarray) and vectors.dtype == np.float32
        fits = fits and vectors.ndim == 2 and vectors.shape[1] == self.dim
        require(fits, name, _kind(vectors), f"a float32 array (rows, {self.dim})")
        bad = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
        require(not len(bad), name, f"NaN or inf in row {bad[:1]}", "finite numbers")

    def _refuse(self, ids: Ints, bad: Bools, why: str, allowed: str) -> None:
        if bad.any():
            require(False, "ids", f"article {int(ids[bad][0])} {why}".strip(), allowed)


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


def _sort_by_score(scores: Floats, ids: Ints, k: int) -> tuple[Ints, Floats]:
    """The first k of each row by (-score, id): ids (B, k) and scores (B, k), from (B, width).

    Score and id are packed into one integer, the score's bits (made monotone, IEEE 754) above the id's: a
    plain integer sort is 8 times faster than ``lexsort`` and gives both back.
    """
    bits = (scores + np.float32(0)).view(np.int32)  # + 0: -0.0 and 0.0 are a tie
    falling = ~_flip(bits)
    keys = (falling.astype(np.int64) << 32) | ids
    if keys.shape[1] > 4 * k:
        keys = np.partition(keys, k - 1, axis=1)[:, :k]
    keys = np.sort(keys, axis=1)[:, :k]
    return keys & 0xFFFFFFFF, _flip(~(keys >> 32).astype(np.int32)).view(np.float32)


def _flip(bits: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
    """Bits of a float32 as an integer in the same order as the float, and back: its own inverse."""
    return bits ^ ((bits >> 31) & np.int32(0x7FFFFFFF))


def _read_only(view: Array) -> Array:
    view.flags.writeable = False
    return view


def _kind(value: object) -> str:
    return f"{value.dtype} {value.shape}" if isinstance(value, np.ndarray) else type(value).__name__

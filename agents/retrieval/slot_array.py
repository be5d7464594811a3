"""Exact retrieval from a slot array: one row per live article, all of which are searched (docs/mathematics.md 7.3).

Letters: B queries, n articles in the index, d coordinates, k articles wanted, m articles of one update.
"""

from __future__ import annotations

from typing import TypeVar

import numpy as np
import numpy.typing as npt

from feedgym.agents.retrieval.kernels.by_id import ById
from feedgym.agents.retrieval.kernels.checks import (
    check_ids,
    check_queries,
    check_rows,
    check_whole,
    refuse_absent,
    refuse_present,
)
from feedgym.agents.retrieval.kernels.flat import largest_products
from feedgym.agents.retrieval.kernels.order import best, nothing
from feedgym.agents.retrieval.kernels.scores import faiss_scores, row_scores
from feedgym.env.arrays import Doubles, Floats, Ints
from feedgym.env.checks import require

Array = TypeVar("Array", Ints, Floats)

_SPARE = 8
"""Articles fetched beyond k: near ties are ordered by rounding, and rescoring may swap the last few."""
_BLOCK = 1 << 20
"""Scores of all articles that are kept at a time (4 MiB)."""
_UNIT_ROUNDOFF = 2.0**-24


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
                second thread spins at barriers: docs/mathematics.md 7.4 saw 22,000 queries a second fall to 33.
        """
        for name, value in (("dim", dim), ("capacity", capacity), ("search_threads", search_threads)):
            check_whole(value, name)
        self.dim = int(dim)
        self.search_threads = int(search_threads)
        self._count = 0
        self._ids: Ints = np.empty(capacity, dtype=np.int64)
        self._vectors: Floats = np.empty((capacity, dim), dtype=np.float32)
        self._slot_of = ById()
        self.largest_norm = 0.0
        """Bound of the norms of the vectors."""

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
        refuse_present(ids, self._slot_of[ids] >= 0)
        count = self._count + len(ids)
        self._grow(count)
        self._ids[self._count : count] = ids
        self._vectors[self._count : count] = vectors
        self._slot_of[ids] = np.arange(self._count, count)
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
        return self.search_checked(np.ascontiguousarray(queries), norm, k)

    def search_checked(self, queries: Floats, norm: Doubles, k: int) -> tuple[Ints, Floats]:
        """As ``search``, for C-contiguous queries (B, d) that have been checked, and their norms (B,)."""
        if self._count == 0 or len(queries) == 0:
            scores, ids = nothing(len(queries), k)
            return ids, scores
        candidates, of_candidates, bound = self.candidates(queries, norm, k)
        ids, scores = best(of_candidates, candidates, k)
        # Where the bound reaches the k-th score, as with many equal vectors, look at all.
        doubtful = bound >= scores[:, min(k, self._count) - 1]
        if np.count_nonzero(doubtful):
            self._search_all(queries, np.flatnonzero(doubtful), ids, scores)
        return ids, scores

    def candidates(self, queries: Floats, norm: Doubles, k: int) -> tuple[Ints, Floats, Doubles]:
        """A little more than the k best, up to rounding, where there is something to find.

        Returns:
            Article ids (B, w) and exact scores (B, w) in any order, and what all others score at most, (B,): -inf where
            there are none.
        """
        live, fetched = self._vectors[: self._count], min(k + _SPARE, self._count)
        least, slots = largest_products(queries, live, fetched, self.search_threads)
        # Whatever was not fetched scores at most the last fetched one, plus the rounding of two sums of d products
        # (Higham 2002, eq. 3.5).
        slack = (2 * self.dim * _UNIT_ROUNDOFF * self.largest_norm) * norm
        bound = least + slack if fetched < self._count else np.full(len(queries), -np.inf)
        return self._ids.take(slots), row_scores(queries, live, slots), bound

    def answer(self, queries: Floats, candidates: Ints, k: int, scores: Floats | None = None) -> tuple[Ints, Floats]:
        """As ``search``, but among each query's candidates alone: what an approximate index has found.

        Args:
            queries: float32 (B, d), see ``check_queries``.
            candidates: article ids (B, w), distinct in a row; -1 and articles that are absent are passed over.
            k: articles wanted.
            scores: of the candidates, (B, w), where faiss has computed them from the very same vectors; else they are
                computed here, with the same kernel of faiss and so the same bytes.

        Returns:
            Article ids int64 (B, k) and scores float32 (B, k), padded with -1 and -inf.
        """
        slots = self._slot_of[candidates]
        absent = slots < 0
        if scores is None:
            scores = faiss_scores(np.ascontiguousarray(queries), self._vectors, slots)
        if np.count_nonzero(absent):
            scores = np.where(absent, -np.inf, scores)
            candidates = np.where(absent, -1, candidates)
        return best(scores, candidates, k)

    def check_queries(self, queries: Floats, k: int) -> Doubles:
        """Refuse what cannot be searched for; the norms of the queries (B,)."""
        return check_queries(queries, self.dim, k, self.largest_norm)

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
            # The same subscripts as in row_scores, so the same bytes; all rows read one array, nothing is gathered.
            everyone = np.broadcast_to(live, (len(part), *live.shape))
            exact = np.einsum("bd,bwd->bw", queries[part], everyone)
            who = np.broadcast_to(self._ids[: self._count], exact.shape)
            ids[part, :k], scores[part, :k] = best(exact, who, k)

    def _present(self, ids: Ints) -> Ints:
        slots = self._slot_of[ids]
        refuse_absent(ids, slots < 0)
        return slots

    def _grow(self, count: int) -> None:
        """Make room for ``count`` slots, by doubling."""
        if count > len(self._ids):
            capacity = max(count, 2 * len(self._ids))
            ids, vectors = self._ids, self._vectors
            self._ids = np.empty(capacity, dtype=np.int64)
            self._vectors = np.empty((capacity, self.dim), dtype=np.float32)
            self._ids[: self._count] = ids[: self._count]
            self._vectors[: self._count] = vectors[: self._count]

    def _check(self, ids: Ints, vectors: Floats) -> None:
        # Only ever raised, so O(m): too large a bound costs a few rows of _search_all, no correctness.
        self.largest_norm = max(self.largest_norm, check_rows(ids, vectors, self.dim))


def _read_only(view: Array) -> Array:
    view.flags.writeable = False
    return view

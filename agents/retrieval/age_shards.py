"""Age shards: an exact index for each span of publication hours; what expires together is dropped as one.

The standing answer to churn (docs/mathematics.md 7.3): nothing is learned, so that nothing goes stale, and S shards
cost S searches whose top k are merged.
Letters: B queries, n articles in the index, d coordinates, k articles wanted, m articles of one update, S shards.
"""

from collections.abc import Callable

import numpy as np

from feedgym.agents.retrieval.kernels.by_id import ById
from feedgym.agents.retrieval.kernels.checks import (
    check_ids,
    check_queries,
    check_rows,
    check_whole,
    kind,
    refuse_absent,
    refuse_present,
)
from feedgym.agents.retrieval.kernels.order import best
from feedgym.agents.retrieval.slot_array import SlotArrayIndex
from feedgym.env.arrays import Arrays, Bools, Doubles, Floats, Ints
from feedgym.env.checks import require

_NOWHERE = np.iinfo(np.int64).min
"""Shard of an article that is not in the index."""
_UNDATED = _NOWHERE + 1
"""Shard of articles that came without hours of publication."""


class AgeShardsIndex:
    """Exact search over a slot array for each span of publication.

    Args:
        dim: d.
        shard_hours: span of a shard. Live articles of 48 h in shards of 12 h are five searches.
        search_threads: OpenMP threads of faiss.
    """

    exact = True

    def __init__(self, dim: int, *, shard_hours: float = 12.0, search_threads: int = 1) -> None:
        check_whole(dim, "dim")
        check_whole(search_threads, "search_threads")
        require(0 < shard_hours < np.inf, "shard_hours", shard_hours, "> 0 (hours)")
        self.dim, self.shard_hours, self.search_threads = dim, shard_hours, search_threads
        self._shards: dict[int, SlotArrayIndex] = {}
        self._shard_of = ById(_NOWHERE, np.int64)

    def __len__(self) -> int:
        """Number of articles in the index."""
        return sum(len(shard) for shard in self._shards.values())

    @property
    def ids(self) -> Ints:
        """Live article ids, (n,), shard by shard: a copy."""
        return np.concatenate([np.zeros(0, dtype=np.int64), *(shard.ids for shard in self._shards.values())])

    @property
    def shard_sizes(self) -> tuple[int, ...]:
        """Articles in each shard, (S,)."""
        return tuple(len(shard) for shard in self._shards.values())

    def add(self, ids: Ints, vectors: Floats, published_hours: Doubles | None = None) -> None:
        """Insert new articles (m,) with vectors (m, d), published at these hours (m,); without hours in one shard."""
        check_rows(ids, vectors, self.dim)
        refuse_present(ids, self._shard_of[ids] != _NOWHERE)
        shards: Ints = np.full(len(ids), _UNDATED, dtype=np.int64)
        if published_hours is not None:
            hours = np.asarray(published_hours)
            fits = hours.shape == ids.shape and bool(np.isfinite(hours).all())
            require(fits, "published_hours", kind(published_hours), f"{len(ids)} finite hours, one per id")
            shards = np.floor(hours / self.shard_hours).astype(np.int64)
        self._shard_of[ids] = shards
        for name in np.unique(shards).tolist():
            if name not in self._shards:
                self._shards[name] = SlotArrayIndex(self.dim, capacity=64, search_threads=self.search_threads)
        self._in_shards(shards, lambda shard, rows: shard.add(ids[rows], vectors[rows]))

    def update(self, ids: Ints, vectors: Floats) -> None:
        """Overwrite the vectors of articles (m,) that are present, as a re-embedding does."""
        check_rows(ids, vectors, self.dim)
        self._in_shards(self._present(ids), lambda shard, rows: shard.update(ids[rows], vectors[rows]))

    def remove(self, ids: Ints) -> None:
        """Take articles (m,) out; a shard that is empty is dropped."""
        check_ids(ids)
        self._in_shards(self._present(ids), lambda shard, rows: shard.remove(ids[rows]))
        self._shard_of[ids] = _NOWHERE
        self._shards = {name: shard for name, shard in self._shards.items() if len(shard)}

    def search(self, queries: Floats, k: int) -> tuple[Ints, Floats]:
        """The k articles of largest inner product, ties to the smaller id.

        Args:
            queries: float32 (B, d), finite.
            k: articles wanted, >= 1.

        Returns:
            Article ids int64 (B, k) and scores float32 (B, k); beyond n articles the ids are -1 and the
            scores -inf.
        """
        largest = max((shard.largest_norm for shard in self._shards.values()), default=0.0)
        norm = check_queries(queries, self.dim, k, largest)
        if not self._shards:
            return SlotArrayIndex(self.dim, capacity=1).search(queries, k)
        queries = np.ascontiguousarray(queries)
        if len(queries) == 0:
            return np.zeros((0, k), dtype=np.int64), np.zeros((0, k), dtype=np.float32)
        # Sorted once, not in each shard.
        ids, scores, bounds = zip(*(s.candidates(queries, norm, k) for s in self._shards.values()), strict=True)
        found_ids, found = best(np.hstack(scores), np.hstack(ids), k)
        # Near ties beyond what some shard has brought forward, see SlotArrayIndex.
        doubtful = np.flatnonzero(np.max(bounds, axis=0) >= found[:, min(k, len(self)) - 1])
        if len(doubtful):
            found_ids[doubtful], found[doubtful] = self._merged(queries[doubtful], norm[doubtful], k)
        return found_ids, found

    def _merged(self, queries: Floats, norm: Doubles, k: int) -> tuple[Ints, Floats]:
        """The top k of each shard, in full, merged."""
        ids, scores = zip(*(s.search_checked(queries, norm, k) for s in self._shards.values()), strict=True)
        return best(np.hstack(scores), np.hstack(ids), k)

    def rebuild(self) -> None:
        """Do nothing: exact search loses no recall under churn."""

    def recall(self) -> float:
        """1: exact search misses nothing."""
        return 1.0

    def snapshot(self) -> Arrays:
        """The complete state: shards one after the other, each in slot order."""
        rows = [np.zeros((0, self.dim), dtype=np.float32), *(shard.vectors for shard in self._shards.values())]
        return {
            "shards": np.array(list(self._shards), dtype=np.int64),
            "sizes": np.array(self.shard_sizes, dtype=np.int64),
            "ids": self.ids,
            "vectors": np.concatenate(rows),
        }

    def restore(self, state: Arrays) -> None:
        """Go back to the state that ``snapshot`` returned, replacing what is in the index."""
        fresh = AgeShardsIndex(self.dim, shard_hours=self.shard_hours, search_threads=self.search_threads)
        # The middle of each span: what is kept of a publication hour is its shard.
        names = np.repeat(state["shards"], state["sizes"])
        dated = names != _UNDATED
        fresh.add(state["ids"][~dated], state["vectors"][~dated])
        fresh.add(state["ids"][dated], state["vectors"][dated], (names[dated] + 0.5) * self.shard_hours)
        # In the order of the snapshot, which is the order of ``ids``.
        self._shards = {name: fresh._shards[name] for name in state["shards"].tolist()}
        self._shard_of = fresh._shard_of

    def _in_shards(self, shards: Ints, change: Callable[[SlotArrayIndex, Bools], None]) -> None:
        """Apply a change to each shard named in (m,), with a mask of its rows."""
        for name in np.unique(shards).tolist():
            change(self._shards[name], shards == name)

    def _present(self, ids: Ints) -> Ints:
        shards = self._shard_of[ids]
        refuse_absent(ids, shards == _NOWHERE)
        return shards

"""An approximate index: a finder proposes candidates, the slot array says which of them are live and what they score.

So whatever the finder does, expired articles are impossible, scores are exact, and answers have one order.
Letters: B queries, n articles in the index, d coordinates, k articles wanted, m articles of one update.
"""

import math
from collections.abc import Callable
from typing import Protocol

import numpy as np

from feedgym.agents.retrieval.geometry import Geometry
from feedgym.agents.retrieval.recall import recall_at_k
from feedgym.agents.retrieval.slot_array import SlotArrayIndex
from feedgym.agents.retrieval.upkeep import Schedule, Upkeep
from feedgym.env.arrays import Arrays, Doubles, Floats, Ints, nest, unnest

_STILL = 1e-3
"""Articles that have moved less, see ``Geometry.following``, lie where they lay."""
_SPARE = 8
"""Candidates beyond k: those of equal score are told apart by id afterwards."""


class Finder(Protocol):
    """What proposes candidates. It sees ids and vectors that have been checked, in the space of ``Geometry``."""

    @property
    def worn(self) -> bool:
        """Whether what was removed has become so much that a build pays."""
        ...

    @property
    def scores_exactly(self) -> bool:
        """Whether its scores are the bytes that ``faiss_scores`` gives of the vectors as they were handed in."""
        ...

    def build(self, ids: Ints, vectors: Floats) -> None:
        """Forget all, and begin anew with articles (n,), sorted by id, and their vectors (n, d)."""
        ...

    def add(self, ids: Ints, vectors: Floats) -> None:
        """Take in articles (m,) with vectors (m, d), after a build."""
        ...

    def remove(self, ids: Ints) -> None:
        """Let articles (m,) go."""
        ...

    def place(self, ids: Ints, vectors: Floats) -> None:
        """All articles (n,), sorted by id, have moved a little, to vectors (n, d): learn no more than is needed."""
        ...

    def find(self, queries: Floats, count: int) -> tuple[Floats, Ints]:
        """About the ``count`` best for each query (B, d): scores (B, count) and ids int64 (B, count), -1 pads.

        The same bytes in any batch.
        """
        ...

    def snapshot(self) -> Arrays:
        """The complete state."""
        ...

    def restore(self, state: Arrays) -> None:
        """Go back to a snapshot."""
        ...


class ApproximateIndex:
    """``ItemIndex`` of a finder. Building happens inside updates, never inside a search.

    Args:
        dim: d.
        finder: what proposes candidates.
        schedule: when to build anew.
        rescored: candidates looked at, as a multiple of k.
        search_threads: of exact search, which answers where the finder comes up short.
    """

    exact = False

    def __init__(
        self, dim: int, finder: Finder, schedule: Schedule, *, rescored: int = 1, search_threads: int = 1
    ) -> None:
        self._live = SlotArrayIndex(dim, search_threads=search_threads)
        self._finder = finder
        self._upkeep = Upkeep(dim, schedule)
        self._geometry = Geometry.of(self._live.vectors)
        self._rescored = rescored

    def __len__(self) -> int:
        """Number of articles in the index."""
        return len(self._live)

    @property
    def ids(self) -> Ints:
        """Live article ids, (n,): a read-only view, valid until the next change."""
        return self._live.ids

    @property
    def vectors(self) -> Floats:
        """Their vectors, float32 (n, d): a read-only view, valid until the next change."""
        return self._live.vectors

    def add(self, ids: Ints, vectors: Floats, published_hours: Doubles | None = None) -> None:
        """Insert new articles (m,) with float32 vectors (m, d); nothing changes if any of them is refused."""
        self._live.add(ids, vectors)
        self._upkeep.change(len(ids), published_hours)
        self._follow(lambda: self._finder.add(ids, self._geometry.items(vectors)))

    def update(self, ids: Ints, vectors: Floats) -> None:
        """Overwrite the vectors of articles (m,) that are present, as a re-embedding does."""
        everywhere = 0 < len(ids) == len(self._live)
        former = self._live.vectors.copy() if everywhere else None
        self._live.update(ids, vectors)
        if former is not None:
            self._move(former)
            return
        self._upkeep.change(len(ids))

        def overwrite() -> None:
            self._finder.remove(ids)
            self._finder.add(ids, self._geometry.items(vectors))

        self._follow(overwrite)

    def remove(self, ids: Ints) -> None:
        """Take articles (m,) out; nothing changes if any of them is absent."""
        self._live.remove(ids)
        self._upkeep.change(len(ids))
        self._follow(lambda: self._finder.remove(ids))

    def search(self, queries: Floats, k: int) -> tuple[Ints, Floats]:
        """About the k articles of largest inner product, with exact scores.

        Args:
            queries: float32 (B, d), finite.
            k: articles wanted, >= 1.

        Returns:
            Article ids int64 (B, k) and scores float32 (B, k); beyond n articles the ids are -1 and the
            scores -inf.
        """
        self._live.check_queries(queries, k)
        self._upkeep.remember(queries, k)
        return self._search(queries, k)

    def rebuild(self) -> None:
        """Build anew from the stored vectors: the same bytes whatever the history."""
        # Sorted, so that not even the order of a sum depends on the history.
        self._geometry = Geometry.of(self._live.vectors[np.argsort(self._live.ids)])
        self._finder.build(*self._placed())
        self._upkeep.built(len(self._live), self.recall())

    def recall(self) -> float:
        """Share of the true top k that ``search`` finds for the latest queries; NaN before the first one."""
        queries, k = self._upkeep.sample
        if len(queries) == 0 or len(self._live) == 0:
            return math.nan
        return recall_at_k(self._search(queries, k)[0], self._live.search(queries, k)[0])

    def snapshot(self) -> Arrays:
        """The complete state: what was learned goes along, since a build would learn something else."""
        parts = {
            "live": self._live.snapshot(),
            "geometry": self._geometry.snapshot(),
            "finder": self._finder.snapshot(),
            "upkeep": self._upkeep.snapshot(),
        }
        arrays: Arrays = {}
        for name, part in parts.items():
            arrays |= nest(name, part)
        return arrays

    def restore(self, state: Arrays) -> None:
        """Go back to the state that ``snapshot`` returned, replacing what is in the index."""
        self._live.restore(unnest("live", state))
        self._geometry = Geometry.restored(unnest("geometry", state))
        self._finder.restore(unnest("finder", state))
        self._upkeep.restore(unnest("upkeep", state))

    def _search(self, queries: Floats, k: int) -> tuple[Ints, Floats]:
        if len(self._live) == 0 or len(queries) == 0:
            return self._live.search(queries, k)
        count = min(max(self._rescored * k, k + _SPARE), len(self._live))
        found, candidates = self._finder.find(self._geometry.queries(queries), count)
        final = self._finder.scores_exactly and self._geometry.is_identity
        ids, scores = self._live.answer(queries, candidates, k, found if final else None)
        # Too few: the lists that were looked into hold less than k, or the graph falls apart.
        short = np.flatnonzero(ids[:, min(k, len(self._live)) - 1] < 0)
        if len(short):
            left = queries[short]
            all_found, _ = self._live.search(left, k)
            ids[short], scores[short] = self._live.answer(left, all_found, k)
        return ids, scores

    def _move(self, former: Floats) -> None:
        """All vectors have changed: whether the finder has to be told, or built anew."""
        self._geometry, moved = self._geometry.following(former, self._live.vectors)
        if self._upkeep.has_drifted(moved) or self._upkeep.due:
            self.rebuild()
        elif moved > _STILL:
            self._finder.place(*self._placed())

    def _placed(self) -> tuple[Ints, Floats]:
        """Articles (n,) sorted by id, and where they lie, (n, d)."""
        order = np.argsort(self._live.ids)
        return self._live.ids[order], self._geometry.items(self._live.vectors[order])

    def _follow(self, change: Callable[[], None]) -> None:
        """Tell the finder of a change, or build anew where that is due anyway."""
        if self._upkeep.due:
            self.rebuild()
            return
        change()
        if self._finder.worn or (self._upkeep.wants_recall and self._upkeep.has_fallen(self.recall())):
            self.rebuild()

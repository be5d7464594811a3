"""``auto``: the index for the size of the live catalogue, changed as it grows or shrinks (docs/mathematics.md 7.3).

Letters: n articles in the index, d coordinates, m articles of one update.
"""

import numpy as np

from feedgym.agents.retrieval.ivf import ivf_index, ivf_sq8_index
from feedgym.agents.retrieval.protocol import ItemIndex
from feedgym.agents.retrieval.slot_array import SlotArrayIndex
from feedgym.env.arrays import Arrays, Doubles, Floats, Ints, nest, unnest
from feedgym.env.checks import require

_LEVELS = ("exact", "ivf", "ivf-sq8")
_BACK = 0.8
"""Down again only below this share of a limit: a catalogue that breathes around it must not change at every tick."""


class AutoIndex:
    """Exact up to ``ivf_above`` articles, then IVF, then IVF-SQ8.

    Args:
        dim: d.
        ivf_above: n from which IVF is faster than exact search in batches, refreshes included.
        sq8_above: n from which memory and its traffic decide.
        nprobe: cells looked into by both.
        search_threads: OpenMP threads of faiss.
    """

    def __init__(
        self,
        dim: int,
        *,
        ivf_above: int = 100_000,
        sq8_above: int = 1_000_000,
        nprobe: int = 64,
        search_threads: int = 1,
    ) -> None:
        require(ivf_above >= 1, "ivf_above", ivf_above, ">= 1")
        require(sq8_above > ivf_above, "sq8_above", sq8_above, f"> ivf_above ({ivf_above})")
        self._dim, self._limits = dim, (ivf_above, sq8_above)
        self._nprobe, self._threads = nprobe, search_threads
        self._level = 0
        self._index = self._made(0)
        self._made(1)  # checks nprobe now, not when the catalogue has grown

    @property
    def kind(self) -> str:
        """What it is at present."""
        return _LEVELS[self._level]

    @property
    def exact(self) -> bool:
        """Whether ``search`` returns the true top k at present."""
        return self._index.exact

    @property
    def ids(self) -> Ints:
        """The articles in the index, (n,)."""
        return self._index.ids

    def __len__(self) -> int:
        """Number of articles in the index."""
        return len(self._index)

    def add(self, ids: Ints, vectors: Floats, published_hours: Doubles | None = None) -> None:
        """Insert new articles (m,) with vectors (m, d); nothing changes if any of them is refused."""
        self._index.add(ids, vectors, published_hours)
        self._fit()

    def update(self, ids: Ints, vectors: Floats) -> None:
        """Overwrite the vectors of articles (m,) that are present."""
        self._index.update(ids, vectors)

    def remove(self, ids: Ints) -> None:
        """Take articles (m,) out; nothing changes if any of them is absent."""
        self._index.remove(ids)
        self._fit()

    def search(self, queries: Floats, k: int) -> tuple[Ints, Floats]:
        """As the index that it is at present."""
        return self._index.search(queries, k)

    def rebuild(self) -> None:
        """As the index that it is at present."""
        self._index.rebuild()

    def recall(self) -> float:
        """As the index that it is at present."""
        return self._index.recall()

    def snapshot(self) -> Arrays:
        """The complete state."""
        return {"level": np.asarray(self._level)} | nest("index", self._index.snapshot())

    def restore(self, state: Arrays) -> None:
        """Go back to a snapshot."""
        level = int(state["level"])
        index = self._made(level)
        index.restore(unnest("index", state))
        self._level, self._index = level, index

    def _made(self, level: int) -> ItemIndex:
        if level == 0:
            return SlotArrayIndex(self._dim, search_threads=self._threads)
        make = ivf_index if level == 1 else ivf_sq8_index
        return make(self._dim, nprobe=self._nprobe, search_threads=self._threads)

    def _fit(self) -> None:
        """Move to the index of this size."""
        n, level = len(self._index), self._level
        up, back = self._limits, tuple(_BACK * limit for limit in self._limits)
        while level < 2 and n > up[level]:
            level += 1
        while level > 0 and n < back[level - 1]:
            level -= 1
        if level != self._level:
            # Each of them has its vectors in slots: what an ItemIndex need not show.
            index, old = self._made(level), self._index
            index.add(old.ids.copy(), old.vectors.copy())  # type: ignore[attr-defined]
            self._level, self._index = level, index

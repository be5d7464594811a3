"""Retrieval: the k live articles of largest inner product with a query vector, under churn (towers.md 3).

The default is exact. Up to some 100k live articles nothing else is as fast once articles come and go, and its
recall is 1.
Letters: B queries, n articles in the index, d coordinates, k articles wanted, m articles of one update.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt

from feedgym.agents.slot_array import SlotArrayIndex
from feedgym.env.checks import require

__all__ = ["ItemIndex", "SlotArrayIndex", "make_index"]

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]


class ItemIndex(Protocol):
    """What an index of live articles can do. Any class with these members fits."""

    @property
    def exact(self) -> bool:
        """Whether ``search`` returns the true top k."""
        ...

    @property
    def ids(self) -> Ints:
        """The articles in the index, (n,)."""
        ...

    def __len__(self) -> int:
        """Number of articles in the index."""
        ...

    def add(self, ids: Ints, vectors: Floats) -> None:
        """Insert new articles (m,) with their vectors (m, d); an id that is present is an error."""
        ...

    def update(self, ids: Ints, vectors: Floats) -> None:
        """Overwrite the vectors (m, d) of articles (m,); an id that is absent is an error."""
        ...

    def remove(self, ids: Ints) -> None:
        """Take articles (m,) out; an id that is absent is an error."""
        ...

    def search(self, queries: Floats, k: int) -> tuple[Ints, Floats]:
        """Article ids (B, k) by falling inner product with queries (B, d), and the float32 scores (B, k)."""
        ...

    def rebuild(self) -> None:
        """Restore recall after churn, where an index loses any."""
        ...

    def snapshot(self) -> dict[str, npt.NDArray[np.generic]]:
        """The complete state as plain arrays: a restored index goes on byte for byte."""
        ...

    def restore(self, state: dict[str, npt.NDArray[np.generic]]) -> None:
        """Go back to a snapshot."""
        ...


_KINDS = {"exact": SlotArrayIndex}


def make_index(kind: str, dim: int, **settings: int) -> ItemIndex:
    """Make an empty index for vectors of ``dim`` coordinates.

    Args:
        kind: "exact" (``SlotArrayIndex``).
        dim: d.
        settings: keyword arguments of the class, such as ``search_threads``; others raise ``TypeError``.
    """
    require(kind in _KINDS, "kind", kind, "one of " + ", ".join(_KINDS))
    return _KINDS[kind](dim, **settings)

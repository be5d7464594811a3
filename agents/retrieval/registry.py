"""Retrieval: the k live articles of largest inner product with a query vector, under churn (docs/mathematics.md 7).

The default is exact. Up to some 100k live articles nothing else is as fast once articles come and go, and its
recall is 1. An index of one's own: a class with the members of ``ItemIndex``, and a line in ``INDEXES``.
"""

import inspect
from collections.abc import Callable

from feedgym.agents.expressions import literal, split
from feedgym.agents.retrieval.auto import AutoIndex
from feedgym.agents.retrieval.geometry import column_scale_of
from feedgym.agents.retrieval.hnsw import hnsw_index
from feedgym.agents.retrieval.ivf import ivf_index, ivf_sq8_index
from feedgym.agents.retrieval.protocol import ItemIndex
from feedgym.agents.retrieval.recall import recall_at_k
from feedgym.agents.retrieval.slot_array import SlotArrayIndex
from feedgym.env.checks import require

__all__ = ["INDEXES", "ItemIndex", "SlotArrayIndex", "check_index", "column_scale_of", "make_index", "recall_at_k"]

INDEXES: dict[str, Callable[..., ItemIndex]] = {
    "exact": SlotArrayIndex,
    "ivf": ivf_index,
    "ivf-sq8": ivf_sq8_index,
    "hnsw": hnsw_index,
    "auto": AutoIndex,
}
"""What makes each kind: called with ``dim``, and its settings as keywords."""


def make_index(kind: str, dim: int, **settings: float) -> ItemIndex:
    """Make an empty index for vectors of ``dim`` coordinates.

    Args:
        kind: one of ``INDEXES``, with settings where they are not the defaults: ``ivf:nprobe=16``,
            ``hnsw:m=16+ef=200`` (``+`` or a comma between them; an agent's own settings are split at commas).
        dim: d.
        settings: the same as keywords; others raise ``TypeError``.

    Raises:
        ValueError: an unknown kind, or in ``kind`` a setting that it does not have or that is not a number.
    """
    name, given = _read(kind)
    return INDEXES[name](dim, **given, **settings)


def check_index(kind: str) -> None:
    """Raise ``ValueError`` unless ``kind`` names an index and settings that it takes. Nothing large is made."""
    _, given = _read(kind)
    if given:
        make_index(kind, 8)  # the numbers are checked where they are used


def _read(kind: str) -> tuple[str, dict[str, float]]:
    """Name and settings of ``ivf:nprobe=16+nlist=400``."""
    name, _, words = kind.partition(":")
    require(name in INDEXES, "kind", name, "one of " + ", ".join(INDEXES))
    known = [key for key in inspect.signature(INDEXES[name]).parameters if key != "dim"]
    given: dict[str, float] = {}
    for word in split(words, "+,"):
        key, _, value = word.partition("=")
        if words:
            require(key in known, f"setting of index {name}", key, "one of " + ", ".join(known))
            given[key] = _number(value, key)
    return name, given


def _number(text: str, name: str) -> float:
    value = literal(text)
    require(isinstance(value, int | float) and not isinstance(value, bool), name, value, "a number")
    return float(value) if isinstance(value, float) else int(value)

"""Vectors of articles and readers for use elsewhere: what a learned agent knows, without what age does.

``u . v + b`` is the towers' score (prediction ``dot``), less what age adds and a constant. Of two models whose scores
are added, parts stand side by side, so that this holds too.
Shapes: A articles, R readers, d dimensions. Loads no torch by itself.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np

from feedgym.env.arrays import Doubles, Floats, Ints

if TYPE_CHECKING:
    from feedgym.agents.learners import Replay, VisitBatch
    from feedgym.agents.serving import ItemStore
    from feedgym.towers.interface import Towers


@dataclass(frozen=True, kw_only=True)
class Vectors:
    """What the towers say of articles and readers at one moment."""

    article_id: Ints
    """Articles that the agent has seen live and still embeds, rising, (A,)."""
    article: Floats
    """v, (A, d)."""
    bias: Floats
    """b, (A,)."""
    row: Ints
    """Rows in the population of the readers whose latest visit the agent still keeps, rising, (R,)."""
    hours: Doubles
    """When that visit was, (R,)."""
    reader: Floats
    """u at that visit, by the towers of now, (R, d)."""


@runtime_checkable
class Embedding(Protocol):
    """Optional: an agent with towers. ``feedgym embed`` writes what it knows."""

    def vectors(self) -> Vectors:
        """All vectors of this moment. Changes no state and draws nothing."""
        ...


def latest_visits(replay: "Replay") -> "VisitBatch":
    """Each reader's latest visit among those kept, by rising row."""
    now, row = replay.column("now"), replay.column("row")
    # Slots are not in the order of time once the ring has wrapped.
    newest_first = np.argsort(-now, kind="stable")
    _, first = np.unique(row[newest_first], return_index=True)
    return replay.take(newest_first[first])


def article_vectors(model: "Towers", store: "ItemStore", now: float) -> tuple[Ints, Floats, Floats]:
    """Ids (A,), v (A, d) and b (A,) of what the store still embeds at ``now`` in hours."""
    size = len(store)
    seen: Ints = np.flatnonzero(store.vector[:size].any(axis=1))
    remembered = store.published_hours[seen] >= now - store.memory_hours
    ids: Ints = np.union1d(seen[remembered], store.index.ids).astype(np.int64)
    return ids, *model.without_age(store.vector[ids], store.bias[ids])


def vectors_of(model: "Towers", store: "ItemStore", replay: "Replay") -> Vectors:
    """Articles as of the latest visit that is kept, and each reader as of her own latest."""
    from feedgym.agents.serving import embed_readers

    batch = latest_visits(replay)
    user = embed_readers(model, store, batch.history_id, batch.history_minutes, batch.reader, batch.now)
    ids, article, bias = article_vectors(model, store, float(batch.now.max(initial=0.0)))
    return Vectors(
        article_id=ids, article=article, bias=bias, row=batch.row, hours=batch.now, reader=user.vector.numpy()
    )

"""Cross-batch memory: the positives of recent batches serve again as negatives.

Cross-batch memory (Wang et al., CVPR 2020), for two towers cross-batch negative sampling (Wang, Zhu & He,
SIGIR 2021). Those keep vectors, a few steps stale; here ids are kept, and the caller takes their vectors from
its own store, detached.
"""

from collections import deque
from typing import ClassVar, NamedTuple

import numpy as np
import numpy.typing as npt

from feedgym.towers.checks import require
from feedgym.towers.negatives.types import (
    NO_IDS,
    Arrays,
    Doubles,
    Ints,
    NegativeContext,
    Negatives,
    log_count,
    no_rows,
)


class _Batch(NamedTuple):
    ids: Ints
    """Its positives (B,)."""
    live_ids: Ints
    """Articles then live (N,), sorted."""
    expected: Doubles
    """How often each was expected among ``ids`` (N,)."""


class Memory:
    """The other rows' positives, and those of earlier batches, newest whole batches up to ``capacity`` rows.

    Expected count of a live article: (B - 1) q + the sum over remembered batches of their B times their q: the
    shares recorded *then*, since a story that broke an hour ago is not in a batch of two hours ago. Where the times
    of rows are known, only rows at whose time it was live count. What has expired since is left out. Before the
    first batch is remembered it is ``InBatch``.

    Args:
        capacity: rows to remember, at least those of a batch.
    """

    needs: ClassVar[frozenset[str]] = frozenset()
    corrected: ClassVar[bool] = True

    def __init__(self, *, capacity: int = 4096) -> None:
        require(capacity > 0, "capacity", capacity, "> 0")
        self.capacity = capacity
        self._batches: deque[_Batch] = deque()

    def draw(self, context: NegativeContext, rng: np.random.Generator) -> Negatives:
        """Recall what is remembered, then remember this batch. ``rng`` is not used.

        Raises:
            ValueError: for a batch of one row while nothing is remembered, a batch above the capacity, or an
                article that was clicked although its share was 0.
        """
        size = context.batch_size
        require(size <= self.capacity, "positive_ids", f"{size} rows", f"at most the capacity, {self.capacity}")
        require(size > 1, "positive_ids", "one row", "at least two rows")
        remembered = np.concatenate([NO_IDS, *(batch.ids for batch in self._batches)])
        shared = remembered[context.is_live(remembered)]
        is_live = context.is_live(context.positive_ids)
        # An expired positive is a column of its own batch only.
        others = context.num_others(context.positive_ids)
        own = others * np.exp(context.positive_log_q) + is_live * self._count(context.positive_ids)
        with np.errstate(divide="ignore"):  # live at no other row's time, and not remembered: -inf
            log_own = np.log(own)
        row_ids, log_q_row = no_rows(size)
        result = Negatives(
            log_q_positive=log_own,
            shared_ids=shared,
            log_q_shared=log_count(context.num_others(shared) * context.share_of(shared) + self._count(shared), shared),
            row_ids=row_ids,
            log_q_row=log_q_row,
            in_batch=True,
        )
        self._remember(context)
        return result

    def snapshot(self) -> dict[str, npt.NDArray[np.generic]]:
        """The complete state as plain arrays (copies)."""
        batches = list(self._batches)
        return {
            "capacity": np.array(self.capacity),
            "ids": np.concatenate([NO_IDS, *(batch.ids for batch in batches)]),
            "num_ids": np.array([len(batch.ids) for batch in batches], dtype=np.int64),
            "live_ids": np.concatenate([NO_IDS, *(batch.live_ids for batch in batches)]),
            "count": np.concatenate([np.empty(0), *(batch.expected for batch in batches)]),
            "num_live": np.array([len(batch.live_ids) for batch in batches], dtype=np.int64),
        }

    def restore(self, state: Arrays) -> None:
        """Go back to a ``snapshot``: what follows is the same, byte for byte."""
        self.capacity = int(state["capacity"])
        last = np.cumsum(state["num_ids"])[:-1]
        last_live = np.cumsum(state["num_live"])[:-1]
        ids = np.split(np.array(state["ids"], dtype=np.int64), last)
        live_ids = np.split(np.array(state["live_ids"], dtype=np.int64), last_live)
        count = np.split(np.array(state["count"], dtype=np.float64), last_live)
        batches = map(_Batch, ids, live_ids, count)
        self._batches = deque(batches if len(state["num_ids"]) else ())

    def _count(self, ids: Ints) -> Doubles:
        """How often each of ``ids`` (n,) is expected in what is remembered, float64 (n,)."""
        total = np.zeros(len(ids))
        for batch in self._batches:  # a handful
            if len(batch.live_ids):
                place = np.minimum(np.searchsorted(batch.live_ids, ids), len(batch.live_ids) - 1)
                total += np.where(batch.live_ids[place] == ids, batch.expected[place], 0.0)
        return total

    def _remember(self, context: NegativeContext) -> None:
        order = np.argsort(context.live_ids, kind="stable")  # also a copy: the caller may reuse its buffers
        live_ids, share = context.live_ids[order], context.live_share[order]
        ids = context.positive_ids.copy()
        if context.row_hours is not None:
            # A click on what was not live then, in a careless log, is expected nowhere.
            ids = ids[context.at_rows(ids[:, None])[:, 0]]
        self._batches.append(_Batch(ids, live_ids, context.num_rows(live_ids) * share))
        while sum(len(batch.ids) for batch in self._batches) > self.capacity:
            self._batches.popleft()

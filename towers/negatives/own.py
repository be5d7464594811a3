"""Uniform negatives of each row's own, from what its reader has not clicked (SASRec, NCF)."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from feedgym.towers.checks import require
from feedgym.towers.negatives.types import NO_IDS, Ints, NegativeContext, Negatives

_TRIES = 8
"""After so many draws a row goes without: its reader has clicked nearly all there is."""


@dataclass(frozen=True, kw_only=True)
class Own:
    """``count`` live articles for each row, other than its positive and what its reader clicked before.

    As Kang & McAuley (ICDM 2018, III-D) draw them for binary cross-entropy. What is left out depends on the reader, so
    that no log q is exact, and a softmax with logQ must refuse them.
    """

    count: int = 1
    """Draws a row, with replacement."""

    needs: ClassVar[frozenset[str]] = frozenset({"seen_ids"})
    corrected: ClassVar[bool] = False

    def __post_init__(self) -> None:
        require(self.count > 0, "count", self.count, "> 0")

    def draw(self, context: NegativeContext, rng: np.random.Generator) -> Negatives:
        """Draw for one batch. What was not live at the row's own time is drawn anew, as what its reader knows is.

        Raises:
            ValueError: if no article is live, or ``context.seen_ids`` is None.
        """
        context.require_live("own")
        require(context.seen_ids is not None, "seen_ids", None, "what each row's reader clicked before, int64 (B, L)")
        assert context.seen_ids is not None
        known = np.column_stack([context.positive_ids, context.seen_ids])
        ids: Ints = np.full((context.batch_size, self.count), -1, dtype=np.int64)
        for _ in range(_TRIES):
            row, place = np.nonzero(ids < 0)
            if len(row) == 0:
                break
            drawn = context.live_ids[rng.integers(context.num_live, size=len(row))]
            fits = (drawn[:, None] != known[row]).all(axis=1) & context.were_live(drawn, row)
            ids[row[fits], place[fits]] = drawn[fits]
        return Negatives(
            log_q_positive=np.zeros(context.batch_size),
            shared_ids=NO_IDS,
            log_q_shared=np.empty(0),
            row_ids=ids,
            log_q_row=np.zeros(ids.shape),
            in_batch=False,
            corrected=False,
        )

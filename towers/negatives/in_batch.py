"""In-batch negatives: the articles that the other rows clicked (Yi et al., RecSys 2019, section 3)."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from feedgym.towers.checks import require
from feedgym.towers.negatives.types import NO_IDS, NegativeContext, Negatives, no_rows


@dataclass(frozen=True, kw_only=True)
class InBatch:
    """The other rows' positives and nothing else; an article that nobody clicks is never a negative."""

    needs: ClassVar[frozenset[str]] = frozenset()
    corrected: ClassVar[bool] = True

    def draw(self, context: NegativeContext, rng: np.random.Generator) -> Negatives:
        """Draw nothing: log q is log((B - 1) q), of n rows at whose time an article was live log((n - 1) q).

        ``rng`` is not used.

        Raises:
            ValueError: for a batch of one row, which has no negative.
        """
        several = context.batch_size > 1
        require(several, "positive_ids", "one row", "at least two rows, the others are the negatives")
        with np.errstate(divide="ignore"):  # live at no other row's time: -inf
            log_others = np.log(context.num_others(context.positive_ids))
        row_ids, log_q_row = no_rows(context.batch_size)
        return Negatives(
            log_q_positive=log_others + context.positive_log_q,
            shared_ids=NO_IDS,
            log_q_shared=np.empty(0),
            row_ids=row_ids,
            log_q_row=log_q_row,
            in_batch=True,
        )

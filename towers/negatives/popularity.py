"""Negatives in proportion to a power of popularity, as word2vec draws them (Mikolov et al., NIPS 2013, 2.2)."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from feedgym.towers.checks import require
from feedgym.towers.negatives.types import Doubles, NegativeContext, Negatives, no_rows


@dataclass(frozen=True, kw_only=True)
class Popularity:
    """``count`` live articles, shared by all rows, drawn with chance w / sum w, w = max(share, floor / N) ** alpha.

    Log q, the log of count * w / sum w, is taken off again: the optimum is log p for every alpha. Which
    articles the model meets often, hence its noise and what it gives up where it cannot fit, is what alpha
    changes.
    """

    count: int = 512
    """Draws a batch, with replacement; the other rows' positives are not columns."""
    alpha: float = 0.75
    """0 draws uniformly, 1 by click frequency."""
    floor: float = 0.01
    """Least share of an article, in units of the mean share 1 / N: one never clicked is drawn sometimes."""

    needs: ClassVar[frozenset[str]] = frozenset()
    corrected: ClassVar[bool] = True

    def __post_init__(self) -> None:
        require(self.count > 0, "count", self.count, "> 0")
        require(0 <= self.alpha < np.inf, "alpha", self.alpha, "finite, >= 0")
        require(0 < self.floor <= 1, "floor", self.floor, "a share of the mean in (0, 1]")

    def draw(self, context: NegativeContext, rng: np.random.Generator) -> Negatives:
        """Draw for one batch. An expired positive, which cannot be drawn, gets the log q of a live one of its share.

        Raises:
            ValueError: if no article is live.
        """
        context.require_live("popularity")
        ends = np.cumsum(self._appeal(context.live_share, context.num_live))
        total = ends[-1]
        # `minimum`: u * total may round up to total, which lies behind the last article.
        place = np.minimum(np.searchsorted(ends, rng.random(self.count) * total, side="right"), context.num_live - 1)
        # A live positive is drawn by its live share, whatever share its row was logged with.
        is_live = context.is_live(context.positive_ids)
        share = np.where(is_live, context.share_of(context.positive_ids), np.exp(context.positive_log_q))
        row_ids, log_q_row = no_rows(context.batch_size)
        return Negatives(
            log_q_positive=np.log(self.count / total * self._appeal(share, context.num_live)),
            shared_ids=context.live_ids[place],
            log_q_shared=np.log(self.count / total * self._appeal(context.live_share[place], context.num_live)),
            row_ids=row_ids,
            log_q_row=log_q_row,
            in_batch=False,
        )

    def _appeal(self, share: Doubles, num_live: int) -> Doubles:
        """Unnormalised chance of articles with ``share``, same shape."""
        # In units of the mean share: share ** alpha itself would underflow for large alpha.
        appeal: Doubles = np.maximum(share * num_live, self.floor) ** self.alpha
        return appeal

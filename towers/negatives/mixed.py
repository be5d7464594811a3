"""Mixed negatives: in-batch and uniform ones together (Yang et al., WWW 2020)."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from feedgym.towers.checks import require
from feedgym.towers.negatives.types import NegativeContext, Negatives, log_count, no_rows
from feedgym.towers.negatives.uniform import draw_uniform


@dataclass(frozen=True, kw_only=True)
class Mixed:
    """The other rows' positives and ``count`` uniform draws from the live articles.

    The uniform ones are what makes never-clicked articles negatives at all. Expected count of a live article:
    (B - 1) q + count / N, or (n - 1) q + count / N if it was live at n rows' times. Counts of the two kinds are
    fixed, not drawn, so the optimum is log p only nearly: off by .027 for two rows and one uniform draw, .0098 for
    five and four, gone at real sizes.
    """

    count: int = 512
    """Uniform draws a batch, with replacement, shared by all rows."""

    needs: ClassVar[frozenset[str]] = frozenset()
    corrected: ClassVar[bool] = True

    def __post_init__(self) -> None:
        require(self.count > 0, "count", self.count, "> 0")

    def draw(self, context: NegativeContext, rng: np.random.Generator) -> Negatives:
        """Draw for one batch. An expired positive is a column of its batch only: (B - 1) q.

        Raises:
            ValueError: if no article is live, or for a batch of one row whose article has expired.
        """
        context.require_live("mixed")
        uniform = self.count / context.num_live
        shared = draw_uniform(context, self.count, rng)
        own = context.num_others(context.positive_ids) * np.exp(context.positive_log_q) + uniform * context.is_live(
            context.positive_ids
        )
        require(
            bool((own > 0).all()), "positive_ids", "one row, an expired article", "a live article or at least two rows"
        )
        row_ids, log_q_row = no_rows(context.batch_size)
        return Negatives(
            log_q_positive=log_count(own, context.positive_ids),
            shared_ids=shared,
            log_q_shared=np.log(context.num_others(shared) * context.share_of(shared) + uniform),
            row_ids=row_ids,
            log_q_row=log_q_row,
            in_batch=True,
        )

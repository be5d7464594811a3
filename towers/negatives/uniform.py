"""Uniform negatives: the sampled softmax over the live catalogue."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from feedgym.towers.checks import require
from feedgym.towers.negatives.types import Ints, NegativeContext, Negatives, no_rows


@dataclass(frozen=True, kw_only=True)
class Uniform:
    """``count`` live articles, shared by all rows, without the other rows' positives.

    Draws are independent and accidental hits stay: then log q is the constant log(count / N) and the optimum
    is log p at every count. Different draws would need the positive excluded, row by row; mixing the two
    errs (by .06 at two draws of six articles).
    """

    count: int = 512
    """Draws a batch, with replacement."""

    needs: ClassVar[frozenset[str]] = frozenset()
    corrected: ClassVar[bool] = True

    def __post_init__(self) -> None:
        require(self.count > 0, "count", self.count, "> 0")

    def draw(self, context: NegativeContext, rng: np.random.Generator) -> Negatives:
        """Draw for one batch.

        An expired positive cannot be drawn, so it has no log q. It gets that of a live one: it is the offset of
        an article that is never served again.

        Raises:
            ValueError: if no article is live.
        """
        context.require_live("uniform")
        log_q = np.log(self.count / context.num_live)
        row_ids, log_q_row = no_rows(context.batch_size)
        return Negatives(
            log_q_positive=np.full(context.batch_size, log_q),
            shared_ids=draw_uniform(context, self.count, rng),
            log_q_shared=np.full(self.count, log_q),
            row_ids=row_ids,
            log_q_row=log_q_row,
            in_batch=False,
        )


def draw_uniform(context: NegativeContext, count: int, rng: np.random.Generator) -> Ints:
    """Independent draws (count,) from the live articles."""
    return context.live_ids[rng.integers(context.num_live, size=count)]

"""Hard negatives: from the shortlist that retrieval returns for the reader, mixed with uniform ones.

Hard negatives alone train a model that has never seen an easy article (Huang et al., KDD 2020, section 6.1);
the uniform ones give every live article a chance, without which log q does not exist.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from feedgym.towers.checks import require
from feedgym.towers.negatives.types import Doubles, Ints, NegativeContext, Negatives
from feedgym.towers.negatives.uniform import draw_uniform


@dataclass(frozen=True, kw_only=True)
class Hard:
    """``count`` draws from the row's shortlist and ``uniform_count`` from the live articles.

    Expected count of a live article: count * [in the shortlist] / M + uniform_count / N, with M the number of
    live articles in the row's shortlist. It depends on the row, also for the uniform draws; so these, though
    the same for all rows, stand in ``row_ids``. Needs a shortlist that follows from what is known before the
    click. The counts of the two kinds are fixed, so the optimum is log p as nearly as for ``Mixed``.
    """

    count: int = 8
    """Draws from each row's shortlist, with replacement."""
    uniform_count: int = 64
    """Draws from the live articles, the same ones for all rows."""

    needs: ClassVar[frozenset[str]] = frozenset({"shortlist_ids"})
    corrected: ClassVar[bool] = True

    def __post_init__(self) -> None:
        require(self.count > 0, "count", self.count, "> 0")
        require(self.uniform_count > 0, "uniform_count", self.uniform_count, "> 0, else log q is not finite")

    def draw(self, context: NegativeContext, rng: np.random.Generator) -> Negatives:
        """Draw for one batch. Expired articles of a shortlist are passed over; a row without one gets -1.

        Where the rows' times are known, expired means by then. An expired positive, which cannot be drawn, gets the
        log q of a live one outside the shortlist.

        Raises:
            ValueError: if ``context.shortlist_ids`` is None, or no article is live.
        """
        ids = context.shortlist_ids
        require(ids is not None, "shortlist_ids", None, "the shortlist of each row, int64 (B, M)")
        assert ids is not None
        context.require_live("hard")
        members = np.sort(np.where(context.at_rows(ids), ids, -1), axis=1)  # (B, M), -1 first
        size = (members >= 0).sum(axis=1)  # (B,)
        rows = np.arange(context.batch_size)[:, None]
        if members.shape[1]:
            place = members.shape[1] - 1 - rng.integers(np.maximum(size, 1)[:, None], size=(len(rows), self.count))
            hard = members[rows, place]  # a row without members has only -1 to pick
        else:
            hard = np.full((len(rows), self.count), -1, dtype=np.int64)
        uniform = np.broadcast_to(draw_uniform(context, self.uniform_count, rng), (len(rows), self.uniform_count))
        drawn = np.concatenate([hard, uniform], axis=1)  # (B, R)
        both = np.concatenate([context.positive_ids[:, None], drawn], axis=1)
        log_q = np.log(self.count * _member_share(members, size, both) + self.uniform_count / context.num_live)
        return Negatives(
            log_q_positive=log_q[:, 0],
            shared_ids=np.empty(0, dtype=np.int64),
            log_q_shared=np.empty(0),
            row_ids=drawn,
            log_q_row=np.where(drawn >= 0, log_q[:, 1:], 0.0),
            in_batch=False,
        )


def _member_share(members: Ints, size: Ints, ids: Ints) -> Doubles:
    """Share of each of ``ids`` (B, R) among its row's ``members`` (B, M), sorted; ``size`` (B,) of them are >= 0."""
    # One search for all rows: keys (row, id) are sorted because rows are. Comparing (B, R, M) would take 60
    # MB and more at real sizes. Twice in a shortlist counts twice.
    span = int(max(members.max(initial=0), ids.max(initial=0))) + 2
    first = np.arange(len(ids), dtype=np.int64)[:, None] * span + 1  # -1 becomes the row's key 0
    keys = (first + members).ravel()
    wanted = first + ids
    twice = np.searchsorted(keys, wanted, side="right") - np.searchsorted(keys, wanted, side="left")
    share: Doubles = np.where(ids >= 0, twice, 0) / np.maximum(size, 1)[:, None]
    return share

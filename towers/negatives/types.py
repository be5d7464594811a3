"""What a sampler of negatives is given, what it returns, and the one method that it has.

Shapes: B rows of a batch, N live articles, M articles of a shortlist, K positions of a slate, S negatives that
all rows share, R negatives of a row's own. Times are in hours.

Log q is here always the log of an expected *count*: how often an article is expected among the columns that
compete with a row's positive, not counting the positive itself. Taken off every column, the positive and the
duplicates too (`nce`), it leaves the optimum at log p for whatever sampler drew them (ranking NCE, Ma &
Collins, EMNLP 2018).

Rows of a batch are of different moments, and articles come and go in between. Where the context knows when, a row
competes only with what was live at its own time (`while_live` takes the rest away), and log q counts what is left: an
article that was live at n of the rows' times is expected n - 1 times q among the others' positives, for each of these
rows. That count is the article's, whatever the row.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from feedgym.towers.checks import require

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
Doubles = npt.NDArray[np.float64]
Arrays = Mapping[str, npt.NDArray[np.generic]]

NO_IDS: Ints = np.empty(0, dtype=np.int64)


@dataclass(frozen=True, kw_only=True, eq=False)
class NegativeContext:
    """One batch and the moment that its negatives are drawn for. Checked here, so that no sampler checks it again.

    ``positive_log_q`` and ``live_share`` must be in one unit, such as both from one ``FrequencyEstimator``:
    an article that is a positive in one row and a drawn negative of another then carries one log q.
    """

    positive_ids: Ints
    """Article that each row clicked, int64 (B,); expired ones may be among them (a replay)."""
    positive_log_q: Doubles
    """Log of the share of batch rows that the row's article takes, float64 (B,), finite."""
    live_ids: Ints
    """Articles that may be drawn, int64 (N,), all different, any order; with ``row_hours``, those that were live at
    any row's time, the positives among them."""
    live_share: Doubles
    """Share of the clicks around the batch that each live article takes, float64 (N,), >= 0, sum <= 1; with
    ``row_hours``, of those clicks at whose time it was live, each <= 1."""
    row_hours: Doubles | None = None
    """When each row was, float64 (B,); None: all at one moment, at which ``live_ids`` were live."""
    live_since: Doubles | None = None
    """First moment at which each of ``live_ids`` was live, float64 (N,); given with ``row_hours``."""
    live_until: Doubles | None = None
    """First moment at which it was not any more, float64 (N,), inf if it still is; given with ``row_hours``."""
    shortlist_ids: Ints | None = None
    """Articles that retrieval returned for the row, int64 (B, M), -1 pads; None: not known."""
    impressed_ids: Ints | None = None
    """Articles shown in the row's slate and not clicked, int64 (B, K), -1 elsewhere; None: not known."""
    seen_ids: Ints | None = None
    """What the row's reader clicked before, int64 (B, L), -1 where none; None: not known."""

    def __post_init__(self) -> None:
        rows, live = self.positive_ids.shape, self.live_ids.shape
        require(len(rows) == 1 and rows[0] > 0, "positive_ids", rows, "shape (B,), B >= 1")
        require(self.positive_log_q.shape == rows, "positive_log_q", self.positive_log_q.shape, f"shape {rows}")
        finite = np.isfinite(self.positive_log_q)
        require(bool(finite.all()), "positive_log_q", self.positive_log_q[~finite][:1], "finite logs of shares")
        require(len(live) == 1, "live_ids", live, "shape (N,)")
        require(self.live_share.shape == live, "live_share", self.live_share.shape, f"shape {live}")
        least, total = self.live_share.min(initial=0.0), self.live_share.sum()
        # 1e-6: shares that were kept in float32 still sum to 1.
        if self.row_hours is None:
            sums = bool(least >= 0 and total <= 1 + 1e-6)
            require(sums, "live_share", f"least {least:g}, sum {total:g}", "shares >= 0 with a sum <= 1")
        else:
            most = self.live_share.max(initial=0.0)
            fits = bool(least >= 0 and most <= 1 + 1e-6)
            require(fits, "live_share", f"least {least:g}, most {most:g}", "shares in [0, 1]")
            require(self.row_hours.shape == rows, "row_hours", self.row_hours.shape, f"shape {rows}")
        for name in ("live_since", "live_until"):
            hours = getattr(self, name)
            shape, wanted = None if hours is None else hours.shape, None if self.row_hours is None else live
            require(shape == wanted, name, shape, f"shape {live} with row_hours, else None")
        require(not (self.live_ids < 0).any(), "live_ids", "a negative id", "ids >= 0, -1 pads other arrays only")
        twice = self._sorted_ids[1:] == self._sorted_ids[:-1]
        require(not twice.any(), "live_ids", f"article {self._sorted_ids[1:][twice][:1]} twice", "different ids")
        for name in ("shortlist_ids", "impressed_ids", "seen_ids"):
            ids = getattr(self, name)
            if ids is not None:
                require(ids.ndim == 2 and len(ids) == rows[0], name, ids.shape, f"shape ({rows[0]}, any)")

    @property
    def batch_size(self) -> int:
        """B, number of rows."""
        return len(self.positive_ids)

    @property
    def num_live(self) -> int:
        """N, number of live articles."""
        return len(self.live_ids)

    def is_live(self, ids: Ints) -> Bools:
        """Whether each of ``ids`` (any shape) is live; False for -1."""
        found: Bools = self._place(ids) >= 0
        return found

    def share_of(self, ids: Ints) -> Doubles:
        """Share of the clicks that each of ``ids`` (any shape) takes, float64; 0 for what is not live."""
        place = self._place(ids)
        share: Doubles = np.where(place >= 0, self._padded_share[place], 0.0)
        return share

    def num_others(self, ids: Ints) -> Doubles:
        """How many other rows' positives each of ``ids`` (any shape) could have been, for a row that saw it live.

        B - 1; where times are known, the rows at whose time it was live, less the one that asks.
        """
        return np.maximum(self.num_rows(ids) - 1.0, 0.0)

    def num_rows(self, ids: Ints) -> Doubles:
        """Rows at whose time each of ``ids`` (any shape) was live: all B, where times are not known."""
        if self.row_hours is None:
            return np.full(ids.shape, float(self.batch_size))
        first, last = self._padded_rows
        found: Doubles = (last - first)[self._place(ids)].astype(np.float64)
        return found

    def at_rows(self, ids: Ints) -> Bools:
        """Whether each of ``ids``, (m,) for all rows or (B, m) of each row, was live at the row's time: (B, m)."""
        if self.row_hours is None:
            live = self.is_live(ids)
            return np.broadcast_to(live, (self.batch_size, *live.shape[-1:]))
        place = self._place(ids)
        first, last = self._padded_rows
        # By how many rows were earlier, in small integers: comparing hours takes several times as long.
        rank = np.searchsorted(self._sorted_hours, self.row_hours).astype(np.int32)[:, None]
        found: Bools = first[place] <= rank
        found &= rank < last[place]
        return found

    def were_live(self, ids: Ints, row: Ints) -> Bools:
        """Whether each of ``ids`` (m,) was live at the time of its own row, ``row`` (m,): bool (m,)."""
        if self.row_hours is None:
            return self.is_live(ids)
        place, (first, last) = self._place(ids), self._padded_rows
        rank = np.searchsorted(self._sorted_hours, self.row_hours[row])
        found: Bools = (first[place] <= rank) & (rank < last[place])
        return found

    def require_live(self, sampler: str) -> None:
        """Raise ``ValueError`` if there is no live article for ``sampler`` to draw from."""
        require(self.num_live > 0, "live_ids", "no article", f"at least one live article to draw {sampler} negatives")

    @cached_property
    def _order(self) -> Ints | None:
        # The ids of a catalogue mostly grow along the row; then N log N is spared.
        in_order = bool((self.live_ids[1:] > self.live_ids[:-1]).all())
        return None if in_order else np.argsort(self.live_ids, kind="stable").astype(np.int64)

    @cached_property
    def _sorted_ids(self) -> Ints:
        return self.live_ids if self._order is None else self.live_ids[self._order]

    @cached_property
    def _padded_share(self) -> Doubles:
        share = self.live_share if self._order is None else self.live_share[self._order]
        return np.append(share, 0.0)  # so that an empty catalogue can be asked too

    @cached_property
    def _padded_rows(self) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
        """Rows before each of the sorted ids was live, and before it was not any more; last, of one that never was."""
        assert self.live_since is not None
        assert self.live_until is not None
        both = []
        for hours in (self.live_since, self.live_until):
            padded = np.append(hours if self._order is None else hours[self._order], np.inf)
            both.append(np.searchsorted(self._sorted_hours, padded).astype(np.int32))
        return both[0], both[1]

    @cached_property
    def _sorted_hours(self) -> Doubles:
        assert self.row_hours is not None
        return np.sort(self.row_hours)

    def _place(self, ids: Ints) -> Ints:
        """Row of each id among the sorted live ids, -1 where it is not live."""
        if self.num_live == 0:
            return np.full(ids.shape, -1, dtype=np.int64)
        place = np.minimum(np.searchsorted(self._sorted_ids, ids), self.num_live - 1)
        found: Ints = np.where(self._sorted_ids[place] == ids, place, -1).astype(np.int64)
        return found


@dataclass(frozen=True, kw_only=True, eq=False)
class Negatives:
    """The columns that each row's positive competes with, and the log q to take off each.

    Log q may be given to ``in_batch_softmax_loss(correction="nce")`` as it is. The columns of a row are its
    positive, the other rows' positives if ``in_batch``, the shared ones, and its own.
    """

    log_q_positive: Doubles
    """Log expected count of each row's positive, float64 (B,); of the other rows' positives as columns too. -inf where
    it cannot be among the negatives at all, live at no other row's time: ``while_live`` takes such a row out."""
    shared_ids: Ints
    """Negatives of all rows, int64 (S,), duplicates and accidental hits kept."""
    log_q_shared: Doubles
    """Log expected count of each shared one, float64 (S,)."""
    row_ids: Ints
    """Negatives of a row's own, int64 (B, R), -1 where there is none."""
    log_q_row: Doubles
    """Log expected count of each of those in its row, float64 (B, R); 0 where there is none."""
    in_batch: bool
    """Whether the other rows' positives are columns too."""
    corrected: bool = True
    """False where no log q exists: the zeros stand for nothing and a softmax with logQ must refuse them."""
    mask: Bools | None = None
    """Which columns compete with a row's positive, bool (B, B + S) if ``in_batch``, else (B, S): see ``while_live``.
    Not its own. None: all others."""


class NegativeSampler(Protocol):
    """How negatives are drawn. Any class with these fits; there is no base class to read."""

    @property
    def needs(self) -> frozenset[str]:
        """Which of the optional fields of ``NegativeContext`` it reads."""
        ...

    @property
    def corrected(self) -> bool:
        """Whether its negatives have a log q."""
        ...

    def draw(self, context: NegativeContext, rng: np.random.Generator) -> Negatives:
        """Negatives for one batch."""
        ...


@runtime_checkable
class Remembering(Protocol):
    """A sampler with a memory of its own: a run that is resumed has to go on with it."""

    def snapshot(self) -> dict[str, npt.NDArray[np.generic]]:
        """The complete state as plain arrays (copies)."""
        ...

    def restore(self, state: Arrays) -> None:
        """Go back to a ``snapshot``."""
        ...


def while_live(context: NegativeContext, negatives: Negatives) -> Negatives:
    """What is left of ``negatives`` when no row competes with an article that was not live at its own time.

    Any sampler's will do. A row is left without negatives, so that it is skipped, if its positive cannot be among
    any: by what is compared it would be the best of all, whatever its score.
    """
    if context.row_hours is None:
        return negatives
    own = np.isfinite(negatives.log_q_positive) & context.at_rows(context.positive_ids[:, None])[:, 0]  # (B,)
    columns = (context.positive_ids, negatives.shared_ids) if negatives.in_batch else (negatives.shared_ids,)
    mask = context.at_rows(np.concatenate(columns))
    if not own.all():
        mask[~own] = False
        if negatives.in_batch:
            mask[:, : context.batch_size][:, ~own] = False
    if negatives.in_batch:
        np.fill_diagonal(mask[:, : context.batch_size], False)
    there = context.at_rows(negatives.row_ids) & own[:, None]  # -1 is never live
    return replace(
        negatives,
        log_q_positive=np.where(own, negatives.log_q_positive, 0.0),
        row_ids=np.where(there, negatives.row_ids, -1),
        log_q_row=np.where(there, negatives.log_q_row, 0.0),
        mask=mask,
    )


def no_rows(batch_size: int) -> tuple[Ints, Doubles]:
    """``row_ids`` and ``log_q_row`` of a sampler whose negatives are all shared, (B, 0) each."""
    return np.empty((batch_size, 0), dtype=np.int64), np.empty((batch_size, 0))


def log_count(count: Doubles, ids: Ints) -> Doubles:
    """Log of expected counts, any shape, refusing an article ``ids`` that was drawn although it had no chance.

    Raises:
        ValueError: naming the article, if its count is 0.
    """
    never = count <= 0
    if never.any():
        raise ValueError(f"live_share: got 0 for article {int(ids[never][0])}, which was drawn; needs a share > 0")
    log: Doubles = np.log(count)
    return log

"""The rehearsal of a reader model: a small site, its clock, and batches that can be cut and shuffled.

Shapes: P readers, n visits of a batch, K positions. Impressions are position-major, (K, n). Time is in hours.
"""

import copy
import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np

from feedgym.env.arrays import AnyArray, Bools, Doubles, Ints
from feedgym.env.config import FeedConfig
from feedgym.env.newsroom import Archive, Newsroom
from feedgym.env.noise import Noise
from feedgym.env.readers import Outcome, SlateView

_ENOUGH = 16
"""Visits that a batch should have, so that order and split can show."""
_REACHES = (0.0, 0.25, 1.0, 4.0, 24.0, np.inf)
"""Hours within which readers are called together, the shortest that gives enough visits."""
_NEWEST = 12
"""Articles that slates are made of: few, so that readers meet them again."""


@dataclass(frozen=True, kw_only=True)
class Batch:
    """What one call of a model's method is about."""

    seed: int
    rows: Ints
    """(n,)"""
    reader_id: Ints
    """(n,)"""
    visit: Ints
    """(n,): visits before this one."""
    article_id: Ints
    """(K, n)"""
    valid: Bools
    """(K, n)"""
    now: float
    archive: Archive
    outcome: Any = None
    """What ``respond`` returned, for ``next_visit``."""

    def __len__(self) -> int:
        """Visits, n."""
        return len(self.rows)

    def take(self, index: Ints) -> "Batch":
        """Some of the visits, in this order; every array is a new one."""
        return dataclasses.replace(
            self,
            rows=self.rows[index],
            reader_id=self.reader_id[index],
            visit=self.visit[index],
            article_id=np.ascontiguousarray(self.article_id[:, index]),
            valid=np.ascontiguousarray(self.valid[:, index]),
            outcome=take_outcome(self.outcome, index, len(self)),
        )

    def with_outcome(self, outcome: Any) -> "Batch":
        """The same visits, and what the readers did."""
        return dataclasses.replace(self, outcome=outcome)

    def noise(self) -> Noise:
        """Draws keyed by what these visits are, wherever they stand."""
        return Noise(self.seed, self.reader_id, self.visit, self.article_id.T)

    def birth_noise(self) -> Noise:
        """Draws keyed by the readers alone."""
        return Noise(self.seed, self.reader_id)

    def slate(self) -> SlateView:
        """What the readers see."""
        return SlateView(self.archive, self.article_id.T, self.valid.T, self.now)

    def changed_by(self, other: "Batch") -> tuple[str, ...]:
        """Names of the inputs in which ``other``, once a copy of this batch, differs from it."""
        pairs = {
            "rows": (self.rows, other.rows),
            "reader_ids": (self.reader_id, other.reader_id),
            "slate.article_id": (self.article_id, other.article_id),
            "slate.valid": (self.valid, other.valid),
        }
        names = [name for name, (mine, others) in pairs.items() if not np.array_equal(mine, others)]
        if self.outcome is not None:
            for name, column in outcome_columns(self.outcome).items():
                now = outcome_columns(other.outcome).get(name, np.zeros(0))
                if not np.array_equal(column, now, equal_nan=column.dtype.kind == "f"):
                    names.append(f"outcome.{name}")
        return tuple(names)


def outcome_columns(outcome: Any) -> dict[str, AnyArray]:
    """Attributes of an outcome that are arrays; a model's own outcome may have more than the usual three."""
    names = {"clicks", "dwell_minutes", "subscribed", *getattr(outcome, "__dict__", {})}
    columns = {name: getattr(outcome, name, None) for name in sorted(names)}
    return {name: column for name, column in columns.items() if isinstance(column, np.ndarray)}


def take_outcome(outcome: Any, index: Ints, n: int) -> Any:
    """The same outcome of some of its ``n`` visits."""
    if outcome is None:
        return None
    columns = outcome_columns(outcome)
    cut = {name: column[index] if column.shape[:1] == (n,) else column.copy() for name, column in columns.items()}
    part = copy.copy(outcome)
    try:
        for name, column in cut.items():
            # Not setattr: a model's own outcome may be frozen.
            object.__setattr__(part, name, column)
    except AttributeError:
        return Outcome(**{name: cut[name] for name in ("clicks", "dwell_minutes", "subscribed")})
    return part


def nothing_happened(n: int, slate_size: int) -> Outcome:
    """The outcome of visits (n,) without a click: stands in for one that cannot be used."""
    return Outcome(
        clicks=np.zeros((n, slate_size), dtype=np.bool_),
        dwell_minutes=np.zeros((n, slate_size), dtype=np.float32),
        subscribed=np.zeros(n, dtype=np.bool_),
    )


class Site:
    """Articles, slates and the clock of the rehearsal. Slates are drawn; some of their entries show nothing.

    Args:
        config: readers, clock, slates.
        newsroom: what is published.
        seed: of readers and slates.
    """

    def __init__(self, config: FeedConfig, newsroom: Newsroom, seed: int) -> None:
        self.config = config
        self.seed = seed
        self.archive = Archive(newsroom.centers.shape[1])
        self.newsroom = newsroom
        self.visit: Ints = np.zeros(config.num_readers, dtype=np.int64)
        """Visits so far, (P,)."""
        self._rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(0xC4EC,)))
        self._next_day = -1

    def everybody(self) -> Batch:
        """All readers before their first visit; no slates."""
        return self._batch(np.arange(self.config.num_readers, dtype=np.int64), 0.0, slate_size=0)

    def call(self, due: Doubles) -> Batch | None:
        """The next readers to come, by the hours (P,) at which they want to; None when nobody comes any more.

        Who wants to come soon after the first comes with them: as on a site with a longer tick.
        """
        coming = due < self.config.days * 24.0
        if not coming.any():
            return None
        first = due[coming].min()
        for reach in _REACHES:
            rows = np.flatnonzero(coming & (due <= first + reach))
            if len(rows) >= _ENOUGH:
                break
        tick = self.config.tick_hours
        now = float(np.ceil(due[rows].max() / tick) * tick)
        self._advance(now)
        return self._batch(rows, now, self.config.slate_size)

    @property
    def live(self) -> Ints:
        """Ids of the live articles, rising."""
        return np.flatnonzero(self.archive.is_live)

    def _batch(self, rows: Ints, now: float, slate_size: int) -> Batch:
        article_id, valid = self._slates(len(rows), slate_size)
        return Batch(
            seed=self.seed,
            rows=rows,
            reader_id=rows + self.config.first_reader_id,
            visit=self.visit[rows],
            article_id=article_id,
            valid=valid,
            now=now,
            archive=self.archive,
        )

    def _slates(self, n: int, slate_size: int) -> tuple[Ints, Bools]:
        """Some of the newest articles in some order, (K, n); a sixth of the entries and one slate show nothing."""
        newest = self.live[-max(_NEWEST, slate_size) :]
        article_id: Ints = np.zeros((slate_size, n), dtype=np.int64)
        chosen = self._rng.random((len(newest), n)).argsort(axis=0)[:slate_size]
        article_id[: len(chosen)] = newest[chosen]
        valid: Bools = self._rng.random((slate_size, n)) > 1.0 / 6.0
        valid[len(chosen) :] = False
        if n > 3:
            valid[:, self._rng.integers(n)] = False
        return np.where(valid, article_id, 0), valid

    def _advance(self, now: float) -> None:
        """Publish and expire what is due."""
        while self._next_day * 24.0 <= now:
            self.archive.plan(self.newsroom.plan_day(self._next_day))
            self._next_day += 1
        end = self.archive.planned
        published, expires = (self.archive.column(name)[:end] for name in ("published_hours", "expires_hours"))
        self.archive.published = int(np.searchsorted(published, now, side="right"))
        self.archive.is_live[:end] = (published <= now) & (now < expires)

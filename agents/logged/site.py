"""A site that was: a log replayed tick by tick, with what agents see of a Feed (``visits``, ``catalogue``).

Histories, gaps, visit counts and counters are made anew from the log and ``articles.parquet`` alone: no simulator, no
latents. What agents serve has no effect; what was served comes from the log.
Shapes: n visits of a tick, P readers, K positions, F columns of readers. Time is in hours.
"""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from feedgym.agents.logged.opens import LoggedOpens
from feedgym.agents.serving import LoggedTick
from feedgym.env.arrays import Arrays, Bools, Floats, Ints
from feedgym.env.checks import require
from feedgym.env.config import FeedConfig, RewardConfig
from feedgym.env.feed import Catalogue, Opens, ReaderRecords, Visits, valid_entries
from feedgym.env.log import BATCH_ROWS, LoggedNewsroom, LogReader
from feedgym.env.readers import Outcome

DEFAULT_TICK_HOURS = 1.0 / 12.0
HISTORY_LENGTH = 50
_SPARE_ROWS = 10_000
"""Rows that readers who never came may take, so that a simulator's readers keep theirs."""
BY_POSITIONS = (
    "the log's policy explored by positions (log format 1): its epsilon filled more than that share of the slots"
)
"""Of a log by policies that explored otherwise than today's."""


_MOST_EARLY = 0.01
"""Share of a site's own log that may show articles before they were published."""


class LoggedSite:
    """A log as a site. Go through it as through a Feed: look at ``visits``, then :meth:`advance`, until ``done``.

    A log without ticks is put on a clock: a visit comes at the first tick at or after its time, and a reader's
    second visit in a tick in a batch of its own, still at that tick.

    Args:
        path: see :class:`~feedgym.env.log.reader.LogReader`.
        tick_hours: of a log without ticks; 5 minutes if not given.
        reward: what a visit pays; the log's own setting if not given, else minutes read, or clicks where these are
            unknown.
        category_sizes: topics, publishers and authors there are, at least; the log's own are counted.
        seed: of the agent's stream; the log's own if not given, else 0.
        batch_rows: rows of the log in memory, beside those of a tick.

    Raises:
        FileNotFoundError: no log, or no ``articles.parquet`` beside it.
        ValueError: whatever is wrong in them.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        tick_hours: float | None = None,
        reward: RewardConfig | None = None,
        category_sizes: tuple[int, int, int] = (1, 1, 1),
        seed: int | None = None,
        batch_rows: int = BATCH_ROWS,
    ) -> None:
        self.log = LogReader(path, batch_rows=batch_rows)
        articles = self.log.articles_path
        if articles is None:
            raise FileNotFoundError(f"log: got {str(path)!r}, needs articles.parquet beside it (docs/guide/offline.md)")
        self.newsroom = LoggedNewsroom(articles, category_sizes)
        self.summary = summary = self.log.summary
        settings = self.log.config or {}
        self.seed = seed if seed is not None else _whole(settings.get("seed"), 0)
        require(self.seed >= 0, "seed", self.seed, ">= 0")
        per_day = summary.ticks_per_day
        require(per_day is None or tick_hours is None, "tick_hours", tick_hours, "None: this log has its own clock")
        hours = 24.0 / per_day if per_day is not None else DEFAULT_TICK_HOURS if tick_hours is None else tick_hours
        own_ticks, devices = per_day is not None, summary.device_names
        self._opens = LoggedOpens(path, self.newsroom, hours, own_ticks=own_ticks, device_names=devices)
        self._known = np.union1d(summary.reader_id, self._opens.reader_id)
        last = max(self._tick_of(np.array([summary.last_hours]), hours)[0], self._opens.last_tick)
        self.config = FeedConfig(
            num_readers=self._num_rows,
            tick_hours=hours,
            # Whole days: what is learned on the clock is learned from all of them.
            days=float(math.ceil((last + 1) * hours / 24.0 - 1e-9)),
            slate_size=summary.slate_size,
            history_length=max(HISTORY_LENGTH, summary.slate_size),
            reward=reward if reward is not None else self._own_reward(settings),
        )
        self.num_early = 0
        """Impressions so far of articles that had not been published."""
        self.tick = 0
        self.catalogue = Catalogue(self.newsroom, self.config.ticks_per_day)
        self.records = ReaderRecords(self.config.num_readers, self.config.history_length)
        self._feature_names = tuple(f"device_{name}" for name in summary.device_names)
        self._stretches: Iterator[Arrays] = self.log.visits()
        self._ahead: Arrays | None = next(self._stretches, None)
        self._waiting: list[Arrays] = []  # batches of this tick that are still to come
        self.visits: Visits
        """Who asked for a slate at this tick."""
        self.logged: LoggedTick
        """What they were shown."""
        self.outcome: Outcome
        """What they did."""
        self.slot_reward: Floats
        """What each position paid, (n, K): as logged, or by ``reward`` where the log does not say."""
        self._valid: Bools
        self._open()

    @property
    def now(self) -> float:
        """Hours since the log's hour 0."""
        return self.tick * self.config.tick_hours

    @property
    def done(self) -> bool:
        """The log's days are over. The clock then stands at their end, without visits."""
        return self.tick >= self.config.num_ticks

    def advance(self) -> None:
        """End the tick: histories and counters take in what was clicked."""
        require(not self.done, "advance", f"tick {self.tick}", f"a tick before {self.config.num_ticks}: the end")
        visits = self.visits
        visits.stale = True
        if len(visits):
            self._write_down(visits)
        if not self._waiting:
            self.tick += 1
        self._open()

    def _own_reward(self, settings: dict[str, Any]) -> RewardConfig:
        if not self.log.is_own and "dwell_minutes" in self.summary.incomplete:
            return RewardConfig(click=1.0, dwell_minutes=0.0)
        return _reward_of(settings)

    # One tick

    def _open(self) -> None:
        self.catalogue.advance(self.tick, self.now)
        if not self._waiting and not self.done:
            self._waiting = self._collect()
        batch = self._waiting.pop(0) if self._waiting else None
        opens = self._open_elsewhere()
        self.visits = self._visits_of(batch)
        self.visits.opens = opens
        self._reveal(batch)

    @property
    def has_opens(self) -> bool:
        """The log has opens from elsewhere beside it."""
        return len(self._opens) > 0

    def _open_elsewhere(self) -> Opens | None:
        """What the log says was opened without a slate at this tick; None where nothing was, or where it has been."""
        published = self.catalogue.archive.published
        if self.done or (due := self._opens.due(self.tick, self.now, published)) is None:
            return None
        ids = due["reader_id"]
        rows = self.rows_of(ids)
        self.records.record_opens(rows, due["article_id"], due["dwell_minutes"])
        self.catalogue.count_opens(due["article_id"])

        def before() -> Visits:
            session = np.full(len(rows), -1, dtype=np.int64)  # no session holds it
            visits = self._visits_of({"rows": rows, "reader_id": ids, "device": due["device"], "session": session})
            visits.newer_clicks = 1
            return visits

        return self._opens.as_opens(due, rows, self.tick, self.now, before)

    def _collect(self) -> list[Arrays]:
        """The visits of this tick, by rows rising; a reader's k-th of them is in batch k."""
        found: list[Arrays] = []
        while self._ahead is not None:
            ticks = self._ticks(self._ahead)
            end = int(np.searchsorted(ticks, self.tick, side="right"))
            found.append({name: values[:end] for name, values in self._ahead.items()})
            if end < len(ticks):
                self._ahead = {name: values[end:] for name, values in self._ahead.items()}
                break
            self._ahead = next(self._stretches, None)
        if not any(len(part["reader_id"]) for part in found):
            return []
        batch = {name: np.concatenate([part[name] for part in found]) for name in found[0]}
        batch["rows"] = self.rows_of(batch["reader_id"])
        order = np.argsort(batch["rows"], kind="stable")
        batch = {name: values[order] for name, values in batch.items()}
        rows = batch["rows"]
        starts = np.flatnonzero(np.diff(rows, prepend=-1))
        turn = np.arange(len(rows)) - np.repeat(starts, np.diff(starts, append=len(rows)))
        return [{name: values[turn == k] for name, values in batch.items()} for k in range(int(turn.max()) + 1)]

    def _ticks(self, visits: Arrays) -> Ints:
        if self.summary.ticks_per_day is not None:
            ticks: Ints = visits["tick"]
            return ticks
        return self._tick_of(visits["time_hours"], self.config.tick_hours)

    @staticmethod
    def _tick_of(hours: Any, tick_hours: float) -> Ints:
        """The first tick at or after each time (n,); a rounding beyond a tick is that tick's."""
        ticks: Ints = np.ceil(hours / tick_hours - 1e-6).astype(np.int64)
        return ticks

    def rows_of(self, reader_id: Ints) -> Ints:
        """Rows of readers (n,): their ids where these are dense, as a simulator's are; else by order of id."""
        known = self._known
        if int(known[-1]) < 4 * len(known) + _SPARE_ROWS:
            return reader_id
        rows: Ints = np.searchsorted(known, reader_id)
        return rows

    @property
    def why_fewer(self) -> str | None:
        """What of the log was not taken so far; None if all was."""
        if not self.num_early:
            return None
        return (
            f"{self.num_early:,} of {self.summary.num_rows:,} impressions are of articles that had not been published "
            "(published_hours of articles.parquet): taken as empty positions"
        )

    @property
    def other_policy(self) -> str | None:
        """What has to be known of a log by policies of another kind than today's; None of others."""
        return BY_POSITIONS if self.log.exploration == "positions" else None

    @property
    def _num_rows(self) -> int:
        return int(self.rows_of(self._known[-1:])[0]) + 1

    def _visits_of(self, batch: Arrays | None) -> Visits:
        none: Ints = np.zeros(0, dtype=np.int64)
        rows = none if batch is None else batch["rows"]
        count, last_tick = self.records.read_counters(rows)
        gap = (self.tick - last_tick) * self.config.tick_hours
        names = self.summary.device_names
        device = none if batch is None else batch["device"]
        # An unknown device looks up the last row, which is all 0.
        one_hot = np.eye(len(names) + 1, len(names), dtype=np.float32)
        session = none if batch is None else batch["session"]
        return Visits(
            tick=self.tick,
            now=self.now,
            rows=rows,
            reader_id=none if batch is None else batch["reader_id"],
            visit=count,
            gap_hours=np.where(count > 0, gap, 0.0),
            features=one_hot.take(device, axis=0, mode="wrap"),
            feature_names=self._feature_names,
            records=self.records,
            device=device if names else None,
            device_names=names,
            session=session if self.summary.has_sessions else None,
        )

    def _reveal(self, batch: Arrays | None) -> None:
        """What the log says of this tick's slates and outcomes."""
        if batch is None:
            empty = np.zeros((0, self.config.slate_size))
            batch = dict.fromkeys(("slot_propensity", "slot_marginal", "inclusion", "logit", "dwell_minutes"), empty)
            batch |= {"reward": empty, "clicked": empty.astype(bool), "article_id": empty.astype(np.int64)}
            batch |= dict.fromkeys(("inclusion_time", "log_normaliser", "epsilon", "slate_made_hours"), np.zeros(0))
            batch |= dict.fromkeys(("greedy", "subscribed"), np.zeros(0, dtype=np.bool_))
            batch |= dict.fromkeys(("num_live", "slate_id", "visit_id"), np.zeros(0, dtype=np.int64))
        logged_id = self.newsroom.own_id(batch["article_id"])
        nowhere = batch["clicked"] & (logged_id < 0)
        require(not nowhere.any(), f"column 'clicked' at {self.now:g} h", True, "false where article_id is -1")
        early = self._too_early(logged_id)
        article_id = np.where(early, -1, logged_id)
        clicks: Bools = batch["clicked"] & ~early
        self._valid = valid_entries(self.catalogue.archive, np.ascontiguousarray(article_id.T))[0].T
        # A site's clock and this one differ by up to a tick: what was clicked was there.
        self._valid |= clicks & (article_id >= 0)
        self.logged = LoggedTick(
            article_id=article_id,
            slot_propensity=np.where(article_id >= 0, batch["slot_propensity"], 1.0),
            slot_marginal=np.where(article_id >= 0, batch["slot_marginal"], 1.0),
            inclusion=batch["inclusion"],
            inclusion_time=batch["inclusion_time"],
            greedy=batch["greedy"],
            epsilon=batch["epsilon"],
            explores_by_visits=self.log.exploration == "visits",
            logit=batch["logit"],
            log_normaliser=batch["log_normaliser"],
            num_live=batch["num_live"],
            made_hours=batch["slate_made_hours"],
            slate_id=batch["slate_id"],
            expired=(batch["slate_made_hours"] < self.now)[:, None] & (article_id >= 0) & ~self._valid,
            **self._pages(batch, article_id),
        )
        minutes = np.where(clicks, np.nan_to_num(batch["dwell_minutes"]), 0.0).astype(np.float32)
        self.outcome = Outcome(clicks=clicks, dwell_minutes=minutes, subscribed=batch["subscribed"])
        weights = self.config.reward
        paid = np.float32(weights.dwell_minutes) * minutes + np.float32(weights.click) * clicks
        logged = np.where(np.isnan(batch["reward"]), paid, batch["reward"]).astype(np.float32)
        self.slot_reward = np.where(early, np.float32(0.0), logged)

    def _pages(self, batch: Arrays, article_id: Ints) -> dict[str, Bools]:
        """Which visits got a further page of a list, and which a short one, (n,) each: as who served them saw it."""
        if not self.summary.num_ahead or self.log.exploration != "visits":
            return dict.fromkeys(("further", "short"), np.zeros(len(article_id), dtype=np.bool_))
        drawn: Bools = ~batch["greedy"]
        missing = np.count_nonzero(article_id >= 0, axis=1) < np.minimum(article_id.shape[1], batch["num_live"])
        return {
            "further": drawn & (batch["slate_id"] != batch["visit_id"]),
            "short": drawn & (missing | np.isnan(batch["log_normaliser"])),
        }

    def _too_early(self, article_id: Ints) -> Bools:
        """Impressions (n, K) of articles that had not been published: a site's own clocks differ by a little.

        They are taken as if nothing had stood there, as long as they are few.
        """
        early: Bools = article_id >= self.catalogue.archive.published
        self.num_early += int(np.count_nonzero(early))
        most = 0 if self.log.is_own else _MOST_EARLY * self.summary.num_rows
        if self.num_early > most:
            own = int(article_id[early][0])
            hours = float(self.newsroom.live_hours[0][own])
            share = "" if self.log.is_own else f", {self.num_early:,} of {self.summary.num_rows:,} impressions so far,"
            raise ValueError(
                f"column 'article_id': got {int(self.newsroom.original_id[own])} at {self.now:g} h, which was "
                f"published at {hours:g} h{share}; needs articles that were there (published_hours of articles.parquet)"
            )
        return early

    def _write_down(self, visits: Visits) -> None:
        """As a Feed does it, position-major, so that the same sums come of it."""
        article_id = np.ascontiguousarray(self.logged.article_id.T)
        valid, clicks = self._valid.T, np.ascontiguousarray(self.outcome.clicks.T)
        dwell = np.ascontiguousarray(self.outcome.dwell_minutes.T)
        flat = np.flatnonzero(clicks)
        clicked, minutes = article_id.reshape(-1)[flat], dwell.reshape(-1)[flat]
        self.catalogue.count(article_id if valid.all() else article_id[valid], clicked, minutes)
        self.records.record_clicks(visits.rows, article_id, clicks, dwell)
        self.records.record_visits(visits.rows, visits.visit, self.tick)


def _whole(value: object, default: int) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else default


def _reward_of(settings: dict[str, Any]) -> RewardConfig:
    """What the run that was logged paid for; minutes read where it does not say."""
    weights = settings.get("reward")
    if not isinstance(weights, dict):
        return RewardConfig()
    names = ("click", "dwell_minutes", "subscription")
    known = all(name in names and isinstance(weight, int | float) for name, weight in weights.items())
    require(known, "reward of the log's settings", weights, f"numbers for {', '.join(names)}")
    return RewardConfig(**weights)

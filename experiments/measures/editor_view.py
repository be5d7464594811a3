"""What an editor asks first: how old is what readers get, how fares what is new, how much of the news is shown at all.

A run's impressions are kept as they come and counted in one go at the end of a day, earlier where they are many: a
tick costs a few microseconds, an impression some tens of nanoseconds. Nothing is drawn that moves a run.

Topics of slates and repeats are of at most ``FOLLOWED`` readers, drawn from the seed alone: the same for all agents.
Of these they are exact.
Shapes: n visits, K positions, m impressions, A articles published so far. Time is in hours.
"""

from typing import Any, NamedTuple

import numpy as np

from feedgym.agents.slate_policy import Served
from feedgym.env.arrays import AnyArray, Arrays, Bools, Doubles, Floats, Ints, SmallInts, nest, unnest
from feedgym.env.feed import Feed, ServedOutcome, Visits
from feedgym.experiments.measures.editor_metrics import age_bucket, gini, shown_less_than, slate_entropy
from feedgym.experiments.measures.editor_sums import FEW, NAMES, Sums, editor_tag, known
from feedgym.experiments.measures.repeats import Repeats

FOLLOWED = 256
"""Readers whose slates are looked at one by one."""
BLOCK = 1 << 17
"""Impressions that are kept before they are counted: some 2 MB."""
_KEY = 0xED17


class _Tick(NamedTuple):
    """What is kept of a tick: impressions are flat, (K n,), position-major as the Feed has them."""

    now: float
    rows: Ints
    article: Ints
    outcome: ServedOutcome


class EditorView:
    """Counts what a run shows. Whose slates are followed are readers of hour 0, so that no horizon changes who.

    Args:
        feed: the site, before the first tick, or restored before :meth:`restore`.
    """

    def __init__(self, feed: Feed) -> None:
        self._feed = feed
        readers = feed.config.num_readers
        self._num_followed = min(FOLLOWED, readers)
        rng = np.random.default_rng(np.random.SeedSequence(feed.seed, spawn_key=(_KEY,)))
        # Drawn, not every k-th: a population may be a mixture by row.
        self._follower: SmallInts = np.full(readers, -1, dtype=np.int32)
        self._follower[rng.choice(readers, self._num_followed, replace=False)] = np.arange(self._num_followed)
        self._repeats = Repeats(self._num_followed)
        self._run, self._day = Sums(), Sums()
        self._days: list[Doubles] = []
        """A row for each day that has ended, by ``NAMES``; NaN where a number is undefined."""
        self._kept: list[_Tick] = []
        self._num_kept = 0
        self._num_unfilled = self._num_explored = 0
        self._open_day()

    def after_serving(self, visits: Visits, served: Served, outcome: ServedOutcome, now: float) -> None:
        """With what became of the slates that were served at ``now`` hours."""
        if len(visits) == 0:
            return
        slates = served.article_id
        self._num_unfilled += served.num_unfilled
        self._num_explored += served.num_explored
        # A copy, as agents may reuse their buffer.
        self._kept.append(_Tick(now, visits.rows, np.array(slates.T, dtype=np.int64, order="C").reshape(-1), outcome))
        self._num_kept += slates.size
        if self._num_kept >= BLOCK:
            self._count()

    def end_day(self) -> dict[str, float]:
        """The day's numbers by TensorBoard tag, and the coverage so far; the next day starts empty."""
        self._count()
        impressions, clicks = self._of_all()
        live = live_between(self._feed, self._day_tick, self._feed.tick)
        before = np.zeros((2, len(impressions)), dtype=np.int64)
        before[:, : self._day_start.shape[1]] = self._day_start
        shown, clicked = (impressions - before[0])[live], (clicks - before[1])[live]
        values = self._day.values()
        if len(shown):
            values["daily_coverage"] = float(np.mean(shown > 0))
        values |= known({"gini_exposure": gini(shown), "gini_clicks": gini(clicked), "coverage": self._coverage()})
        self._days.append(np.array([values.get(name, np.nan) for name in NAMES]))
        self._run.add(self._day)
        self._repeats.forget(self._feed.catalogue.archive.is_live)
        self._open_day()
        return {editor_tag(name): values[name] for name in NAMES if name in values}

    def summary(self) -> dict[str, Any]:
        """The run's numbers by ``NAMES``, for JSON, as of the last day's end, and those of each day.

        Those that are undefined are missing.
        """
        impressions, clicks = self._of_all()
        live = live_between(self._feed, 0, self._feed.tick)
        values = self._run.values()
        coverage = {"coverage": self._coverage()}
        days = self._by_day()
        of_days = [value for value in days.get("daily_coverage", []) if value is not None]
        if of_days:
            coverage["daily_coverage"] = float(np.mean(of_days))
        values |= known(coverage | {"gini_exposure": gini(impressions[live]), "gini_clicks": gini(clicks[live])})
        return {
            "followed_readers": self._num_followed,
            "values": {name: values[name] for name in NAMES if name in values},
            "days": days,
        }

    def _by_day(self) -> dict[str, list[float | None]]:
        """Each day's numbers by ``NAMES``, None where undefined; without those that are undefined on all days."""
        columns = {name: [day[i] for day in self._days] for i, name in enumerate(NAMES)}
        rows = {name: [None if np.isnan(v) else float(v) for v in each] for name, each in columns.items()}
        return {name: row for name, row in rows.items() if any(value is not None for value in row)}

    def snapshot(self) -> Arrays:
        """The days that have ended, and what the followed readers were shown."""
        days = np.array(self._days).reshape(-1, len(NAMES))
        return {"days": days} | nest("run", self._run.snapshot()) | nest("repeats", self._repeats.snapshot())

    def restore(self, arrays: Arrays) -> None:
        """Go on from the end of a day, with the feed as it was then."""
        self._run, self._day = Sums.restored(unnest("run", arrays)), Sums()
        self._days = list(arrays["days"].astype(np.float64))
        self._repeats.restore(unnest("repeats", arrays))
        self._kept, self._num_kept, self._num_unfilled, self._num_explored = [], 0, 0, 0
        self._open_day()

    def _open_day(self) -> None:
        self._day = Sums()
        self._day_tick = self._feed.tick
        self._day_start: Ints = np.stack(self._of_all())
        self._counted: Ints = self._day_start[0]
        """Impressions of each article before those that are kept."""

    def _of_all(self) -> tuple[Ints, Ints]:
        """Impressions and clicks so far of all published articles, int64 (A,) each: the catalogue knows them."""
        catalogue = self._feed.catalogue
        every = np.arange(catalogue.archive.published)
        return catalogue.impressions_of(every), catalogue.clicks_of(every)

    def _coverage(self) -> float:
        """Share of the articles that have been live so far that have been shown; NaN where there were none."""
        live = live_between(self._feed, 0, self._feed.tick)
        return float(np.mean(self._of_all()[0][live] > 0)) if len(live) else np.nan

    def _count(self) -> None:
        """Count what was kept."""
        kept, self._kept, self._num_kept = self._kept, [], 0
        if not kept:
            return
        archive = self._feed.catalogue.archive
        visits = np.array([len(tick.rows) for tick in kept])
        size = visits * self._feed.config.slate_size
        self._day.add_positions(int(size.sum()), self._num_unfilled, self._num_explored)
        self._num_unfilled = self._num_explored = 0

        def joined(name: str) -> AnyArray:
            return np.concatenate([getattr(tick.outcome, name).T.reshape(-1) for tick in kept])

        valid: Bools = joined("valid")
        article: Ints = np.concatenate([tick.article for tick in kept])
        clicks: Bools = joined("clicks")
        reward: Floats = joined("slot_reward")
        self._follow(np.concatenate([tick.rows for tick in kept]), visits, article, valid)
        if not valid.all():
            size = np.diff(np.concatenate([[0], np.cumsum(valid)])[np.concatenate([[0], np.cumsum(size)])])
            article, clicks, reward = article[valid], clicks[valid], reward[valid]
        now = np.repeat([tick.now for tick in kept], size)
        age = now - archive.column("published_hours").take(article)
        counted = np.zeros(archive.published, dtype=np.int64)
        counted[: len(self._counted)] = self._counted
        few = shown_less_than(FEW, article, size, counted)
        self._day.add_impressions(age_bucket(age), few, clicks, reward)
        self._counted = self._of_all()[0]

    def _follow(self, rows: Ints, visits: Ints, article: Ints, valid: Bools) -> None:
        """Look at the slates of the followed readers.

        Args:
            rows: of the readers of all visits, tick after tick, int64 (n,).
            visits: of each tick.
            article: ids, flat, each tick position-major, int64 (K n,).
            valid: the same, bool.
        """
        # Newcomers' rows are behind those of the first readers: nobody of them is followed.
        follower = np.where(rows < len(self._follower), self._follower.take(rows, mode="clip"), -1)
        chosen = np.flatnonzero(follower >= 0)
        start = np.repeat(np.cumsum(visits) - visits, visits)[chosen]
        step = np.repeat(visits, visits)[chosen]
        place = np.arange(self._feed.config.slate_size)
        # A tick's first impression, then its columns of n visits, then the visit's row.
        flat = (start * len(place) + chosen - start)[:, None] + step[:, None] * place
        shows = valid.take(flat)
        shown = np.where(shows, article.take(flat), 0)
        self._day.add_entropy(slate_entropy(self._feed.catalogue.archive.column("topic").take(shown), shows))
        reader = np.repeat(follower[chosen].astype(np.int64), np.count_nonzero(shows, axis=1))
        self._day.add_repeats(self._repeats.count(reader, shown[shows]), len(reader))


def live_between(feed: Feed, first: int, last: int) -> Ints:
    """Ids of the articles that were live at one of the ticks ``first`` to ``last - 1``, int64, rising."""
    archive, per_hour = feed.catalogue.archive, feed.config.ticks_per_day / 24.0
    published, expires = (archive.column(name)[: archive.published] for name in ("published_hours", "expires_hours"))
    # Live from the first tick at or after publication until before the first at or after expiry.
    start, end = (np.ceil(times * per_hour) for times in (published, expires))
    ids: Ints = np.flatnonzero(np.maximum(start, first) < np.minimum(end, last))
    return ids

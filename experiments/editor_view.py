"""What an editor asks first: how old is what readers get, how fares what is new, how much of the news is shown at all.

A run's impressions are kept as they come and counted in one go at the end of a day, earlier where they are many: a
tick costs a few microseconds, an impression some tens of nanoseconds. Nothing is drawn that moves a run.

Topics of slates and repeats are of at most ``FOLLOWED`` readers, drawn from the seed alone: the same for all agents.
Of these they are exact.
Shapes: n visits, K positions, m impressions, A articles published so far. Time is in hours.
"""

from typing import Any, NamedTuple

import numpy as np

from feedgym.env.arrays import AnyArray, Arrays, Bools, Doubles, Floats, Ints, SmallInts, nest, unnest
from feedgym.env.feed import Feed, ServedOutcome
from feedgym.env.visits import Visits
from feedgym.experiments.editor_metrics import age_bucket, gini, shown_less_than, slate_entropy
from feedgym.experiments.evaluation import AGES
from feedgym.experiments.repeats import Repeats

FEW = 50
"""Impressions before this tick below which next to nothing is known of an article's clicks."""
FOLLOWED = 256
"""Readers whose slates are looked at one by one."""
GROUPS = (*AGES, f"first_{FEW}", "all")
"""Of impressions. The first 50 overlap with the ages."""
SHARES = ("exposure_share", "click_share", "reward_share")
"""Of all impressions, clicks and reward: those of a group. Undefined where there are none; the reward that belongs to
no article, a subscription's, is left out."""
RATES = ("click_rate", "reward_per_impression")
"""Within a group."""
OVERALL = (
    "coverage",
    "daily_coverage",
    "gini_exposure",
    "gini_clicks",
    "topic_entropy",
    "repeat_share",
)
"""Share of the articles that were live at some time that were shown at all; the same of a day, mean over days; Gini
coefficients over the articles that were live; entropy of a slate's topics in nats, mean over slates; share of the
impressions whose reader had been shown the article at an earlier visit; the last two of followed readers."""
NAMES = (*OVERALL, *(f"{what}/{group}" for group in GROUPS for what in (SHARES if group != "all" else ()) + RATES))
"""All numbers of a summary."""
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
    """Counts what a run shows.

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
        self._run, self._day = _Sums(), _Sums()
        self._daily_coverage: Doubles = np.zeros(2)
        self._kept: list[_Tick] = []
        self._num_kept = 0
        self._open_day()

    def after_serving(self, visits: Visits, slates: Ints, outcome: ServedOutcome, now: float) -> None:
        """With what became of the slates (n, K) that were served at ``now`` hours."""
        if len(visits) == 0:
            return
        # A copy, as agents may reuse their buffer.
        self._kept.append(_Tick(now, visits.rows, np.array(slates.T, dtype=np.int64, order="C").reshape(-1), outcome))
        self._num_kept += slates.size
        if self._num_kept >= BLOCK:
            self._count()

    def end_day(self) -> dict[str, float]:
        """The day's numbers by TensorBoard tag; the next day starts empty."""
        self._count()
        impressions, clicks = self._of_all()
        live = live_between(self._feed, self._day_tick, self._feed.tick)
        before = np.zeros((2, len(impressions)), dtype=np.int64)
        before[:, : self._day_start.shape[1]] = self._day_start
        shown, clicked = (impressions - before[0])[live], (clicks - before[1])[live]
        values = self._day.values()
        if len(shown):
            values["daily_coverage"] = float(np.mean(shown > 0))
            self._daily_coverage += (values["daily_coverage"], 1.0)
        values |= _known({"gini_exposure": gini(shown), "gini_clicks": gini(clicked)})
        self._run.add(self._day)
        self._repeats.forget(self._feed.catalogue.archive.is_live)
        self._open_day()
        return {f"editor/{name.replace('/', '_')}": values[name] for name in NAMES if name in values}

    def summary(self) -> dict[str, Any]:
        """The run's numbers by ``NAMES``, for JSON, as of the last day's end; those that are undefined are missing."""
        impressions, clicks = self._of_all()
        live = live_between(self._feed, 0, self._feed.tick)
        values = self._run.values()
        coverage = {"coverage": float(np.mean(impressions[live] > 0)) if len(live) else np.nan}
        if self._daily_coverage[1] > 0:
            coverage["daily_coverage"] = float(self._daily_coverage[0] / self._daily_coverage[1])
        values |= _known(coverage | {"gini_exposure": gini(impressions[live]), "gini_clicks": gini(clicks[live])})
        return {
            "followed_readers": self._num_followed,
            "values": {name: values[name] for name in NAMES if name in values},
        }

    def snapshot(self) -> Arrays:
        """Sums of the days that have ended, and what the followed readers were shown."""
        arrays: Arrays = {"run": self._run.array.copy(), "daily_coverage": self._daily_coverage.copy()}
        return arrays | nest("repeats", self._repeats.snapshot())

    def restore(self, arrays: Arrays) -> None:
        """Go on from the end of a day, with the feed as it was then."""
        self._run, self._day = _Sums(arrays["run"].astype(np.float64)), _Sums()
        self._daily_coverage = arrays["daily_coverage"].astype(np.float64)
        self._repeats.restore(unnest("repeats", arrays))
        self._kept, self._num_kept = [], 0
        self._open_day()

    def _open_day(self) -> None:
        self._day = _Sums()
        self._day_tick = self._feed.tick
        self._day_start: Ints = np.stack(self._of_all())
        self._counted: Ints = self._day_start[0]
        """Impressions of each article before those that are kept."""

    def _of_all(self) -> tuple[Ints, Ints]:
        """Impressions and clicks so far of all published articles, int64 (A,) each: the catalogue knows them."""
        catalogue = self._feed.catalogue
        every = np.arange(catalogue.archive.published)
        return catalogue.impressions_of(every), catalogue.clicks_of(every)

    def _count(self) -> None:
        """Count what was kept."""
        kept, self._kept, self._num_kept = self._kept, [], 0
        if not kept:
            return
        archive = self._feed.catalogue.archive
        visits = np.array([len(tick.rows) for tick in kept])
        size = visits * self._feed.config.slate_size

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
        follower = self._follower.take(rows)
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


class _Sums:
    """Sums over impressions by group, and over slates: float64 (4, len(GROUPS))."""

    def __init__(self, array: Doubles | None = None) -> None:
        # Rows: impressions, clicks, reward; the last one holds what is not by group.
        self.array: Doubles = np.zeros((4, len(GROUPS))) if array is None else array

    def add(self, other: "_Sums") -> None:
        """Take in another period."""
        self.array += other.array

    def add_impressions(self, bucket: AnyArray, few: Bools, clicks: Bools, reward: Floats) -> None:
        """Impressions (m,): age bucket, whether of an article that few have seen, outcome."""
        num_ages, clicked = len(AGES), np.flatnonzero(clicks)
        # Nothing is earned at a position without a click. One pass for ages and few: 2 by 5 cells.
        cell = bucket + np.int8(num_ages) * few
        of_clicks = cell[clicked]
        sums = [
            np.bincount(cell, minlength=2 * num_ages),
            np.bincount(of_clicks, minlength=2 * num_ages),
            np.bincount(of_clicks, weights=reward[clicked], minlength=2 * num_ages),
        ]
        by_cell = np.stack(sums).reshape(3, 2, num_ages)
        self.array[:3, :num_ages] += by_cell.sum(axis=1)
        self.array[:3, num_ages] += by_cell[:, 1].sum(axis=1)
        self.array[:3, -1] += by_cell.sum(axis=(1, 2))

    def add_entropy(self, entropy: Doubles) -> None:
        """Slates (n,); those that showed nothing are NaN."""
        known = entropy[~np.isnan(entropy)]
        self.array[3, :2] += (known.sum(), len(known))

    def add_repeats(self, repeats: int, impressions: int) -> None:
        """Of the followed readers."""
        self.array[3, 2:4] += (repeats, impressions)

    def values(self) -> dict[str, float]:
        """Those of ``NAMES`` that need no more than these sums, where they are defined."""
        found: dict[str, float] = {}
        entropy, slates, repeats, impressions = self.array[3, :4]
        found |= _known({"topic_entropy": _ratio(entropy, slates), "repeat_share": _ratio(repeats, impressions)})
        total = self.array[:3, -1]
        for column, group in enumerate(GROUPS):
            shown, clicks, reward = self.array[:3, column]
            shares = [_ratio(part, whole) for part, whole in zip((shown, clicks, reward), total, strict=True)]
            rates = [_ratio(clicks, shown), _ratio(reward, shown)]
            found |= _known({f"{n}/{group}": v for n, v in zip(SHARES + RATES, shares + rates, strict=True)})
        return found


def _ratio(part: float, whole: float) -> float:
    return float(part / whole) if whole != 0 else np.nan


def _known(values: dict[str, float]) -> dict[str, float]:
    return {name: value for name, value in values.items() if not np.isnan(value)}


def live_between(feed: Feed, first: int, last: int) -> Ints:
    """Ids of the articles that were live at one of the ticks ``first`` to ``last - 1``, int64, rising."""
    archive, per_hour = feed.catalogue.archive, feed.config.ticks_per_day / 24.0
    published, expires = (archive.column(name)[: archive.published] for name in ("published_hours", "expires_hours"))
    # Live from the first tick at or after publication until before the first at or after expiry.
    start, end = (np.ceil(times * per_hour) for times in (published, expires))
    ids: Ints = np.flatnonzero(np.maximum(start, first) < np.minimum(end, last))
    return ids

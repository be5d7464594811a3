"""What a run's agent knows, next to what it earns: ranking of the live catalogue, calibration, regret, own lists.

At some ticks of each day, after the agent has acted and before readers respond, its scores for all live articles are
held against what is relevant to some of the visiting readers: the reader model's own chance of a click where it can say
(``expected_response``), else what was clicked on the slate, which only articles that were shown can be.
Calibration is of the agent's predictions for the slates it served at these ticks, made before their outcome is known:
each impression is held out when it is counted (prequential, Dawid, JRSS A 1984).

Which ticks and visits is drawn from (seed, day) and (seed, tick) alone: no stream of agent or readers moves, so a run
earns and logs the same with and without, and going on from a checkpoint needs no more than the sums.
Shapes: n visits, N live articles, K positions.
"""

import dataclasses
from typing import Any

import numpy as np

from feedgym.agents.agent import Agent, Predicting, Scoring
from feedgym.env.arrays import AnyArray, Arrays, Doubles, Ints, nest, unnest
from feedgym.env.feed import Feed, Visits
from feedgym.env.readers import Expecting, Outcome
from feedgym.experiments.measures.personal import Personal
from feedgym.experiments.measures.ranking_metrics import (
    Ranks,
    discount_weight,
    discounted_share,
    ranks,
    reciprocal_weight,
    share_of_gain,
    top_weight,
)
from feedgym.experiments.measures.regret import LocalRegret, local_regret
from feedgym.experiments.measures.reliability import Reliability
from feedgym.experiments.measures.some_visits import stream, visits_at

METRICS = ("recall_at_10", "recall_at_100", "ndcg_at_10", "mrr")
AGES = ("under_1_h", "1_to_3_h", "3_to_12_h", "12_to_24_h", "over_24_h")
"""Age of the relevant article: gains of all others are then 0."""
_AGE_EDGES = (1.0, 3.0, 12.0, 24.0)
EVALUATED_TICKS = 6
"""Ticks of a day that are looked at, one in each 4 hours; all of them where a day has fewer. Each costs about 3 ms."""
EXPECTED, CLICKED = "expected click chance", "clicks on the slate"
"""What relevance is."""


class Evaluation:
    """Looks at an agent during a run.

    Args:
        visits_per_day: whose rankings are evaluated; 0 turns all of it off.
        feed: the site; its latents are what relevance is.
        agent: who is looked at. One without ``score_all`` has no ranking, without ``served_click_chance`` no
            calibration.
    """

    def __init__(self, visits_per_day: int, feed: Feed, agent: Agent) -> None:
        self._visits_per_day = visits_per_day
        self._feed = feed
        self._scoring = agent if isinstance(agent, Scoring) else None
        self._predicting = agent if isinstance(agent, Predicting) else None
        model = feed.reader_model
        self._expecting = model if isinstance(model, Expecting) else None
        self._reliability = Reliability()
        self._regret = LocalRegret()
        self._personal = Personal(feed, agent)
        shape = (len(METRICS), 1 + len(AGES))
        # Sums over visits and their number: of the run, and of the day so far, which checkpoints are never amid.
        self._run: Doubles = np.zeros((2, *shape))
        self._day: Doubles = np.zeros((2, *shape))
        self._ticks: tuple[int, list[int]] = (-1, [])
        self._taken = 0
        self._waiting: tuple[Doubles, Ints, Ints] | None = None
        self._chance: Doubles | None = None

    def before_serving(self, visits: Visits, slates: Ints | None = None) -> None:
        """After ``act``, with the tick's visits and the catalogue that the agent has seen.

        With the slates (n, K) that it is about to serve, their local regret is evaluated too.
        """
        if self._visits_per_day == 0:
            return
        is_due = self._is_due(visits.tick)
        self._personal.before_serving(visits, is_due)
        if not is_due:
            return
        if self._predicting is not None and len(visits) > 0:
            self._chance = self._predicting.served_click_chance()
        live = self._feed.catalogue.article_id
        row = self._drawn(visits)
        if len(row) == 0 or len(live) == 0:
            return
        some = visits_at(visits, row)
        if slates is not None and self._expecting is not None:
            self._regret.add(*local_regret(self._feed, some, slates[row]))
        if self._scoring is None:
            return
        score = self._scoring.score_all(some, self._feed.catalogue)
        if score is None:
            return
        if self._expecting is None:
            # The catalogue's own array changes with the next tick.
            self._waiting = (score, row, live.copy())
            return
        archive = self._feed.catalogue.archive
        chance, _ = self._expecting.expected_response(self._feed.state, some.rows, archive, live, visits.now)
        self._count(score, chance.astype(np.float64), self._feed.catalogue.age_hours)

    def after_serving(self, slates: Ints, outcome: Outcome, now: float) -> None:
        """With what became of the slates (n, K) that were served at ``now`` hours."""
        chance, self._chance = self._chance, None
        if chance is not None:
            self._reliability.add(chance, outcome.clicks)
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            score, row, live = waiting
            age = now - self._feed.catalogue.published_hours_of(live)
            self._count(score, _clicked(slates[row], outcome.clicks[row], live), age)

    def end_day(self) -> dict[str, float]:
        """The day's means, by TensorBoard tag, and the calibration so far; the next day starts empty."""
        self._run += self._day
        means, self._day = _means(self._day), np.zeros_like(self._day)
        self._taken = 0
        tags = {_tag(name): value for name, value in means.items()}
        overall = self._reliability.overall()
        if overall is not None:
            tags["calibration/prediction"] = overall.prediction
            tags["calibration/click_rate"] = overall.click_rate
        regret = self._regret.end_day()
        if regret is not None:
            tags["regret/local"] = regret
        return tags | self._personal.end_day()

    def summary(self) -> dict[str, Any] | None:
        """The run's means and its reliability table, for JSON; None where nothing was evaluated."""
        means, table, regret = _means(self._run), self._reliability.table(), self._regret.summary()
        personal = self._personal.summary()
        if not means and not table and regret is None and personal is None:
            return None
        return {
            "relevance": EXPECTED if self._expecting is not None else CLICKED,
            "visits": int(self._run[1, 0, 0]),
            "ranking": means,
            "reliability": [dataclasses.asdict(row) for row in table],
            "regret": regret,
            "personal": personal,
        }

    def snapshot(self) -> Arrays:
        """Sums of the days that have ended."""
        sums = {"run": self._run.copy(), "regret": self._regret.snapshot(), "personal": self._personal.snapshot()}
        return sums | nest("reliability", self._reliability.snapshot())

    def restore(self, arrays: Arrays) -> None:
        """Go on from the end of a day."""
        self._run = arrays["run"].astype(np.float64)
        self._day = np.zeros_like(self._run)
        self._regret.restore(arrays["regret"])
        self._personal.restore(arrays["personal"])
        self._taken, self._waiting, self._chance = 0, None, None
        self._reliability.restore(unnest("reliability", arrays))

    # Which ticks, which visits

    def _is_due(self, tick: int) -> bool:
        # A comparison of plain numbers: np.isin takes 60 us, at every tick.
        return tick in self._ticks_of(tick // self._feed.config.ticks_per_day)

    def _ticks_of(self, day: int) -> list[int]:
        """The ticks of a day that are looked at, rising."""
        if self._ticks[0] != day:
            per_day = self._feed.config.ticks_per_day
            parts = min(EVALUATED_TICKS, per_day)
            edges = np.arange(parts + 1) * per_day // parts
            rng = stream(self._feed.seed, 0, day)
            self._ticks = (day, (day * per_day + rng.integers(edges[:-1], edges[1:])).tolist())
        return self._ticks[1]

    def _drawn(self, visits: Visits) -> Ints:
        """Rows of the visits that are evaluated at this tick: an even share of what the day still lacks."""
        ticks = self._ticks_of(visits.tick // self._feed.config.ticks_per_day)
        coming = len(ticks) - ticks.index(visits.tick)
        # Quiet hours leave theirs to the next ones.
        wanted = -(-(self._visits_per_day - self._taken) // coming)
        size = min(wanted, len(visits))
        self._taken += size
        rows: Ints = np.sort(stream(self._feed.seed, 1, visits.tick).choice(len(visits), size, replace=False))
        return rows

    def _count(self, score: Doubles, gain: Doubles, age_hours: Doubles) -> None:
        """Add visits: scores and gains (n, N), ages (N,)."""
        expected = _expected(ranks(score))
        bucket = np.searchsorted(_AGE_EDGES, age_hours, side="right")
        columns: list[Ints | slice] = [slice(None), *(np.flatnonzero(bucket == b) for b in range(len(AGES)))]
        for place, column in enumerate(columns):
            # Gains of other ages are 0: their columns add nothing. Ranks stay those among all articles.
            values = _values([weight[:, column] for weight in expected], gain[:, column])
            known = ~np.isnan(values)
            self._day[0, :, place] += np.where(known, values, 0.0).sum(axis=1)
            self._day[1, :, place] += np.count_nonzero(known, axis=1)


def _expected(standing: Ranks) -> list[Doubles]:
    """Expected weight of each article's rank under each of METRICS, (n, N) each."""
    size = standing.above.shape[1]
    weights = (top_weight(size, 10), top_weight(size, 100), discount_weight(size, 10), reciprocal_weight(size))
    return [standing.expected(weight) for weight in weights]


def _values(expected: list[Doubles], gain: Doubles) -> Doubles:
    """Each of METRICS of each visit, (4, n)."""
    recall_10, recall_100, discounted, reciprocal = expected
    return np.stack(
        [
            share_of_gain(recall_10, gain),
            share_of_gain(recall_100, gain),
            discounted_share(discounted, gain, 10),
            share_of_gain(reciprocal, gain),
        ]
    )


def _clicked(slates: Ints, clicks: AnyArray, live: Ints) -> Doubles:
    """1 where the article was clicked, float64 (n, N): from slates and clicks (n, K)."""
    order = np.argsort(live)
    visit, position = np.nonzero(clicks)
    gain: Doubles = np.zeros((len(slates), len(live)))
    gain[visit, order[np.searchsorted(live, slates[visit, position], sorter=order)]] = 1.0
    return gain


def _means(sums: Doubles) -> dict[str, float]:
    """Means over visits by name, such as ``mrr`` or ``mrr/over_24_h``; none where no visit had a relevant article."""
    return {
        metric if column == 0 else f"{metric}/{AGES[column - 1]}": float(sums[0, row, column] / sums[1, row, column])
        for row, metric in enumerate(METRICS)
        for column in range(1 + len(AGES))
        if sums[1, row, column] > 0
    }


def _tag(name: str) -> str:
    metric, _, age = name.partition("/")
    return f"ranking_by_age/{metric}_{age}" if age else f"ranking/{metric}"

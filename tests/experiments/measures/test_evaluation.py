"""Evaluation in a run: it changes nothing, says what plain code says, and comes back in files and tables."""

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from feedgym.agents import make_agent
from feedgym.agents.agent import Predicting, Scoring
from feedgym.env import Feed, read_impressions
from feedgym.env.arrays import Doubles, Ints
from feedgym.env.config import FeedConfig, NewsroomConfig
from feedgym.env.feed.catalogue import Catalogue
from feedgym.env.feed.visits import Visits
from feedgym.env.readers import Outcome
from feedgym.env.readers.protocol import Expecting
from feedgym.experiments import train
from feedgym.experiments.measures.evaluation import (
    AGES,
    CLICKED,
    EVALUATED_TICKS,
    EXPECTED,
    METRICS,
    Evaluation,
)
from feedgym.experiments.measures.personal import Personal
from feedgym.experiments.measures.ranking_metrics import mrr, ndcg_at_k, recall_at_k
from feedgym.experiments.measures.some_visits import visits_at
from feedgym.experiments.runs import runner
from feedgym.experiments.runs.run_config import RunConfig
from helpers.inside import acted_of
from helpers.resuming import stopped_twice

SMALL: dict[str, Any] = {"readers": 40, "days": 3.0, "tick_hours": 1.0}


def small_feed(seed: int = 3, readers: int = 200, days: float = 2.0) -> Feed:
    newsroom = NewsroomConfig(articles_per_day=120.0)
    return Feed(FeedConfig(num_readers=readers, days=days, tick_hours=1.0, newsroom=newsroom), seed=seed)


class Stub:
    """Random slates; scores as the test says."""

    is_oracle = False

    def __init__(self, feed: Feed, score: Any) -> None:
        self._agent = make_agent("random").start(feed)
        self._score = score
        self.asked: list[tuple[int, Ints]] = []
        self.act, self.learn, self.metrics = self._agent.act, self._agent.learn, self._agent.metrics
        self.snapshot, self.restore = self._agent.snapshot, self._agent.restore

    def score_all(self, visits: Visits, catalogue: Catalogue) -> Doubles | None:
        self.asked.append((visits.tick, visits.rows))
        found: Doubles | None = self._score(visits, catalogue)
        return found

    def served_click_chance(self) -> Doubles | None:
        return None


def expected(feed: Feed, visits: Visits) -> Doubles:
    model, live = feed.reader_model, feed.catalogue.article_id
    assert isinstance(model, Expecting)
    chance, _ = model.expected_response(feed.state, visits.rows, feed.catalogue.archive, live, visits.now)
    return chance.astype(np.float64)


def drive(feed: Feed, agent: Any, evaluation: Evaluation) -> dict[str, float]:
    """Serve all days; returns the last day's tags."""
    tags: dict[str, float] = {}
    while not feed.done:
        now = feed.now
        served = agent.act(feed.visits, feed.catalogue)
        evaluation.before_serving(feed.visits)
        outcome = feed.serve(served.article_id)
        evaluation.after_serving(served.article_id, outcome, now)
        if feed.tick % feed.config.ticks_per_day == 0:
            tags = evaluation.end_day()
    return tags


# ---- it changes nothing ----
@pytest.mark.parametrize("agent", ["regression-click", "popular"])
def test_a_run_earns_and_logs_the_same_with_and_without(agent: str, tmp_path: Path) -> None:
    logs, curves = [], []
    for visits in (0, 64):
        folder = tmp_path / str(visits)
        run = train.run(RunConfig(agent=agent, **SMALL, evaluate_visits=visits), folder)
        assert (run.evaluation is None) == (visits == 0)
        logs.append(read_impressions(folder / "impressions"))
        curves.append((folder / "curves.csv").read_bytes())
    assert curves[0] == curves[1]
    assert logs[0].num_rows > 1000
    names = [name for name in logs[0].column_names if name != "run_id"]
    assert logs[0].select(names).equals(logs[1].select(names))


@pytest.mark.parametrize("agent", ["random", "recent", "popular", "regression-click", "contrastive", "reinforce"])
def test_asking_for_scores_leaves_the_agent_as_it_was(agent: str) -> None:
    feed = small_feed()
    one = make_agent(agent).start(feed)
    assert isinstance(one, Scoring)
    while feed.tick < 20:
        served = one.act(feed.visits, feed.catalogue)
        before = one.snapshot()
        score = one.score_all(feed.visits, feed.catalogue)
        if isinstance(one, Predicting):
            one.served_click_chance()
        after = one.snapshot()
        assert score is not None
        assert score.shape == (len(feed.visits), len(feed.catalogue))
        assert before.keys() == after.keys()
        assert all(
            np.array_equal(before[name], after[name], equal_nan=before[name].dtype.kind == "f") for name in before
        )
        one.learn(feed.serve(served.article_id))


def test_a_stopped_run_ends_with_the_same_evaluation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "CHECKPOINT_SHARE", 0.0)
    config = RunConfig(agent="regression-click", **SMALL)
    whole = train.run(config, tmp_path / "whole", tensorboard=tmp_path / "tb")

    again = stopped_twice(config, tmp_path / "again")
    assert whole.evaluation == again.evaluation
    assert whole.evaluation is not None
    assert whole.evaluation["reliability"]
    assert json.loads((tmp_path / "again" / "done.json").read_text())["evaluation"] == whole.evaluation

    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    (folder,) = (tmp_path / "tb" / "seeds").glob("*/seed-0")
    events = EventAccumulator(str(folder)).Reload()
    tags = {tag for tag in events.Tags()["scalars"] if tag.startswith(("ranking", "calibration"))}
    assert {f"ranking/{name}" for name in METRICS} | {"calibration/prediction", "calibration/click_rate"} <= tags
    assert {"ranking_by_age/recall_at_10_under_1_h", "ranking_by_age/mrr_12_to_24_h"} <= tags
    days = [event.value for event in events.Scalars("ranking/mrr")]
    assert len(days) == 3
    assert min(days) <= whole.evaluation["ranking"]["mrr"] <= max(days)


# ---- which visits ----
@pytest.fixture
def _no_own_lists(monkeypatch: pytest.MonkeyPatch) -> None:
    """Agents are asked for scores to rank by alone, not for those of own lists (``test_personal``)."""
    monkeypatch.setattr(Personal, "before_serving", lambda *_: None)


@pytest.mark.usefixtures("_no_own_lists")
def test_a_fixed_number_of_visits_a_day_at_a_few_ticks_spread_over_it() -> None:
    asked = []
    for score in (lambda v, c: -np.ones((len(v), len(c))), lambda v, c: np.tile(c.age_hours, (len(v), 1))):
        feed = small_feed(readers=600)
        agent = Stub(feed, score)
        drive(feed, agent, Evaluation(50, feed, agent))
        asked.append(agent.asked)
        ticks = np.array([tick for tick, _ in agent.asked])
        assert EVALUATED_TICKS - 2 <= np.count_nonzero(ticks < 24) <= EVALUATED_TICKS
        assert (np.diff(np.unique(ticks // 4)) <= 2).all()
        for day in (0, 1):
            assert sum(len(rows) for tick, rows in agent.asked if tick // 24 == day) == 50
        assert all(len(np.unique(rows)) == len(rows) for _, rows in agent.asked)
    # What an agent scores does not move which visits are drawn.
    assert [(tick, rows.tolist()) for tick, rows in asked[0]] == [(tick, rows.tolist()) for tick, rows in asked[1]]


def test_zero_visits_ask_nobody() -> None:
    feed = small_feed(days=1.0)
    agent = Stub(feed, lambda v, c: pytest.fail("asked"))
    evaluation = Evaluation(0, feed, agent)
    assert drive(feed, agent, evaluation) == {}
    assert evaluation.summary() is None


def test_some_of_a_ticks_visits_have_their_own_histories() -> None:
    feed = small_feed()
    agent = make_agent("random").start(feed)
    while feed.tick < 30:
        feed.serve(agent.act(feed.visits, feed.catalogue).article_id)
    rows = np.array([1, 3])
    some = visits_at(feed.visits, rows)
    assert (feed.visits.history_id >= 0).any()
    for name in ("rows", "reader_id", "visit", "gap_hours", "features", "history_id", "history_dwell"):
        assert np.array_equal(getattr(some, name), getattr(feed.visits, name)[rows]), name


# ---- it says what plain code says ----
@pytest.mark.usefixtures("_no_own_lists")
def test_means_are_those_of_the_plain_functions() -> None:
    feed = small_feed(days=1.0)
    rng = np.random.default_rng(0)
    values: dict[str, list[float]] = {}

    def score(visits: Visits, catalogue: Catalogue) -> Doubles:
        gain, found = expected(feed, visits), rng.integers(0, 40, (len(visits), len(catalogue))).astype(np.float64)
        age = catalogue.age_hours
        bounds = [0.0, 1.0, 3.0, 12.0, 24.0, np.inf]
        members = [np.ones(len(age), bool), *((age >= a) & (age < b) for a, b in itertools.pairwise(bounds))]
        for suffix, member in zip(("", *(f"/{name}" for name in AGES)), members, strict=True):
            relevant = gain * member
            for name, each in (
                ("recall_at_10", recall_at_k(found, relevant, 10)),
                ("recall_at_100", recall_at_k(found, relevant, 100)),
                ("ndcg_at_10", ndcg_at_k(found, relevant, 10)),
                ("mrr", mrr(found, relevant)),
            ):
                values.setdefault(name + suffix, []).extend(each[~np.isnan(each)])
        return found

    agent = Stub(feed, score)
    evaluation = Evaluation(64, feed, agent)
    tags = drive(feed, agent, evaluation)
    summary = evaluation.summary()
    assert summary is not None
    assert summary["relevance"] == EXPECTED
    assert summary["visits"] == 64
    means = {name: float(np.mean(each)) for name, each in values.items() if each}
    assert len(means) >= 4 * 5
    assert summary["ranking"] == pytest.approx(means, rel=1e-12)
    assert tags["ranking/ndcg_at_10"] == pytest.approx(means["ndcg_at_10"])
    assert tags["ranking_by_age/mrr_under_1_h"] == pytest.approx(means["mrr/under_1_h"])


def test_scores_that_are_the_truth_have_ndcg_1_and_no_scores_no_more_than_chance() -> None:
    found = {}
    for name in ("truth", "nothing", "newest"):
        feed = small_feed(days=1.0)
        scores: dict[str, Any] = {
            "truth": lambda v, c, feed=feed: expected(feed, v),
            "nothing": lambda v, c: np.zeros((len(v), len(c))),
            "newest": lambda v, c: np.tile(-c.age_hours, (len(v), 1)),
        }
        agent = Stub(feed, scores[name])
        evaluation = Evaluation(64, feed, agent)
        drive(feed, agent, evaluation)
        summary = evaluation.summary()
        assert summary is not None
        found[name] = summary["ranking"]
    assert found["truth"]["ndcg_at_10"] == pytest.approx(1.0)
    assert found["nothing"]["recall_at_10"] < found["newest"]["recall_at_10"] < found["truth"]["recall_at_10"]
    # Hours with more than 10 articles have them not all among the first 10.
    assert found["newest"]["recall_at_10/under_1_h"] > 0.9
    assert found["newest"]["recall_at_10/over_24_h"] == 0.0


@pytest.mark.parametrize("agent", ["regression-click", "contrastive", "reinforce"])
def test_the_best_of_all_scores_are_what_retrieval_returns(agent: str) -> None:
    """Also for articles that appear at this very tick, and after trainings."""
    feed = small_feed()
    one: Any = make_agent(agent, shortlist_size=20).start(feed)
    new = 0
    while feed.tick < 16:
        served = one.act(feed.visits, feed.catalogue)
        score = one.score_all(feed.visits, feed.catalogue)
        shortlist, live = acted_of(one).served.draw.shortlist, feed.catalogue.article_id
        for row in range(len(feed.visits)):
            best = live[np.argsort(-score[row])[:20]]
            assert len(np.intersect1d(best, shortlist[row])) >= 19  # float32 may swap the last two
            new += len(np.intersect1d(best, feed.catalogue.arrived))
        one.learn(feed.serve(served.article_id))
    assert one.policy_version >= 2
    assert new > 0


class Mute:
    """Two of three readers click the third article of every slate, and none can say what they expect."""

    def spawn(self, reader_ids: Ints, noise: Any) -> dict[str, Any]:
        return {"visits": np.zeros(len(reader_ids), dtype=np.int32)}

    def first_visit(self, state: Any, rows: Ints, noise: Any) -> Doubles:
        return np.full(len(rows), 0.5)

    def respond(self, state: Any, rows: Ints, slate: Any, now: float, noise: Any) -> Outcome:
        clicks = slate.valid & (np.arange(slate.valid.shape[1]) == 2) & (rows % 3 > 0)[:, None]
        return Outcome(clicks=clicks, dwell_minutes=clicks.astype(np.float32), subscribed=np.zeros(len(rows), bool))

    def next_visit(self, state: Any, rows: Ints, outcome: Any, now: float, noise: Any) -> Doubles:
        return np.full(len(rows), 1.0)


def test_without_expected_chances_what_was_clicked_is_relevant() -> None:
    feed = Feed(FeedConfig(num_readers=30, days=1.0, tick_hours=1.0), Mute(), 0)
    third: list[Ints] = []

    def score(visits: Visits, catalogue: Catalogue) -> Doubles:
        """One above the clicked article, whatever the order of the catalogue."""
        chosen = np.stack([third[-1][list(feed.visits.rows).index(row)] for row in visits.rows])
        found = np.zeros((len(visits), len(catalogue)))
        found += 2.0 * (catalogue.article_id == chosen[:, 2:3]) + 3.0 * (catalogue.article_id == chosen[:, :1])
        return found

    agent = Stub(feed, score)
    act = agent.act

    def noted(visits: Visits, catalogue: Catalogue) -> Any:
        served = act(visits, catalogue)
        third.append(served.article_id)
        return served

    agent.act = noted
    evaluation = Evaluation(40, feed, agent)
    drive(feed, agent, evaluation)
    summary = evaluation.summary()
    assert summary is not None
    assert summary["relevance"] == CLICKED
    # Those who clicked nothing have no relevant article, and do not count.
    assert 10 < summary["visits"] < 40
    assert summary["ranking"]["mrr"] == pytest.approx(0.5)
    assert summary["ranking"]["recall_at_10"] == 1.0


# ---- calibration ----
def test_predictions_are_counted_with_what_became_of_them() -> None:
    feed = small_feed(days=1.0, readers=400)
    size = feed.config.slate_size

    class Constant(Stub):
        def served_click_chance(self) -> Doubles | None:
            return np.full((len(feed.visits), size), 0.25)

    agent = Constant(feed, lambda v, c: None)
    evaluation = Evaluation(10, feed, agent)
    tags = drive(feed, agent, evaluation)
    summary = evaluation.summary()
    assert summary is not None
    assert summary["ranking"] == {}
    (only,) = summary["reliability"]
    assert only["prediction"] == pytest.approx(0.25)
    assert tags["calibration/prediction"] == pytest.approx(0.25)
    # All slates of the evaluated ticks, not only the few visits whose ranking is evaluated.
    assert only["impressions"] > 10 * size
    assert 0.001 < only["click_rate"] < 0.2


def test_only_a_trained_click_regression_predicts_and_predicts_as_its_towers_do() -> None:
    for agent, predicts in (("regression-click", True), ("regression-dwell", False), ("contrastive", False)):
        feed = small_feed()
        one: Any = make_agent(agent).start(feed)
        while feed.tick < 14:
            served = one.act(feed.visits, feed.catalogue)
            chance = one.served_click_chance()
            assert (chance is not None) == (predicts and one.policy_version > 0)
            if chance is not None and len(feed.visits):
                # v' . u' of the same articles, and what it leaves out is one number per reader.
                score = one.score_all(feed.visits, feed.catalogue)
                place = {int(article): column for column, article in enumerate(feed.catalogue.article_id)}
                column = np.array([[place[int(a)] for a in slate] for slate in served.article_id])
                rest = np.log(chance / (1 - chance)) - np.take_along_axis(score, column, axis=1)
                assert np.ptp(rest, axis=1).max() < 1e-4
                assert rest.mean() == pytest.approx(float(one.model.level.detach()), abs=1e-4)
            one.learn(feed.serve(served.article_id))
        assert one.policy_version > 0

"""Own list against one list for all (docs/mathematics.md 4.7): against plain loops, in runs, and after a stop."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from feedgym.agents import make_agent
from feedgym.agents.agent import Linked
from feedgym.env import Feed
from feedgym.env.arrays import Bools, Doubles
from feedgym.env.config import FeedConfig, NewsroomConfig
from feedgym.experiments import train
from feedgym.experiments.measures.evaluation import Evaluation
from feedgym.experiments.measures.personal import (
    FEWEST,
    LAST_THIRD,
    MOST,
    PERSONAL,
    WINDOWS,
    Lists,
    Personal,
    Window,
    own_against_one,
    personal_part,
    windows_of,
)
from feedgym.experiments.measures.regret import columns_of
from feedgym.experiments.measures.some_visits import visits_at
from feedgym.experiments.runs import runner
from feedgym.experiments.runs.run_config import RunConfig
from helpers.resuming import stopped_twice

SIZE = 3


def toy(n: int = 12, articles: int = 20, seed: int = 5) -> dict[str, Doubles]:
    """Expected minutes of which a part is each reader's, each article's, and of both together."""
    rng = np.random.default_rng(seed)
    reader, article = rng.normal(size=(n, 1)), rng.normal(size=(1, articles))
    taste = personal_part(rng.normal(size=(n, articles)))
    return {"reader": reader, "article": article, "taste": taste, "truth": 8.0 + reader + article + taste}


def plain(score: Doubles, truth: Doubles, size: int) -> tuple[float, float, float]:
    """Correlation and both lists' minutes, entry by entry."""
    n, articles = score.shape

    def level_less(values: Doubles, i: int, a: int) -> float:
        whole = sum(values[j, b] for j in range(n) for b in range(articles)) / (n * articles)
        of_reader = sum(values[i, b] for b in range(articles)) / articles
        of_article = sum(values[j, a] for j in range(n)) / n
        return float(values[i, a] - of_reader - of_article + whole)

    pairs = [(level_less(score, i, a), level_less(truth, i, a)) for i in range(n) for a in range(articles)]
    products = [sum(p[x] * p[y] for p in pairs) for x, y in ((0, 1), (0, 0), (1, 1))]
    mean = [sum(score[i, a] for i in range(n)) / n for a in range(articles)]
    best = sorted(range(articles), key=lambda a: -mean[a])[:size]
    own = 0.0
    for i in range(n):
        own += sum(truth[i, a] for a in sorted(range(articles), key=lambda a: -score[i, a])[:size])
    return products[0] / (products[1] * products[2]) ** 0.5, own, sum(truth[i, a] for i in range(n) for a in best)


def new_of(t: dict[str, Doubles]) -> Bools:
    """Every third visitor is new."""
    return np.arange(len(t["truth"])) % 3 == 0


def gain_of(found: Lists) -> float:
    return found.own / found.one - 1.0


# ---- what is measured ----
def test_it_is_what_plain_loops_say() -> None:
    t, rng = toy(n=7, articles=9), np.random.default_rng(1)
    for weight in (-1.0, 0.0, 0.5):
        score = t["article"] + weight * t["taste"] + 0.7 * rng.normal(size=t["taste"].shape)
        found = own_against_one(score, t["truth"], SIZE, new_of(t))
        assert found[:3] == pytest.approx(plain(score, t["truth"], SIZE), rel=1e-9)
        assert found.differs == 1.0
        # Of those who are new the same sums; the one list is everybody's.
        new = new_of(t)
        _, own, _ = plain(score[new], t["truth"][new], SIZE)
        best = np.argsort(-score.mean(axis=0), kind="stable")[:SIZE]
        assert (found.own_new, found.one_new) == pytest.approx((own, t["truth"][new][:, best].sum()), rel=1e-9)


def test_scores_that_are_the_truth() -> None:
    """And the gain is that of the best lists over the best one list."""
    t = toy()
    found = own_against_one(t["truth"], t["truth"], SIZE, new_of(t))
    assert found.correlation == pytest.approx(1.0)
    best = np.sort(t["truth"], axis=1)[:, -SIZE:].sum()
    one = np.sort(t["truth"].sum(axis=0))[-SIZE:].sum()
    assert gain_of(found) == pytest.approx(best / one - 1.0)
    assert gain_of(found) > 0.05


def test_levels_of_readers_and_articles_are_in_neither() -> None:
    t = toy()
    shifted = own_against_one(3.0 * t["taste"] + 50.0 * t["reader"] + 2.0, t["truth"] + t["reader"], SIZE, new_of(t))
    assert shifted.correlation == pytest.approx(1.0)
    # Scores that know each article's level and each reader's, and nothing of the two together.
    none = own_against_one(t["reader"] + t["article"], t["truth"], SIZE, new_of(t))
    assert (none.correlation, gain_of(none)) == pytest.approx((0.0, 0.0))
    assert none.differs == 1.0


def test_a_wrong_personal_part_loses() -> None:
    t = toy()
    wrong = own_against_one(t["article"] - t["taste"], t["truth"], SIZE, new_of(t))
    assert wrong.correlation == pytest.approx(-1.0)
    assert gain_of(wrong) < -0.05
    noise = np.random.default_rng(2).normal(size=t["taste"].shape)
    # Taste that nobody has costs too: the list is no longer of what is good for everybody.
    assert gain_of(own_against_one(t["article"] + 2.0 * noise, t["truth"], SIZE, new_of(t))) < -0.02


def test_the_same_scores_for_everybody_are_one_list_also_where_they_tie() -> None:
    t = toy(n=11)
    # 0.1 + ... + 0.1, eleven times, over 11 is not 0.1: a mean would tell ties apart.
    same = np.broadcast_to(np.round(t["article"], 1) * 0.1, t["truth"].shape)
    found = own_against_one(same, t["truth"], SIZE, new_of(t))
    assert found == Lists(0.0, found.one, found.one, found.one_new, found.one_new, 0.0)
    assert 0.0 < found.one_new < found.one


def test_what_float32_has_rounded_is_no_personal_part() -> None:
    t = toy()
    rounded = (t["reader"] + t["article"]).astype(np.float32).astype(np.float64)
    assert np.abs(personal_part(rounded)).max() > 0
    assert own_against_one(rounded, t["truth"], SIZE, new_of(t)).correlation == 0.0
    # A world without taste has no personal part to find.
    assert own_against_one(t["taste"], t["reader"] + t["article"], SIZE, new_of(t)).correlation == 0.0


@pytest.mark.parametrize(
    ("days", "names"),
    [
        (2.0, [LAST_THIRD]),
        (3.0, ["day_3"]),
        (5.0, ["day_3", LAST_THIRD]),
        (7.0, ["day_3", "day_7"]),
        (14.0, ["day_3", "day_7", "day_14"]),
        (28.0, ["day_3", "day_7", "day_14", LAST_THIRD]),
    ],
)
def test_windows(days: float, names: list[str]) -> None:
    assert [window.name for window in windows_of(days)] == names
    assert windows_of(days)[-1].end == days


# ---- in a run ----
def site(readers: int = 300, days: float = 1.0, seed: int = 3) -> Feed:
    newsroom = NewsroomConfig(articles_per_day=120.0)
    return Feed(FeedConfig(num_readers=readers, days=days, tick_hours=1.0, newsroom=newsroom), seed=seed)


def truth_of(feed: Feed) -> Doubles:
    model: Any = feed.reader_model
    live = feed.catalogue.article_id
    chance, minutes = model.expected_response(
        feed.state, feed.visits.rows, feed.catalogue.archive, live, feed.visits.now
    )
    return chance.astype(np.float64) * minutes.astype(np.float64)


class Stub:
    """Random slates; scores by the test, of all visits that it is asked for."""

    is_oracle = False

    def __init__(self, feed: Feed, score: Any) -> None:
        self._agent: Any = make_agent("random").start(feed)
        self._score = score
        self.asked: list[tuple[int, int]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._agent, name)

    def score_all(self, visits: Any, catalogue: Any) -> Doubles:
        self.asked.append((visits.tick, len(visits)))
        found: Doubles = self._score(visits)
        return found


def drive(feed: Feed, agent: Any, personal: Personal, due: set[int]) -> list[dict[str, float]]:
    tags = []
    while not feed.done:
        served = agent.act(feed.visits, feed.catalogue)
        personal.before_serving(feed.visits, feed.tick in due)
        agent.learn(feed.serve(served.article_id))
        if feed.tick % feed.config.ticks_per_day == 0:
            tags.append(personal.end_day())
    return tags


def test_a_tick_with_few_visits_leaves_it_to_the_next_one_of_the_day() -> None:
    feed = site()
    agent = Stub(feed, lambda visits: np.zeros((len(visits), len(feed.catalogue))))
    personal = Personal(feed, agent)
    while len(feed.visits) < 2 * FEWEST:
        feed.serve(agent.act(feed.visits, feed.catalogue).article_id)
    few, enough = (visits_at(feed.visits, np.arange(size)) for size in (FEWEST - 1, FEWEST))
    asked = []
    for visits, is_due in ((enough, False), (few, True), (few, False), (enough, False), (enough, False), (few, True)):
        personal.before_serving(visits, is_due)
        asked.append(len(agent.asked))
    assert asked == [0, 0, 0, 1, 1, 1]
    # The next day does not make up for it.
    personal.end_day()
    personal.before_serving(enough, is_due=False)
    assert len(agent.asked) == 1
    assert personal.snapshot()[:, 1].tolist() == [FEWEST]


def test_days_and_windows_pool_their_ticks() -> None:
    """Ticks count by their visits in the correlation, by their minutes in the gain; hidden articles are on no list."""
    feed, rng, rows = site(days=3.0), np.random.default_rng(0), []

    def score(visits: Any) -> Doubles:
        truth = truth_of(feed)
        found = truth + 0.3 * rng.normal(size=truth.shape)
        hidden = int(np.argmax(truth.mean(axis=0)))
        shown = np.delete(np.arange(found.shape[1]), hidden)
        size, new = feed.config.slate_size, visits.visit < 3
        rows.append((feed.now, len(visits), *own_against_one(found[:, shown], truth[:, shown], size, new)))
        found[:, hidden] = -np.inf
        return found

    agent = Stub(feed, score)
    personal = Personal(feed, agent)
    tags = drive(feed, agent, personal, set(range(0, 72, 5)))
    summary = personal.summary()
    assert summary is not None
    table = np.array(rows)
    assert (table[:, 1] < MOST).all()
    day = table[:, 0] // 24
    assert np.unique(day).tolist() == [0, 1, 2]
    of_last = table[day == 2]
    correlation = float((of_last[:, 2] * of_last[:, 1]).sum() / of_last[:, 1].sum())
    gain = float(of_last[:, 3].sum() / of_last[:, 4].sum() - 1.0)
    assert len(of_last) > 1
    of_new = float(of_last[:, 5].sum() / of_last[:, 6].sum() - 1.0)
    assert 0.0 < of_last[:, 6].sum() < of_last[:, 4].sum()
    wanted = {"personal/correlation": correlation, "personal/gain": gain, "personal/gain_new": of_new}
    assert tags[2] == pytest.approx(wanted)
    assert gain != pytest.approx(of_new)
    assert summary["days"]["gain"] == pytest.approx([one["personal/gain"] for one in tags])
    assert summary["visits"] == int(table[:, 1].sum())
    (window,) = summary["windows"]
    assert Window(window["name"], window["start"], window["end"]) == WINDOWS[0]
    assert (window["ticks"], window["visits"]) == (len(of_last), int(of_last[:, 1].sum()))
    assert (window["correlation"], window["gain"]) == pytest.approx((correlation, gain))
    again = Personal(feed, agent)
    again.restore(personal.snapshot())
    assert again.summary() == summary


def test_scores_on_another_scale_are_held_against_the_truth_on_its_own() -> None:
    class OfLogs(Stub):
        def linked(self, score: Doubles) -> Doubles:
            return np.exp(score)

    found = []
    for kind in (OfLogs, Stub):
        feed = site()
        agent = kind(feed, lambda visits, feed=feed: np.log(truth_of(feed)))
        personal = Personal(feed, agent)
        drive(feed, agent, personal, {12})
        found.append(personal.snapshot()[:, 2].tolist())
    assert found[0] == pytest.approx([1.0])
    assert found[1][0] < 0.95


def test_click_regressions_scores_go_through_their_sigmoid_and_minutes_do_not() -> None:
    for name, through in (("regression-click", True), ("regression", False), ("contrastive", False)):
        feed = site(readers=60)
        agent: Any = make_agent(name).start(feed)
        is_linked = isinstance(agent, Linked)
        assert is_linked
        while agent.policy_version == 0 or len(feed.visits) == 0:
            agent.learn(feed.serve(agent.act(feed.visits, feed.catalogue).article_id))
        served = agent.act(feed.visits, feed.catalogue)
        score = agent.score_all(feed.visits, feed.catalogue)
        linked = agent.linked(score)
        if not through:
            assert linked is score
            continue
        column = columns_of(served.article_id, feed.catalogue.article_id)
        assert (column >= 0).all()
        chance = agent.served_click_chance()
        # Examination is left to the truth, which has none either.
        at_top = np.take_along_axis(linked, column, axis=1)[:, 0]
        assert at_top == pytest.approx(chance[:, 0], rel=1e-5)
        assert 0.0 < at_top.min() < at_top.max() < 0.5


def summary_of(agent: str, readers: int = 300, days: float = 1.0) -> dict[str, Any] | None:
    """As an evaluation finds it."""
    feed = site(readers, days)
    one: Any = make_agent(agent).start(feed)
    evaluation = Evaluation(8, feed, one)
    while not feed.done:
        now, served = feed.now, one.act(feed.visits, feed.catalogue)
        evaluation.before_serving(feed.visits, served.article_id)
        outcome = feed.serve(served.article_id)
        evaluation.after_serving(served.article_id, outcome, now)
        one.learn(outcome)
        if feed.tick % feed.config.ticks_per_day == 0:
            evaluation.end_day()
    found = evaluation.summary()
    assert found is not None
    part: dict[str, Any] | None = found["personal"]
    return part


def test_oracles_know_what_is_personal_and_the_newest_articles_do_not() -> None:
    found = {name: summary_of(name) for name in ("oracle-dwell", "oracle-click", "recent", "popular", "random")}
    assert [name for name, one in found.items() if one is None] == ["recent", "popular", "random"]
    dwell, click = ((one or {})["windows"][0] for one in (found["oracle-dwell"], found["oracle-click"]))
    assert dwell["correlation"] == pytest.approx(1.0, abs=1e-6)
    assert dwell["gain"] > 0.05
    # Clicks are most of it, but not all.
    assert 0.5 < click["correlation"] < 0.999
    assert dwell["visits"] >= 3 * FEWEST


def test_a_run_brings_it_to_its_files_and_a_stopped_one_to_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "CHECKPOINT_SHARE", 0.0)
    config = RunConfig(agent="regression-dwell", readers=100, days=3.0, tick_hours=2.0)
    whole = train.run(config, tmp_path / "whole", tensorboard=tmp_path / "tb")

    stopped_twice(config, tmp_path / "again")
    done = [(tmp_path / name / "done.json").read_bytes() for name in ("whole", "again")]
    assert done[0] == done[1]
    found = json.loads(done[0])["evaluation"]["personal"]
    assert whole.evaluation is not None
    assert whole.evaluation["personal"] == found
    assert found["visits"] > 100
    assert [window["name"] for window in found["windows"]] == ["day_3"]

    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    (folder,) = (tmp_path / "tb" / "seeds").glob("*/seed-0")
    events = EventAccumulator(str(folder)).Reload()
    for name in PERSONAL:
        shown = [event.value for event in events.Scalars(f"personal/{name}")]
        assert shown == pytest.approx(found["days"][name], rel=1e-6, abs=1e-7)


def test_more_visits_than_are_looked_at_are_drawn_from_the_tick() -> None:
    asked = []
    for _ in range(2):
        feed = site(readers=2500)
        seen: list[Any] = []
        agent = Stub(
            feed, lambda visits, feed=feed, seen=seen: seen.append(visits.rows) or np.zeros((MOST, len(feed.catalogue)))
        )
        personal = Personal(feed, agent)
        while len(feed.visits) <= MOST:
            feed.serve(agent.act(feed.visits, feed.catalogue).article_id)
        personal.before_serving(feed.visits, is_due=True)
        assert np.isin(seen[0], feed.visits.rows).all()
        assert len(np.unique(seen[0])) == MOST
        assert not np.array_equal(seen[0], feed.visits.rows[:MOST])
        asked.append(seen[0])
    assert np.array_equal(*asked)

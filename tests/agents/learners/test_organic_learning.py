"""What learners make of opens from elsewhere: contrastive learning has them as clicks, regressions do not."""

import dataclasses
from typing import Any

import numpy as np
import pytest

from feedgym.agents import make_agent
from feedgym.env import Feed, FeedConfig, NewsReader, NewsReaderConfig, NewsroomConfig
from feedgym.env.config import Channel, OrganicConfig
from helpers.driving import drive
from helpers.inside import learner_of, replay_of
from helpers.resuming import check_resuming

ORGANIC = OrganicConfig(share=0.8, reference_opens_per_day=2.0)
SITE = FeedConfig(
    num_readers=150,
    days=3.0,
    tick_hours=1.0,
    slate_size=4,
    newsroom=NewsroomConfig(articles_per_day=80.0),
    organic=ORGANIC,
)
EAGER = NewsReaderConfig(gap_median_hours=6.0, leaving=False)


def site(reader: NewsReaderConfig = EAGER, **changes: Any) -> Feed:
    return Feed(dataclasses.replace(SITE, **changes), NewsReader(reader), 2)


def test_tastes_are_learned_where_no_slate_was_ever_clicked() -> None:
    """All that this site can learn from comes from elsewhere."""
    taste = Channel(name="search", share=1.0, appeal=0.0, buzz=0.0, taste=2.0, aging=0.0)
    organic = dataclasses.replace(ORGANIC, channels=(taste,), noticed=16)
    found: dict[str, float] = {}
    for agent_text, share in (("contrastive", 0.8), ("regression-click", 0.8), ("contrastive", 0.0)):
        feed = site(dataclasses.replace(EAGER, base_log_odds=-40.0), organic=dataclasses.replace(organic, share=share))
        agent: Any = make_agent(agent_text).start(feed)
        served = drive(agent, feed, until=70.0)
        assert not any(outcome.clicks.any() for _, outcome in served)
        while len(feed.visits) < 5:
            feed.serve(agent.act(feed.visits, feed.catalogue).article_id)
        agent.act(feed.visits, feed.catalogue)
        score = agent.score_all(feed.visits, feed.catalogue)
        vectors = feed.catalogue.archive.column("vector")[feed.catalogue.article_id]
        match = feed.state["interest"][feed.visits.rows] @ vectors.T
        each = [np.corrcoef(a, b)[0, 1] for a, b in zip(score, match, strict=True)]
        found[f"{agent_text} {share}"] = float(np.mean(each))
    assert found["contrastive 0.8"] > 0.25
    assert abs(found["contrastive 0.0"]) < 0.15
    # Regressions learn from slates only: histories name articles, and nobody says what they are good for.
    assert abs(found["regression-click 0.8"]) < 0.15


def test_the_replay_has_opens_as_clicks_without_a_slate_for_those_who_learn_from_them() -> None:
    feed = site()
    agent: Any = make_agent("contrastive").start(feed)
    drive(agent, feed, until=24.0)
    feed_opens = feed.num_opens - (0 if feed.visits.opens is None else len(feed.visits.opens))
    rows = replay_of(agent).whole()
    organic = rows.organic
    assert organic is not None
    assert np.count_nonzero(organic) == feed_opens > 400
    assert (rows.article_id[organic, 1:] == -1).all()
    assert rows.clicks[organic].tolist() == [[True, False, False, False]] * feed_opens
    assert (rows.dwell_minutes[organic, 0] > 0).all()
    assert (rows.history_id[organic][:, 0] != rows.article_id[organic, 0]).mean() > 0.9  # it foretells, not repeats
    assert (rows.article_id[~organic] >= 0).all()
    assert np.all(np.diff(rows.now) >= 0)
    regression: Any = make_agent("regression-dwell").start(feed := site())
    drive(regression, feed, until=24.0)
    assert replay_of(regression).whole().organic is None
    assert len(replay_of(regression)) == sum(feed.records.visit_count[: feed.population.num_rows])


@pytest.mark.parametrize("cap", [None, 5.0])
def test_an_open_weighs_as_what_was_sure_to_be_shown(cap: float | None) -> None:
    feed = site()
    agent: Any = make_agent("contrastive", propensity_cap=cap, organic_weight=0.25).start(feed)
    drive(agent, feed, until=24.0)
    replay = replay_of(agent)
    slots, positions = replay.clicked()
    batch = replay.take(slots)
    assert batch.organic is not None
    weight = learner_of(agent)._weight("click", batch, positions).numpy()
    assert (weight[batch.organic] == 0.25).all()
    expected = np.ones(np.count_nonzero(~batch.organic))
    if cap is not None:
        assert batch.inclusion is not None
        inclusion = batch.inclusion[np.arange(len(slots)), positions]
        assert (inclusion[batch.organic] == 1.0).all()
        expected = np.minimum(1.0 / inclusion[~batch.organic], cap)
        assert expected.max() > 2.0
    np.testing.assert_allclose(weight[~batch.organic], expected, rtol=1e-6)


@pytest.mark.parametrize(
    "agent_text",
    [
        "contrastive:serving=streaming",
        "sasrec",
        "youtube-rerank",
        "contrastive:serving=batch,negatives=hard,task=next+click",
    ],
)
def test_who_learns_from_opens_goes_on_byte_for_byte(agent_text: str) -> None:
    from feedgym.agents.registry import parse_agent

    def start() -> tuple[Any, Feed]:
        feed = site(num_readers=60)
        return parse_agent(agent_text).start(feed), feed

    check_resuming(start, at=31.0, until=50.0)


def test_histories_that_lag_leave_out_what_was_opened_since() -> None:
    """With a lag of hours the towers are told of opens from before it, and of no later ones."""
    feed = site()
    agent: Any = make_agent("contrastive", serving="streaming", feature_lag_hours=3.0).start(feed)
    lag = agent.serving.clocks.feature_lag_hours
    assert lag >= 1.0
    seen = 0
    log: list[tuple[float, int, int]] = []  # hours, row, article, of clicks and opens
    while feed.now < 60.0:
        now, visits, opens = feed.now, feed.visits, feed.visits.opens
        if opens is not None:
            log += zip([now] * len(opens), opens.rows.tolist(), opens.article_id.tolist(), strict=True)
        served = agent.act(visits, feed.catalogue)
        made = agent.serving.clocks.made_hours(now) - lag
        for row, history in zip(visits.rows.tolist(), agent._acted.history_id, strict=True):
            expected = [article for hours, whose, article in log if whose == row and hours < made - 1e-6][::-1]
            assert history[: min(len(expected), 20)].tolist() == expected[:20]
            seen += len(expected) > 0
        outcome = feed.serve(served.article_id)
        agent.learn(outcome)
        visit, position = np.nonzero(outcome.clicks)
        log += zip(
            [now] * len(visit), visits.rows[visit].tolist(), served.article_id[visit, position].tolist(), strict=True
        )
    assert seen > 100

"""One list for all: the same slate for every visitor, the best by the readers' mean, and planning keeps readers."""

import dataclasses
from typing import Any

import numpy as np
import pytest

from feedgym.agents import make_agent
from feedgym.env import Feed, FeedConfig, NewsReader, NewsroomConfig
from feedgym.env.readers import NewsReaderConfig
from helpers.driving import drive, served_bytes

SITE = FeedConfig(num_readers=400, days=3.0, tick_hours=1.0, slate_size=3, newsroom=NewsroomConfig(articles_per_day=24))
NAMES = ("one-list-now", "one-list-planning")


def seen(name: str, until: float = 30.0, **settings: float) -> tuple[Feed, Any]:
    """A site that the agent has served for a day and some hours, at a tick with visits."""
    feed = Feed(SITE, seed=4)
    agent: Any = make_agent(name, **settings).start(feed)
    drive(agent, feed, until=until)
    assert len(feed.visits) > 5
    return feed, agent


@pytest.mark.parametrize("name", NAMES)
def test_every_visitor_of_a_tick_gets_the_same_greedy_slate(name: str) -> None:
    feed = Feed(SITE, seed=4)
    agent = make_agent(name).start(feed)
    assert agent.is_oracle
    visits = 0
    for served, _ in drive(agent, feed, until=30.0):
        visits += len(served.article_id)
        assert (served.article_id == served.article_id[:1]).all()
        assert (served.slot_propensity == 1.0).all()
    assert visits > 300


def mean_value(feed: Feed, rows: np.ndarray, minutes: float) -> np.ndarray:
    """Value of the live articles, (N,), readers and articles one by one; ``minutes`` of a session, 0 does not plan."""
    model, archive, live = feed.reader_model, feed.catalogue.archive, feed.catalogue.article_id
    assert isinstance(model, NewsReader)
    c = model.config
    values = np.zeros((len(rows), len(live)))
    for i, row in enumerate(rows):
        chance, read = model.expected_response(feed.state, np.array([row]), archive, live, feed.now)
        for j, a in enumerate(live):
            worth = c.value_quality * archive.column("quality")[a] - c.value_clickbait * archive.column("clickbait")[a]
            later = c.return_sensitivity * (np.tanh(worth + 0.15 * np.log(2)) - c.value_nothing)
            values[i, j] = chance[0, j] * (read[0, j] + minutes * later)
    result: np.ndarray = values.mean(axis=0)
    return result


@pytest.mark.parametrize("name", NAMES)
def test_the_list_is_best_by_the_mean_of_the_readers_who_are_there(name: str) -> None:
    feed, agent = seen(name, sample_readers=10_000)
    # The sample is drawn at the first tick of a day: who has left since is still in it.
    rows = agent._sample
    assert set(np.flatnonzero(~feed.has_left)) <= set(rows.tolist())
    assert len(rows) < len(feed.has_left)
    minutes = agent.metrics()["minutes_per_session"] if name == "one-list-planning" else 0.0
    value = mean_value(feed, rows, minutes)
    score = agent.score_all(feed.visits, feed.catalogue)
    np.testing.assert_allclose(score, np.tile(value, (len(feed.visits), 1)), rtol=1e-5)
    served = agent.act(feed.visits, feed.catalogue)
    best = feed.catalogue.article_id[np.argsort(-value)[:3]]
    assert (served.article_id == best).all()


def test_the_minutes_of_a_session_are_those_that_were_read() -> None:
    feed = Feed(SITE, seed=4)
    agent = make_agent("one-list-planning").start(feed)
    minutes, sessions, last = 0.0, 0.0, 0.0
    for time, (served, outcome) in enumerate(drive(agent, feed, until=30.0)):
        keep = np.exp(-(time - last) / 48.0)
        minutes, sessions, last = (
            keep * minutes + outcome.dwell_minutes.sum(),
            keep * sessions + len(served.article_id),
            time,
        )
    assert agent.metrics()["minutes_per_session"] == pytest.approx(minutes / sessions, rel=1e-6)


def test_pages_of_a_session_are_counted_once() -> None:
    reader = NewsReader(NewsReaderConfig(continuation=0.7))
    site = FeedConfig(num_readers=200, days=1.0, tick_hours=1 / 12, newsroom=NewsroomConfig(articles_per_day=24))
    feed = Feed(site, reader, seed=4)
    agent: Any = make_agent("one-list-planning").start(feed)
    pages = sum(len(served.article_id) for served, _ in drive(agent, feed))
    sessions = int(feed.state["session"].sum())
    counted = agent._sessions
    # Fading by at most a day of 48 hours' time constant.
    assert np.exp(-0.5) * sessions <= counted <= 1.02 * sessions
    assert pages > 2.5 * sessions


def test_planning_keeps_readers_coming() -> None:
    """Paired seeds, and enough articles to choose from: it is for later visits that planning gives up minutes."""
    site = dataclasses.replace(SITE, newsroom=NewsroomConfig(articles_per_day=150))
    visits, minutes = np.zeros((3, 2)), np.zeros((3, 2))
    for seed in range(3):
        for column, name in enumerate(NAMES):
            feed = Feed(site, seed=seed)
            run = drive(make_agent(name).start(feed), feed)
            visits[seed, column] = sum(len(served.article_id) for served, _ in run)
            minutes[seed, column] = sum(outcome.dwell_minutes.sum() for _, outcome in run)
    assert (visits[:, 1] > 1.1 * visits[:, 0]).all()
    assert (minutes[:, 1] > minutes[:, 0]).all()


def test_without_delayed_effects_nothing_pays_later() -> None:
    served = []
    for name in NAMES:
        feed = Feed(SITE, NewsReader(NewsReaderConfig(delayed_effects=False)), seed=4)
        served.append(served_bytes(drive(make_agent(name).start(feed), feed, until=20.0)))
    assert served[0] == served[1]


def test_goes_on_from_a_snapshot_with_the_same_bytes() -> None:
    feed, agent = seen("one-list-planning", sample_readers=20)
    site, state = feed.snapshot(), agent.snapshot()
    rest = served_bytes(drive(agent, feed, until=50.0))
    again = Feed(SITE, seed=4)
    again.restore(site)
    other = make_agent("one-list-planning", sample_readers=20).start(again)
    other.restore(state)
    assert served_bytes(drive(other, again, until=50.0)) == rest


def test_refuses_readers_who_cannot_be_foreseen() -> None:
    class Inscrutable:
        def __init__(self, *more: str) -> None:
            inner = NewsReader()
            for name in ("spawn", "first_visit", "respond", "next_visit", *more):
                setattr(self, name, getattr(inner, name))

    feed = Feed(SITE, Inscrutable(), seed=2)  # type: ignore[arg-type]
    for name in NAMES:
        with pytest.raises(ValueError, match=r"reader_model: got Inscrutable, needs a method expected_response"):
            make_agent(name).start(feed)
    half = Feed(SITE, Inscrutable("expected_response"), seed=2)  # type: ignore[arg-type]
    make_agent("one-list-now").start(half)
    with pytest.raises(ValueError, match=r"reader_model: got Inscrutable, needs a method return_pull"):
        make_agent("one-list-planning").start(half)


def test_refuses_an_empty_sample() -> None:
    with pytest.raises(ValueError, match=r"sample_readers: got 0, needs >= 1"):
        make_agent("one-list-now", sample_readers=0)

"""An agent that serves and is never told what came of it still knows who has visited."""

from typing import Any

import numpy as np
import pytest

from feedgym.agents.registry.plans import parse_agent
from feedgym.env import Feed, FeedConfig
from feedgym.env.readers.protocol import Outcome
from helpers.inside import acted_of

CONFIG = FeedConfig(num_readers=80, tick_hours=1.0, days=2)
STREAMING = "serving=streaming,item_refresh_hours=2,reader_refresh_hours=3,feature_lag_hours=2"
BATCH = "serving=batch,item_refresh_hours=6,reader_refresh_hours=6,feature_lag_hours=1"


def frozen(text: str) -> tuple[Any, Feed]:
    """An agent that has learned for a day, to serve another run of the same site."""
    feed = Feed(CONFIG, seed=1)
    trained: Any = parse_agent(text).start(feed)
    while feed.now < 24.0:
        trained.learn(feed.serve(trained.act(feed.visits, feed.catalogue).article_id))
    feed = Feed(CONFIG, seed=2)
    agent: Any = parse_agent(text).start(feed)
    agent.adopt(trained)
    return agent, feed


@pytest.mark.parametrize("clocks", [STREAMING, BATCH])
def test_who_is_told_nothing_serves_what_who_is_told_serves(clocks: str) -> None:
    text = f"regression-dwell:max_steps=5,train_every_hours=12,{clocks}"
    (told, feed), (other, _) = frozen(text), frozen(text)
    known = 0
    while not feed.done:
        served = told.act(feed.visits, feed.catalogue)
        same = other.act(feed.visits, feed.catalogue)
        np.testing.assert_array_equal(same.article_id, served.article_id)
        np.testing.assert_array_equal(acted_of(other).reader, acted_of(told).reader)
        outcome = feed.serve(served.article_id)
        told.learn(Outcome(**{n: getattr(outcome, n) for n in ("clicks", "dwell_minutes", "subscribed")}))
        known += int((told.serving.num_visits > 1).sum())
    assert known > 0
    mine, theirs = told.serving.snapshot(), other.serving.snapshot()
    for name in ("memory/count", "memory/hours", "memory/clicks", "memory/features"):
        rows = min(len(mine[name]), len(theirs[name]))
        assert rows > 40
        last = mine["memory/count"][:rows] != theirs["memory/count"][:rows]
        assert last.sum() <= 20  # the last tick's visits, of which only one of the two knows
        assert np.array_equal(mine[name][:rows][~last], theirs[name][:rows][~last]), name


def test_going_back_to_a_snapshot_forgets_the_visits_that_were_being_served() -> None:
    agent, feed = frozen(f"regression-dwell:max_steps=5,train_every_hours=12,{STREAMING}")
    while len(feed.visits) == 0 or feed.now < 3.0:
        feed.serve(agent.act(feed.visits, feed.catalogue).article_id)
    at_hour, site = agent.snapshot(), feed.snapshot()
    for _ in range(6):
        feed.serve(agent.act(feed.visits, feed.catalogue).article_id)
    agent.restore(at_hour)
    feed.restore(site)
    agent.act(feed.visits, feed.catalogue)
    assert agent.serving.cost.visits == at_hour["serving/cost/counts"][0]

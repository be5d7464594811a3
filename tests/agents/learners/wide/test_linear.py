"""The agent ``linear``: few weights, no step of an optimiser, served in every way that towers are."""

from typing import Any

import numpy as np
import pytest
import torch

from feedgym.agents import AGENTS, make_agent
from feedgym.env import Feed, FeedConfig, NewsReader, NewsReaderConfig, NewsroomConfig
from helpers.driving import drive
from helpers.inside import learner_of, learning_of

SITE = FeedConfig(num_readers=150, days=1.5, tick_hours=0.5, slate_size=5, newsroom=NewsroomConfig(articles_per_day=60))


def start(**settings: Any) -> tuple[Any, Feed]:
    feed = Feed(SITE, NewsReader(NewsReaderConfig(base_log_odds=-0.5)), seed=4)
    return make_agent("linear", **settings).start(feed), feed


def test_it_has_few_weights() -> None:
    """On the world ``vivid``: of openings those of the columns and of age, as many of the columns for minutes."""
    agent: Any = make_agent("linear").start(Feed())
    wide = agent.model.wide
    openings = len(wide.article) + len(wide.age) + 1
    assert openings <= 60
    assert len(wide.worth_log) == len(wide.article) + 1
    assert "some 55 weights" in AGENTS["linear"]
    assert openings + Feed().config.slate_size - 1 == pytest.approx(55, abs=2)  # the top position is the reference


def test_it_takes_no_step_and_its_towers_say_nothing() -> None:
    agent, feed = start(content_channel=True)
    drive(agent, feed, until=25.0)
    assert agent.policy_version == 4
    assert learner_of(agent).loss(learning_of(agent), np.random.default_rng(0)) is None
    assert agent._optimiser.state_dict()["state"] == {}
    assert not any(p.requires_grad for p in (*agent.model.wide.parameters(), *agent.model.channel.parameters()))
    metrics = agent.metrics()
    assert metrics["towers/trust"] == 0.0
    assert "loss" not in metrics
    learning = learning_of(agent)
    batch = learning.replay.take(np.arange(len(learning.replay)))
    with torch.no_grad():
        slates = learning.slates(batch)
        assert slates is not None
        scores = []
        for trust in (0.0, 1.0):
            agent.model.wide.trust.fill_(trust)
            scores.append(agent.model.score(slates.user, slates.item, slates.bias, slates.age))
    assert torch.equal(scores[0], scores[1])
    assert float(scores[0].std(dim=1).mean()) > 0.1


MODES: tuple[dict[str, Any], ...] = (
    {"serving": "realtime"},
    {"serving": "streaming", "index": "ivf"},
    {"serving": "batch"},
    {"serving": "realtime", "content_channel": True, "greedy": True},
)


@pytest.mark.parametrize("settings", MODES)
def test_it_serves_in_every_mode_what_is_opened_more(settings: dict[str, Any]) -> None:
    """In the same hours of the same site more is opened than of random slates."""

    def opened(agent: Any, feed: Feed) -> tuple[float, int]:
        drive(agent, feed, until=24.0)
        clicks = [outcome.clicks for _, outcome in drive(agent, feed)]
        return float(np.concatenate(clicks).mean()), agent.policy_version

    linear, version = opened(*start(**settings))
    assert version >= 1
    feed = Feed(SITE, NewsReader(NewsReaderConfig(base_log_odds=-0.5)), seed=4)
    drive(rand := make_agent("random").start(feed), feed, until=24.0)
    clicks = np.concatenate([outcome.clicks for _, outcome in drive(rand, feed)])
    assert linear > 1.2 * float(clicks.mean())


def test_later_trainings_begin_at_the_latest_fit() -> None:
    agent, feed = start()
    drive(agent, feed, until=6.5)
    fits = learner_of(agent)._wide._fits
    assert set(fits) == {"score", "minutes"}
    earlier = fits["score"]
    drive(agent, feed, until=12.5)
    later = fits["score"]
    assert later is not earlier
    np.testing.assert_array_equal(agent.model.wide.article.numpy(), later.article.astype(np.float32))

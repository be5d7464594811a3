"""Clicks that weigh by 1 / chance: by one that has a floor, whatever the logits (docs/mathematics.md 6.6)."""

from typing import Any

import numpy as np
import pytest

from feedgym.agents import make_agent
from feedgym.env import Feed, FeedConfig, NewsroomConfig
from helpers.driving import drive
from helpers.inside import learner_of, replay_of
from helpers.plain.mixture import Mixture

SITE = FeedConfig(num_readers=300, days=3.0, tick_hours=1.0, slate_size=4, newsroom=NewsroomConfig(articles_per_day=80))
SETTINGS: dict[str, Any] = {"propensity_cap": 1e9, "sharpness": 12.0, "epsilon": 0.1, "max_steps": 5}


def test_no_click_weighs_more_than_exploration_lets_it() -> None:
    feed = Feed(SITE, seed=2)
    agent: Any = make_agent("contrastive", **SETTINGS).start(feed)
    served = [slates for slates, _ in drive(agent, feed, until=30.0) if len(slates.article_id)]
    replay, learner = replay_of(agent), learner_of(agent)
    batch = replay.take(np.arange(len(replay)))
    assert batch.inclusion is not None
    inclusion = np.concatenate([slates.chances.inclusion for slates in served])
    np.testing.assert_allclose(batch.inclusion, inclusion, rtol=1e-6)
    least = np.concatenate([np.full(len(s.article_id), 0.1 * 4 / np.max(s.num_live)) for s in served])[:, None]
    assert (batch.inclusion >= least * (1 - 1e-6)).all()
    assert (batch.inclusion < least * 1.01).any()  # it is reached
    # The chance given the articles above has no floor: weights of it would be all that a batch learns from.
    assert batch.slot_propensity.min() < 0.1 * least.min()
    position = np.arange(len(replay)) % 4
    weight = learner._weight("click", batch, position).numpy()
    np.testing.assert_allclose(weight, 1 / inclusion[np.arange(len(replay)), position], rtol=1e-5)


def test_exposure_cancels() -> None:
    """By enumeration: clicks of articles and positions, each by 1 / (i theta), count what an article is worth."""
    policy = Mixture([1.0, 0.2, -0.5, 0.7], [1, 3, 4, 6], 8, 3, 0.1)
    clicked, theta = np.linspace(0.05, 0.6, 8), np.array([1.0, 0.7, 0.5])
    count = np.zeros(8)
    for k in range(3):
        article = policy.slates[:, k]
        weight = 1 / (policy.inclusion[article] * theta[k])
        np.add.at(count, article, policy.joint * theta[k] * clicked[article] * weight)
    np.testing.assert_allclose(count, clicked, rtol=1e-12)


def test_chances_that_nobody_knows_are_refused() -> None:
    for rules in ("cap(topic,2)", "pin(3,0)"):
        with pytest.raises(ValueError, match=r"rules: got .*, needs exclude only with propensity_cap"):
            make_agent("contrastive", propensity_cap=10.0, rules=rules).start(Feed(SITE))
    make_agent("contrastive", propensity_cap=10.0, rules="exclude(topic=1)").start(Feed(SITE))
    make_agent("contrastive", propensity_cap=None, rules="cap(topic,2)").start(Feed(SITE))

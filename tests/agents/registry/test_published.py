"""Published systems: each is built as published, runs, and learns something: it beats random slates."""

import dataclasses
import math
from typing import Any

import numpy as np
import pytest

from feedgym.agents import AGENTS, make_agent
from feedgym.agents.learners import ContrastiveLearner, RegressionLearner
from feedgym.agents.registry.published import SYSTEMS
from feedgym.env import Feed, FeedConfig, NewsroomConfig
from feedgym.env.config import ModuleConfig
from helpers.driving import drive
from helpers.inside import learner_of

ASKED_FOR = (
    "youtube-2016",
    "youtube-rerank",
    "google-play-mns",
    "uber-shared",
    "sasrec",
    "bert4rec",
    "nrms",
    "nrms-softmax",
    "nikkei-realtime",
    "recruit-ann",
    "zozo-modules",
)
SMOKE = FeedConfig(num_readers=80, days=2.0, tick_hours=1.0, strict=True, newsroom=NewsroomConfig(articles_per_day=150))
LONGER = FeedConfig(num_readers=400, days=3.0, tick_hours=1.0)
SEED = 100


def test_the_systems_are_there_and_say_where_they_come_from() -> None:
    assert set(ASKED_FOR) == set(SYSTEMS)
    for name, system in SYSTEMS.items():
        assert system.source
        assert AGENTS[name] == f"{system.description} [{system.source}]"


@pytest.mark.parametrize("name", SYSTEMS)
def test_a_system_is_built_as_it_says(name: str) -> None:
    system = SYSTEMS[name]
    agent: Any = make_agent(name).start(Feed(SMOKE, seed=1))
    learner = {"regression": RegressionLearner, "contrastive": ContrastiveLearner}[system.learner]
    assert type(learner_of(agent)) is learner
    groups = (learner_of(agent).config, *vars(agent.config).values())
    for key, value in system.settings("small").items():
        owner = next(part for part in groups if hasattr(part, key))
        assert getattr(owner, key) == value, key


@pytest.mark.parametrize("name", AGENTS)
def test_two_days_of_every_agent(name: str) -> None:
    feed = Feed(SMOKE, seed=3)
    plan = make_agent(name, **({"max_steps": 3} if make_agent(name).learns else {}))
    agent: Any = plan.start(feed)
    run = drive(agent, feed)
    assert feed.done
    assert feed.invalid_entries == 0
    assert sum(len(served.article_id) for served, _ in run) > 200
    for served, _ in run:
        assert np.isfinite(served.log_propensity).all()
        np.testing.assert_allclose(np.log(served.slot_propensity).sum(axis=1), served.log_propensity, atol=1e-9)
    assert run[-1][0].policy_version == (7 if plan.learns else 0)  # trained every six hours
    assert all(math.isfinite(value) for value in agent.metrics().values())


def reward_of(name: str, config: FeedConfig) -> float:
    """Minutes a reader and day."""
    feed = Feed(config, seed=SEED)
    run = drive(make_agent(name).start(feed), feed)
    return sum(float(outcome.reward.sum()) for _, outcome in run) / config.num_readers / config.days


@pytest.fixture(scope="module")
def at_random() -> float:
    return reward_of("random", LONGER)


@pytest.mark.parametrize("name", SYSTEMS)
def test_a_system_beats_random_slates_within_days(name: str, at_random: float) -> None:
    # The weakest, nrms-softmax, earned 1.33 times as much under this seed, 1.54 and 1.20 times under the next two.
    assert reward_of(name, LONGER) > 1.2 * at_random


def test_modules_are_ordered_better_than_at_random() -> None:
    """Modules pool articles, so they differ less: 1.28 times as much under this seed, 1.14 and 1.08 under the next."""
    site = dataclasses.replace(LONGER, modules=ModuleConfig())
    assert reward_of("zozo-modules", site) > 1.1 * reward_of("random", site)

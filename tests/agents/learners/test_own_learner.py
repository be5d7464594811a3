"""A learner is four methods: a class of one's own that knows nothing else serves, trains and resumes."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from feedgym.agents import learners, parse_agent
from feedgym.agents.agent import Site
from feedgym.agents.learners import Learning, Parts
from feedgym.agents.two_tower import TwoTowerAgent, TwoTowerAgentConfig
from feedgym.agents.two_tower.settings import OptimiserConfig
from feedgym.env import Feed, FeedConfig, NewsroomConfig
from feedgym.env.arrays import Arrays
from feedgym.towers import Towers, TwoTower
from helpers.driving import drive

SITE = FeedConfig(num_readers=200, days=2.0, tick_hours=1.0, slate_size=4, newsroom=NewsroomConfig(articles_per_day=80))
OPTIONAL = ("Following", "Observing", "Preparing", "Beginning", "Finishing", "Inspecting", "Foretelling", "Reporting")


class OpenedTwice:
    """Squared error of clicks, without any of the optional methods."""

    def __init__(self) -> None:
        self.steps = 0

    def start(self, site: Any, towers: Any, policy: Any, generator: torch.Generator) -> Parts:
        return Parts(model=TwoTower(towers, generator), shortlists=True)

    def loss(self, learning: Learning[Towers], rng: np.random.Generator) -> Tensor | None:
        batch = learning.replay.take(rng.integers(0, len(learning.replay), 64))
        slates = learning.slates(batch)
        if slates is None:
            return None
        self.steps += 1
        score = learning.model.score(slates.user, slates.item, slates.bias, slates.age)
        return (score - torch.from_numpy(batch.clicks.astype(np.float32))).square().mean()

    def snapshot(self) -> Arrays:
        return {"steps": np.asarray(self.steps)}

    def restore(self, snapshot: Arrays) -> None:
        self.steps = int(snapshot["steps"])


def started(feed: Feed) -> Any:
    site = Site(
        slate_size=feed.config.slate_size,
        history_length=feed.config.history_length,
        num_numeric=len(feed.catalogue.feature_names),
        num_text=feed.catalogue.archive.dim,
        category_sizes=feed.catalogue.category_sizes,
        num_reader_features=len(feed.visits.feature_names),
        seed=feed.seed,
    )
    return TwoTowerAgent(site, TwoTowerAgentConfig(optimiser=OptimiserConfig(max_steps=5)), OpenedTwice())


def test_four_methods_are_enough() -> None:
    feed = Feed(SITE, seed=4)
    agent = started(feed)
    assert not any(isinstance(agent.learner, getattr(learners, name)) for name in OPTIONAL)
    before = agent.model.to_arrays()
    drive(agent, feed, until=13.0)
    assert (steps := agent.learner.steps) > 5
    assert agent.policy_version == 2
    assert not np.array_equal(agent.model.to_arrays()["item_tower.0.weight"], before["item_tower.0.weight"])
    assert agent.served_click_chance() is None
    assert set(agent.metrics()) >= {"loss"}
    # What it asked for is there.
    assert agent._replay.column("shortlist").max() > 0
    again = started(Feed(SITE, seed=4))
    again.restore(agent.snapshot())
    assert again.learner.steps == steps


@pytest.mark.parametrize("name", ["regression-click", "contrastive", "reinforce", "direct", "ltv"])
def test_learners_that_ship_have_no_base_class(name: str) -> None:
    """Each file is read by itself: nothing is inherited."""
    agent: Any = parse_agent(name).start(Feed(SITE))
    assert type(agent.learner).__mro__[1:] == (object,)

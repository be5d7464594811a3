"""The content channel in agents: what it measures readers against, who trains it, and that it finds taste."""

from typing import Any

import numpy as np
import pytest
import torch

from feedgym.agents import parse_agent
from feedgym.agents.two_tower.crowd import renew_crowd
from feedgym.agents.two_tower.optimiser import make_optimiser
from feedgym.agents.two_tower.settings import OptimiserConfig
from feedgym.env import Feed, FeedConfig, NewsroomConfig
from helpers.driving import drive
from helpers.inside import learning_of, replay_of
from helpers.resuming import check_resuming

SITE = FeedConfig(
    num_readers=120, days=0.55, tick_hours=0.5, slate_size=6, newsroom=NewsroomConfig(articles_per_day=60)
)
SMALL = "content_channel=True,widths=(16,),dim=8,max_steps=2,shortlist_size=20,train_every_hours=3.0,replay_visits=50"


def start(text: str) -> tuple[Any, Feed]:
    feed = Feed(SITE, seed=3)
    name, _, more = text.partition(":")
    return parse_agent(f"{name}:{SMALL}{',' if more else ''}{more}").start(feed), feed


LEARNERS = (
    "regression-dwell:encoder=nrms,share=none",
    "regression-click:prediction=logistic,serving=streaming",
    "contrastive:negatives=mixed,prediction=cosine,index=ivf",
    "contrastive:encoder=bert4rec",
    "ltv",
    "reinforce:policy_visits=100",
    "reinforce:mode=plain,behaviour=estimated,policy_visits=100",
    "direct:policy_visits=100",
)


@pytest.mark.parametrize("text", LEARNERS)
def test_every_learner_trains_it_and_resumes_byte_for_byte(text: str) -> None:
    agent = check_resuming(lambda: start(text), at=8.5).agent  # half an hour before a training
    assert agent.policy_version == 4
    for channel in agent.model.channels:
        assert (channel.scale != 0).all()
        assert channel.crowd[-channel.widths[1] :].sum() == pytest.approx(1.0, abs=1e-5)  # shares of topics
    by_minutes = "plain" not in text and "direct" not in text  # their rings keep no minutes
    assert agent.model.channels[0].by_minutes == by_minutes
    assert ("replay/history_minutes" in agent.snapshot()) == by_minutes


def test_what_is_served_is_what_is_trained() -> None:
    """The score of a served article is that of the training, from the replay's own row."""
    agent, feed = start("regression-dwell")
    drive(agent, feed, until=9.0)
    while not (feed.visits.history_dwell > 0).any():
        drive(agent, feed, until=feed.now + 0.25)
    visits, live = feed.visits, feed.catalogue.article_id.copy()
    agent.act(visits, feed.catalogue)
    served = agent.score_all(visits, feed.catalogue)
    learning = learning_of(agent)
    agent.learn(feed.serve(np.tile(live[:6], (len(visits), 1))))
    replay = replay_of(agent)
    newest = (replay.total - len(visits) + np.arange(len(visits))) % len(replay)
    batch = replay.take(newest)
    with torch.no_grad():
        user = learning.users(batch)
        vector, bias = torch.from_numpy(agent.store.vector[live]), torch.from_numpy(agent.store.bias[live])
        age = torch.from_numpy((batch.now[:, None] - agent.store.published_hours[live]).astype(np.float32))
        trained = agent.model.score(user, vector, bias, age)
        constant = agent.model.constant(user, float(batch.now[0]), agent.store.t_ref)
    np.testing.assert_allclose(served, (trained - constant[:, None]).numpy(), atol=1e-4)
    width = agent.model.channel.width
    assert float(user.vector[:, -width:].abs().max()) > 0


def test_the_crowd_is_the_mean_of_all_clicks_and_stays_between_trainings() -> None:
    agent, feed = start("regression-dwell:max_steps=1,replay_visits=400")
    drive(agent, feed, until=6.2)
    channel, store, replay = agent.model.channel, agent.store, replay_of(agent)
    held = channel.crowd.clone()
    drive(agent, feed, until=8.9)
    assert torch.equal(channel.crowd, held)
    renew_crowd(agent.model, store, replay)
    total, mass = np.zeros(channel.width), 0.0
    for slot in range(len(replay)):
        for position in np.flatnonzero(replay.column("clicks")[slot]):
            article = int(replay.column("article_id")[slot, position])
            weight = 0.5 + np.log(1.0 + float(replay.column("dwell_minutes")[slot, position]))
            z = np.zeros(channel.width)
            z[: channel.widths[0]] = store.numeric[article, : channel.widths[0]]
            z[channel.widths[0] + store.categorical[article, 0]] = 1.0
            total, mass = total + weight * z, mass + weight
    assert mass > 20
    np.testing.assert_allclose(channel.crowd.numpy(), total / mass, rtol=1e-3, atol=1e-4)
    assert not torch.equal(channel.crowd, held)


def test_its_scales_are_a_group_of_the_optimiser() -> None:
    """A faster or slower training of the towers leaves theirs alone, and no parameter is in two groups or in none."""
    for text, number in (("regression", 1), ("ltv", 2)):
        # A wide part fits them, and is a group of its own where it is trained with the towers.
        agent, _ = start(f"{text}:wide_part=False")
        optimiser = make_optimiser(agent.model, OptimiserConfig(learning_rate=0.5, weight_decay=0.0), ())
        towers, scales = optimiser.param_groups
        assert (towers["lr"], towers["weight_decay"], scales["lr"], scales["weight_decay"]) == (0.5, 0.0, 2e-3, 1.0)
        assert [id(p) for p in scales["params"]] == [id(channel.scale) for channel in agent.model.channels]
        assert len(scales["params"]) == number
        grouped = [id(p) for p in (*towers["params"], *scales["params"])]
        assert sorted(grouped) == sorted(id(p) for p in agent.model.parameters())

"""Clicks are compared with what was live at their own moment (docs/mathematics.md 6.8), and passes count clicks."""

import math
from typing import Any

import numpy as np
import pytest
import torch

from feedgym.agents import make_agent
from feedgym.agents.learners import contrastive
from feedgym.agents.learners.clicks.examples import shares_of
from feedgym.agents.learners.contrasts import Contrast, contrast_loss
from feedgym.env import Feed, FeedConfig, NewsroomConfig
from feedgym.towers.negatives import NEGATIVES
from helpers.driving import drive
from helpers.inside import learner_of, learning_of, replay_of
from helpers.plain.contrasts import Logged, logged_agent, noting_learner
from helpers.readers import plain_readers


@pytest.fixture(scope="module")
def logged() -> Logged:
    return logged_agent()


def captured(monkeypatch: pytest.MonkeyPatch) -> list[Contrast]:
    """What the learner contrasts from here on."""
    contrasts: list[Contrast] = []

    def noted(contrast: Contrast) -> torch.Tensor | None:
        contrasts.append(contrast)
        return contrast_loss(contrast)

    monkeypatch.setattr(contrastive, "contrast_loss", noted)
    return contrasts


@pytest.mark.parametrize("task", ["click", "next"])
@pytest.mark.parametrize("name", NEGATIVES)
def test_a_batch_compares_no_click_with_what_was_not_live(
    logged: Logged, name: str, task: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of batches anywhere in the log; when an article was there is told by the site's archive."""
    contrasts, published = captured(monkeypatch), logged.agent.store.published_hours
    strangers = {True: 0, False: 0}
    compared = 0
    for live in (True, False):
        loss = "bpr" if name in ("impressed", "own") else "softmax"
        learner, draws = noting_learner(
            logged, negatives=name, negatives_live=live, loss=loss, batch_clicks=60, task=task
        )
        rng = np.random.default_rng(4)
        for _ in range(6):
            contrasts.clear()
            draws.clear()
            assert learner.loss(learning_of(logged.agent), rng) is not None
            context, contrast = draws[0][0], contrasts[0]
            hours = rows_hours(logged, contrast, context.positive_log_q)
            negatives = contrast.negatives
            ids = [np.tile(context.positive_ids, (len(hours), 1))] if negatives.in_batch else []
            ids += [np.tile(negatives.shared_ids, (len(hours), 1)), negatives.row_ids]
            columns = np.concatenate(ids, axis=1)
            competes = contrast.competes.numpy()
            there = (published[columns] <= hours[:, None]) & (hours[:, None] < logged.expires_hours[columns])
            strangers[live] += int((competes & ~there).sum())
            compared += int(competes.sum())
    assert strangers[True] == 0
    assert compared > 100
    if name != "impressed":  # which were all seen
        assert strangers[False] > 0  # the textbook: the check can fail


def rows_hours(logged: Logged, contrast: Contrast, log_q: Any) -> Any:
    """When the clicks of a batch were, from the replay: each has a log q of its own, or else another article."""
    replay, learner = replay_of(logged.agent), learner_of(logged.agent)
    slots, positions = replay.clicked()
    recorded = learner.snapshot()["log_q"][-len(slots) :]
    ids = replay.column("article_id")[slots, positions]
    where = {(float(q), int(a)): replay.column("now")[s] for q, a, s in zip(recorded, ids, slots, strict=True)}
    return np.array([where[float(q), int(a)] for q, a in zip(log_q, contrast.item_ids.tolist(), strict=True)])


def test_shares_are_of_the_clicks_while_an_article_lived() -> None:
    clicked, hours = np.array([7, 3, 7, 5, 7, 9]), np.array([0.0, 1.0, 1.0, 2.0, 3.0, 4.0])
    since, until = np.array([-9.0, 1.0, 2.0, 5.0, 1.5]), np.array([np.inf, 2.0, np.inf, 9.0, 1.8])
    found = shares_of(np.array([7, 3, 5, 1, 4]), clicked, hours, (since, until))
    np.testing.assert_allclose(found, [3 / 6, 1 / 2, 1 / 3, 0.0, 0.0])


def age_effect(agent: Any) -> float:
    """How much higher the same articles score at publication than half a day later, by the mean of some readers."""
    learning = learning_of(agent)
    batch = learning.replay.take(np.arange(100))
    with torch.no_grad():
        user, (vector, bias) = learning.users(batch), learning.items(np.arange(60))
        shape = (len(batch.now), len(bias))
        scores = [
            learning.model.score(user, vector.expand(*shape, -1), bias.expand(shape), torch.full(shape, age))
            for age in (0.0, 12.0)
        ]
    return float((scores[0] - scores[1]).mean())


def planted(negatives: str, live: bool) -> tuple[Any, Feed]:
    """A site of random slates and of readers who do not mind how old an article is; nothing is trained yet."""
    site = FeedConfig(num_readers=100, days=6.0, tick_hours=1.0, newsroom=NewsroomConfig(articles_per_day=80))
    feed = Feed(site, plain_readers(base_log_odds=-0.5), seed=7)
    settings: dict[str, Any] = {"task": "click", "propensity_cap": None, "epsilon": 1.0, "batch_clicks": 1024}
    settings |= {"age_decay": "exponential", "weight_decay": 0.0, "learning_rate": 1e-2, "train_every_hours": 1e3}
    return make_agent("contrastive", negatives=negatives, negatives_live=live, **settings).start(feed), feed


@pytest.fixture(scope="module")
def planted_log() -> Any:
    """After six days."""
    agent, feed = planted("in_batch", True)
    drive(agent, feed)
    return agent.snapshot()


@pytest.mark.parametrize("negatives", ["in_batch", "uniform", "mixed"])
def test_where_clicks_do_not_depend_on_age_none_is_learned(planted_log: Any, negatives: str) -> None:
    """Batches span a day, in which articles come and go.

    The textbook compares with what is not published yet, and never clicked by then: that newest articles are worst.
    """
    found = {}
    for live in (True, False):
        agent = planted(negatives, live)[0]
        agent.restore(planted_log)
        assert age_effect(agent) == pytest.approx(0.0, abs=1e-6)
        agent.begin_training(144.0)
        for _ in range(50):
            agent.step()
        found[live] = age_effect(agent)
    assert found[False] < -1.0
    assert abs(found[True]) < 0.4 * abs(found[False])


@pytest.mark.parametrize(("name", "batch"), [("contrastive", 100), ("regression", 256)])
def test_passes_count_the_learners_own_rows(name: str, batch: int, monkeypatch: pytest.MonkeyPatch) -> None:
    feed = Feed(FeedConfig(num_readers=200, days=2.0, tick_hours=1.0), seed=3)
    settings = {"batch_clicks": batch} if name == "contrastive" else {}
    agent: Any = make_agent(name, passes=4.0, max_steps=10_000, train_every_hours=8.0, **settings).start(feed)
    steps: list[int] = []
    step = agent.step
    monkeypatch.setattr(agent, "step", lambda: (steps.append(1), step())[1])
    rows, wanted = 0, 0
    while not feed.done:
        before, version = replay_of(agent).total, agent.policy_version
        served = agent.act(feed.visits, feed.catalogue)
        if agent.policy_version > version:
            wanted, rows = wanted + math.ceil(4.0 * rows / batch), 0
            assert len(steps) == wanted
        outcome = feed.serve(served.article_id)
        agent.learn(outcome)
        rows += int(outcome.clicks.sum()) if name == "contrastive" else replay_of(agent).total - before
    assert agent.policy_version >= 4

"""The learned agents serve what an independent computation over the whole live catalogue says."""

import copy
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats

from feedgym.agents import make_agent
from feedgym.agents.slate_policy.slates import slate_log_propensity
from feedgym.agents.two_tower import drawing
from feedgym.env import Feed, FeedConfig, NewsroomConfig
from feedgym.env.feed.catalogue import Catalogue
from feedgym.env.feed.visits import Visits
from helpers.driving import crowd, drive
from helpers.towers import DEEP_ALONE

SITE = FeedConfig(num_readers=150, days=3.0, tick_hours=1.0, slate_size=4, newsroom=NewsroomConfig(articles_per_day=80))
SIZE = 25


def full_logits(agent: Any, visits: Visits, catalogue: Catalogue, factor: float) -> np.ndarray:
    """``factor`` times the z-score of TwoTower.score over all live articles, nothing stored, (n, N)."""
    model, n, known = agent.model, len(visits), visits.history_id >= 0

    def embedded(ids: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        numeric = torch.from_numpy(catalogue.features_of(ids))
        return model.embed_items(numeric, torch.from_numpy(catalogue.categories_of(ids)[:, :2].astype(np.int64)))

    count = known.sum(axis=1)
    hour = 2 * np.pi * (visits.now % 24) / 24
    reader = [
        np.log1p(visits.gap_hours),
        np.log1p(visits.visit),
        np.full(n, np.sin(hour)),
        np.full(n, np.cos(hour)),
        np.log1p(count),
        np.where(count > 0, np.log1p(visits.history_dwell).sum(axis=1) / np.maximum(count, 1), 0.0),
    ]
    with torch.no_grad():
        past, _ = embedded(np.where(known, visits.history_id, 0).ravel())
        user = model.embed_users(
            past.reshape(*known.shape, -1),
            torch.from_numpy(known),
            torch.from_numpy(np.stack(reader, axis=1).astype(np.float32)),
        )
        vector, bias = embedded(catalogue.article_id)
        age = torch.from_numpy(np.tile(catalogue.age_hours, (n, 1)).astype(np.float32))
        score = model.score(user, vector, bias, age).numpy().astype(float)
    return factor * (score - score.mean(axis=1, keepdims=True)) / score.std(axis=1, keepdims=True)


@pytest.mark.parametrize("decay", ["none", "linear", "exponential"])
@pytest.mark.parametrize("name", ["regression", "contrastive"])
def test_serves_the_full_computation(name: str, decay: str, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[np.ndarray] = []
    serve = vars(drawing)["serve"]
    monkeypatch.setattr(drawing, "serve", lambda *args, **more: seen.append(args[2].shortlist) or serve(*args, **more))
    feed = Feed(SITE, seed=7)
    plan = make_agent(
        name, age_decay=decay, shortlist_size=SIZE, sharpness=2.0, temperature=0.8, max_steps=30, **DEEP_ALONE
    )
    agent: Any = plan.start(feed)
    checked = 0
    # Before any training, just after one (hours 6 and 12), hours after the last refresh, and on the third day.
    for hour in (4.0, 6.0, 11.5, 12.0, 17.5, 59.0):
        drive(agent, feed, until=hour)
        while len(feed.visits) == 0:
            drive(agent, feed, until=feed.now + 0.1)
        visits, catalogue = feed.visits, feed.catalogue
        served = agent.act(visits, catalogue)
        shortlist = seen[-1]
        expected = full_logits(agent, visits, catalogue, 2.0 / 0.8)
        live = catalogue.article_id.copy()
        assert len(live) > SIZE + 20
        column = {int(a): j for j, a in enumerate(live)}
        listed = np.array([[column[a] for a in row] for row in shortlist.tolist()]).reshape(len(visits), -1)
        chosen = np.take_along_axis(expected, listed, axis=1)
        for row in range(len(visits)):
            rest = np.delete(expected[row], listed[row])
            assert len(rest) == len(live) - SIZE
            assert rest.max() <= chosen[row].min() + 1e-4  # the true top M, but for ties
            shown = served.in_shortlist[row]
            mine = [expected[row, column[a]] for a in served.article_id[row][shown]]
            np.testing.assert_allclose(served.logit[row][shown], mine, atol=1e-4)
            checked += shown.sum()
        assert np.array_equal(served.in_shortlist, (served.article_id[:, :, None] == shortlist[:, None]).any(axis=2))
        log, slot = slate_log_propensity(served.article_id, chosen, shortlist, len(live), 0.05)
        np.testing.assert_allclose(served.log_propensity, log, atol=1e-3)
        np.testing.assert_allclose(served.slot_propensity, slot, rtol=1e-3)
        assert (served.shortlist_size == SIZE).all()
        assert served.num_live == len(live)
        agent.learn(feed.serve(served.article_id))
    assert checked > 40
    assert agent.policy_version >= 8


@pytest.fixture(scope="module")
def trained() -> tuple[Any, Feed]:
    """An agent after two trainings, at a moment with visits. Copy before use: it acts once a tick."""
    feed = Feed(SITE, seed=8)
    agent = make_agent(
        "regression-click", shortlist_size=10, sharpness=1.0, max_steps=20, epsilon=0.1, **DEEP_ALONE
    ).start(feed)
    drive(agent, feed, until=16.0)
    while len(feed.visits) < 2:
        drive(agent, feed, until=feed.now + 0.1)
    return agent, feed


def test_slots_follow_their_stated_propensities(trained: tuple[Any, Feed]) -> None:
    agent, feed = copy.deepcopy(trained)
    one = crowd(feed.visits, 1)
    served = agent.act(crowd(one, 40_000), feed.catalogue)
    logits = full_logits(agent, one, feed.catalogue, 1.0)[0]
    live = feed.catalogue.article_id

    def p_value(size: int, epsilon: float) -> float:
        best = np.argsort(-logits)[:size]
        chance = np.full(len(live), epsilon / len(live))
        chance[best] += (1 - epsilon) * np.exp(logits[best]) / np.exp(logits[best]).sum()
        observed = (served.article_id[:, 0, None] == live).sum(axis=0)
        return float(stats.chisquare(observed, 40_000 * chance).pvalue)

    assert p_value(10, 0.1) > 1e-3
    assert p_value(10, 0.05) < 1e-6
    assert p_value(9, 0.1) < 1e-6


def test_greedy_serves_the_best_of_the_full_computation() -> None:
    feed = Feed(SITE, seed=9)
    agent: Any = make_agent("contrastive", sharpness=8.0, greedy=True, max_steps=20, **DEEP_ALONE).start(feed)
    drive(agent, feed, until=13.0)
    while len(feed.visits) < 2:
        drive(agent, feed, until=feed.now + 0.1)
    served = agent.act(feed.visits, feed.catalogue)
    logits = full_logits(agent, feed.visits, feed.catalogue, 8.0)
    best = np.sort(logits, axis=1)[:, ::-1][:, :4]
    np.testing.assert_allclose(served.logit, best, atol=1e-4)
    live = feed.catalogue.article_id
    shown = (served.article_id[:, :, None] == live).argmax(axis=2)
    np.testing.assert_allclose(np.take_along_axis(logits, shown, axis=1), best, atol=1e-4)
    assert served.greedy
    assert served.epsilon == 0.0
    assert (served.log_propensity == 0).all()
    assert (served.slot_propensity == 1).all()
    assert served.in_shortlist.all()


def test_a_reader_is_served_alike_whoever_else_visits(trained: tuple[Any, Feed]) -> None:
    """Logits by the bytes: scores and scale are computed row by row."""
    agent, feed = copy.deepcopy(trained)
    users = agent.drawer.queries(agent.serving.requests(feed.visits))
    every = agent.store.scale.mean_and_sd(users), agent.store.index.search(users, 10)
    alone = agent.store.scale.mean_and_sd(users[1:2]), agent.store.index.search(users[1:2], 10)
    for a, b in zip([*every[0], *every[1]], [*alone[0], *alone[1]], strict=True):
        assert a[1:2].tobytes() == b.tobytes()


def test_trains_in_proportion_to_what_is_new_and_at_the_right_hours() -> None:
    feed = Feed(SITE, seed=10)
    agent: Any = make_agent("regression", passes=20.0, train_every_hours=5.0).start(feed)
    steps = visits = trainings = 0
    while feed.now < 16.0:
        due = feed.now >= 5.0 * (trainings + 1)
        before = agent.policy_version
        run = drive(agent, feed, until=feed.now + 0.1)
        assert agent.policy_version - before == due
        if due:
            optimiser = agent._optimiser.state_dict()["state"][0]["step"]
            assert int(optimiser) - steps == min(400, -(-20 * visits // 256))
            steps, visits, trainings = int(optimiser), 0, trainings + 1
            assert run[0][0].policy_version == trainings
        visits += len(run[0][0].article_id)
    assert trainings == 3
    assert steps > 10


def test_learning_needs_slates_first(trained: tuple[Any, Feed]) -> None:
    agent, feed = copy.deepcopy(trained)
    served = agent.act(feed.visits, feed.catalogue)
    outcome = feed.serve(served.article_id)
    agent.learn(outcome)
    with pytest.raises(RuntimeError, match=r"learn: no slates are waiting for an outcome; needs act\(\) first"):
        agent.learn(outcome)


def test_a_restored_agent_has_no_slates_waiting(trained: tuple[Any, Feed]) -> None:
    agent, feed = copy.deepcopy(trained)
    snapshot = agent.snapshot()
    outcome = feed.serve(agent.act(feed.visits, feed.catalogue).article_id)
    agent.restore(snapshot)
    with pytest.raises(RuntimeError, match="learn: no slates"):
        agent.learn(outcome)


def test_broken_weights_are_refused_where_they_would_be_used(trained: tuple[Any, Feed]) -> None:
    agent, feed = copy.deepcopy(trained)
    with torch.no_grad():
        agent.model.user_tower.last.weight.fill_(np.nan)
    with pytest.raises(ValueError, match="queries: got 'NaN or inf in row"):
        agent.act(feed.visits, feed.catalogue)


def test_a_diverging_training_is_named() -> None:
    feed = Feed(SITE, seed=8)
    agent: Any = make_agent("regression").start(feed)
    drive(agent, feed, until=5.0)
    with torch.no_grad():
        agent.model.item_tower.last.weight.fill_(np.nan)
    with pytest.raises(ValueError, match="loss: got nan, needs a finite number: try a smaller learning_rate"):
        agent._train(6.0)

"""What the user tower is told of clicks and examples, in serving and in training, against plain loops."""

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from feedgym.agents import make_agent
from feedgym.agents.learners.learning import Learning
from feedgym.agents.serving.histories import click_columns, click_vectors, embed_readers
from feedgym.env import Feed, FeedConfig, NewsroomConfig
from helpers.driving import drive
from helpers.inside import acted_of, learner_of, learning_of, replay_of
from helpers.towers import DEEP_ALONE

SITE = FeedConfig(num_readers=250, days=2.0, tick_hours=0.5, slate_size=8, newsroom=NewsroomConfig(articles_per_day=60))
Made = tuple[Any, Feed]


@pytest.fixture(scope="module")
def made() -> Callable[..., Made]:
    """An agent after three trainings, with visits to come of readers who have clicked: a copy."""
    cache: dict[str, Made] = {}

    def make(name: str = "regression-click", until: float = 19.5, **settings: Any) -> Made:
        key = f"{name}{until}{sorted(settings.items())}"
        if key not in cache:
            feed = Feed(SITE, seed=4)
            agent: Any = make_agent(name, max_steps=3, **(DEEP_ALONE | settings)).start(feed)
            drive(agent, feed, until=until)
            while (feed.visits.history_id[:, 0] >= 0).sum() < 3:
                assert not feed.done
                drive(agent, feed, until=feed.now + 0.25)
            cache[key] = agent, feed
        return copy.deepcopy(cache[key])

    return make


def plain_columns(feed: Feed) -> np.ndarray:
    """Log age and log minutes of each click of this tick's visitors, float64 (n, L, 2)."""
    visits = feed.visits
    result = np.zeros((*visits.history_id.shape, 2))
    for b, clicks in enumerate(visits.history_id.tolist()):
        for place, article in enumerate(clicks):
            if article >= 0:
                published = float(feed.catalogue.published_hours_of(np.array([article]))[0])
                result[b, place] = np.log(1 + visits.now - published), np.log(1 + visits.history_dwell[b, place])
    return result


@pytest.mark.parametrize("encoder", ["mean", "attention"])
def test_the_encoder_is_told_the_age_and_the_minutes_of_each_click(encoder: str, made: Callable[..., Made]) -> None:
    agent, feed = made(encoder=encoder, history_columns=True)
    seen: list[torch.Tensor] = []
    agent.model.history.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    expected = plain_columns(feed)
    known = feed.visits.history_id >= 0
    assert known.any()
    assert not known.all()
    agent.act(feed.visits, feed.catalogue)
    (given,) = seen
    # The mean is scaled after the encoder, see TwoTower.encoder_input: there the columns are handed in small.
    scale = agent.model._history_scale if encoder == "mean" else 1.0
    np.testing.assert_allclose(given[..., -2:].numpy() * scale, expected, rtol=1e-5, atol=1e-6)
    assert (given[..., -2:].numpy()[~known] == 0).all()
    assert len(np.unique(expected[known][:, 0])) > 3
    assert expected[known][:, 1].max() > 0
    # The same visits as the replay keeps them.
    agent.learn(feed.serve(acted_of(agent).served.article_id))
    batch = replay_of(agent).take(np.arange(len(replay_of(agent)))[-len(known) :])
    assert (batch.now == batch.now[0]).all()
    assert batch.history_minutes is not None
    again = click_columns(agent.store, batch.history_id, batch.history_minutes, batch.now)
    np.testing.assert_allclose(again.numpy(), expected, rtol=1e-5, atol=1e-6)


def test_columns_of_nothing_are_zero_whatever_stands_there(made: Callable[..., Made]) -> None:
    agent, feed = made()
    minutes = np.full((1, 3), 7.0, dtype=np.float32)
    columns = click_columns(agent.store, np.array([[2, -1, -1]]), minutes, np.array([feed.now])).numpy()
    assert (columns[0, 0] > 0).all()
    assert (columns[0, 1:] == 0).all()


def test_minutes_are_kept_only_where_they_are_wanted(made: Callable[..., Made]) -> None:
    for settings, wanted in (({}, False), ({"history_columns": True}, True), ({"author_buckets": 16}, True)):
        agent, feed = made(**settings)
        assert agent.model.config.needs_minutes == wanted
        batch = replay_of(agent).take(np.arange(3))
        assert (batch.history_minutes is not None) == wanted
        assert (agent.act(feed.visits, feed.catalogue), acted_of(agent).history_minutes is not None)[1] == wanted


LEARNED_CLICKS = (
    {"share": "none"},
    {"share": "embeddings"},
    {"share": "none", "author_buckets": 32, "history_columns": True},
    {"share": "item_encoder", "history_gradient": True},
    {"share": "item_encoder", "history_gradient": True, "item_encoder": "fields"},
)


@pytest.mark.parametrize("name", ["regression-click", "ltv"])
@pytest.mark.parametrize("settings", LEARNED_CLICKS, ids=str)
def test_a_training_batch_embeds_each_clicked_article_once(
    settings: dict[str, Any], name: str, made: Callable[..., Made]
) -> None:
    agent, _ = made(name, **settings)
    history = replay_of(agent).column("history_id")
    history = history[(history >= 0).any(axis=1)].astype(np.int64)
    rows: list[int] = []
    embed = agent.model.embed_history
    agent.model.embed_history = lambda *x: rows.append(len(x[0])) or embed(*x)
    learned = click_vectors(agent.model, agent.store, history, learn=True)
    assert rows == [len(set(np.where(history >= 0, history, 0).ravel().tolist()))]
    assert learned.requires_grad
    served = click_vectors(agent.model, agent.store, history, learn=False)
    assert len(rows) == 1  # serving embeds nothing
    assert not served.requires_grad
    known = torch.from_numpy(history >= 0)
    assert known.sum() > 1.5 * rows[0]
    torch.testing.assert_close(learned.detach()[known], served[known], atol=1e-5, rtol=1e-5)
    assert learned.shape == (*history.shape, agent.model.history_dim)
    # A click's vector is that of its own article.
    assert (served[known].std(dim=0) > 0).any()
    one = np.array([[int(history[history >= 0][0])]])
    torch.testing.assert_close(
        click_vectors(agent.model, agent.store, one, learn=True)[0, 0], learned[known][0], atol=1e-5, rtol=1e-5
    )


def test_clicks_that_are_not_learned_from_are_the_store_s(made: Callable[..., Made]) -> None:
    agent, _ = made()
    agent.model.embed_history = None  # never called
    history = np.array([[3, 1, -1]])
    vectors = click_vectors(agent.model, agent.store, history, learn=True)
    assert not vectors.requires_grad
    assert torch.equal(vectors[0, :2], torch.from_numpy(agent.store.vector[[3, 1]]))


@pytest.mark.parametrize("share", ["none", "embeddings", "gradient", "no gradient"])
def test_through_which_history_a_loss_on_readers_reaches_the_item_tower(share: str, made: Callable[..., Made]) -> None:
    shared = share.endswith("gradient")
    settings = {"history_gradient": share == "gradient"} if shared else {"share": share}
    agent, _ = made(**settings)
    agent.model.zero_grad(set_to_none=True)
    batch = replay_of(agent).take(np.arange(len(replay_of(agent))))
    learning_of(agent).users(batch).vector.square().sum().backward()
    reached = {name.split(".")[0] for name, p in agent.model.named_parameters() if p.grad is not None and p.grad.any()}
    parts = {
        "none": {"history_features", "history_tower"},
        "embeddings": {"item_features", "history_tower"},
        "gradient": {"item_features", "item_tower"},
        "no gradient": set(),
    }
    assert reached - {"user_tower", "history"} == parts[share]
    assert {"user_tower"} <= reached


@pytest.mark.parametrize("name", ["regression-click", "contrastive", "ltv"])
def test_a_training_moves_what_the_history_is_made_of(name: str, made: Callable[..., Made]) -> None:
    before, _ = made(name, until=5.0, share="none")
    after, _ = made(name, share="none")
    one, two = before.model.state_dict(), after.model.state_dict()
    moved = {key for key in one if not torch.equal(one[key], two[key])}
    assert any("history_tower" in key for key in moved)
    assert any("history_features.tables" in key for key in moved)


# The age of an example


def test_an_example_is_as_old_as_it_is_in_training_and_of_age_zero_when_served(made: Callable[..., Made]) -> None:
    agent, feed = made("contrastive", until=23.5, example_age=True)
    seen: list[tuple[bool, np.ndarray]] = []
    embed = agent.model.embed_users

    def note(vectors: Any, mask: Any, numeric: torch.Tensor, **more: Any) -> Any:
        seen.append((agent.model.training, numeric.numpy().copy()))
        return embed(vectors, mask, numeric, **more)

    agent.model.embed_users = note
    drive(agent, feed, until=24.25)
    assert agent.policy_version == 4
    logged = replay_of(agent).take(np.arange(len(replay_of(agent))))
    assert (logged.reader[:, -1] == 0).all()
    # A reader's other columns say which visits the row may be of: at what hours, or at what ages.
    when: dict[bytes, set[float]] = {}
    for row, now in zip(logged.reader[logged.now < 24.0], logged.now[logged.now < 24.0], strict=True):
        when.setdefault(row[:-1].tobytes(), set()).add(float(now))
    served = np.concatenate([rows for training, rows in seen if not training])
    assert (served[:, -1] == 0).all()
    trained = np.concatenate([rows for training, rows in seen if training])
    ages = set()
    for row in trained:
        possible = [24.0 - now for now in when[row[:-1].tobytes()]]
        assert min(abs(np.log(1 + age) - row[-1]) for age in possible) < 1e-5
        ages.add(round(float(row[-1]), 4))
    assert len(ages) > 8
    assert max(ages) > np.log(1 + 16.0)


def test_without_it_a_reader_has_no_such_column(made: Callable[..., Made]) -> None:
    with_it, without = made("contrastive", until=23.5, example_age=True)[0], made("contrastive")[0]
    assert with_it.model.config.reader_numeric == without.model.config.reader_numeric + 1
    batch = replay_of(without).take(np.arange(4))
    assert learning_of(without).with_example_age(batch.reader, batch.now) is batch.reader
    aged = learning_of(with_it)
    aged.now = 30.0
    rows = replay_of(with_it).take(np.arange(4))
    before = rows.reader.copy()
    got = aged.with_example_age(rows.reader, rows.now)
    np.testing.assert_allclose(got[:, -1], np.log(1 + 30.0 - rows.now), rtol=1e-6)
    assert np.array_equal(rows.reader, before)  # the log stays as it was
    assert (aged.with_example_age(rows.reader, np.full(4, 31.0))[:, -1] == 0).all()  # no age below 0


# Age as an input of the item tower


def plain_scores(agent: Any, feed: Feed) -> np.ndarray:
    """Scores of all live articles at their ages of now, of features as the catalogue has them, (n, N)."""
    visits, catalogue, model = feed.visits, feed.catalogue, agent.model
    live = catalogue.article_id
    age = torch.from_numpy(catalogue.age_hours.astype(np.float32))
    with torch.no_grad():
        item, bias = model.embed_items(
            torch.from_numpy(catalogue.features_of(live)),
            torch.from_numpy(catalogue.categories_of(live)[:, :2].astype(np.int64)),
            age,
        )
        reader, now = agent.serving.requests(visits).reader, np.full(len(visits), visits.now)
        user = embed_readers(model, agent.store, visits.history_id, None, reader, now)
        scores: np.ndarray = model.score(user, item, bias, age.expand(len(visits), -1)).numpy()
        return scores - model.constant(user, visits.now, agent.store.t_ref).numpy()[:, None]


@pytest.mark.parametrize("decay", ["none", "exponential"])
def test_age_in_the_item_tower_embeds_all_live_articles_at_each_tick(decay: str, made: Callable[..., Made]) -> None:
    agent, feed = made(age_in_item_tower=True, age_decay=decay)
    with torch.no_grad():
        agent.model.item_tower[0].weight[:, -4:] *= 20.0  # so that age matters
    rows: list[int] = []
    embed = agent.model.embed_items
    agent.model.embed_items = lambda *x: rows.append(len(x[0])) or embed(*x)
    checked = []
    while feed.now < 22.0:
        live, arrived = len(feed.catalogue), len(feed.catalogue.arrived)
        before = len(agent.store)
        agent.act(feed.visits, feed.catalogue)
        assert sum(rows) == live  # those that were there, at their new ages, and the newcomers
        assert len(agent.store) - before == arrived
        if len(feed.visits):
            scores = agent.score_all(feed.visits, feed.catalogue)
            rows.clear()
            expected = plain_scores(agent, feed)
            np.testing.assert_allclose(scores, expected, atol=1e-4)
            checked.append(expected.std())
        rows.clear()
        agent.learn(feed.serve(acted_of(agent).served.article_id))
    assert len(checked) > 3
    assert min(checked) > 1e-3


def test_without_the_ablation_only_newcomers_are_embedded(made: Callable[..., Made]) -> None:
    agent, feed = made()
    rows: list[int] = []
    embed = agent.model.embed_items
    agent.model.embed_items = lambda *x: rows.append(len(x[0])) or embed(*x)
    total = 0
    while feed.now < 22.0:
        total += len(feed.catalogue.arrived)
        agent.act(feed.visits, feed.catalogue)
        agent.learn(feed.serve(acted_of(agent).served.article_id))
    assert sum(rows) == total > 0


def test_training_sees_articles_at_their_ages_of_the_impression(made: Callable[..., Made]) -> None:
    agent, _ = made(age_in_item_tower=True)
    learning: Learning[Any] = learning_of(agent)
    published = learning.store.published_hours
    ids, now = np.array([5, 5, 7]), np.array([9.0, 40.0, 9.0])
    given: list[np.ndarray] = []
    embed = agent.model.embed_items
    agent.model.embed_items = lambda *x: given.append(x[2].numpy()) or embed(*x)
    vector, _ = learning.items(ids, now)
    np.testing.assert_allclose(given[0], now - published[ids], rtol=1e-6)
    assert not torch.equal(vector[0], vector[1])
    # And every learner says when: a loss hands in as many different ages as it has hours.
    for name in ("regression-click", "contrastive", "ltv"):
        other, _ = made(name, age_in_item_tower=True)
        given.clear()
        embed = (other.model.first if name == "ltv" else other.model).embed_items
        model = other.model.first if name == "ltv" else other.model
        model.embed_items = lambda n, c, age=None, embed=embed: given.append(age.numpy()) or embed(n, c, age)
        learner_of(other).begin(learning_of(other), 20.0)
        assert learner_of(other).loss(learning_of(other), np.random.default_rng(0)) is not None
        assert len(np.unique(np.concatenate(given))) > 50


@pytest.mark.parametrize(
    "settings",
    [{}, {"example_age": True}, {"age_in_item_tower": True}, {"share": "none"}, {"wide_part": True}],
    ids=str,
)
def test_predicted_clicks_are_right_on_average_as_served(settings: dict[str, Any], made: Callable[..., Made]) -> None:
    """Examples of age 0, and articles at their ages of the impression: as readers met them."""
    agent, feed = made(until=23.5, **settings)
    with torch.no_grad():
        agent.model.user_tower[0].weight[:, -1] += 0.5  # so that the last column matters: the example's age, if any
        if "age_in_item_tower" in settings:
            agent.model.item_tower[0].weight[:, -4:] *= 20.0
    agent.store.refresh(feed.now)
    learning_of(agent).now = feed.now + 6.0
    learner_of(agent).finish(learning_of(agent))
    model, store = agent.model, agent.store
    batch = replay_of(agent).take(np.arange(len(replay_of(agent))))
    ids, age = batch.article_id, batch.now[:, None] - store.published_hours[batch.article_id]
    assert (ids >= 0).all()
    with torch.no_grad():
        item, bias = model.embed_items(
            torch.from_numpy(store.numeric[ids.ravel()]),
            torch.from_numpy(store.categorical[ids.ravel()]),
            torch.from_numpy(age.ravel().astype(np.float32)),
        )
        user = embed_readers(model, store, batch.history_id, None, batch.reader, batch.now)
        ages = torch.from_numpy(age.astype(np.float32))
        chance = model.score(user, item.view(*ids.shape, -1), bias.view(ids.shape), ages).sigmoid().double()
    wanted = (batch.clicks.sum() + 0.5) / (batch.clicks.size + 1)
    assert float(chance.mean()) == pytest.approx(wanted, rel=1e-4)

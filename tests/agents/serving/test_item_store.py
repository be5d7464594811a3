"""The store of articles: vectors written when they must be, and nothing that time alone moves."""

from typing import Any

import numpy as np
import pytest
import torch

from feedgym.agents import make_agent
from feedgym.agents.serving.item_store import NUM_COUNTERS, ItemStore, site_counters
from feedgym.env import Feed, FeedConfig, NewsroomConfig
from feedgym.env.feed.catalogue import Catalogue
from feedgym.towers import TwoTower, UserOutput
from feedgym.towers.config import TwoTowerConfig
from feedgym.towers.features import CategoryConfig, ItemFeaturesConfig
from helpers.driving import drive
from helpers.inside import learning_of

SITE = FeedConfig(num_readers=2, days=20.0, tick_hours=1.0, newsroom=NewsroomConfig(articles_per_day=30))
DECAYS = ("none", "linear", "exponential")


def make(decay: str = "exponential", memory_hours: float = 336.0) -> tuple[Feed, TwoTower, ItemStore]:
    feed = Feed(SITE, seed=1)
    topics, publishers, _ = feed.catalogue.category_sizes
    config = TwoTowerConfig(
        item=ItemFeaturesConfig(
            num_numeric=len(feed.catalogue.feature_names),
            categories=(CategoryConfig(name="topic", size=topics), CategoryConfig(name="publisher", size=publishers)),
        ),
        widths=(8,),
        dim=4,
        age_decay=decay,
    )
    model = TwoTower(config, torch.Generator().manual_seed(0))
    return feed, model, ItemStore(model, memory_hours=memory_hours)


def follow(feed: Feed, store: ItemStore, until: float) -> None:
    while feed.now < until:
        store.follow(feed.catalogue)
        feed.serve(np.full((len(feed.visits), SITE.slate_size), -1))
    store.follow(feed.catalogue)


def change(model: TwoTower) -> None:
    with torch.no_grad():
        for p in model.parameters():
            p.mul_(1.1).add_(0.01)


def embedded(model: TwoTower, catalogue: Catalogue, ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The item tower on what the catalogue says of the articles."""
    categorical = torch.from_numpy(catalogue.categories_of(ids)[:, :2].astype(np.int64))
    with torch.no_grad():
        vector, bias = model.embed_items(torch.from_numpy(catalogue.features_of(ids)), categorical)
    return vector.numpy(), bias.numpy()


def readers(model: TwoTower) -> UserOutput:
    g = torch.Generator().manual_seed(3)
    return UserOutput(
        torch.randn(5, model.config.dim, generator=g),
        torch.randn(5, len(model.decay.initial_user_params), generator=g),
    )


def plain_scores(feed: Feed, model: TwoTower) -> np.ndarray:
    """TwoTower.score of every reader with every live article, less the reader's own mean."""
    ids = feed.catalogue.article_id
    vector, bias = (torch.from_numpy(a) for a in embedded(model, feed.catalogue, ids))
    age = torch.from_numpy(np.tile(feed.catalogue.age_hours, (5, 1)).astype(np.float32))
    with torch.no_grad():
        score = model.score(readers(model), vector, bias, age).numpy().astype(float)
    return score - score.mean(axis=1, keepdims=True)


def stored_scores(feed: Feed, model: TwoTower, store: ItemStore) -> np.ndarray:
    users = model.augment_users(readers(model), feed.now, store.t_ref).numpy()
    score = users.astype(float) @ store.augmented[feed.catalogue.article_id].T.astype(float)
    return score - score.mean(axis=1, keepdims=True)


def test_keeps_what_the_catalogue_says_and_what_the_tower_makes_of_it() -> None:
    feed, model, store = make()
    follow(feed, store, 40.0)
    c, ids = feed.catalogue, np.arange(len(store))
    assert len(store) == c.archive.published
    assert set(store.index.ids) == set(c.article_id)
    assert len(c) < len(store)  # some have expired, and stay for the histories
    np.testing.assert_array_equal(store.numeric[ids], c.features_of(ids))
    np.testing.assert_array_equal(store.categorical[ids], c.categories_of(ids)[:, :2])
    np.testing.assert_array_equal(store.published_hours[ids], c.published_hours_of(ids))
    vector, bias = embedded(model, c, ids)
    np.testing.assert_allclose(store.vector[ids], vector, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(store.bias[ids], bias, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("decay", DECAYS)
@pytest.mark.parametrize("hours", [2.0, 23.0, 61.0, 400.0])
def test_scores_stay_exact_for_days_without_a_training(decay: str, hours: float) -> None:
    """exp((published - t_ref) / 2 h) leaves float32 after a week, unless t_ref moves along."""
    feed, model, store = make(decay)
    change(model)
    follow(feed, store, hours)
    np.testing.assert_allclose(stored_scores(feed, model, store), plain_scores(feed, model), atol=1e-4)
    users = model.augment_users(readers(model), feed.now, store.t_ref).detach().numpy()
    exact = plain_scores(feed, model).std(axis=1)
    np.testing.assert_allclose(store.scale.mean_and_sd(users)[1], exact, rtol=1e-4)


def test_refresh_embeds_what_is_live_or_remembered_and_nothing_older() -> None:
    feed, model, store = make(memory_hours=100.0)
    follow(feed, store, 200.0)
    before = store.vector.copy()
    change(model)
    store.refresh(feed.now)
    c, ids = feed.catalogue, np.arange(len(store))
    vector, _ = embedded(model, c, ids)
    fresh = np.isclose(store.vector[ids], vector, rtol=1e-5, atol=1e-6).all(axis=1)
    wanted = (store.published_hours[ids] >= 100.0) | np.isin(ids, c.article_id)
    np.testing.assert_array_equal(fresh, wanted)
    assert wanted.any()
    assert not wanted.all()
    np.testing.assert_array_equal(store.vector[ids][~wanted], before[ids][~wanted])
    assert store.t_ref == 200.0
    np.testing.assert_allclose(stored_scores(feed, model, store), plain_scores(feed, model), atol=1e-4)
    np.testing.assert_array_equal(store.augmented[store.index.ids], store.index.snapshot()["vectors"])


def test_a_snapshot_goes_on_byte_for_byte() -> None:
    feed, model, store = make()
    follow(feed, store, 30.0)
    store.refresh(feed.now)
    other = ItemStore(model)
    other.restore(store.snapshot())
    feed.serve(np.full((len(feed.visits), SITE.slate_size), -1))
    while feed.now < 60.0:
        store.follow(feed.catalogue)
        other.follow(feed.catalogue)
        feed.serve(np.full((len(feed.visits), SITE.slate_size), -1))
    one, two = store.snapshot(), other.snapshot()
    assert one.keys() == two.keys()
    assert [one[name].tobytes() for name in one] == [two[name].tobytes() for name in one]


def test_site_counters_enter_at_the_refresh_and_only_then() -> None:
    """Columns of counts are those of the latest training, 0 for whoever came since; vectors follow at that moment."""
    feed = Feed(FeedConfig(num_readers=200, days=2.0), seed=1)
    agent: Any = make_agent("regression", site_counters=True, max_steps=2).start(feed)
    drive(agent, feed, until=6.0)
    store, width = agent.store, NUM_COUNTERS
    assert not store.numeric[:, -width:].any()
    drive(agent, feed, until=6.3)  # the training at hour 6
    counted = store.numeric[:, -width:].copy()
    assert counted[:, 0].max() > 1.0
    live = feed.catalogue.article_id.copy()
    newcomers = live[store.published_hours[live] > 6.0]
    drive(agent, feed, until=9.0)
    known = live[store.published_hours[live] <= 6.0]
    np.testing.assert_array_equal(store.numeric[known, -width:], counted[known])
    assert not store.numeric[newcomers, -width:].any()
    shown = feed.catalogue.impressions_of(known)
    assert (np.expm1(counted[known, 0]) < shown - 0.5).any()  # more has been counted since
    vector, _ = agent.model.embed_items(*learning_of(agent).features(known))
    np.testing.assert_allclose(store.vector[known], vector.detach().numpy(), atol=1e-6)


def test_site_counters_are_logs_of_what_was_counted() -> None:
    feed = Feed(FeedConfig(num_readers=300, days=1.0), seed=2)
    while feed.now < 8.0:
        n = len(feed.visits)
        feed.serve(np.tile(feed.catalogue.article_id[:8], (n, 1)))
    ids = feed.catalogue.article_id[:3]
    columns = site_counters(feed.catalogue, ids)
    for row, article in zip(columns, ids, strict=True):
        shown = int(feed.catalogue.impressions_of(np.array([article]))[0])
        clicks = int(feed.catalogue.clicks_of(np.array([article]))[0])
        minutes = float(feed.catalogue.dwell_minutes_of(np.array([article]))[0])
        rate = np.log((clicks + 1) / (shown + 50) * 50)
        np.testing.assert_allclose(row, [np.log1p(shown), np.log1p(clicks), rate, np.log1p(minutes)], rtol=1e-5)
    assert columns[:, 0].min() > 2.0

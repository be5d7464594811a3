"""Ids of articles and readers in an agent: whose row is looked up, what expires, and what is refused."""

from typing import Any

import numpy as np
import pytest
import torch

from feedgym.agents import make_agent
from feedgym.agents.two_tower.expired_ids import fade_expired_ids
from feedgym.env import Feed, FeedConfig, NewsroomConfig
from feedgym.towers.columns.reader_features import reader_rows
from feedgym.towers.features import rows_of
from helpers.driving import drive
from helpers.inside import acted_of, replay_of

SITE = FeedConfig(num_readers=120, days=1.5, tick_hours=1.0, slate_size=6, newsroom=NewsroomConfig(articles_per_day=90))
ALL = {"article_buckets": 4096, "reader_buckets": 512, "max_steps": 4}


def started(name: str = "contrastive", until: float = 19.0, **settings: Any) -> tuple[Any, Feed]:
    feed = Feed(SITE, seed=4)
    agent: Any = make_agent(name, **(ALL | settings)).start(feed)
    drive(agent, feed, until=until)
    return agent, feed


@pytest.mark.parametrize("authors", [0, 64])
def test_an_article_s_own_id_is_a_column_of_it(authors: int) -> None:
    agent, feed = started(author_buckets=authors, until=2.0)
    ids = np.arange(len(agent.store))
    expected: list[Any] = [feed.catalogue.categories_of(ids)[:, : 2 + bool(authors)], ids[:, None]]
    np.testing.assert_array_equal(agent.store.categorical[ids], np.hstack(expected))


def test_a_reader_is_looked_up_by_her_id_and_so_is_what_was_kept_of_her() -> None:
    agent, feed = started(example_age=True)
    category = agent.model.config.reader_id
    agent.act(feed.visits, feed.catalogue)
    acted = acted_of(agent)
    np.testing.assert_array_equal(acted.reader[:, -1], reader_rows(feed.visits.reader_id, category))
    assert (acted.reader[:, -2] == 0).all()  # the age of an example that is served
    batch = replay_of(agent).whole()
    # On this site a reader's row in the population is her id.
    np.testing.assert_array_equal(batch.reader[:, -1], reader_rows(batch.row, category))
    learning = agent._learning
    aged = learning.with_example_age(batch.reader, batch.now)
    np.testing.assert_allclose(aged[:, -2], np.log1p(learning.now - batch.now).clip(0.0), rtol=1e-5)
    np.testing.assert_array_equal(aged[:, -1], batch.reader[:, -1])
    # Training has moved the rows of readers who clicked; those of nobody are as at the start.
    table = agent.model.reader_features.table.detach()
    taught = np.flatnonzero(table.abs().sum(dim=1).numpy()) + 1
    assert len(taught) > 20
    assert np.isin(taught, batch.reader[:, -1]).all()


def test_two_readers_with_the_same_clicks_are_told_apart() -> None:
    """The control: without ids they are one."""
    for buckets in (0, 512):
        agent, _ = started(reader_buckets=buckets, passes=40.0, max_steps=60, until=13.0)
        reader = replay_of(agent).whole().reader[:2].copy()
        reader[1, : len(reader[0]) - bool(buckets)] = reader[0, : len(reader[0]) - bool(buckets)]
        nothing = -np.ones((2, SITE.history_length), dtype=np.int64)
        with torch.no_grad():
            user = agent._learning.users_at(nothing, reader, np.zeros(2), np.zeros(nothing.shape, dtype=np.float32))
        apart = float((user.vector[0] - user.vector[1]).abs().max())
        assert apart < 1e-6 if buckets == 0 else apart > 1e-4


def test_rows_of_expired_articles_halve_and_those_of_live_ones_stay() -> None:
    agent, _ = started(until=31.0, article_id_half_life_hours=12.0, share="none")
    store, model = agent.store, agent.model
    category = model.config.item.category("article")
    tables = [model.item_features.table_of("article"), model.history_features.table_of("article")]
    with torch.no_grad():
        for table in tables:
            table.uniform_(1.0, 2.0)
    before = [table.detach().clone() for table in tables]
    live = {int(rows_of(torch.tensor([i]), category)[0]) for i in np.flatnonzero(store.is_live)}
    dead = {int(rows_of(torch.tensor([i]), category)[0]) for i in range(len(store))} - live
    assert len(live) > 50
    assert len(dead) > 20
    fade_expired_ids(model, store, hours=24.0)
    for table, old in zip(tables, before, strict=True):
        for row in range(category.size):
            expected = old[row] if row in live else old[row] / 4
            assert torch.equal(table.detach()[row], expected)
    # Authors, whoever wrote, are not touched; nor is anything where nothing is to fade.
    still, _ = started(until=31.0, article_id_half_life_hours=None, author_buckets=64)
    whole = {name: array.copy() for name, array in still.model.to_arrays().items()}
    fade_expired_ids(still.model, still.store, hours=1e6)
    assert all(np.array_equal(array, whole[name]) for name, array in still.model.to_arrays().items())


def test_a_newcomer_in_the_row_of_an_expired_article_starts_near_nothing() -> None:
    """One row for all articles, of which none is live any more: after ten half-lives nothing is left."""
    agent, _ = started(article_buckets=1, until=8.0)
    table = agent.model.item_features.table_of("article")
    assert table.detach().abs().max() > 0
    agent.store.is_live[:] = False
    before = table.detach().clone()
    fade_expired_ids(agent.model, agent.store, hours=480.0)
    torch.testing.assert_close(table.detach(), before / 1024)


def test_the_list_for_the_unknown_reader_knows_no_id() -> None:
    agent, feed = started(serving="batch", until=25.0)
    unknown = agent.serving.unknown_reader(feed.now)
    assert (unknown.reader[:, -1] == 0).all()
    known = next(iter(agent.serving.known_readers(feed.visits.records, feed.now)))
    np.testing.assert_array_equal(known.reader[:, -1], reader_rows(known.reader_id, agent.model.config.reader_id))


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("contrastive", {"article_bags": True}, "article_bags: got True, needs article_buckets > 0"),
        ("contrastive", {"one_table": True, "author_buckets": 8}, "one_table: got True, needs two kinds of ids"),
        (
            "contrastive",
            {"one_table": True, "author_buckets": 8, "reader_buckets": 9},
            "one_table: got .*, needs as many rows and columns of each kind",
        ),
        ("contrastive", {"article_id_half_life_hours": 0.0}, "article_id_half_life_hours: got 0.0"),
        ("contrastive", {"reader_buckets": -1}, "reader_buckets: got -1, needs >= 0"),
        ("contrastive", {"article_dim": 0}, "article_dim: got 0, needs >= 1"),
    ],
)
def test_what_does_not_go_together_is_refused_at_once(name: str, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_agent(name, **settings)


@pytest.mark.parametrize("name", ["ltv", "reinforce", "direct"])
def test_learners_whose_heads_take_numbers_refuse_readers_ids(name: str) -> None:
    with pytest.raises(ValueError, match="reader_buckets: got 64, needs 0 for"):
        make_agent(name, reader_buckets=64).start(Feed(SITE))


def test_of_share_none_no_table_is_shared() -> None:
    plan = make_agent("contrastive", one_table=True, author_buckets=8, article_buckets=8, share="none")
    with pytest.raises(ValueError, match="one_table: got True, needs share=embeddings or item_encoder"):
        plan.start(Feed(SITE))

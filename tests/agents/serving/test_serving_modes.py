"""Articles and readers that lag: what is found when, what is kept, and real time as the case of clocks at 0."""

from typing import Any

import numpy as np
import pytest
import torch

from feedgym.agents import make_agent
from feedgym.agents.serving.item_store import NUM_COUNTERS, site_counters
from feedgym.env import Feed, FeedConfig, NewsroomConfig
from helpers.driving import drive, served_bytes, ticks
from helpers.inside import acted_of, replay_of
from helpers.towers import alone

SITE = FeedConfig(num_readers=60, days=1.5, tick_hours=0.25, slate_size=4, newsroom=NewsroomConfig(articles_per_day=90))
SMALL: dict[str, Any] = {"widths": (8,), "dim": 4, "max_steps": 2, "shortlist_size": 12}
ZERO = {"item_refresh_hours": 0.0, "reader_refresh_hours": 0.0, "feature_lag_hours": 0.0}
TICK = {"item_refresh_hours": 0.25, "reader_refresh_hours": 0.25, "feature_lag_hours": 0.0}
COLUMNS = ("article_id", "slot_propensity", "log_propensity", "in_shortlist", "logit", "inclusion")


def start(name: str = "regression", site: FeedConfig = SITE, **settings: Any) -> tuple[Any, Feed]:
    feed = Feed(site, seed=3)
    return make_agent(name, **(SMALL | alone(name) | settings)).start(feed), feed


@pytest.mark.parametrize("name", ["regression", "contrastive", "ltv", "reinforce"])
def test_real_time_is_all_clocks_at_0_and_clocks_of_a_tick_are_no_lag(name: str) -> None:
    """Item by item. A lag of nothing goes through the readers' memory, kept vectors, and articles held back."""

    def run(**settings: Any) -> list[tuple[bytes, ...]]:
        return served_bytes(drive(*start(name, **settings), until=14.0), COLUMNS)

    whole = run()
    assert run(serving="streaming", **ZERO) == whole
    assert run(serving="streaming", **TICK) == whole
    assert len(whole) == 56
    assert run(serving="streaming", **TICK | {"feature_lag_hours": 3.0}) != whole  # the check can fail


# Articles


@pytest.mark.parametrize(
    ("mode", "every"), [("realtime", 3.0), ("streaming", 3.0), ("realtime", 0.7), ("streaming", 50.0)]
)
def test_newcomers_are_found_from_the_next_refresh_on_and_the_expired_never(mode: str, every: float) -> None:
    agent, feed = start(serving=mode, item_refresh_hours=every, epsilon=0.5, shortlist_size=500)
    arrived_at: dict[int, float] = {}
    listed_late = explored = 0
    for served, acted in ticks(agent, feed):
        now, live = feed.now, set(feed.catalogue.article_id.tolist())
        arrived_at |= dict.fromkeys(feed.catalogue.arrived.tolist(), now)
        # The first tick at or after the latest multiple.
        refreshed = np.ceil(np.floor(now / every + 1e-9) * every / 0.25 - 1e-9) * 0.25
        held = {a for a in live if arrived_at[a] > refreshed}
        assert set(agent.store.held.tolist()) == held
        assert set(agent.store.index.ids.tolist()) == live - held
        for row in acted.served.draw.shortlist.tolist():
            # The shortlist is longer than the catalogue: it holds all that a search can find.
            assert set(row) - {-1} == live - held
            listed_late += any(refreshed - every < arrived_at[a] < refreshed for a in row if a >= 0)
        assert set(served.article_id.ravel().tolist()) <= live
        explored += len(held & set(served.article_id[~served.in_shortlist].tolist()))
        assert served.num_live == len(live)
        scores = agent.score_all(feed.visits, feed.catalogue)
        hidden = np.isin(feed.catalogue.article_id, list(held))
        assert (np.isneginf(scores) == hidden).all()
    assert listed_late > 30 or every > 36
    assert explored > 0  # epsilon is of all live articles


def test_a_logit_is_a_score_of_the_mean_and_deviation_of_what_can_be_found() -> None:
    agent, feed = start(item_refresh_hours=6.0, shortlist_size=500, sharpness=2.0)
    for _, acted in ticks(agent, feed, until=17.0):
        listed = acted.served.draw.shortlist >= 0
        for logits, kept in zip(acted.served.draw.logits, listed, strict=True):
            assert logits[kept].mean() == pytest.approx(0.0, abs=1e-3)
            assert logits[kept].std() == pytest.approx(2.0, rel=1e-3)
    assert len(agent.store.held) > 5


def test_where_the_index_is_empty_the_newest_stand_in() -> None:
    """All that could be found has expired before the next refresh."""
    short = FeedConfig(
        num_readers=60, days=1.5, tick_hours=0.5, newsroom=NewsroomConfig(articles_per_day=90, max_age_hours=8.0)
    )
    agent, feed = start(site=short, item_refresh_hours=24.0, shortlist_size=10)
    drive(agent, feed, until=20.0)
    assert len(agent.store.index) == 0
    while len(feed.visits) == 0:
        drive(agent, feed, until=feed.now + 0.1)
    served = agent.act(feed.visits, feed.catalogue)
    newest = np.sort(feed.catalogue.article_id)[::-1][:10]
    assert (acted_of(agent).served.draw.shortlist == newest).all()
    assert (served.article_id >= 0).all()
    assert np.isneginf(agent.score_all(feed.visits, feed.catalogue)).all()


@pytest.mark.parametrize("every", [2.0, 7.0])
def test_counters_and_ages_of_articles_are_those_of_the_latest_refresh(every: float) -> None:
    agent, feed = start(item_refresh_hours=every, site_counters=True, age_in_item_tower=True, train_every_hours=9.0)
    store, model = agent.store, agent.model
    counted = aged = None
    written = 0
    for _ in ticks(agent, feed, until=20.0):
        if feed.now % every == 0:
            live = feed.catalogue.article_id.copy()
            counted = site_counters(feed.catalogue, live)
            age = (feed.now - feed.catalogue.published_hours_of(live)).astype(np.float32)
            with torch.no_grad():
                aged, _ = model.embed_items(*store.features(live), torch.from_numpy(age))
        assert counted is not None
        assert aged is not None
        kept = np.isin(live, feed.catalogue.article_id)
        np.testing.assert_array_equal(store.numeric[live[kept], -NUM_COUNTERS:], counted[kept])
        np.testing.assert_allclose(store.vector[live[kept]], aged.numpy()[kept], atol=1e-5)
        index = store.index.snapshot()
        np.testing.assert_array_equal(index["vectors"], store.augmented[index["ids"]])
        assert not store.numeric[store.held, -NUM_COUNTERS:].any()
        written += feed.now % every == 0
    moved = site_counters(feed.catalogue, live)
    assert (moved != counted).any()
    assert written == len(range(0, 20, int(every)))


@pytest.mark.parametrize("decay", ["exponential", "linear"])
@pytest.mark.parametrize("every", [5.0, 30.0, 300.0])
def test_scores_stay_exact_between_refreshes_and_across_the_rebases_of_weeks(every: float, decay: str) -> None:
    """exp((published - t_ref) / 2 h) of an article that is held back for weeks is beyond float32."""
    site = FeedConfig(
        num_readers=12, days=26.0, tick_hours=1.0, slate_size=2, newsroom=NewsroomConfig(articles_per_day=30)
    )
    agent, feed = start(site=site, item_refresh_hours=every, age_decay=decay, train_every_hours=1e6)
    torch.manual_seed(0)
    with torch.no_grad():
        for p in agent.model.parameters():
            p.add_(0.05 * torch.randn(p.shape, generator=torch.Generator().manual_seed(len(p.shape))))
    checked = 0
    for _ in ticks(agent, feed):
        if feed.tick % 7 or len(feed.visits) == 0:
            continue
        found, requests = agent.store.index.ids, agent.serving.requests(feed.visits)
        if len(found) < 2:
            continue
        assert np.isfinite(agent.store.index.snapshot()["vectors"]).all()
        users = agent.drawer.queries(requests).astype(float)
        stored = users @ agent.store.augmented[found].T.astype(float)
        vector, bias = (torch.from_numpy(a[found]) for a in (agent.store.vector, agent.store.bias))
        age = torch.from_numpy(np.tile(feed.now - agent.store.published_hours[found], (len(users), 1)).astype("f4"))
        with torch.no_grad():
            plain = agent.model.score(agent.drawer.embed(requests), vector, bias, age).numpy().astype(float)
        np.testing.assert_allclose(
            stored - stored.mean(axis=1, keepdims=True), plain - plain.mean(axis=1, keepdims=True), atol=2e-4
        )
        checked += 1
    assert checked >= 5


# Readers


@pytest.mark.parametrize("name", ["regression", "ltv", "reinforce"])
def test_kept_vectors_are_those_that_would_be_made_anew(name: str) -> None:
    """One for each reader, period and model; ages are those of the request all the same."""
    clocks: dict[str, Any] = {"reader_refresh_hours": 12.0, "feature_lag_hours": 1.0, "train_every_hours": 6.0}
    agent, feed = start(name, **clocks)
    serving, keys, visits = agent.serving, set(), 0
    for _, acted in ticks(agent, feed):
        if len(acted.row) == 0:
            continue
        keys |= {(row, feed.now // 12.0, agent.policy_version) for row in acted.row.tolist()}
        visits += len(acted.row)
        made = serving.cost.reader_embeddings
        assert made == len(keys)
        requests = serving.requests(feed.visits)
        kept = serving.vectors(requests, agent.policy_version, agent.drawer.embed)
        assert serving.cost.reader_embeddings == made
        anew = agent.drawer.embed(requests)
        # As close as a matrix product leaves a row whatever the others are.
        torch.testing.assert_close(kept.vector, anew.vector, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(kept.decay, anew.decay, rtol=1e-5, atol=1e-6)
        np.testing.assert_array_equal(acted.reader, requests.reader)
    assert len(keys) < 0.9 * visits
    assert agent.policy_version == 5


def test_what_is_learned_from_is_what_was_served() -> None:
    agent, feed = start(serving="streaming", reader_refresh_hours=6.0, feature_lag_hours=2.0)
    readers, histories, hours = [], [], []
    for _, acted in ticks(agent, feed):
        readers.append(acted.reader)
        histories.append(acted.history_id)
        hours.append(np.full(len(acted.row), feed.now))
    replay = replay_of(agent)
    np.testing.assert_array_equal(replay.column("reader"), np.concatenate(readers))
    np.testing.assert_array_equal(replay.column("history_id"), np.concatenate(histories))
    np.testing.assert_array_equal(replay.column("now"), np.concatenate(hours))


# Cost


def test_costs_are_counted_as_a_plain_recount_has_them(monkeypatch: pytest.MonkeyPatch) -> None:
    agent, feed = start(serving="streaming", item_refresh_hours=2.0)
    queries = embedded = 0
    search, inner = agent.store.index.search, agent.model.embed_items

    def counted(users: Any, size: int) -> Any:
        nonlocal queries
        queries += len(users)
        return search(users, size)

    agent.store.index.search = counted

    def embedding(numeric: Any, *rest: Any) -> Any:
        nonlocal embedded
        if not agent.model.training:
            embedded += len(numeric)
        return inner(numeric, *rest)

    agent.model.embed_items = embedding
    visits = slates = 0
    for served, acted in ticks(agent, feed):
        visits += len(acted.row)
        slates += len(served.article_id)
    cost = agent.serving.cost
    found = agent.metrics()
    assert (cost.visits, cost.slates, cost.queries, cost.expired) == (visits, slates, queries, 0)
    assert cost.item_embeddings == embedded
    live, left = len(feed.catalogue), feed.catalogue.archive.published - len(feed.catalogue)
    assert cost.index_writes > live + 2 * (left - len(agent.store.held)) - 20
    assert found["serving/queries_per_1000_visits"] == pytest.approx(1000.0 * queries / visits)
    assert found["serving/item_embeddings_per_1000_visits"] == pytest.approx(1000.0 * embedded / visits)
    assert not [name for name in agent.metrics() if name.startswith("serving")]  # since the last call: no visit
    assert cost.training_seconds > 0

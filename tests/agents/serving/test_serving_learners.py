"""Every learner in every mode: it serves, learns from what was served, is evaluated, and resumes byte for byte."""

from typing import Any

import numpy as np
import pytest

from feedgym.agents import make_agent
from feedgym.agents.registry import KINDS
from feedgym.env import Feed, FeedConfig, NewsroomConfig
from helpers.driving import drive
from helpers.inside import learner_of, replay_of, ring_of
from helpers.resuming import check_resuming

SITE = FeedConfig(num_readers=80, days=1.1, tick_hours=1.0, slate_size=4, newsroom=NewsroomConfig(articles_per_day=70))
MODES: dict[str, dict[str, Any]] = {
    "streaming": {"item_refresh_hours": 2.0, "reader_refresh_hours": 3.0, "train_every_hours": 6.0},
    "batch": {"item_refresh_hours": 8.0, "reader_refresh_hours": 8.0, "train_every_hours": 8.0},
}
SMALL = {"widths": (8,), "dim": 4, "max_steps": 2, "shortlist_size": 12}
MORE: dict[str, tuple[str, dict[str, Any]]] = {
    **{f"negatives={n}": ("contrastive", {"negatives": n, "num_negatives": 8}) for n in ("uniform", "hard", "memory")},
    **{f"estimator={e}": ("reinforce", {"estimator": e}) for e in ("marginal", "chen", "none")},
    "plain policy": ("reinforce", {"mode": "plain"}),
    "estimated behaviour": ("reinforce", {"behaviour": "estimated"}),
    "mlp correction": ("reinforce", {"correction": "mlp"}),
    "logistic reranker": ("regression-click", {"prediction": "logistic"}),
    "mlp reranker": ("contrastive", {"prediction": "mlp"}),
    "cosine": ("contrastive", {"prediction": "cosine"}),
    "counters and ages": ("regression-click", {"site_counters": True, "age_in_item_tower": True}),
    "columns of clicks": ("regression-click", {"history_columns": True}),
    "example age": ("contrastive", {"example_age": True}),
    "next click": ("contrastive", {"task": "click+0.5*next"}),
}
LEARNED = {name: (name, dict[str, Any]()) for name, kind in KINDS.items() if kind.learns} | MORE


def start(option: str, mode: str) -> tuple[Any, Feed]:
    name, settings = LEARNED[option]
    feed = Feed(SITE, seed=3)
    small = (
        SMALL
        if option in MORE or name in ("regression", "reinforce", "direct", "ltv", "contrastive")
        else {"max_steps": 1, "shortlist_size": 12}
    )
    return make_agent(name, serving=mode, **(small | MODES[mode] | settings)).start(feed), feed


# The learners themselves in both modes, the rest in turns.
CORE = ("regression", "contrastive", "reinforce", "direct", "ltv")
RUNS = [(o, m) for i, o in enumerate(LEARNED) for j, m in enumerate(MODES) if o in CORE or i % 2 == j]


@pytest.mark.parametrize(("option", "mode"), RUNS)
def test_serves_learns_and_resumes(option: str, mode: str) -> None:
    resumed = check_resuming(lambda: start(option, mode), at=19.0)  # amid all periods
    agent, rest = resumed.agent, resumed.rest
    assert agent.policy_version == {"streaming": 4, "batch": 3}[mode]
    found = agent.metrics()
    assert all(np.isfinite(value) for value in found.values())
    # The linear model is fitted: it takes no step.
    assert ("loss" not in found) if option == "linear" else found["loss"] != 0
    if mode == "streaming":
        assert found["serving/slates_per_1000_visits"] == 1000.0
    assert found["serving/reader_embeddings_per_1000_visits"] <= found["serving/slates_per_1000_visits"]
    for served, _ in rest:
        assert np.isfinite(served.log_propensity).all()


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("option", ["regression-click", "logistic reranker", "reinforce", "ltv"])
def test_evaluation_looks_at_what_serves(option: str, mode: str) -> None:
    """Ranking by what retrieval searches by, with what no search finds last; chances where something stands."""
    agent, feed = start(option, mode)
    drive(agent, feed, until=21.0)
    ranked = predicted = hidden = 0
    while not feed.done:
        before = agent.snapshot()
        served = agent.act(feed.visits, feed.catalogue)
        scores, chance = agent.score_all(feed.visits, feed.catalogue), agent.served_click_chance()
        again = agent.snapshot()
        assert scores.shape == (len(feed.visits), len(feed.catalogue))
        assert not np.isnan(scores).any()
        held = np.isin(feed.catalogue.article_id, agent.store.held)
        assert (np.isneginf(scores) == held).all()
        hidden += int(held.sum())
        ranked += len(scores)
        if chance is not None:
            assert (np.isnan(chance) == (served.article_id < 0)).all()
            assert ((chance > 0) & (chance < 1) | np.isnan(chance)).all()
            predicted += chance.size
        agent.score_all(feed.visits, feed.catalogue)
        assert all(again[k].tobytes() == values.tobytes() for k, values in agent.snapshot().items())
        assert before.keys() <= again.keys()
        agent.learn(feed.serve(served.article_id))
    assert ranked > 20
    assert hidden > 5
    assert (predicted > 50) == (option in ("regression-click", "logistic reranker"))


@pytest.mark.parametrize("estimator", ["joint", "prefix"])
def test_gradients_of_whole_slates_refuse_slates_of_which_a_part_is_shown(estimator: str) -> None:
    feed = Feed(SITE, seed=3)
    with pytest.raises(ValueError, match="serving: got 'batch', needs not 'batch' with estimator 'joint' or 'prefix'"):
        make_agent("reinforce", estimator=estimator, serving="batch").start(feed)
    make_agent("reinforce", estimator=estimator, serving="streaming").start(feed)


@pytest.mark.parametrize("mode", ["residual", "plain"])
def test_a_policy_gradient_learns_from_first_pages_of_sampled_lists_only(mode: str) -> None:
    """Until the first readers are known there are none: the regression learns, the policy does not."""
    feed = Feed(SITE, seed=3)
    agent: Any = make_agent("reinforce", mode=mode, serving="batch", **SMALL | MODES["batch"]).start(feed)
    run = drive(agent, feed, until=7.9)
    assert replay_of(agent).total > 20
    ring = ring_of(agent.learner)
    assert len(ring) == 0
    run += drive(agent, feed, until=8.4)  # the first training
    assert np.isfinite(agent.metrics().get("loss", 0.0))
    run += drive(agent, feed)
    shown = np.concatenate([served.article_id for served, _ in run])
    greedy, unweighted = (
        np.concatenate([np.broadcast_to(getattr(served, name), len(served.article_id)) for served, _ in run])
        for name in ("greedy", "unweighted")
    )
    # All of them have returns. A regression learns from all pages, a gradient from the first of each list.
    assert len(ring) == (~greedy).sum() < len(shown)
    np.testing.assert_array_equal(replay_of(agent).column("article_id"), shown)
    weighed = (ring.column("article_id") >= 0).any(axis=1)
    assert 20 < weighed.sum() < len(ring) - 10
    np.testing.assert_array_equal(weighed, ~unweighted[~greedy])
    assert (ring.column("slot_propensity") <= 1).all()
    for name in ("slot_propensity", "inclusion", "first"):
        assert (ring.column(name)[~weighed] == 1).all()
        assert (ring.column(name)[weighed] < 1).any()
    assert ring.column("slot_reward")[~weighed].any()


def test_whoever_weighs_clicks_by_chances_leaves_out_further_pages() -> None:
    feed = Feed(SITE, seed=3)
    settings: dict[str, Any] = {**SMALL, **MODES["batch"], "serving": "batch", "propensity_cap": 3.0}
    agent: Any = make_agent("contrastive", **settings).start(feed)
    drive(agent, feed)
    replay = replay_of(agent)
    slots, positions = replay.clicked()
    weight = learner_of(agent)._weight("click", replay.take(slots), positions).numpy()
    unweighted = np.isnan(replay.column("inclusion")[slots, positions])
    assert 3 < unweighted.sum() < len(slots) - 3
    assert (weight[unweighted] == 0).all()
    assert ((weight[~unweighted] >= 1) & (weight[~unweighted] <= 3)).all()

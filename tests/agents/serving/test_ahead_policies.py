"""Batch under each policy: greedy, rules, sites with little or nothing to show; what is told of the draw."""

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np

from feedgym.agents import make_agent
from feedgym.agents.slate_policy.inclusion import slate_marginals
from feedgym.env import Feed, FeedConfig, NewsroomConfig
from helpers.inside import acted_of

NEWSROOM = NewsroomConfig(articles_per_day=60, max_age_hours=20.0, num_topics=4)
SITE = FeedConfig(num_readers=120, days=2.0, tick_hours=0.5, slate_size=4, newsroom=NEWSROOM)
SMALL: dict[str, Any] = {"widths": (8,), "dim": 4, "max_steps": 2, "shortlist_size": 12, "serving": "batch"}


def start(newsroom: NewsroomConfig = NEWSROOM, slate_size: int = 4, **settings: Any) -> tuple[Any, Feed]:
    site = FeedConfig(**{**SITE.__dict__, "newsroom": newsroom, "slate_size": slate_size})
    feed = Feed(site, seed=5)
    clocks = {"reader_refresh_hours": 12.0, "item_refresh_hours": 12.0, "train_every_hours": 12.0}
    return make_agent("regression", **(SMALL | clocks | settings)).start(feed), feed


def ticks(agent: Any, feed: Feed) -> Iterator[tuple[Any, Any]]:
    """What was served at each tick with visits, between ``act`` and ``learn``, with how it came about."""
    while not feed.done:
        served = agent.act(feed.visits, feed.catalogue)
        if len(served.article_id):
            yield served, acted_of(agent)
        agent.learn(feed.serve(served.article_id))


def test_greedy_slates_are_the_best_for_everybody() -> None:
    agent, feed = start(greedy=True)
    for served, _ in ticks(agent, feed):
        drawn = served.as_drawn
        order = np.argsort(-served.draw.logits, axis=1, kind="stable")
        best = np.take_along_axis(served.draw.shortlist, order, axis=1)[:, :4]
        np.testing.assert_array_equal(drawn.article_id, best)
        assert served.greedy.all()
        assert not served.log_propensity.any()
        assert not served.epsilon.any()
        assert drawn.draw.all_greedy
        assert (drawn.inclusion == 1).all()


def test_without_exploration_slates_are_of_the_shortlist() -> None:
    agent, feed = start(epsilon=0.0)
    sampled = 0
    for served, _ in ticks(agent, feed):
        drawn = served.as_drawn
        assert drawn.in_shortlist.all()
        assert np.isfinite(drawn.log_propensity).all()
        sampled += int((~served.greedy).sum())
    assert sampled > 50


def test_what_the_log_says_of_a_draw_is_what_a_recount_from_its_logits_says() -> None:
    agent, feed = start(epsilon=0.1, temperature=0.7)
    known = 0
    for served, _ in ticks(agent, feed):
        drawn, sampled = served.as_drawn, ~served.greedy
        size = drawn.num_live
        plain = slate_marginals(drawn.article_id, dataclasses.replace(served.draw, num_live=size, epsilon=0.1))
        for name, values in plain._asdict().items():
            np.testing.assert_allclose(getattr(drawn, name)[sampled], values[sampled], rtol=1e-9)
        assert (drawn.inclusion[~sampled] == 1).all()
        assert (drawn.slot_marginal[~sampled] == 1).all()
        assert np.isnan(drawn.inclusion_time[~sampled]).all()
        assert (served.epsilon == np.where(sampled, 0.1, 0.0)).all()
        assert served.temperature == 0.7
        assert (served.shortlist_size == min(12, size)).all()
        known += int(sampled.sum())
    assert known > 50


def test_fewer_articles_than_positions_and_none_at_the_draw() -> None:
    short, empty = 0, 0
    agent, feed = start(NewsroomConfig(articles_per_day=5.0, max_age_hours=9.0), slate_size=6)
    for served, _ in ticks(agent, feed):
        shown = (served.as_drawn.article_id >= 0).sum(axis=1)
        assert (shown == min(6, served.num_live)).all()
        assert served.num_unfilled == 0
        assert (served.slot_propensity[served.article_id < 0] == 1).all()
        short += served.num_live < 6
        empty += served.num_live == 0
    assert short > 20
    nothing, feed = start(NewsroomConfig(articles_per_day=0.0))
    assert all(
        (served.article_id == -1).all() and not served.log_propensity.any() for served, _ in ticks(nothing, feed)
    )


def test_what_appears_after_an_empty_draw_waits_for_the_next() -> None:
    agent, feed = start(NewsroomConfig(articles_per_day=4.0, max_age_hours=2.0))
    waited = 0
    for served, _ in ticks(agent, feed):
        if served.num_live == 0:
            assert (served.article_id == -1).all()
            waited += len(feed.catalogue) > 0
    assert waited > 5
    assert np.isfinite(agent.metrics()["serving/slates_per_1000_visits"])


def test_before_anybody_is_known_all_get_one_slate() -> None:
    agent, feed = start(reader_refresh_hours=24.0)
    slates, visitors = set(), 0
    for served, _ in ticks(agent, feed):
        if feed.now >= 24:
            break
        assert len(agent.serving.ahead) == 0
        slates |= {tuple(row) for row in served.as_drawn.article_id.tolist()}
        visitors += len(served.article_id)
    assert len(slates) == 1
    assert visitors > 50


def test_rules_hold_at_the_draw_and_what_they_leave_empty_is_told() -> None:
    agent, feed = start(rules="exclude(topic=0)+exclude(topic=1)+exclude(age_hours>6)", slate_size=8)
    unfilled = 0
    for served, acted in ticks(agent, feed):
        eligible = set(acted.live.tolist())
        ids = served.as_drawn.article_id
        assert set(ids.ravel().tolist()) - {-1} <= eligible
        assert served.num_live == len(eligible)
        assert (feed.catalogue.categories_of(ids[ids >= 0])[:, 0] > 1).all()
        made = served.ahead.made_hours[0]
        assert (feed.catalogue.published_hours_of(ids[ids >= 0]) >= made - 6).all()
        assert served.num_unfilled == (ids < 0).sum()  # enough is live, but not eligible
        unfilled += served.num_unfilled
    assert unfilled > 20


def test_a_pinned_article_leaves_a_hole_when_it_expires_and_its_place_to_others_at_the_next_draw() -> None:
    _, feed = start()
    live = feed.catalogue.article_id
    expires = feed.catalogue.archive.column("expires_hours")[live]
    pinned = int(live[np.argmin(np.abs(expires - 17.0))])
    hours = float(feed.catalogue.archive.column("expires_hours")[pinned])
    assert 13.0 < hours < 23.0
    agent, feed = start(rules=f"pin({pinned},1)+cap(topic,2)")
    seen = {"there": 0, "gone": 0, "others": 0}
    for served, _ in ticks(agent, feed):
        drawn = served.as_drawn
        if feed.now >= 24:
            assert (drawn.article_id != pinned).all()
            seen["others"] += int((served.article_id[:, 1] >= 0).sum())
            continue
        assert (drawn.article_id[:, 1] == pinned).all()
        assert (drawn.slot_propensity[:, 1] == 1).all()
        assert (served.article_id[:, 1] == (pinned if feed.now < hours else -1)).all()
        seen["there" if feed.now < hours else "gone"] += len(drawn.article_id)
        # Caps and pins leave the marginals of what was drawn unknown; the greedy slate was not drawn.
        known = ~served.greedy
        assert np.isnan(drawn.inclusion[known]).all()
        assert (drawn.inclusion[~known] == 1).all()
        np.testing.assert_allclose(np.log(drawn.slot_propensity).sum(axis=1), drawn.log_propensity, atol=1e-9)
    assert min(seen.values()) > 15

"""Baselines: logits against plain code, and slates served at their stated propensities."""

import numpy as np
import pytest

from feedgym.agents import Agent, Served, make_agent
from feedgym.agents.baselines.popularity import PopularConfig, RecentConfig
from feedgym.env import Feed, FeedConfig, NewsroomConfig
from helpers.chances import p_value
from helpers.driving import crowd, drive

SITE = FeedConfig(num_readers=60, days=2.0, slate_size=3, newsroom=NewsroomConfig(articles_per_day=40))


def busy_feed() -> Feed:
    """A day of random slates: every article has been shown, some were clicked."""
    feed = Feed(SITE, seed=4)
    drive(make_agent("random").start(feed), feed, until=24.0)
    while len(feed.visits) == 0:
        feed.serve(np.zeros((0, 3), dtype=np.int64))
    return feed


def act_often(agent: Agent, feed: Feed, times: int) -> Served:
    """The agent's slates for many visits at this one moment; baselines do not look at the reader."""
    return agent.act(crowd(feed.visits, times), feed.catalogue)


def first_slot(logit_of: dict[int, float], live: np.ndarray, size: int, epsilon: float) -> dict[int, float]:
    """Plain: chance of each live article on top, from logits of all."""
    best = sorted(logit_of, key=lambda a: (-logit_of[a], -a))[:size]
    total = sum(np.exp(logit_of[a]) for a in best)
    return {a: epsilon / len(live) + (1 - epsilon) * (np.exp(logit_of[a]) / total if a in best else 0) for a in live}


def p_value_on_top(served: Served, chance: dict[int, float]) -> float:
    return p_value(served.article_id[:, :1], {(a,): c for a, c in chance.items()})


def plain_popular(feed: Feed, prior: float = 100.0, half_life: float = 6.0, sharpness: float = 4.0) -> dict[int, float]:
    c = feed.catalogue
    live = c.article_id.tolist()
    clicks = {a: int(c.clicks_of(np.array([a]))[0]) for a in live}
    shown = {a: int(c.impressions_of(np.array([a]))[0]) for a in live}
    site = (sum(clicks.values()) + 1) / (sum(shown.values()) + prior)
    score = {}
    for a in live:
        age = feed.now - float(c.published_hours_of(np.array([a]))[0])
        score[a] = (clicks[a] + prior * site) / (shown[a] + prior) * 0.5 ** (age / half_life)
    mean = sum(score.values()) / len(score)
    sd = (sum((s - mean) ** 2 for s in score.values()) / len(score)) ** 0.5
    return {a: sharpness * (score[a] - mean) / sd for a in live}


def plain_recent(feed: Feed, scale: float = 6.0) -> dict[int, float]:
    ids = feed.catalogue.article_id
    return {int(a): -(feed.now - t) / scale for a, t in zip(ids, feed.catalogue.published_hours_of(ids), strict=True)}


@pytest.mark.parametrize("name", ["recent", "popular"])
def test_served_at_the_stated_propensity(name: str) -> None:
    feed = busy_feed()
    logit_of = plain_recent(feed) if name == "recent" else plain_popular(feed)
    served = act_often(make_agent(name, shortlist_size=12, epsilon=0.1).start(feed), feed, 40_000)
    stated = first_slot(logit_of, feed.catalogue.article_id, 12, 0.1)
    assert p_value_on_top(served, stated) > 1e-3
    assert p_value_on_top(served, first_slot(logit_of, feed.catalogue.article_id, 12, 0.05)) < 1e-6
    assert p_value_on_top(served, first_slot(logit_of, feed.catalogue.article_id, 6, 0.1)) < 1e-6
    logged = [stated[a] for a in served.article_id[:200, 0]]
    np.testing.assert_allclose(served.slot_propensity[:200, 0], logged, rtol=1e-9)
    listed = served.in_shortlist[:200]
    ids, logits = served.article_id[:200][listed], served.logit[:200][listed]
    np.testing.assert_allclose(logits, [logit_of[a] for a in ids], rtol=1e-9, atol=1e-9)


def test_random_is_uniform_without_replacement() -> None:
    feed = busy_feed()
    served = act_often(make_agent("random").start(feed), feed, 40_000)
    live, n = feed.catalogue.article_id, len(feed.catalogue)
    assert p_value_on_top(served, dict.fromkeys(live.tolist(), 1 / n)) > 1e-3
    lopsided = np.where(live < np.median(live), 1.1, 0.9)
    assert p_value_on_top(served, dict(zip(live.tolist(), lopsided / lopsided.sum(), strict=True))) < 1e-6
    np.testing.assert_allclose(served.slot_propensity, np.tile(1 / (n - np.arange(3)), (40_000, 1)), rtol=1e-12)
    np.testing.assert_allclose(served.log_propensity, -np.log(n * (n - 1) * (n - 2.0)), rtol=1e-12)
    assert not served.in_shortlist.any()


def test_popular_without_a_click_yet_is_newest_first() -> None:
    feed = Feed(SITE, seed=4)
    while len(feed.visits) == 0:
        feed.serve(np.zeros((0, 3), dtype=np.int64))
    served = act_often(make_agent("popular", greedy=True).start(feed), feed, 1)
    newest = sorted(plain_recent(feed).items(), key=lambda item: -item[1])[:3]
    assert served.article_id[0].tolist() == [a for a, _ in newest]
    assert np.isfinite(served.logit).all()


def test_popular_settings_count() -> None:
    feed = busy_feed()
    changed = {"prior_impressions": 7.0, "half_life_hours": 30.0, "sharpness": 2.0}
    served = act_often(make_agent("popular", temperature=0.5, shortlist_size=99, **changed).start(feed), feed, 200)
    logit_of = plain_popular(feed, prior=7.0, half_life=30.0, sharpness=2.0)
    listed = served.in_shortlist
    expected = [logit_of[a] / 0.5 for a in served.article_id[listed]]
    np.testing.assert_allclose(served.logit[listed], expected, rtol=1e-9, atol=1e-9)


def test_recent_scale_and_greedy() -> None:
    feed = busy_feed()
    served = act_often(make_agent("recent", scale_hours=2.0, greedy=True).start(feed), feed, 5)
    logit_of = plain_recent(feed, scale=2.0)
    best = sorted(logit_of, key=lambda a: -logit_of[a])[:3]
    assert served.article_id.tolist() == [best] * 5
    np.testing.assert_allclose(served.logit[0], [logit_of[a] for a in best], rtol=1e-12)
    assert served.greedy
    assert served.epsilon == 0.0
    assert (served.log_propensity == 0).all()
    assert (served.slot_propensity == 1).all()


@pytest.mark.parametrize("name", ["recent", "popular"])
def test_a_shortlist_below_the_slate_size_still_fills_the_slate(name: str) -> None:
    feed = busy_feed()
    served = act_often(make_agent(name, shortlist_size=1, epsilon=0.0).start(feed), feed, 50)
    assert (served.article_id >= 0).all()


def test_settings_are_checked() -> None:
    with pytest.raises(ValueError, match="scale_hours: got 0"):
        RecentConfig(scale_hours=0.0)
    with pytest.raises(ValueError, match="prior_impressions: got -1"):
        PopularConfig(prior_impressions=-1.0)
    with pytest.raises(ValueError, match="half_life_hours: got 0"):
        PopularConfig(half_life_hours=0.0)

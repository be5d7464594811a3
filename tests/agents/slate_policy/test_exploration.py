"""The boost of new articles: who gets it, what it does to logits, and that propensities stay exact."""

import dataclasses
from typing import Any

import numpy as np
import pytest
from scipy import stats

from feedgym.agents import make_agent
from feedgym.agents.slate_policy.exploration import is_new
from feedgym.agents.slate_policy.policy import PolicyConfig, boosts
from feedgym.agents.slate_policy.slates import slate_log_propensity
from feedgym.env import Feed, FeedConfig, NewsroomConfig

SITE = FeedConfig(num_readers=60, days=1.0, tick_hours=0.5, slate_size=3, newsroom=NewsroomConfig(articles_per_day=60))


@pytest.fixture(scope="module")
def feed() -> Feed:
    """A site at noon, some of whose articles have been shown."""
    feed = Feed(SITE, seed=4)
    agent = make_agent("popular").start(feed)
    while feed.now < 12.0:
        agent.learn(feed.serve(agent.act(feed.visits, feed.catalogue).article_id))
    return feed


def test_who_is_new(feed: Feed) -> None:
    catalogue = feed.catalogue
    ids = np.append(catalogue.article_id, -1)
    age = [feed.now - float(catalogue.published_hours_of(np.array([a]))[0]) for a in ids[:-1]]
    shown = [int(catalogue.impressions_of(np.array([a]))[0]) for a in ids[:-1]]
    for hours, impressions in ((2.0, 0), (0.0, 3), (2.0, 3), (0.0, 0)):
        expected = [a < hours or s < impressions for a, s in zip(age, shown, strict=True)]
        assert is_new(catalogue, ids, hours, impressions).tolist() == [*expected, False]
        assert any(expected) != (hours == impressions == 0)
        assert not all(expected)


def test_none_is_new_where_nothing_is_listed(feed: Feed) -> None:
    assert is_new(feed.catalogue, np.full((2, 3), -1), 5.0, 5).tolist() == [[False] * 3] * 2
    assert boosts(PolicyConfig(), feed.catalogue, np.array([[0, 1]])) == 0.0


@pytest.mark.parametrize("name", ["popular", "regression"])
def test_the_logged_logit_is_the_boosted_one_and_propensities_follow_it(name: str) -> None:
    settings: dict[str, Any] = {"new_hours": 4.0, "shortlist_size": 200, "temperature": 2.0}
    feed = Feed(SITE, seed=4)
    plain, boosted = (make_agent(name, new_boost=boost, **settings).start(feed) for boost in (0.0, 1.5))
    while feed.now < 4.0 or len(feed.visits) == 0:
        plain.act(feed.visits, feed.catalogue)
        feed.serve(boosted.act(feed.visits, feed.catalogue).article_id)
    before, after = plain.act(feed.visits, feed.catalogue), boosted.act(feed.visits, feed.catalogue)
    z, listed, y, same = before.draw.logits, before.draw.shortlist, after.draw.logits, after.draw.shortlist
    assert len(z) > 0
    one, two = np.argsort(listed, axis=1), np.argsort(same, axis=1)
    gained = np.take_along_axis(y, two, axis=1) - np.take_along_axis(z, one, axis=1)
    new = is_new(feed.catalogue, np.sort(listed, axis=1), 4.0, 0)
    assert new.any()
    assert not new.all()
    np.testing.assert_allclose(gained, np.where(new, 1.5, 0.0), atol=1e-9)
    log_propensity, _ = slate_log_propensity(after.article_id, y, same, after.num_live, after.epsilon)
    np.testing.assert_allclose(after.log_propensity, log_propensity, atol=1e-9)
    shown = after.in_shortlist
    column = (same[:, None, :] == after.article_id[:, :, None]).argmax(axis=2)
    np.testing.assert_array_equal(after.logit[shown], np.take_along_axis(y, column, axis=1)[shown])


def test_new_articles_are_served_as_often_as_their_boosted_logits_say(feed: Feed) -> None:
    config = {"new_boost": 1.0, "new_hours": 3.0, "epsilon": 0.1, "shortlist_size": 20}
    agent: Any = make_agent("popular", **config).start(feed)
    first, cells, num = [], {}, 0
    for i in range(1500):
        visits = dataclasses.replace(feed.visits, visit=feed.visits.visit + i)  # else the luck would be the same
        served = agent.act(visits, feed.catalogue)
        first += served.article_id[:, 0].tolist()
        num += len(served.article_id)
    z, listed, live = served.draw.logits, served.draw.shortlist, feed.catalogue.article_id.tolist()
    # The definition, from the article's age: softmax over the shortlist, mixed with uniform over what is live.
    old = make_agent("popular", **config | {"new_boost": 0.0}).start(feed)
    logits: Any = old.score_all(feed.visits, feed.catalogue)[0]  # type: ignore[attr-defined]
    age = feed.catalogue.age_hours
    boosted = {a: logit + (1.0 if hours < 3.0 else 0.0) for a, logit, hours in zip(live, logits, age, strict=True)}
    total = sum(np.exp(boosted[a]) for a in listed[0].tolist())
    for a in live:
        cells[a] = 0.1 / len(live) + (0.9 * np.exp(boosted[a]) / total if a in listed[0] else 0.0)
    expected = np.array([cells[a] * num for a in live])
    seen = np.array([first.count(a) for a in live])
    small = expected < 5
    expected, seen = np.append(expected[~small], expected[small].sum()), np.append(seen[~small], seen[small].sum())
    kept = expected > 0
    assert num > 1000
    assert stats.chisquare(seen[kept], expected[kept]).pvalue > 1e-4
    assert z.shape == (len(feed.visits), 20)


def test_the_boost_shows_new_articles() -> None:
    shares = []
    for boost in (0.0, 4.0):
        feed = Feed(SITE, seed=5)
        agent = make_agent("popular", new_boost=boost, new_hours=1.0).start(feed)
        new, shown = 0, 0
        while not feed.done:
            ids = agent.act(feed.visits, feed.catalogue).article_id
            new += int(is_new(feed.catalogue, ids, 1.0, 0).sum())
            shown += ids.size
            agent.learn(feed.serve(ids))
        shares.append(new / shown)
    assert shares[1] > 1.3 * shares[0] > 0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"new_boost": np.inf}, "new_boost: got inf, needs a finite number"),
        ({"new_hours": -1.0}, "new_hours: got -1.0, needs >= 0"),
        ({"new_impressions": -1}, "new_impressions: got -1, needs >= 0"),
    ],
)
def test_refusals(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PolicyConfig(**settings)

"""The sponsored logger: who pays, what they get for it, and slates at their stated propensities."""

import dataclasses
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from scipy import stats

from feedgym.agents import make_agent, parse_agent
from feedgym.agents.baselines.sponsored import SponsoredConfig, least_attractive
from feedgym.agents.logged.site import LoggedSite
from feedgym.agents.slate_policy.slates import slate_log_propensity
from feedgym.env import Feed, FeedConfig, NewsroomConfig
from feedgym.env.feed.catalogue import Catalogue
from feedgym.experiments.commands.log import LogConfig, make_log
from feedgym.experiments.compare import DEMO_AGENTS
from helpers.driving import crowd, drive

SITE = FeedConfig(num_readers=60, days=2.0, slate_size=3, newsroom=NewsroomConfig(articles_per_day=40))


ARTICLES = {
    "published_hours": np.array([-3.0, -2.0, -1.0, -0.5, 0.0, 2.0, 9.0]),
    "clickbait_proxy": np.array([1.0, -2.0, 1.0, 0.5, 3.0, -90.0, -90.0], dtype=np.float32),
    "quality_proxy": np.array([0.0, 1.0, -1.0, 0.5, -2.5, 0.0, 0.0], dtype=np.float32),
    "publisher": np.array([0, 1, 1, 2, 3, 0, 4]),
}
"""The last one is only planned; the one before appeared after hour 0. Of publisher 4 nothing has."""


class Archive:
    """As much of an archive as is asked for."""

    published = 6

    def column(self, name: str) -> Any:
        return ARTICLES[name]


class Shelf:
    """As much of a catalogue as is asked for."""

    archive = Archive()
    category_sizes = (1, 5, 1)

    def categories_of(self, ids: Any) -> Any:
        publisher = ARTICLES["publisher"][ids]
        return np.stack([publisher * 0, publisher, publisher * 0], axis=1).astype(np.int32)


def test_least_attractive_by_hand() -> None:
    # Means at hour 0: 1, (-1 + 0) / 2, 1, .5. Later articles do not count; who has none cannot pay.
    shelf = cast("Catalogue", Shelf())
    assert least_attractive(shelf, 0.2).tolist() == [1]
    assert least_attractive(shelf, 0.4).tolist() == [1, 3]
    assert least_attractive(shelf, 0.6).tolist() == [0, 1, 3]  # 0 and 2 draw alike: the smaller id
    assert least_attractive(shelf, 0.01).tolist() == [1]  # at least one
    assert least_attractive(shelf, 1.0).tolist() == [0, 1, 2, 3]
    assert (
        least_attractive(
            Feed(dataclasses.replace(SITE, newsroom=NewsroomConfig(articles_per_day=0))).catalogue, 1.0
        ).size
        == 0
    )


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_those_who_pay_are_unattractive_in_truth(seed: int) -> None:
    feed = Feed(FeedConfig(num_readers=5), seed=seed)
    newsroom: Any = feed.catalogue._newsroom
    paying = least_attractive(feed.catalogue, 0.25)
    truth = newsroom._publisher_quality + newsroom._publisher_clickbait  # latent: the proxies are noisy
    rank = np.argsort(np.argsort(truth))
    assert len(paying) == 6
    assert (rank[paying] < 11).all()
    assert rank[paying].mean() < 4.5  # 2.5 at best, 11.5 by chance


def test_their_articles_gain_the_boost_and_nothing_else_changes() -> None:
    feed = Feed(SITE, seed=4)
    drive(make_agent("random").start(feed), feed, until=24.0)
    catalogue = feed.catalogue
    popular: Any = make_agent("popular", sharpness=2.0).start(feed)
    before = popular.score_all(feed.visits, catalogue)
    for settings, paying in (({}, least_attractive(catalogue, 0.25)), ({"publishers": (3, 17)}, np.array([3, 17]))):
        agent: Any = make_agent("sponsored", sharpness=2.0, temperature=0.5, boost=2.5, **settings).start(feed)
        gain = (agent.score_all(feed.visits, catalogue) - before) / 0.5  # nats after the temperature
        is_paid = np.isin(catalogue.categories_of(catalogue.article_id)[:, 1], paying)
        assert 0 < is_paid.sum() < len(is_paid)
        np.testing.assert_allclose(gain, np.broadcast_to(2.5 * is_paid, gain.shape), atol=1e-9)


def test_served_at_the_stated_propensity() -> None:
    feed = Feed(SITE, seed=4)
    drive(make_agent("random").start(feed), feed, until=24.0)
    while len(feed.visits) == 0:
        feed.serve(np.zeros((0, 3), dtype=np.int64))
    catalogue, live = feed.catalogue, feed.catalogue.article_id.copy()
    agent: Any = make_agent("sponsored", boost=2.0, publishers=(3, 17), epsilon=0.2).start(feed)
    visits = crowd(feed.visits, 20_000)
    logit = agent.score_all(visits, catalogue)[0]
    served = agent.act(visits, catalogue)
    assert len(live) < 100  # all of them are on the shortlist
    count = np.array([np.count_nonzero(served.article_id[:, 0] == a) for a in live])

    def p_value(logits: np.ndarray) -> float:
        softmax = np.exp(logits) / np.exp(logits).sum()
        return float(stats.chisquare(count, 20_000 * (0.2 / len(live) + 0.8 * softmax)).pvalue)

    assert p_value(logit) > 1e-3
    popular: Any = make_agent("popular", sharpness=1.0).start(feed)
    assert p_value(popular.score_all(visits, catalogue)[0]) < 1e-12  # unpaid, it would look different
    # The whole slates, by the formula for logged slates.
    some = slice(0, 50)
    rows, listed = np.broadcast_to(logit, (50, len(live))), np.broadcast_to(live, (50, len(live)))
    again, slots = slate_log_propensity(served.article_id[some], rows, listed, len(live), 0.2)
    np.testing.assert_allclose(served.log_propensity[some], again, atol=1e-9)
    np.testing.assert_allclose(served.slot_propensity[some], slots, atol=1e-9)


def test_most_of_what_is_shown_is_paid_for() -> None:
    def share(name: str) -> float:
        feed = Feed(FeedConfig(num_readers=60, days=1.0), seed=7)
        paying = least_attractive(feed.catalogue, 0.25)
        shown = np.concatenate([s.article_id.ravel() for s, _ in drive(parse_agent(name).start(feed), feed)])
        return float(np.isin(feed.catalogue.categories_of(shown)[:, 1], paying).mean())

    assert share("sponsored:epsilon=0.1") > 0.7
    assert share("popular:epsilon=0.1,sharpness=1.0") < 0.4


def test_the_same_pay_on_the_logged_site(tmp_path: Path) -> None:
    config = LogConfig(agent="sponsored", readers=20, days=1.0, tick_hours=1.0, seed=3, out=tmp_path)
    make_log(config)
    site = LoggedSite(tmp_path, category_sizes=(16, 24, 400))
    feed = Feed(config.run_config().feed_config(), seed=3)
    assert least_attractive(site.catalogue, 0.25).tolist() == least_attractive(feed.catalogue, 0.25).tolist()


def test_it_is_no_oracle_and_not_in_the_demo() -> None:
    assert not make_agent("sponsored").is_oracle
    assert "sponsored" not in DEMO_AGENTS
    assert parse_agent("sponsored:publishers=(3,17),boost=4").settings == (("boost", 4), ("publishers", (3, 17)))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"publishers": (3, 24)}, r"publishers: got 24, needs ids below 24"),
        ({"publishers": ()}, r"publishers: got \(\), needs at least one"),
        ({"publishers": (-1,)}, r"publishers: got \(-1,\), needs None, or a tuple"),
        ({"publishers": 3}, r"publishers of sponsored: got 3, needs a tuple, or None"),
        ({"paying_share": 0.0}, r"paying_share: got 0.0, needs a share"),
        ({"boost": float("inf")}, r"boost: got inf, needs a finite"),
    ],
)
def test_refusals(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_agent("sponsored", **settings).start(Feed(SITE))


def test_the_default_is_documented_as_it_is() -> None:
    assert SponsoredConfig().publishers is None
    assert dict(make_agent("sponsored", sharpness=1.0).settings) == {}

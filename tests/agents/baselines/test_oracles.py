"""Oracles serve the best slate by expectation, and do better at their own aim."""

import dataclasses
import itertools

import numpy as np
import pytest

from feedgym.agents import make_agent
from feedgym.env import Feed, FeedConfig, NewsReader, NewsroomConfig
from helpers.driving import drive

SITE = FeedConfig(num_readers=1200, days=3.0, slate_size=3, newsroom=NewsroomConfig(articles_per_day=12))
AIMS = ("click", "dwell", "planning")


def frozen() -> Feed:
    """A site in the evening of its second day: readers have tired of articles and topics."""
    feed = Feed(SITE, seed=2)
    drive(make_agent("recent").start(feed), feed, until=43.0)
    while len(feed.visits) < 10:
        drive(make_agent("recent").start(feed), feed, until=feed.now + 0.1)
    assert len(feed.visits) >= 10
    return feed


def value_of(feed: Feed, aim: str) -> np.ndarray:
    """Value of each live article to each visiting reader once examined, (n, N)."""
    live, archive = feed.catalogue.article_id, feed.catalogue.archive
    assert isinstance(feed.reader_model, NewsReader)
    chance, minutes = feed.reader_model.expected_response(feed.state, feed.visits.rows, archive, live, feed.now)
    if aim == "click":
        return chance.astype(float)
    bonus = 2.0 * archive.column("quality")[live] - 2.0 * archive.column("clickbait")[live]
    return chance * (minutes.astype(float) + (bonus if aim == "planning" else 0.0))


@pytest.mark.parametrize("aim", AIMS)
def test_the_slate_is_the_best_of_all_slates(aim: str) -> None:
    feed = frozen()
    value = value_of(feed, aim)
    served = make_agent(f"oracle-{aim}").start(feed).act(feed.visits, feed.catalogue)
    assert isinstance(feed.reader_model, NewsReader)
    seen, live = feed.reader_model.examination(3), feed.catalogue.article_id
    slates = np.array(list(itertools.permutations(range(len(live)), 3)))
    for visit in range(4):
        worth = value[visit][slates] @ seen
        mine = [int(np.flatnonzero(live == a)[0]) for a in served.article_id[visit]]
        assert value[visit][mine] @ seen == pytest.approx(worth.max(), rel=1e-6)
    assert served.greedy
    assert (served.log_propensity == 0).all()
    assert (served.slot_propensity == 1).all()
    assert served.epsilon == 0.0
    best = np.sort(value, axis=1)[:, ::-1][:, :3]
    np.testing.assert_allclose(served.logit, best, rtol=1e-6)


def test_each_oracle_earns_most_of_what_it_aims_at() -> None:
    site = dataclasses.replace(SITE, num_readers=6000, tick_hours=1.0)
    feed, earned = Feed(site, seed=2), {}
    drive(make_agent("recent").start(feed), feed, until=43.0)
    start = feed.snapshot()
    for name in ("oracle-click", "oracle-dwell", "random"):
        feed.restore(start)
        outcome = feed.serve(make_agent(name).start(feed).act(feed.visits, feed.catalogue).article_id)
        earned[name] = (outcome.clicks.sum(), outcome.dwell_minutes.sum())
    assert earned["oracle-click"][0] > earned["oracle-dwell"][0] > 2 * earned["random"][0]
    assert earned["oracle-dwell"][1] > earned["oracle-click"][1] > 2 * earned["random"][1]


def test_expected_values_order_the_oracles() -> None:
    """Without luck: no policy expects more of an aim than its own oracle."""
    feed = frozen()
    live = feed.catalogue.article_id.tolist()
    expected = {}
    for by, aim in itertools.product(AIMS, AIMS):
        served = make_agent(f"oracle-{by}").start(feed).act(feed.visits, feed.catalogue)
        columns = np.array([[live.index(a) for a in slate] for slate in served.article_id])
        expected[by, aim] = np.take_along_axis(value_of(feed, aim), columns, axis=1).sum()
    for by, aim in itertools.permutations(AIMS, 2):
        assert expected[by, aim] < expected[aim, aim] * (1 - 1e-3)  # and they do differ


def test_planning_weights_are_settings() -> None:
    feed = frozen()
    act = lambda **s: make_agent("oracle-planning", **s).start(feed).act(feed.visits, feed.catalogue).article_id
    dwell = make_agent("oracle-dwell").start(feed).act(feed.visits, feed.catalogue).article_id
    assert np.array_equal(act(quality_bonus=0.0, clickbait_cost=0.0), dwell)
    assert not np.array_equal(act(clickbait_cost=0.0), act())
    assert not np.array_equal(act(quality_bonus=0.0), act())


def test_refuses_readers_who_cannot_be_foreseen() -> None:
    class Inscrutable:
        def __init__(self) -> None:
            self._inner = NewsReader()
            for name in ("spawn", "first_visit", "respond", "next_visit"):
                setattr(self, name, getattr(self._inner, name))

    feed = Feed(SITE, Inscrutable(), seed=2)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"reader_model: got Inscrutable, needs a method expected_response"):
        make_agent("oracle-click").start(feed)


def test_looking_changes_nothing() -> None:
    feed = frozen()
    before = feed.snapshot()
    make_agent("oracle-planning").start(feed).act(feed.visits, feed.catalogue)
    after = feed.snapshot()
    assert before.keys() == after.keys()
    assert all(np.array_equal(before[name], after[name]) for name in before)


def test_is_marked_as_an_oracle() -> None:
    feed = Feed(SITE, seed=2)
    for name in ("oracle-click", "random", "recent"):
        assert make_agent(name).is_oracle == make_agent(name).start(feed).is_oracle == name.startswith("oracle")

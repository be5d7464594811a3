"""Passing over ticks without visits leaves the bytes that serving nobody at each of them leaves."""

from typing import Any

import numpy as np
import pytest

from feedgym.env import Feed, FeedConfig, NewsReader, NewsReaderConfig, NewsroomConfig

K = 4
SITE = FeedConfig(num_readers=4, days=6.0, slate_size=K, newsroom=NewsroomConfig(articles_per_day=100.0))
READERS = NewsReader(NewsReaderConfig(gap_median_hours=5.0, leaving_per_day=0.05, enrolment_share=0.3))
NOBODY = np.zeros((0, K), dtype=np.int64)


def one_by_one(feed: Feed) -> None:
    while not feed.done and len(feed.visits) == 0:
        feed.serve(NOBODY)


def assert_same(one: Feed, other: Feed) -> None:
    assert (one.tick, one.now, one.done) == (other.tick, other.now, other.done)
    for name in ("rows", "reader_id", "visit", "gap_hours", "features", "history_id", "history_dwell"):
        np.testing.assert_array_equal(getattr(one.visits, name), getattr(other.visits, name), err_msg=name)
    ours, theirs = one.snapshot(), other.snapshot()
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        assert value.dtype == theirs[name].dtype, name
        assert value.tobytes() == theirs[name].tobytes(), name


def slates(feed: Feed) -> Any:
    rng = np.random.default_rng(feed.tick)
    return rng.choice(np.sort(feed.catalogue.article_id), (len(feed.visits), K))


@pytest.mark.parametrize("seed", range(3))
def test_skipping_equals_serving_nobody_tick_by_tick(seed: int) -> None:
    skipping, plain = Feed(SITE, READERS, seed), Feed(SITE, READERS, seed)
    passed = served = 0
    while not plain.done:
        before = plain.tick
        one_by_one(plain)
        skipping.skip_empty_ticks()
        passed += plain.tick - before
        assert_same(skipping, plain)
        if not plain.done:
            served += len(plain.visits)
            np.testing.assert_array_equal(plain.serve(slates(plain)).reward, skipping.serve(slates(skipping)).reward)
    assert_same(skipping, plain)
    assert passed > 400
    assert served > 20


def test_it_stops_at_a_visit_and_at_the_horizon_and_goes_no_further() -> None:
    feed = Feed(SITE, READERS, 0)
    feed.skip_empty_ticks()
    at = feed.tick
    assert len(feed.visits) > 0
    feed.skip_empty_ticks()
    assert feed.tick == at, "there is a visit to serve"
    never = NewsReader(NewsReaderConfig(enrolment_share=1.0, enrolment_window_hours=1e6))
    empty = Feed(SITE, never, 0)
    first = empty.visits
    empty.skip_empty_ticks()
    assert (empty.done, empty.tick, len(empty.visits)) == (True, SITE.num_ticks, 0)
    empty.skip_empty_ticks()
    assert empty.tick == SITE.num_ticks
    assert first.stale, "its tick is over"

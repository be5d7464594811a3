"""The cascade reader: its chances of a click against the formula, and the default reader at ``stop`` 0."""

import dataclasses
import itertools
import math
from typing import Any

import numpy as np
import pytest

from feedgym.env import (
    CascadeReader,
    Feed,
    FeedConfig,
    NewsReader,
    NewsReaderConfig,
    NewsroomConfig,
    check_reader_model,
)
from feedgym.env.readers.cascade import reached_positions

K = 5
SITE = FeedConfig(num_readers=1200, days=1.5, slate_size=K, newsroom=NewsroomConfig(articles_per_day=60.0))
# Readers whose chances do not change within a visit's batch, and who click often: leaving the page then matters.
PLAIN = NewsReaderConfig(base_log_odds=0.3, fatigue=False, satiation=False, leaving=False)


def newest(feed: Feed) -> Any:
    """The K newest articles, in an order of each visit's own."""
    ids = np.sort(feed.catalogue.article_id)[-K:]
    turn = (feed.visits.reader_id + feed.visits.visit) % K
    return ids[(np.arange(K) + turn[:, None]) % K]


def chances(feed: Feed, slates: Any) -> Any:
    """mu (n, K): the chance of a click on what stands at a position, once the reader has come that far."""
    model: Any = feed.reader_model
    ids = np.unique(slates)
    chance, _ = model.expected_response(feed.state, feed.visits.rows, feed.catalogue.archive, ids, feed.now)
    once_examined = np.take_along_axis(chance.astype(np.float64), np.searchsorted(ids, slates), axis=1)
    return once_examined * model.examination(K)


def by_enumeration(mu: list[float], stop: float) -> list[float]:
    """Chance of a click at each position, over all 2^K patterns of would-be clicks and 2^K of leaving."""
    total = [0.0] * len(mu)
    for would, leaves in itertools.product(itertools.product((0, 1), repeat=len(mu)), repeat=2):
        weight = math.prod(m if w else 1.0 - m for m, w in zip(mu, would, strict=True))
        weight *= math.prod(stop if leave else 1.0 - stop for leave in leaves)
        for position, (w, leave) in enumerate(zip(would, leaves, strict=True)):
            total[position] += weight * w
            if w and leave:
                break
    return total


def by_formula(mu: Any, stop: float) -> Any:
    """mu_l prod_{j<l} (1 - mu_j stop), (n, K)."""
    stays = np.cumprod(1.0 - stop * mu, axis=1)
    return mu * np.concatenate([np.ones((len(mu), 1)), stays[:, :-1]], axis=1)


def test_the_formula_is_that_of_the_cascade() -> None:
    mu = [0.5, 0.9, 0.2, 0.7]
    assert by_formula(np.array([mu]), 0.3)[0] == pytest.approx(by_enumeration(mu, 0.3), abs=1e-12)


def deviations(reader: NewsReader, stop: float) -> Any:
    """By how many standard errors clicks at each position are more than a cascade with ``stop`` gives, (K,)."""
    feed = Feed(SITE, reader, seed=4)
    clicks, expected, variance = np.zeros(K), np.zeros(K), np.zeros(K)
    while not feed.done:
        slates = newest(feed)
        chance = by_formula(chances(feed, slates), stop)
        outcome = feed.serve(slates)
        clicks += outcome.clicks.sum(axis=0)
        expected += chance.sum(axis=0)
        variance += (chance * (1.0 - chance)).sum(axis=0)
    assert expected.min() > 50
    return (clicks - expected) / np.sqrt(variance)


@pytest.mark.parametrize("stop", [0.0, 0.5, 1.0])
def test_clicks_fall_down_the_page_as_the_cascade_says(stop: float) -> None:
    assert np.abs(deviations(CascadeReader(PLAIN, stop=stop), stop)).max() < 3.5


def test_without_position_bias_the_cascade_alone_makes_clicks_fall() -> None:
    flat = dataclasses.replace(PLAIN, position_bias=False)
    assert np.abs(deviations(CascadeReader(flat), 0.5)).max() < 3.5


def test_another_chance_of_leaving_is_told_apart() -> None:
    assert np.abs(deviations(CascadeReader(PLAIN, stop=0.5), 0.35)).max() > 5.0
    assert np.abs(deviations(NewsReader(PLAIN), 0.5)).max() > 5.0


def test_joint_clicks_at_stop_1_no_visit_has_two() -> None:
    feed = Feed(SITE, CascadeReader(PLAIN, stop=1.0), seed=4)
    most, total = 0, 0
    while feed.tick < 40:
        clicks = feed.serve(newest(feed)).clicks
        most, total = max(most, int(clicks.sum(axis=1).max(initial=0))), total + int(clicks.sum())
    assert most == 1
    assert total > 100


def test_pages_are_left_after_a_click_with_the_stated_chance() -> None:
    """Two sure clicks: the second happens unless the page was left."""
    sure = dataclasses.replace(PLAIN, base_log_odds=60.0, position_bias=False)
    feed = Feed(SITE, CascadeReader(sure, stop=0.3), seed=4)
    reads = np.zeros(K)
    while feed.tick < 60:
        reads += feed.serve(newest(feed)).clicks.sum(axis=0)
    going_on = reads[1:] / reads[:-1]
    error = np.sqrt(0.3 * 0.7 / reads[:-1])
    assert (np.abs(going_on - 0.7) < 3.5 * error).all()
    assert error.max() < 0.03


def story(reader: NewsReader) -> list[bytes]:
    feed = Feed(dataclasses.replace(SITE, num_readers=200), reader, seed=2)
    told = []
    while not feed.done:
        outcome = feed.serve(newest(feed))
        names = ("clicks", "dwell_minutes", "subscribed", "reward", "hours_to_next_visit")
        told += [np.ascontiguousarray(getattr(outcome, name)).tobytes() for name in names]
    return told + [column.tobytes() for column in feed.state.values()]


def test_stop_0_is_the_default_reader_byte_for_byte() -> None:
    default = story(NewsReader())
    assert story(CascadeReader(stop=0.0)) == default
    assert story(CascadeReader()) != default


def test_what_was_not_reached_does_not_tire() -> None:
    """Exposures of articles below the place where the page was left are not remembered."""
    sure = NewsReaderConfig(base_log_odds=60.0, position_bias=False)
    feed = Feed(dataclasses.replace(SITE, num_readers=100), CascadeReader(sure, stop=1.0), seed=4)
    while len(feed.visits) == 0:
        feed.serve(np.zeros((0, K), dtype=np.int64))
    rows = feed.visits.rows
    feed.serve(newest(feed))
    assert (feed.state["exposures"][rows] == 1).all()
    assert ((feed.state["memory"][rows] != -1).sum(axis=1) == 1).all()


def test_positions_reached() -> None:
    clicks = np.array([[0, 1, 0, 1], [1, 0, 0, 0], [1, 1, 1, 1]], dtype=bool).T
    leaves = np.array([[1, 1, 0, 0], [0, 1, 1, 1], [0, 0, 1, 0]], dtype=bool).T
    expected = np.array([[1, 1, 0, 0], [1, 1, 1, 1], [1, 1, 1, 0]], dtype=bool).T
    assert (reached_positions(clicks & leaves) == expected).all()
    assert reached_positions(clicks[:, :0]).shape == (4, 0)


def test_it_passes_the_check() -> None:
    report = check_reader_model(CascadeReader())
    assert report.problems == report.notes == (), str(report)


@pytest.mark.parametrize("stop", [-0.1, 1.1, math.nan])
def test_a_wrong_chance_is_refused(stop: float) -> None:
    with pytest.raises(ValueError, match=r"stop: got .*, needs a chance between 0 and 1"):
        CascadeReader(stop=stop)

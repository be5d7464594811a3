"""Breaking events against plain definitions: when they come, how traffic and topics rise, what is published."""

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
from scipy import stats

from feedgym.env import Feed, FeedConfig, NewsReader, NewsReaderConfig, NewsroomConfig, SyntheticNewsroom
from feedgym.env.config import EventConfig
from feedgym.env.newsroom.events import SURGE_HALF_LIVES, EventCalendar

SHARE = np.array([0.5, 0.3, 0.2])
CONFIG = EventConfig(per_day=0.5)
CALENDAR = EventCalendar(CONFIG, 3, SHARE)


def test_events_are_a_poisson_process_with_the_stated_topics_and_surges() -> None:
    events = CALENDAR.between(0.0, 24.0 * 6000)
    m = len(events.hours)
    assert abs(m - 3000) < 4.0 * math.sqrt(3000)
    assert np.all(np.diff(events.hours) > 0)
    # Gaps across midnights as within a day.
    assert stats.kstest(np.diff(events.hours) * CONFIG.per_day / 24.0, "expon").pvalue > 1e-3
    assert stats.kstest(np.diff(events.hours) * 1.1 * CONFIG.per_day / 24.0, "expon").pvalue < 1e-3
    counts = np.bincount(events.topic, minlength=3)
    assert stats.chisquare(counts, m * SHARE).pvalue > 1e-3
    assert stats.chisquare(counts).pvalue < 1e-9
    assert stats.kstest((np.log(events.surge) - math.log(0.8)) / 0.7, "norm").pvalue > 1e-3
    delay = (events.burst_hours - events.hours[:, None]).ravel()
    assert stats.kstest(delay / CONFIG.burst_hours, "expon").pvalue > 1e-3


def test_an_event_is_the_same_whatever_days_are_asked_for() -> None:
    whole = CALENDAR.between(-200.0, 2000.0)
    part = CALENDAR.between(333.3, 777.7)
    inside = (whole.hours >= 333.3) & (whole.hours < 777.7)
    assert inside.sum() > 3
    assert (whole.hours < 0).any()
    for field in dataclasses.fields(part):
        np.testing.assert_array_equal(getattr(part, field.name), getattr(whole, field.name)[inside])
    other = EventCalendar(CONFIG, 4, SHARE).between(-200.0, 2000.0)
    assert other.hours.tolist() != whole.hours.tolist()


def test_surges_are_the_mean_over_each_hour() -> None:
    hours = np.arange(100, 400)
    events = CALENDAR.between(100.0 - SURGE_HALF_LIVES * 12.0, 400.0)
    grid = 100.0 + (np.arange(300 * 2000) + 0.5) / 2000.0
    factor = np.ones(len(grid))
    for hour, surge in zip(events.hours, events.surge, strict=True):
        since = grid - hour
        factor += np.where(since >= 0, surge * 2.0 ** (-np.maximum(since, 0.0) / 12.0), 0.0)
    # What lingers beyond 14 half-lives is left out.
    np.testing.assert_allclose(CALENDAR.surge(hours), factor.reshape(300, 2000).mean(axis=1), atol=1e-3)
    assert factor.max() > 1.5
    np.testing.assert_array_equal(CALENDAR.surge(hours)[50:80], CALENDAR.surge(hours[50:80]))
    off = EventCalendar(dataclasses.replace(CONFIG, surge=False), 3, SHARE)
    np.testing.assert_array_equal(off.surge(hours), 1.0)


def test_trends_begin_with_the_event_and_last_so_long() -> None:
    events = CALENDAR.between(-400.0, 1000.0)
    first, changes = 0.0, []
    while first < 600.0:
        trend, until = CALENDAR.trend(first)
        assert until > first
        for moment in (first, (first + until) / 2, until - 1e-9):
            plain = [
                sum(
                    CONFIG.trend_log_odds
                    for hour, t in zip(events.hours, events.topic, strict=True)
                    if t == topic and hour <= moment < hour + CONFIG.trend_hours
                )
                for topic in range(3)
            ]
            np.testing.assert_allclose(trend, plain, atol=1e-6)
        changes.append(trend.max())
        first = until
    # Several events of one topic add up.
    assert {CONFIG.trend_log_odds, 2 * CONFIG.trend_log_odds} <= set(changes)
    off = EventCalendar(dataclasses.replace(CONFIG, trend=False), 3, SHARE)
    assert off.trend(100.0)[0].tolist() == [0.0, 0.0, 0.0]
    assert math.isinf(off.trend(100.0)[1])


BUSY = NewsroomConfig(
    articles_per_day=60.0, num_topics=4, topic_exponent=1.1, max_age_hours=100.0, events=EventConfig(per_day=1.0)
)


def tables(config: NewsroomConfig, days: int = 30) -> list[Any]:
    newsroom = SyntheticNewsroom(config, 2)
    return [newsroom.plan_day(day) for day in range(-1, days)]


def test_each_event_publishes_its_burst_among_the_usual_articles() -> None:
    whole, newsroom = tables(BUSY), SyntheticNewsroom(BUSY, 2)
    breaking = np.concatenate([t.published_hours[t.breaking] for t in whole])
    topic = np.concatenate([t.topic[t.breaking] for t in whole])
    events = newsroom.events.between(-200.0, 24.0 * 30)
    expected = np.sort(events.burst_hours.ravel())
    expected = expected[(expected > -100.0) & (expected < 720.0)]
    np.testing.assert_allclose(np.sort(breaking), expected)
    assert set(zip(breaking.tolist(), topic.tolist(), strict=True)) <= {
        (float(hour), int(t)) for row, t in zip(events.burst_hours, events.topic, strict=True) for hour in row
    }
    for one in whole:
        assert np.all(np.diff(one.published_hours) >= 0)
    # The usual articles come at the same times without the events.
    calm = tables(dataclasses.replace(BUSY, events=EventConfig()))
    usual = np.concatenate([t.published_hours[~t.breaking] for t in whole])
    np.testing.assert_array_equal(usual, np.concatenate([t.published_hours for t in calm]))
    quiet = tables(dataclasses.replace(BUSY, events=EventConfig(per_day=1.0, burst=False)))
    assert not any(t.breaking.any() for t in quiet)


def test_breaking_articles_fade_fastest_and_all_expire_at_the_same_age() -> None:
    joined = {
        name: np.concatenate([getattr(t, name) for t in tables(BUSY)])
        for name in ("breaking", "half_life_hours", "published_hours", "expires_hours", "topic")
    }
    half = joined["half_life_hours"]
    assert stats.kstest(np.log(half[joined["breaking"]] / 4.0) / 0.3, "norm").pvalue > 1e-3
    np.testing.assert_allclose(joined["expires_hours"] - joined["published_hours"], 100.0)
    counts = np.bincount(joined["topic"][~joined["breaking"]], minlength=4)
    share = np.arange(1.0, 5.0) ** -1.1
    assert stats.chisquare(counts, counts.sum() * share / share.sum()).pvalue > 1e-3
    assert stats.chisquare(counts).pvalue < 1e-9


# In the Feed


def visits_by_hour(events: EventConfig, **reader: Any) -> Any:
    site = FeedConfig(
        num_readers=3000, days=4.0, tick_hours=1.0, newsroom=NewsroomConfig(articles_per_day=20.0, events=events)
    )
    feed = Feed(site, NewsReader(NewsReaderConfig(leaving=False, late_enrolment=False, **reader)), seed=6)
    counts = []
    while not feed.done:
        counts.append(len(feed.visits))
        feed.serve(np.full((len(feed.visits), 8), -1))
    return np.array(counts, dtype=float)


def test_an_event_brings_readers_back_sooner() -> None:
    events = EventConfig(per_day=0.5, surge_median=3.0, surge_log_sd=0.0, trend=False, burst=False)
    surged, usual = visits_by_hour(events), visits_by_hour(EventConfig())
    factor = EventCalendar(events, 6, np.full(16, 1 / 16)).surge(np.arange(96))
    hit = factor > 2.0
    assert 5 < hit.sum() < 60
    # Not the factor itself: who has just come will not come again for a while, and traffic was lower before.
    assert surged[hit].sum() / usual[hit].sum() > 1.3
    before = np.arange(96) < np.flatnonzero(factor > 1.0)[0]
    np.testing.assert_array_equal(surged[before], usual[before])
    np.testing.assert_array_equal(visits_by_hour(events, surges=False), usual)


def test_a_trend_moves_the_odds_of_its_topic_alone() -> None:
    events = EventConfig(per_day=2.0, surge=False, burst=False)
    newsroom = NewsroomConfig(articles_per_day=100.0, events=events)
    readers = NewsReader(NewsReaderConfig(taste=1.0))
    feed = Feed(FeedConfig(num_readers=5, days=6.0, tick_hours=0.5, newsroom=newsroom), readers, seed=1)
    calm = Feed(dataclasses.replace(feed.config, newsroom=dataclasses.replace(newsroom, events=EventConfig())), seed=1)
    model: Any = feed.reader_model
    while feed.tick < 200:
        trend, _ = feed.newsroom.trend(feed.now)  # type: ignore[attr-defined]
        ids, rows, now = np.sort(feed.catalogue.article_id), np.arange(5), feed.now
        odds: list[Any] = []
        for site in (feed, calm):
            click, _ = model.expected_response(feed.state, rows, site.catalogue.archive, ids, now)
            p = click.astype(np.float64)
            odds.append(np.log(p / (1.0 - p)))
            site.serve(np.full((len(site.visits), 8), -1))
        gained = trend[feed.catalogue.archive.column("topic")[ids]]
        np.testing.assert_allclose(odds[0] - odds[1], np.broadcast_to(gained, odds[0].shape), atol=2e-3)
    assert trend.max() > 0.4


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"per_day": -1.0}, "per_day: got -1.0, needs between 0 and 4"),
        ({"surge_half_life_hours": 0.0}, "surge_half_life_hours: got 0.0"),
        ({"burst_articles": -1}, "burst_articles: got -1, needs >= 0"),
        ({"trend_log_odds": math.inf}, "trend_log_odds: got inf"),
    ],
)
def test_bad_settings_are_named(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        EventConfig(**settings)

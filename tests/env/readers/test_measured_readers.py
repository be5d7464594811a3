"""The readers of `measured`: normal interests and their drift, devices, sessions, and what is expected of them."""

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
from scipy import stats

from feedgym.env import Feed, NewsReader, NewsReaderConfig
from feedgym.env.noise import Noise
from feedgym.env.readers.config import Device
from feedgym.env.readers.interests import drifted, normal_interest
from feedgym.env.worlds import WORLDS

MANY = np.arange(20_000)
WORLD = WORLDS["measured"]


def test_normal_interests_have_the_stated_spread_in_every_dimension() -> None:
    interest = normal_interest(5, 0.605, Noise(1, MANY))
    assert interest.dtype == np.float32
    for axis in interest.T:
        assert stats.kstest(axis, "norm", (0.0, 0.605)).pvalue > 1e-3
    correlation = np.corrcoef(interest.T) - np.eye(5)
    assert np.abs(correlation).max() < 4.0 / math.sqrt(len(MANY))


def test_drift_is_an_ornstein_uhlenbeck_process() -> None:
    noise = Noise(1, MANY, np.zeros(len(MANY), dtype=np.int64))
    start = normal_interest(3, 0.605, Noise(1, MANY))
    for hours in (24.0, 2400.0):
        end = drifted(start, np.full(len(MANY), hours), 0.605, 2400.0, noise)
        assert stats.kstest(end.ravel()[::3], "norm", (0.0, 0.605)).pvalue > 1e-3
        kept = math.exp(-hours / 2400.0)
        moved = end - kept * start
        assert moved.std() == pytest.approx(0.605 * math.sqrt(1.0 - kept**2), rel=0.02)
        assert np.abs(np.corrcoef(moved[:, 0], moved[:, 1])[0, 1]) < 4.0 / math.sqrt(len(MANY))
        assert np.abs(np.corrcoef(moved[:, 0], start[:, 0])[0, 1]) < 4.0 / math.sqrt(len(MANY))
    still = drifted(start, np.zeros(len(MANY)), 0.605, 2400.0, noise)
    np.testing.assert_allclose(still, start, atol=1e-6)


def measured(readers: int = 600, days: float = 3.0, **changes: Any) -> Feed:
    site = dataclasses.replace(WORLD.feed, num_readers=readers, newcomers_per_day=0.0, days=days)
    return Feed(site, NewsReader(dataclasses.replace(WORLD.reader, **changes)), 5)


def newest(feed: Feed) -> Any:
    live = np.sort(feed.catalogue.article_id)[::-1][: feed.config.slate_size]
    return np.tile(live, (len(feed.visits), 1))


def test_a_site_sees_devices_and_sessions() -> None:
    feed = measured(2000, 1.0)
    share = np.bincount(feed.state["device"], minlength=2) / 2000
    assert abs(share[0] - 0.6) < 4.0 * math.sqrt(0.24 / 2000)
    while not feed.done:
        visits = feed.visits
        assert visits.device_names == ("phone", "pc")
        np.testing.assert_array_equal(visits.device, feed.state["device"][visits.rows])
        assert visits.feature_names == ("device_phone", "device_pc")
        np.testing.assert_array_equal(visits.features.argmax(axis=1), visits.device)
        np.testing.assert_array_equal(visits.session, feed.state["session"][visits.rows])
        feed.serve(newest(feed))


PLAIN: dict[str, Any] = {"continuation_log_odds_sd": 0.0, "short_returns": False}
"""Readers alike in going on, whose sessions stand apart."""


def test_pages_of_a_session_follow_tick_by_tick_and_trust_moves_once() -> None:
    feed = measured(leaving=False, late_enrolment=False, **PLAIN)
    sizes: list[int] = []
    pages = np.zeros(600, dtype=np.int64)
    last = np.full(600, -1)
    while not feed.done:
        rows, tick, session = feed.visits.rows, feed.tick, feed.visits.session
        assert session is not None
        inside = pages[rows] > 0
        assert np.all(tick - last[rows][inside] == 1)
        trust = feed.state["trust"][rows].copy()
        feed.serve(newest(feed))
        pages[rows] += 1
        last[rows] = tick
        ended = feed.state["session"][rows] > session
        np.testing.assert_array_equal(feed.state["trust"][rows] != trust, ended)
        sizes += pages[rows[ended]].tolist()
        pages[rows[ended]] = 0
    # Geometric with continuation .75.
    assert abs(np.mean(sizes) - 4.0) < 4.0 * math.sqrt(0.75) / 0.25 / math.sqrt(len(sizes))
    assert abs(np.mean(np.array(sizes) == 1) - 0.25) < 4.0 * math.sqrt(0.1875 / len(sizes))


def test_a_better_session_goes_on_for_longer_with_a_slope() -> None:
    model = NewsReader(dataclasses.replace(WORLD.reader, continuation_slope=2.0))
    chance = np.asarray(model._continuation(np.array([-0.5, 0.0, 0.5], dtype=np.float32)))
    odds = 3.0 * np.exp([-1.0, 0.0, 1.0])
    np.testing.assert_allclose(chance, odds / (1.0 + odds), rtol=1e-5)
    assert NewsReader(WORLD.reader)._continuation(np.zeros(3, dtype=np.float32)) == 0.75


def test_examination_falls_as_a_power_of_the_rank() -> None:
    model = NewsReader(WORLD.reader)
    np.testing.assert_allclose(
        model.examination_by_device(10),
        np.stack([np.arange(1, 11) ** -1.0, np.arange(1, 11) ** -0.37], axis=1),
        rtol=1e-5,
    )
    np.testing.assert_allclose(model.examination(10), model.examination_by_device(10) @ [0.6, 0.4], rtol=1e-5)
    blind = NewsReader(dataclasses.replace(WORLD.reader, position_bias=False))
    np.testing.assert_array_equal(blind.examination_by_device(10), 1.0)


def test_expected_response_is_what_happens() -> None:
    """Clicks and minutes over their expectation, by position and device, and by what the reader has met before."""
    feed = measured(1200, 6.0, base_log_odds=0.0, already_clicked_weight=1.5, satiation_weight=1.5)
    model, rng = feed.reader_model, np.random.default_rng(0)
    assert isinstance(model, NewsReader)
    size, topics = feed.config.slate_size, feed.catalogue.archive
    seen, clicked = np.zeros((2, 1200, 3000), dtype=np.bool_)
    last_topic, last_hours = np.full(1200, -1), np.full(1200, -99.0)
    groups: list[Any] = []
    read_error, read_variance = 0.0, 0.0
    while not feed.done:
        visits, rows = feed.visits, feed.visits.rows
        # Few articles, so that readers meet and tire of them, old ones among them.
        pool = np.sort(feed.catalogue.article_id)[::-1][:200:10]
        slates = np.stack([rng.permutation(pool)[:size] for _ in range(len(visits))] or [pool[:size]])[: len(visits)]
        click, read = model.expected_response(feed.state, rows, topics, pool, feed.now)
        place = (slates[..., None] == pool).argmax(axis=-1)
        device = visits.device
        assert device is not None
        chance = np.take_along_axis(click, place, axis=1) * model.examination_by_device(size)[:, device].T
        topic = topics.column("topic")[slates]
        sated = (topic == last_topic[rows, None]) & (feed.now - last_hours[rows, None] < 1.0)
        past = seen[rows[:, None], slates] + 2 * clicked[rows[:, None], slates] + 4 * sated
        outcome = feed.serve(slates)
        clicks = np.array(outcome.clicks)
        at = np.broadcast_to(np.arange(size), slates.shape) * 2 + device[:, None]
        groups.append(np.stack([at.ravel(), past.ravel(), clicks.ravel(), chance.ravel()]))
        seen[rows[:, None], slates] = True
        clicked[rows[:, None], slates] |= clicks
        lowest = size - 1 - clicks[:, ::-1].argmax(axis=1)
        some = clicks.any(axis=1)
        last_topic[rows[some]] = topic[np.arange(len(rows)), lowest][some]
        last_hours[rows[some]] = feed.now
        error = (outcome.dwell_minutes - np.take_along_axis(read, place, axis=1))[clicks]
        read_error, read_variance = read_error + error.sum(), read_variance + (error**2).sum()
    at, past, happened, expected = np.concatenate(groups, axis=1)
    assert happened.sum() > 5000
    assert {0, 1, 3, 4, 5, 7} <= set(past)
    for group in (at, past):
        where = group.astype(int)
        surplus = np.bincount(where, happened - expected)
        variance = np.bincount(where, expected * (1.0 - expected))
        known = variance > 5.0
        z = surplus[known] / np.sqrt(variance[known])
        assert stats.chi2(len(z)).sf((z**2).sum()) > 1e-3, z
    assert abs(read_error) < 4.0 * math.sqrt(read_variance)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"devices": (Device(name="phone", share=0.5, rank_exponent=1.0),)}, "devices: got 0.5, needs shares that sum"),
        ({"continuation": 1.0}, "continuation: got 1.0, needs at least 0, below 1"),
        ({"drift_time_hours": 10.0}, "drift_time_hours: got 10.0, needs 0 where interest_sd is 0"),
        ({"interest_sd": -1.0}, "interest_sd: got -1.0"),
        ({"page_gap_hours": 0.0}, "page_gap_hours: got 0.0"),
    ],
)
def test_bad_settings_are_named(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        NewsReaderConfig(**settings)
    with pytest.raises(ValueError, match="rank_exponent: got -1"):
        Device(name="x", share=1.0, rank_exponent=-1.0)


def test_the_settings_are_those_of_the_published_table() -> None:
    """docs/mathematics.md 9.3, column ``measured``: a changed value is another world."""
    reader, newsroom, feed = WORLD.reader, WORLD.feed.newsroom, WORLD.feed
    assert (newsroom.articles_per_day, newsroom.max_age_hours, newsroom.num_topics) == (150.0, 168.0, 10)
    assert (newsroom.topic_exponent, newsroom.spread, newsroom.dim) == (1.1, pytest.approx(0.37 * 4), 16)
    kinds = [(kind.share, kind.median_hours) for kind in newsroom.half_lives]
    assert kinds == [(0.3, 6.0), (0.6, 12.0), (0.1, 72.0)]
    assert (reader.interest_sd, reader.taste, reader.drift_time_hours) == (0.605, 1.0, 2400.0)
    assert (reader.clickbait_weight, reader.quality_weight, reader.already_clicked_weight) == (0.24, 0.6, 0.56)
    assert [(d.name, d.share, d.rank_exponent) for d in reader.devices] == [("phone", 0.6, 1.0), ("pc", 0.4, 0.37)]
    assert (reader.base_log_odds, reader.fatigue_weight, reader.memory_slots) == (-2.4, 1.6, 256)
    assert (reader.fatigue_half_life_hours, reader.only_examined_tire, reader.last_click_sates) == (48.0, False, True)
    assert (reader.satiation_weight, reader.satiation_step, reader.satiation_half_life_hours) == (0.16, 1.0, 1.0)
    assert (60.0 * math.exp(reader.dwell_log_minutes), reader.dwell_log_sd) == (pytest.approx(13.0), 1.28)
    slopes = (reader.dwell_quality, reader.dwell_clickbait, reader.dwell_taste, reader.dwell_cap_minutes)
    assert slopes == (0.45, 0.1, 0.6, 30.0)
    value = (reader.trust_step, reader.value_quality, reader.value_clickbait, reader.value_nothing)
    assert value == (0.2, 0.6, 1.0, -0.3)
    assert (reader.continuation, reader.continuation_log_odds_sd, reader.continuation_slope) == (0.75, 0.55, 0.0)
    short = (reader.short_return_share, reader.short_return_median_hours, reader.short_return_log_sd)
    assert (*short, reader.return_hour_habit, reader.return_hour_sd_hours) == (0.3, 0.4, 1.7, 0.38, 0.4)
    assert (reader.return_sensitivity, reader.return_mix) == (0.8, 0.5)
    assert (reader.gap_median_hours, reader.gap_log_sd, reader.habit_exponent) == (40.0, 0.85, pytest.approx(1 / 0.9))
    kinds_sd = (newsroom.half_life_log_sd, newsroom.weekend_factor, reader.subscribe_hazard)
    assert kinds_sd == (1.0, 0.6, 0.002)
    assert (reader.leaving_per_day, reader.enrolment_share, feed.slate_size) == (0.006, 0.0, 10)
    assert feed.newcomers_per_day == 0.0066
    assert (feed.tick_hours, feed.days, newsroom.events.per_day) == (pytest.approx(1 / 12), 28.0, 0.125)
    surge = (newsroom.events.surge_median, newsroom.events.surge_log_sd, newsroom.events.surge_half_life_hours)
    assert (*surge, newsroom.events.trend_log_odds, newsroom.events.trend_hours) == (0.8, 0.7, 12.0, 0.5, 168.0)
    published = (
        ".43 .21 .14 .14 .25 .68 1.26 1.58 1.63 1.51 1.13 1.04 "
        "1.09 1.00 1.10 1.12 1.19 1.22 1.14 1.27 1.34 1.38 1.29 .85"
    )
    assert reader.day_profile == tuple(map(float, published.split()))

"""The default reader against a slow, plain version of its equations: one reader, one visit, one article at a time."""

import dataclasses
import math
from typing import Any

import numpy as np
import pytest

from feedgym.env import Feed, FeedConfig, NewsReader, NewsReaderConfig
from feedgym.env.noise import Noise
from feedgym.env.readers.protocol import SlateView
from helpers.plain.reader import CONFIGS, EAGER, MODERN, SEED, SITE, site_of, slates_for


def used_feed(base: NewsReaderConfig = EAGER, **settings: Any) -> Feed:
    """A feed in which readers have clicked and tired for a day; the articles live on."""
    site = dataclasses.replace(site_of(base), tick_hours=0.5)
    feed = Feed(site, NewsReader(dataclasses.replace(base, **settings)), SEED)
    while feed.tick < 60:
        feed.serve(slates_for(feed))
    return feed


def expected(feed: Feed, **changes: Any) -> tuple[Any, Any]:
    rows, ids = np.arange(SITE.num_readers), np.sort(feed.catalogue.article_id)
    model: Any = feed.reader_model
    return model.expected_response(feed.state | changes, rows, feed.catalogue.archive, ids, feed.now)


def logit(p: Any) -> Any:
    p = p.astype(np.float64)
    return np.log(p / (1.0 - p))


def test_decay_halves_the_odds_at_each_half_life_and_can_be_switched_off() -> None:
    feed, still = used_feed(), used_feed(decay=False)
    archive, ids = feed.catalogue.archive, np.sort(feed.catalogue.article_id)
    rows, model = np.arange(4), NewsReader(EAGER)
    half = 12.0
    for one, loss in (
        (model, math.log(2.0) * half / archive.column("half_life_hours")[ids]),
        (NewsReader(dataclasses.replace(EAGER, decay=False)), 0.0),
    ):
        fresh = dict(feed.state, memory=np.full_like(feed.state["memory"], -1), satiation=0 * feed.state["satiation"])
        now, later = (one.expected_response(fresh, rows, archive, ids, t)[0] for t in (feed.now, feed.now + half))
        np.testing.assert_allclose(logit(now) - logit(later), np.broadcast_to(loss, now.shape), atol=2e-3)
    assert not np.array_equal(expected(feed)[0], expected(still)[0])


def test_effects_have_the_right_direction() -> None:
    feed = used_feed()
    state, click = feed.state, expected(feed)[0]
    rested = expected(feed, satiation=np.zeros_like(state["satiation"]))[0]
    assert np.all(rested >= click)
    assert np.any(rested > click + 0.01)
    forgetful = expected(feed, memory=np.full_like(state["memory"], -1))[0]
    assert np.all(forgetful >= click)
    assert np.any(forgetful > click + 0.01)
    ids, archive = np.sort(feed.catalogue.article_id), feed.catalogue.archive
    match = state["interest"] @ archive.column("vector")[ids].T
    log_minutes = np.log(expected(feed)[1])
    fresh = logit(expected(feed, satiation=0 * state["satiation"], memory=np.full_like(state["memory"], -1))[0])
    assert np.corrcoef(match.ravel(), fresh.ravel())[0, 1] > 0.3
    assert np.corrcoef(match.ravel(), log_minutes.ravel())[0, 1] > 0.2
    for switch, weight in (("fatigue", "memory"), ("satiation", "satiation")):
        off = used_feed(**dict[str, Any]({switch: False}))
        with pytest.raises(KeyError):  # nothing of it is kept
            off.state[weight]
        np.testing.assert_array_equal(expected(off)[0], expected(off, **{weight: state[weight]})[0])


def test_a_fresh_average_article_is_clicked_at_the_base_rate() -> None:
    model = NewsReader(NewsReaderConfig())
    feed = Feed(SITE, model, SEED)
    archive = feed.catalogue.archive
    archive.scoring[0] = 0.0
    click, minutes = feed.reader_model.expected_response(feed.state, np.arange(3), archive, np.array([0]), 0.0)  # type: ignore[attr-defined]
    np.testing.assert_allclose(click, 1.0 / (1.0 + math.exp(2.3)), rtol=1e-5)
    # The mean of a log-normal of median 1 and log-sd .5; the cap of 20 is six standard deviations away.
    np.testing.assert_allclose(minutes, math.exp(0.125), rtol=1e-3)


def test_delayed_effects_off_makes_the_leaving_hazard_constant() -> None:
    """Trust moves neither the next gap nor the chance to leave."""
    on, off = NewsReader(EAGER), NewsReader(dataclasses.replace(EAGER, delayed_effects=False))
    n = 4000
    ids = np.arange(n, dtype=np.int64)
    state = on.spawn(ids, Noise(SEED, ids))
    found: dict[str, list[Any]] = {"on": [], "off": []}
    for trust in (-0.8, 0.8):
        state["trust"][:] = state["value"][:] = trust
        for label, model in (("on", on), ("off", off)):
            found[label].append(model.next_visit(state, ids, None, 10.0, Noise(SEED, ids, ids * 0)))  # type: ignore[arg-type]
    np.testing.assert_array_equal(found["off"][0], found["off"][1])
    stay = np.isfinite(found["on"][0]) & np.isfinite(found["on"][1])
    assert np.all(found["on"][0][stay] > found["on"][1][stay])
    assert np.isinf(found["on"][0]).mean() > 5 * np.isinf(found["on"][1]).mean()
    # The hazard is per day of absence, not per visit: 1 - exp(-lambda gap), averaged over the readers.
    calm = NewsReader(dataclasses.replace(EAGER, leaving=False, delayed_effects=False))
    gaps = calm.next_visit(state, ids, None, 10.0, Noise(SEED, ids, ids * 0))  # type: ignore[arg-type]
    chance = -np.expm1(-EAGER.leaving_per_day * gaps / 24.0)
    assert abs(np.isinf(found["off"][0]).sum() - chance.sum()) < 4.0 * math.sqrt((chance * (1 - chance)).sum())


@pytest.mark.parametrize("base", CONFIGS.values(), ids=CONFIGS)
def test_expected_response_equals_the_mean_of_respond_and_changes_no_state(base: NewsReaderConfig) -> None:
    feed = used_feed(base, position_bias=False)
    model: Any = feed.reader_model
    before = {name: column.copy() for name, column in feed.state.items()}
    ids = np.random.default_rng(4).permutation(feed.catalogue.article_id)[:12].astype(np.int64)
    n, rejected = 8000, 0
    for reader in (0, 5, 11):
        row = np.array([reader])
        click, minutes = model.expected_response(feed.state, row, feed.catalogue.archive, ids, feed.now)
        # The same reader many times over, under other luck.
        many = {name: np.repeat(column[row], n, axis=0) for name, column in feed.state.items()}
        slates = np.repeat(ids[:, None], n, axis=1).T
        keys = np.arange(n, dtype=np.int64)
        view = SlateView(feed.catalogue.archive, slates, np.ones(slates.shape, dtype=np.bool_), feed.now)
        outcome = model.respond(many, keys, view, feed.now, Noise(77, keys, keys * 0, slates))
        p, rate = click[0].astype(np.float64), outcome.clicks.mean(axis=0)
        z = (rate - p) / np.sqrt(p * (1 - p) / n)
        assert np.abs(z).max() < 4.0
        count = outcome.clicks.sum(axis=0)
        read = np.where(outcome.clicks, outcome.dwell_minutes, 0.0).astype(np.float64)
        mean = read.sum(axis=0) / count
        sd = np.sqrt((read**2).sum(axis=0) / count - mean**2)
        assert np.abs((mean - minutes[0]) * np.sqrt(count) / sd).max() < 4.0
        # The check can fail: on what is expected of another reader.
        other = model.expected_response(feed.state, row + 1, feed.catalogue.archive, ids, feed.now)[0][0]
        rejected += int(np.abs((rate - other) / np.sqrt(other * (1 - other) / n)).max() > 4.0)
    assert rejected == 3
    for name, column in feed.state.items():
        assert column.tobytes() == before[name].tobytes(), name


def test_the_cap_counts_in_expected_minutes() -> None:
    config = NewsReaderConfig(dwell_cap_minutes=2.0, dwell_log_minutes=1.0, dwell_log_sd=1.0)
    model, draws = NewsReader(config), np.random.default_rng(0).standard_normal(200_000)
    for shift in (-1.0, 0.5, 3.0):
        read = np.minimum(np.exp(shift + draws), 2.0)
        found = float(model._dwell.mean_minutes(np.array([shift], dtype=np.float32))[0])
        assert found == pytest.approx(read.mean(), abs=4.0 * read.std() / math.sqrt(len(read)) + 0.01)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"memory_slots": 48}, "memory_slots: got 48, needs a power of two"),
        ({"examination": 1.1}, "examination: got 1.1, needs between 0 and 1"),
        ({"gap_median_hours": 0.0}, "gap_median_hours: got 0.0, needs > 0"),
        ({"leaving_per_day": -0.1}, "leaving_per_day: got -0.1, needs >= 0"),
        ({"base_log_odds": math.nan}, "base_log_odds: got nan, needs a finite number"),
        ({"day_profile": (1.0,) * 5}, "day_profile: got 5, needs 24 weights"),
        ({"continuation": 1.0}, "continuation: got 1.0, needs at least 0, below 1"),
        ({"drift_time_hours": 10.0}, "drift_time_hours: got 10.0, needs 0 where interest_sd is 0"),
        ({"devices": MODERN.devices[:1]}, "devices: got 0.6, needs shares that sum to 1"),
        ({"page_gap_hours": 0.0}, "page_gap_hours: got 0.0, needs > 0"),
    ],
)
def test_bad_settings_are_named(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        NewsReaderConfig(**settings)


def test_a_subclass_stays_itself_in_a_feed() -> None:
    class Patient(NewsReader):
        def next_visit(self, *args: object) -> np.ndarray:
            return np.full(len(args[1]), 5.0)  # type: ignore[arg-type]

    feed = Feed(FeedConfig(num_readers=20, days=1.0), Patient())
    assert isinstance(feed.reader_model, Patient)
    while len(feed.visits) == 0:
        feed.serve(np.zeros((0, 8), dtype=np.int64))
    slates = np.tile(feed.catalogue.article_id[:8], (len(feed.visits), 1))
    assert (feed.serve(slates).hours_to_next_visit == 5.0).all()

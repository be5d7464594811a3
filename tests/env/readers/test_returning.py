"""Short returns, an hour of one's own, and readers who read page after page: off nothing changes, on what is said."""

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
from scipy import stats

from feedgym.env import NewsReaderConfig
from feedgym.env.noise import Noise
from feedgym.env.readers import NewsReader
from feedgym.env.readers.returning import OWN_HOUR, Returning
from feedgym.env.readers.rhythm import DayRhythm
from feedgym.env.worlds import WORLDS

N = 20_000
MANY = np.arange(N)
ONES = np.ones(N, dtype=np.float32)
PROFILE = tuple(WORLDS["measured"].reader.day_profile)
DAY = DayRhythm(PROFILE)
NOW = 20.5


def noise() -> Noise:
    return Noise(3, MANY, np.zeros(N, dtype=np.int64))


def returning(**settings: Any) -> Returning:
    return Returning(NewsReaderConfig(gap_median_hours=30.0, habit_exponent=1.0, **settings), DAY)


def gaps(model: Returning, pull: Any = ONES, now: float = NOW) -> Any:
    own = model.columns(N, Noise(3, MANY)).get(OWN_HOUR)
    return model.gap(DAY, now, 30.0 * ONES, pull, own, noise())


def test_without_both_a_gap_is_habit_alone() -> None:
    expected = DAY.gap(NOW, 30.0 * noise().exponential("habit").astype(np.float64))
    for model in (
        returning(),
        returning(return_hour_habit=0.9, own_hours=False, short_return_share=0.9, short_returns=False),
    ):
        assert model.columns(N, Noise(3, MANY)) == {}
        assert gaps(model).tobytes() == expected.tobytes()


def test_own_hours_are_as_frequent_as_traffic() -> None:
    hour = returning(return_hour_habit=0.1).columns(N, Noise(3, MANY))[OWN_HOUR]
    assert hour.dtype == np.float32
    share = np.array(PROFILE) / sum(PROFILE)
    count = np.bincount(hour.astype(int), minlength=24)
    assert stats.chisquare(count, N * share).pvalue > 1e-3
    assert stats.chisquare(count, np.full(24, N / 24)).pvalue < 1e-3


@pytest.mark.parametrize("sd", [0.0, 0.5])
def test_a_gap_ends_at_the_own_hour_nearest_to_the_drawn_return(sd: float) -> None:
    model = returning(return_hour_habit=1.0, return_hour_sd_hours=sd)
    own = model.columns(N, Noise(3, MANY))[OWN_HOUR].astype(np.float64)
    drawn, found = gaps(returning()), gaps(model)
    wobble = found - sd * np.clip(noise().normal("around own hour"), -4.0, 4.0).astype(np.float64)
    off = np.mod(NOW + wobble - own + 12.0, 24.0) - 12.0
    assert np.abs(off).max() < 1e-6
    # Nearest, unless that were on top of this session: then a day later.
    assert np.all((np.abs(wobble - drawn) <= 12.0 + 1e-6) | (wobble < 4.0 * sd + 24.0 + 1e-6))
    assert np.all(wobble >= 4.0 * sd - 1e-6)
    assert found.min() >= 0.0
    if sd > 0.0:
        assert stats.kstest((found - wobble) / sd, "norm").pvalue > 1e-3


def test_a_share_h_of_the_gaps_ends_there() -> None:
    drawn = gaps(returning())
    for chance in (0.2, 0.7):
        moved = gaps(returning(return_hour_habit=chance)) != drawn
        assert abs(moved.mean() - chance) < 4.0 * math.sqrt(chance * (1 - chance) / N)


def test_short_returns_are_log_normal_and_have_no_own_hour() -> None:
    settings: dict[str, Any] = {"short_return_share": 0.4, "short_return_median_hours": 0.7, "short_return_log_sd": 1.1}
    flat = DayRhythm((1.0,) * 24)
    model = Returning(NewsReaderConfig(gap_median_hours=30.0, return_hour_habit=1.0, **settings), flat)
    own = model.columns(N, Noise(3, MANY))[OWN_HOUR]
    found = model.gap(flat, NOW, 30.0 * ONES, 0.5 * ONES, own, noise())
    short = noise().uniform("short return") < 0.4
    assert abs(short.mean() - 0.4) < 4.0 * math.sqrt(0.24 / N)
    # Trust and the session pull at them, too: half the gap.
    assert stats.kstest(np.log(found[short]), "norm", (math.log(0.35), 1.1)).pvalue > 1e-3
    off = np.mod(NOW + found[~short] - own[~short] + 12.0, 24.0) - 12.0
    assert np.abs(off).max() <= 2.0 + 1e-6  # four standard deviations of half an hour


def test_a_gap_is_the_readers_own_in_any_batch() -> None:
    model = returning(return_hour_habit=0.5, short_return_share=0.3)
    own = model.columns(N, Noise(3, MANY))[OWN_HOUR]
    some = np.array([17, 5, 12_345])
    alone = model.gap(DAY, NOW, 30.0 * ONES[some], ONES[some], own[some], noise().of(some))
    assert alone.tobytes() == gaps(model)[some].tobytes()


def test_readers_differ_in_going_on() -> None:
    """Mean pages of a session over readers: 1 + odds exp(sd^2 / 2); each reader keeps the own chance."""
    config = dataclasses.replace(WORLDS["measured"].reader, continuation=0.6, continuation_log_odds_sd=0.8)
    model = NewsReader(config)
    lean = model.spawn(MANY, Noise(3, MANY))["lean_to_go_on"]
    assert stats.kstest(lean, "norm", (0.0, 0.8)).pvalue > 1e-3
    chance = np.asarray(model._continuation(np.zeros(N, dtype=np.float32), lean))
    assert np.mean(1.0 / (1.0 - chance)) == pytest.approx(1.0 + 1.5 * math.exp(0.32), rel=0.05)
    same = NewsReader(dataclasses.replace(config, continuation_log_odds_sd=0.0))
    assert "lean_to_go_on" not in (same.spawn(MANY, Noise(3, MANY))["packed"].dtype.names or ())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"return_hour_habit": 1.1}, "return_hour_habit: got 1.1, needs between 0 and 1"),
        ({"return_hour_sd_hours": 3.5}, "return_hour_sd_hours: got 3.5, needs at most 3"),
        ({"short_return_share": -0.1}, "short_return_share: got -0.1"),
        ({"short_return_median_hours": 0.0}, "short_return_median_hours: got 0.0, needs > 0"),
        ({"continuation_log_odds_sd": -1.0}, "continuation_log_odds_sd: got -1.0, needs >= 0"),
    ],
)
def test_bad_settings_are_named(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        NewsReaderConfig(**settings)

"""The hours of the day: operational time against a plain walk from hour to hour."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from feedgym.env.config import SINE_DAY
from feedgym.env.readers import rhythm
from feedgym.env.readers.rhythm import DayRhythm, SurgingRhythm

NIGHT_OFF = (0.0,) * 6 + (1.0,) * 6 + (3.0,) * 6 + (0.0,) * 6
PROFILES = {
    "sine": SINE_DAY,
    "night off": NIGHT_OFF,
    "one hour": (0.0,) * 13 + (2.0,) + (0.0,) * 10,
    "even": (5.0,) * 24,
}


def plain_gap(profile: tuple[float, ...], now: float, operational_gap: float) -> float:
    """Walk from hour to hour until the traffic between ``now`` and the end adds up to the gap."""
    mean, left, clock = sum(profile) / 24.0, operational_gap, now
    while True:
        rate = profile[int(clock % 24.0)] / mean
        end = math.floor(clock) + 1.0
        if rate * (end - clock) > left:
            return clock + left / rate - now
        left -= rate * (end - clock)
        clock = end


@pytest.mark.parametrize("name", ["sine", "even", "night off"])
@settings(max_examples=60, deadline=None, derandomize=True)
@given(now=st.floats(0.0, 700.0), gap=st.floats(0.01, 200.0))
def test_gap_equals_a_walk_from_hour_to_hour(name: str, now: float, gap: float) -> None:
    profile = PROFILES[name]
    found = DayRhythm(profile).gap(now, np.array([gap]))
    assert found[0] == pytest.approx(plain_gap(profile, now, gap), abs=1e-6)


@pytest.mark.parametrize("profile", PROFILES.values(), ids=PROFILES)
def test_clock_inverts_operational_time(profile: tuple[float, ...]) -> None:
    rhythm = DayRhythm(profile)
    times = np.random.default_rng(0).uniform(0.0, 500.0, 2000)
    back = [rhythm.operational(float(t)) for t in rhythm.clock(times)]
    np.testing.assert_allclose(back, times, atol=1e-9)
    assert np.all(np.diff(rhythm.clock(np.sort(times))) >= -1e-12)


@pytest.mark.parametrize("profile", PROFILES.values(), ids=PROFILES)
def test_a_day_of_either_time_is_a_day(profile: tuple[float, ...]) -> None:
    rhythm = DayRhythm(profile)
    np.testing.assert_allclose(
        rhythm.clock(np.array([24.0, 48.0, 3.0 + 24.0]) - 24.0 + 1e-9),
        rhythm.clock(np.array([24.0, 48.0, 27.0]) + 1e-9) - 24.0,
        atol=1e-6,
    )
    assert [rhythm.operational(24.0 * day) for day in range(4)] == [24.0 * day for day in range(4)]


def test_an_even_day_changes_nothing() -> None:
    gaps = np.random.default_rng(1).exponential(8.0, 100)
    np.testing.assert_allclose(DayRhythm((1.0,) * 24).gap(31.25, gaps), gaps, atol=1e-12)


def test_nobody_comes_in_hours_without_traffic() -> None:
    clock = DayRhythm(NIGHT_OFF).clock(np.random.default_rng(2).uniform(0.0, 240.0, 5000))
    hours = (clock % 24.0).astype(int)
    assert set(hours.tolist()) == set(range(6, 18))
    # Twice by the plain definition: the shares are those of the profile.
    counts = np.bincount(hours, minlength=24)[6:18]
    weights = np.array(NIGHT_OFF[6:18])
    assert stats.chisquare(counts, 5000 * weights / weights.sum()).pvalue > 1e-3
    assert stats.chisquare(counts).pvalue < 1e-9


@pytest.mark.parametrize("profile", PROFILES.values(), ids=PROFILES)
def test_gaps_are_never_negative(profile: tuple[float, ...]) -> None:
    """There and back again rounds: without care a gap of nothing comes out at -1e-14, and the Feed refuses it."""
    rhythm, nothing = DayRhythm(profile), np.array([0.0, 1e-17, 1e-15])
    for tick in range(4000):
        assert rhythm.gap(tick / 12.0, nothing).min() >= 0.0


# Surges of traffic


def surge(hours: Any) -> Any:
    """A surge at hour 30 and one at hour 100, halving in 12 hours."""
    return 1.0 + sum(
        a * 2.0 ** -(np.maximum(hours - at, 0) / 12.0) * (hours >= at) for at, a in ((30, 2.0), (100, 0.7))
    )


def plain_surging_gap(profile: tuple[float, ...], now: float, operational_gap: float) -> float:
    """Walk from hour to hour until the traffic between ``now`` and the end adds up to the gap."""
    mean, left, clock = sum(profile) / 24.0, operational_gap, now
    while True:
        rate = profile[int(clock % 24.0)] / mean * float(surge(int(clock)))
        end = math.floor(clock) + 1.0
        if rate * (end - clock) > left:
            return clock + left / rate - now
        left -= rate * (end - clock)
        clock = end


@pytest.mark.parametrize("name", ["sine", "even", "night off", "one hour"])
@settings(max_examples=60, deadline=None, derandomize=True)
@given(now=st.floats(0.0, 700.0), gap=st.floats(0.01, 200.0))
def test_surging_gap_equals_a_walk_from_hour_to_hour(name: str, now: float, gap: float) -> None:
    found = SurgingRhythm(PROFILES[name], surge).gap(now, np.array([gap, 0.0]))
    assert found[0] == pytest.approx(plain_surging_gap(PROFILES[name], now, gap), abs=1e-6)
    assert found[1] >= 0.0


@pytest.mark.parametrize("profile", PROFILES.values(), ids=PROFILES)
def test_without_surges_it_is_the_daily_rhythm(profile: tuple[float, ...]) -> None:
    day, both = DayRhythm(profile), SurgingRhythm(profile, lambda hours: np.ones(len(hours)))
    gaps = np.random.default_rng(3).exponential(30.0, 1000)
    for now in (0.0, 17.25, 200.0):
        np.testing.assert_allclose(both.gap(now, gaps), day.gap(now, gaps), atol=1e-6)


def test_what_surges_after_the_return_does_not_touch_it() -> None:
    def later(hours: Any) -> Any:
        return surge(hours) * np.where(hours >= 40, 3.0, 1.0)

    gaps = np.linspace(0.5, 90.0, 60)
    ours, other = SurgingRhythm(SINE_DAY, surge).gap(20.0, gaps), SurgingRhythm(SINE_DAY, later).gap(20.0, gaps)
    before = ours <= 20.0
    assert 5 < before.sum() < 55
    np.testing.assert_allclose(ours[before], other[before], atol=1e-9)
    assert np.all(other[~before] < ours[~before])


def test_tables_that_grow_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    gaps = np.random.default_rng(4).exponential(30.0, 500)
    whole = SurgingRhythm(SINE_DAY, surge).gap(60.0, gaps)
    monkeypatch.setattr(rhythm, "_FIRST_HOURS", 48)
    np.testing.assert_array_equal(SurgingRhythm(SINE_DAY, surge).gap(60.0, gaps), whole)
    # Beyond the last table traffic is even.
    monkeypatch.setattr(rhythm, "_MOST_HOURS", 48)
    ended = SurgingRhythm((1.0,) * 24, surge)
    np.testing.assert_allclose(ended.gap(50.0, gaps), gaps, atol=1e-9)
    assert ended.gap(10.0, np.array([200.0]))[0] < 200.0

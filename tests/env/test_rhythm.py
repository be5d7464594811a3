"""The hours of the day: operational time against a plain walk from hour to hour."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from feedgym.env.config import SINE_DAY
from feedgym.env.readers.rhythm import DayRhythm

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

"""The default reader equals its plain version, and every weight, sign and switch of it counts."""

import contextlib
import dataclasses
import functools
import math
from typing import Any

import numpy as np
import pytest

from feedgym.env import Feed, NewsReader, NewsReaderConfig
from helpers.plain.reader import CONFIGS, EAGER, MODERN, SEED, SITE, PlainReader, site_of, slates_for

FORMS = ("only_examined_tire", "last_click_sates")
"""Two forms of a mechanism: no switches."""


SWITCHES = tuple(
    f.name for f in dataclasses.fields(NewsReaderConfig) if isinstance(f.default, bool) and f.name not in FORMS
)

NEW_SWITCHES = ("sessions", "short_returns", "own_hours", "interest_drift", "surges")

OLD_SWITCHES = tuple(name for name in SWITCHES if name not in NEW_SWITCHES)


def changed(config: NewsReaderConfig, name: str, value: Any) -> NewsReaderConfig:
    return dataclasses.replace(config, **{name: value})


def without(config: NewsReaderConfig, switch: str) -> NewsReaderConfig:
    return changed(config, switch, False)


def first_disagreement(shipped: NewsReaderConfig, plain: NewsReaderConfig) -> tuple[str, int]:
    """What the shipped reader and the plain one first differ in ("" if in nothing), and visits compared."""
    feed, compared = Feed(site_of(plain), NewsReader(shipped), SEED), 0
    newsroom: Any = feed.newsroom
    centers, surge = newsroom.centers.astype(np.float64), newsroom.surge(np.arange(2000)).tolist()
    readers = [PlainReader(plain, i, centers, surge) for i in range(SITE.num_readers)]
    events = newsroom.events.between(-200.0, 100.0)
    events = list(zip(events.hours.tolist(), events.topic.tolist(), strict=True))
    length, gain = site_of(plain).newsroom.events.trend_hours, site_of(plain).newsroom.events.trend_log_odds
    due = [math.ceil(reader.first_visit / SITE.tick_hours) for reader in readers]
    names = ("vector", "quality", "clickbait", "topic", "published_hours", "half_life_hours")
    while not feed.done:
        visits, slates, now = feed.visits, slates_for(feed), feed.now
        if visits.reader_id.tolist() != [i for i, tick in enumerate(due) if tick == feed.tick]:
            return "who comes", compared
        if not len(visits):
            feed.serve(slates)
            continue
        columns = {name: feed.catalogue.archive.column(name) for name in names}
        outcome = feed.serve(slates)
        trend = [sum(gain for at, topic in events if topic == t and at <= now < at + length) for t in range(16)]
        columns["trend"] = np.array(trend)[columns["topic"]]
        for row, reader in enumerate(visits.reader_id.tolist()):
            slate = [
                None if a < 0 else {"id": a} | {name: column[a].tolist() for name, column in columns.items()}
                for a in slates[row].tolist()
            ]
            minutes, subscribed, hours = readers[reader].visit(slate, now)
            compared += 1
            if outcome.clicks[row].tolist() != [m is not None for m in minutes]:
                return "clicks", compared
            if not np.allclose(outcome.dwell_minutes[row], [m or 0.0 for m in minutes], rtol=1e-5, atol=0.0):
                return "dwell", compared
            if bool(outcome.subscribed[row]) != subscribed:
                return "subscribed", compared
            if math.isinf(hours) != bool(outcome.left[row]):
                return "left", compared
            due[reader] = -1 if math.isinf(hours) else max(feed.tick, math.ceil((now + hours) / SITE.tick_hours))
    return "", compared


@pytest.mark.parametrize(
    ("base", "off"),
    [("eager", off) for off in (None, *OLD_SWITCHES)]
    + [("modern", off) for off in (None, *NEW_SWITCHES, "position_bias", "fatigue", "satiation", "delayed_effects")],
)
def test_equals_the_plain_version(base: str, off: str | None) -> None:
    config = CONFIGS[base] if off is None else without(CONFIGS[base], off)
    difference, compared = first_disagreement(config, config)
    assert difference == ""
    assert compared > 200


WEIGHTS = tuple(f.name for f in dataclasses.fields(NewsReaderConfig) if type(f.default) is float)

OF_RETURNS = (
    *("short_return_share", "short_return_median_hours", "short_return_log_sd"),
    *("return_hour_habit", "return_hour_sd_hours", "continuation_log_odds_sd"),
)

MEANINGLESS = ("interest_sd", "drift_time_hours", "continuation", "continuation_slope", "page_gap_hours", *OF_RETURNS)
"""Weights that ``EAGER`` does not have."""

OF_SESSIONS = ("continuation", "continuation_slope", "page_gap_hours", "trust_step", "value_nothing")


OF_MODERN = (
    *("interest_sd", "drift_time_hours", "satiation_step", "satiation_half_life_hours", "fatigue_weight"),
    *OF_SESSIONS,
    *OF_RETURNS,
)
"""Weights that only ``MODERN`` has, or that mean something else there."""


def wrong_configs() -> dict[str, tuple[NewsReaderConfig, str]]:
    """Every weight a fifth too small, and where a sign is allowed, of the wrong sign."""
    found = {}
    for base, config in CONFIGS.items():
        for name in WEIGHTS:
            for factor in (0.8, -1.0):
                if (name in MEANINGLESS) if base == "eager" else (name not in OF_MODERN):
                    continue
                wrong = 0.2 if name == "dwell_log_minutes" else getattr(config, name) * factor
                with contextlib.suppress(ValueError):  # a setting that has no sign
                    found[f"{base} {name} {factor}"] = (changed(config, name, wrong), base)
    return found


@pytest.mark.parametrize(("shipped", "base"), wrong_configs().values(), ids=wrong_configs())
def test_a_wrong_weight_or_sign_does_not_equal_it(shipped: NewsReaderConfig, base: str) -> None:
    assert first_disagreement(shipped, CONFIGS[base])[0] != ""


DEVICES_SWAPPED = tuple(
    dataclasses.replace(device, rank_exponent=other.rank_exponent)
    for device, other in zip(MODERN.devices, reversed(MODERN.devices), strict=True)
)


@pytest.mark.parametrize(
    "wrong", [{"only_examined_tire": False}, {"last_click_sates": False}, {"devices": DEVICES_SWAPPED}]
)
def test_another_form_of_a_mechanism_does_not_equal_it(wrong: dict[str, Any]) -> None:
    assert first_disagreement(dataclasses.replace(MODERN, **wrong), MODERN)[0] != ""


@pytest.mark.parametrize("switch", SWITCHES)
def test_a_switch_that_is_not_obeyed_does_not_equal_it(switch: str) -> None:
    base = MODERN if switch in NEW_SWITCHES else EAGER
    assert first_disagreement(base, without(base, switch))[0] != ""


PARAMETERS: dict[str, dict[str, Any]] = {
    "personal_taste": {"taste": 1.0, "dwell_taste": 0.1},
    "headline_appeal": {"clickbait_weight": 0.2, "quality_weight": 1.0},
    "position_bias": {"examination": 0.5},
    "fatigue": {
        "fatigue_weight": 2.0,
        "already_clicked_weight": 2.0,
        "fatigue_half_life_hours": 5.0,
        "memory_slots": 4,
    },
    "satiation": {"satiation_weight": 3.0, "satiation_step": 1.0, "satiation_half_life_hours": 5.0},
    "delayed_effects": {"return_sensitivity": 0.3},
    "leaving": {"leaving_per_day": 0.6},
    "daily_rhythm": {"day_profile": (1.0,) * 12 + (3.0,) * 12},
    "late_enrolment": {"enrolment_share": 0.9, "enrolment_window_hours": 20.0},
    "subscription": {"subscribe_hazard": 0.3},
    "sessions": {
        "continuation": 0.2,
        "continuation_slope": -1.0,
        "page_gap_hours": 0.4,
        "continuation_log_odds_sd": 0.1,
    },
    "short_returns": {"short_return_share": 0.6, "short_return_median_hours": 2.0, "short_return_log_sd": 0.1},
    "own_hours": {"return_hour_habit": 0.9, "return_hour_sd_hours": 0.1},
    "interest_drift": {"drift_time_hours": 5.0},
}

OBSERVED = ("clicks", "dwell_minutes", "subscribed", "left", "hours_to_next_visit")


@functools.lru_cache(maxsize=64)
def story(config: NewsReaderConfig) -> list[bytes]:
    feed = Feed(dataclasses.replace(site_of(config), tick_hours=0.25), NewsReader(config), SEED)
    told = []
    while not feed.done:
        told.append(feed.visits.reader_id.tobytes())
        outcome = feed.serve(slates_for(feed))
        told += [np.asarray(getattr(outcome, name)).tobytes() for name in OBSERVED]
    return told


@pytest.mark.parametrize(
    ("switch", "name", "value"), [(s, n, v) for s, changes in PARAMETERS.items() for n, v in changes.items()]
)
def test_a_mechanism_matters_when_on_and_vanishes_when_off(switch: str, name: str, value: Any) -> None:
    base = MODERN if switch in NEW_SWITCHES else EAGER
    other = dataclasses.replace(base, **{name: value})
    assert story(base) != story(other)
    assert story(without(base, switch)) == story(without(other, switch))


def test_every_switch_is_tested() -> None:
    assert set(PARAMETERS) | {"decay", "surges"} == set(SWITCHES)

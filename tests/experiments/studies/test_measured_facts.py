"""The facts of ``measured``: each counts what it says, and a short run of the world is near them."""

import dataclasses
import functools
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from feedgym.env.worlds import WORLDS
from feedgym.experiments.studies import study
from feedgym.experiments.studies.worlds import measured_facts as study_module
from feedgym.experiments.studies.worlds.log_facts import slope_of_clicks
from feedgym.experiments.studies.worlds.measured_facts import (
    FACTS,
    POLICIES,
    Fact,
    FactsConfig,
    Month,
    effective_topics,
    facts,
    gini,
    is_within,
    repeat_odds,
    sessions,
    simulate,
    table,
    weekly_gini,
)

# Known answers


def month(**columns: Any) -> Month:
    """A run of so many visits with two positions; what is not given is 0."""
    n = len(columns["reader"])
    zero: Any = {name: np.zeros(n, dtype=np.int64) for name in ("visit", "session", "device")}
    zero |= {name: np.zeros((n, 2)) for name in ("dwell_minutes", "expected")}
    zero |= {"hours": np.zeros(n), "article": np.zeros((n, 2), dtype=np.int64), "days": 7.0}
    zero |= {name: np.zeros((n, 2), dtype=bool) for name in ("clicks", "examined")}
    zero["articles"] = {
        "published_hours": np.zeros(4),
        "expires_hours": np.full(4, 168.0),
        "topic": np.array([0, 1, 2, 3]),
    }
    return Month(**(zero | {name: np.asarray(c) if name != "articles" else c for name, c in columns.items()}))


def test_gini() -> None:
    assert gini(np.array([2.0, 2.0, 2.0])) == pytest.approx(0.0)
    assert gini(np.array([0.0, 0.0, 0.0, 1.0])) == pytest.approx(0.75)
    assert gini(np.array([1.0, 3.0])) == pytest.approx(0.25)


def test_the_weekly_gini_counts_articles_that_nobody_saw() -> None:
    seen = month(reader=[1, 1], article=[[0, 1], [0, 1]], expected=[[0.1, 0.2], [0.2, 0.1]])
    assert weekly_gini(seen) == pytest.approx(gini(np.array([0.3, 0.3, 0.0, 0.0])))


def test_position_slope() -> None:
    rank = np.arange(1.0, 9.0)
    clicks = np.arange(4000)[:, None] < 4000 * rank**-0.5
    assert slope_of_clicks(clicks.sum(axis=0)) == pytest.approx(-0.5, abs=1e-2)


def test_sessions_and_gaps_between_them() -> None:
    run = month(
        reader=[1, 2, 1, 1, 2, 1],
        visit=[0, 0, 1, 2, 1, 3],
        session=[0, 0, 0, 1, 1, 1],
        hours=[0.0, 1.0, 0.1, 5.0, 9.0, 5.1],
    )
    gaps, sizes = sessions(run)
    assert gaps.tolist() == pytest.approx([4.9, 8.0])
    assert sizes.tolist() == [2, 2, 1, 1]


def test_repeat_odds_count_what_was_examined_and_not_clicked() -> None:
    """Readers 0..9 see article 0 five times; of each sight some click. Article 1 was shown but never examined."""
    visits, sights = [], [(0, 5), (1, 2), (2, 1), (3, 1), (4, 0)]
    for sight, clickers in sights:
        visits += [(reader, sight, reader < clickers) for reader in range(10)]
    reader, visit, clicked = (np.array(column) for column in zip(*visits, strict=True))
    # Who clicked is left out from the next sight on: readers 5..9 have 0 clicks of 5 from then.
    clicks = np.stack([clicked, np.zeros(50, dtype=bool)], axis=1)
    examined = np.stack([np.ones(50, dtype=bool), np.zeros(50, dtype=bool)], axis=1)
    run = month(reader=reader, visit=visit, article=np.tile([0, 1], (50, 1)), clicks=clicks, examined=examined)
    assert repeat_odds(run) == [0.0, 0.0, 0.0, 0.0]
    late = np.stack([(visit == 2) & (reader < 2), np.zeros(50, dtype=bool)], axis=1)
    late[:1, 0] = True  # reader 0 at first sight
    odds = repeat_odds(dataclasses.replace(run, clicks=late))
    # First sight 1 of 10; third sight: readers 1 and 2.. of nine, of which one clicks.
    assert odds == pytest.approx([0.0, (1 / 8) / (1 / 9), 0.0, 0.0])
    unseen = dataclasses.replace(run, clicks=late, examined=examined & (visit != 1)[:, None])
    assert repeat_odds(unseen) == pytest.approx([(1 / 8) / (1 / 9), 0.0, 0.0, math.nan], nan_ok=True)


def test_effective_topics() -> None:
    clicks = np.ones((20, 2), dtype=bool)
    even = month(reader=np.zeros(20, dtype=int), article=np.tile([[0, 1], [2, 3]], (10, 1)), clicks=clicks)
    assert effective_topics(even) == pytest.approx(4.0 * math.exp(3 / 80))
    one = month(reader=np.zeros(20, dtype=int), article=np.zeros((20, 2), dtype=int), clicks=clicks)
    assert effective_topics(one) == pytest.approx(1.0)
    assert math.isnan(effective_topics(one, least=41))


def test_a_band_holds_for_each_seed_or_for_their_mean() -> None:
    each, mean = Fact("recent", "CTR", 1.0, 2.0), Fact("recent", "CTR", 1.0, 2.0, of_mean=True)
    assert is_within(each, [1.0, 2.0])
    assert not is_within(each, [1.5, 2.1])
    assert is_within(mean, [1.5, 2.1])
    assert not is_within(mean, [math.nan, 1.5])
    text = table({"recent": {"CTR": [1.5, 2.1]}}, (each, mean))
    assert text.splitlines()[2:] == [
        "| `recent` | CTR | 1 to 2 | 1.8 (1.5 to 2.1) | **no** |",
        "| `recent` | CTR | 1 to 2, mean | 1.8 (1.5 to 2.1) | yes |",
    ]


# A short run: fewer readers and days, so wider bands

SHORT = FactsConfig(readers=600, days=7.0, seeds=(0,))
# The month's bands, but for what grows over weeks or needs many clicks.
WIDER: dict[tuple[str, str], tuple[float, float] | None] = {
    ("recent", "CTR"): (0.014, 0.030),
    ("random", "CTR"): (0.005, 0.011),
    ("recent", "return gap p50, h"): (4.0, 16.0),
    ("recent", "return gap p90, h"): (25.0, 60.0),
    ("random", "position slope, phone"): (-1.3, -0.7),
    ("random", "position slope, pc"): (-0.65, -0.15),
    ("recent", "position slope, phone"): (-1.2, -0.8),
    ("recent", "position slope, pc"): (-0.55, -0.2),
    ("newest", "odds after 1 exposure"): (0.2, 0.5),
    ("newest", "odds after 2 exposures"): (0.09, 0.3),
    ("newest", "odds after 3 exposures"): (0.05, 0.25),
    ("newest", "odds after 4+ exposures"): (0.02, 0.15),
    ("recent", "share of clicks younger than 24 h"): (0.80, 0.95),
    ("recent", "dwell median, s"): (16.0, 29.0),
    ("recent", "traffic peak / trough"): (6.0, 30.0),
    # A week has too few clicks of one reader.
    ("recent", "effective topics per reader"): None,
}


@functools.cache
def short(policy: str) -> dict[str, float]:
    return facts(simulate(policy, 0, SHORT))


@pytest.mark.parametrize("fact", FACTS, ids=lambda fact: f"{fact.policy} {fact.name}")
def test_a_week_of_few_readers_is_near_the_month(fact: Fact) -> None:
    band = WIDER.get((fact.policy, fact.name), (fact.low, fact.high))
    if band is not None:
        assert band[0] <= short(fact.policy)[fact.name] <= band[1]


def outside(measured: dict[str, float], policy: str) -> set[str]:
    bands = {f.name: WIDER.get((f.policy, f.name), (f.low, f.high)) for f in FACTS if f.policy == policy}
    return {name for name, band in bands.items() if band and not band[0] <= measured[name] <= band[1]}


@pytest.mark.parametrize(
    ("policy", "changes", "facts_lost"),
    [
        ("newest", {"fatigue_weight": 0.5}, {"odds after 1 exposure", "odds after 2 exposures"}),
        ("recent", {"position_bias": False}, {"position slope, phone", "position slope, pc"}),
        ("recent", {"continuation": 0.55}, {"slates per session", "sessions of one slate"}),
        ("recent", {"decay": False}, {"share of clicks younger than 3 h", "CTR"}),
        ("recent", {"daily_rhythm": False, "dwell_log_minutes": 0.0}, {"traffic peak / trough", "dwell median, s"}),
        ("recent", {"gap_median_hours": 8.0, "base_log_odds": -3.5}, {"return gap p90, h", "CTR"}),
    ],
)
def test_another_world_is_told_apart(
    policy: str, changes: dict[str, Any], facts_lost: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    world = WORLDS["measured"]
    other = dataclasses.replace(world, reader=dataclasses.replace(world.reader, **changes))
    monkeypatch.setitem(WORLDS, "measured", other)
    few = dataclasses.replace(SHORT, readers=300, days=4.0)
    assert facts_lost <= outside(facts(simulate(policy, 0, few)), policy)


# The page and the command


def test_the_page_shows_every_fact_within_its_band() -> None:
    page = (Path(__file__).parents[3] / "docs" / "studies" / "worlds.md").read_text().splitlines()
    for fact in FACTS:
        band = f"{fact.low:.3g} to {fact.high:.3g}{', mean' if fact.of_mean else ''}"
        found = [line for line in page if line.startswith(f"| `{fact.policy}` | {fact.name} | {band} | ")]
        assert len(found) == 1, fact
        assert found[0].endswith("| yes |"), fact


def test_the_study_writes_its_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(study_module, "FactsConfig", lambda: FactsConfig(readers=60, days=2.0, seeds=(0,)))
    study.main(["measured_facts", "--out", str(tmp_path)])
    written = (tmp_path / "measured_facts" / "table.md").read_text()
    assert written.startswith("Command: `feedgym study measured_facts`")
    assert written.count("| `") == len(FACTS)
    assert set(POLICIES) == {fact.policy for fact in FACTS}


def test_the_settings_are_those_of_the_page() -> None:
    """docs/mathematics.md 9.3, column ``measured``, with what the facts changed: a changed value is another world."""
    world = WORLDS["measured"]
    reader, newsroom, feed = world.reader, world.feed.newsroom, world.feed
    assert (reader.base_log_odds, reader.taste, reader.interest_sd, reader.drift_time_hours) == (-2.6, 1.0, 0.605, 2400)
    assert (reader.clickbait_weight, reader.quality_weight) == (0.24, 0.6)
    assert [(d.name, d.share, d.rank_exponent) for d in reader.devices] == [("phone", 0.6, 1.0), ("pc", 0.4, 0.37)]
    assert (reader.fatigue_weight, reader.fatigue_half_life_hours, reader.already_clicked_weight) == (1.5, 48.0, 0.56)
    assert (reader.satiation_weight, reader.satiation_step, reader.satiation_half_life_hours) == (0.16, 1.0, 1.0)
    assert reader.only_examined_tire
    assert reader.last_click_sates
    assert 60.0 * math.exp(reader.dwell_log_minutes) == pytest.approx(15.3)
    slopes = (reader.dwell_quality, reader.dwell_clickbait, reader.dwell_taste)
    assert (*slopes, reader.dwell_log_sd, reader.dwell_cap_minutes) == (0.45, 0.1, 0.6, 1.42, 30.0)
    value = (reader.trust_step, reader.value_quality, reader.value_clickbait, reader.value_nothing)
    assert value == (0.2, 0.6, 1.0, -0.3)
    assert (reader.return_sensitivity, reader.return_mix) == (0.8, 0.5)
    assert (reader.gap_median_hours, reader.gap_log_sd, 1.0 / reader.habit_exponent) == (34.0, 0.85, pytest.approx(0.9))
    assert (reader.continuation, reader.continuation_slope) == (0.7, 0.0)
    assert (reader.leaving_per_day, reader.subscribe_hazard) == (0.006, 0.002)
    assert (reader.enrolment_share, reader.enrolment_window_hours) == (0.3, 672.0)
    assert (feed.slate_size, 1.0 / feed.tick_hours) == (10, pytest.approx(12.0))
    kinds = [(kind.share, kind.median_hours) for kind in newsroom.half_lives]
    assert (kinds, newsroom.half_life_log_sd) == ([(0.3, 6.0), (0.6, 12.0), (0.1, 72.0)], 1.0)
    assert (newsroom.articles_per_day, newsroom.max_age_hours, newsroom.weekend_factor) == (150.0, 168.0, 0.6)
    assert (newsroom.num_topics, newsroom.topic_exponent, newsroom.dim) == (10, 1.1, 16)
    assert newsroom.spread / 4.0 == pytest.approx(0.37)
    events = newsroom.events
    assert (events.per_day, events.surge_median, events.surge_log_sd) == (0.125, 0.8, 0.7)
    assert (events.surge_half_life_hours, events.trend_log_odds, events.trend_hours) == (12.0, 0.5, 168.0)
    assert (reader.day_profile, newsroom.day_profile) == (newsroom.day_profile, reader.day_profile)
    assert reader.day_profile[8] / reader.day_profile[2] == pytest.approx(1.63 / 0.14)

"""The facts of ``measured``: each counts what it says, and short runs of the world are near them."""

import dataclasses
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
    zero["clicks"] = np.zeros((n, 2), dtype=bool)
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

# Ticks cost, readers hardly: as few days as show a fact.
SHORT = {
    "recent": FactsConfig(readers=700, days=5.0, seeds=(910,)),
    "random": FactsConfig(readers=1000, days=3.0, seeds=(910,)),
    "newest": FactsConfig(readers=1000, days=2.0, seeds=(910,)),
}
# The month's bands, but for what grows over weeks or needs many clicks. Stated with seeds 900 to 902 in view.
WIDER: dict[tuple[str, str], tuple[float, float] | None] = {
    ("recent", "CTR"): (0.014, 0.030),
    ("random", "CTR"): (0.005, 0.011),
    ("recent", "gap Weibull shape"): (0.75, 1.05),
    ("recent", "gap Weibull shape, by number"): (0.52, 0.70),
    ("recent", "gap p10, h"): (0.8, 1.8),
    ("recent", "gap p25, h"): (2.0, 6.0),
    ("recent", "gap p50, h"): (7.0, 19.0),
    ("recent", "gap p75, h"): (16.0, 32.0),
    ("recent", "gap p90, h"): (25.0, 70.0),
    ("recent", "slates per session"): (4.7, 6.6),
    ("recent", "sessions of one slate"): (0.15, 0.28),
    ("recent", "slates per session, by number"): (3.9, 5.2),
    ("recent", "gaps over 12 h within 1 h of whole days"): (0.15, 0.30),
    ("recent", "gaps over 12 h within 3 h of whole days"): (0.33, 0.50),
    ("recent", "own hour of the day"): (0.05, 0.17),
    ("random", "position slope, phone"): (-1.3, -0.7),
    ("random", "position slope, pc"): (-0.65, -0.15),
    ("recent", "position slope, phone"): (-1.2, -0.8),
    ("recent", "position slope, pc"): (-0.55, -0.2),
    ("recent", "odds once shown 4+ times"): None,
    ("newest", "odds once shown 1 times"): (0.2, 0.42),
    ("newest", "odds once shown 2 times"): (0.07, 0.22),
    ("newest", "odds once shown 3 times"): (0.03, 0.16),
    ("recent", "share of clicks younger than 24 h"): (0.80, 0.95),
    ("recent", "read time p50, s"): (16.0, 25.0),
    ("recent", "read time p90, s"): (85.0, 150.0),
    ("recent", "read time p99, s"): (330.0, 680.0),
    ("recent", "traffic peak / trough"): (6.0, 30.0),
    # A few days have too few clicks of one reader.
    ("recent", "effective topics per reader"): None,
}


def outside(measured: dict[str, float], policy: str) -> set[str]:
    bands = {f.name: WIDER.get((f.policy, f.name), (f.low, f.high)) for f in FACTS if f.policy == policy}
    return {name for name, band in bands.items() if band and not band[0] <= measured[name] <= band[1]}


@pytest.mark.parametrize("policy", SHORT)
def test_a_few_days_of_few_readers_are_near_the_month(policy: str) -> None:
    """All facts of one run in one test: which of them are outside is said."""
    assert outside(facts(simulate(policy, SHORT[policy].seeds[0], SHORT[policy])), policy) == set()


@pytest.mark.parametrize(
    ("policy", "changes", "facts_lost"),
    [
        ("newest", {"fatigue_weight": 0.5}, {"odds once shown 1 times", "odds once shown 2 times"}),
        (
            "recent",
            {"continuation": 0.55, "only_examined_tire": True},
            {"slates per session", "sessions of one slate", "odds once shown 1 times"},
        ),
        (
            "recent",
            {"decay": False, "dwell_log_sd": 1.6},
            {"share of clicks younger than 3 h", "CTR", "read time p99, s"},
        ),
        (
            "recent",
            {"position_bias": False, "daily_rhythm": False, "dwell_log_minutes": 0.0},
            {"position slope, phone", "position slope, pc", "traffic peak / trough", "read time p50, s"},
        ),
    ],
)
def test_another_world_is_told_apart(
    policy: str, changes: dict[str, Any], facts_lost: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    world = WORLDS["measured"]
    other = dataclasses.replace(world, reader=dataclasses.replace(world.reader, **changes))
    monkeypatch.setitem(WORLDS, "measured", other)
    few = FactsConfig(readers=600, days=2.0, seeds=(910,))
    assert facts_lost <= outside(facts(simulate(policy, few.seeds[0], few)), policy)


# The page and the command


def test_the_page_shows_every_fact_within_its_band() -> None:
    page = (Path(__file__).parents[3] / "docs" / "studies" / "worlds.md").read_text().splitlines()
    for fact in FACTS:
        found = [line for line in page if line.startswith(f"| `{fact.policy}` | {fact.name} | {fact.band} | ")]
        assert len(found) == 1, fact
        assert found[0].endswith("| yes |"), fact


def test_the_study_writes_its_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(study_module, "FactsConfig", lambda: FactsConfig(readers=60, days=1.0, seeds=(0,)))
    study.main(["measured_facts", "--out", str(tmp_path)])
    written = (tmp_path / "measured_facts" / "table.md").read_text()
    assert written.startswith("Command: `feedgym study measured_facts`")
    assert written.count("| `") == len(FACTS)
    assert set(POLICIES) == {fact.policy for fact in FACTS}

"""What the world ``vivid`` is like: facts of simulated runs, each within a band (docs/studies/worlds.md).

1,200 readers, 14 days, seeds 50 and 51; the bands were stated with seeds 0 to 3 and 40 to 43 in view. Run with ``-s``
to see the table. A fact outside its band means that the world has changed: its parameters, or its code.
"""

import functools
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from feedgym.agents import make_agent
from feedgym.env import Feed

SEEDS = (50, 51)
AGES = (1, 3, 6, 12, 24, 72)


@functools.cache
def run(policy: str, seed: int) -> dict[str, Any]:
    """One run's facts."""
    feed = Feed(seed=seed)
    agent = make_agent(policy).start(feed)
    live, gaps, ages, minutes = [], [], [], []
    impressions = clicks = visits = 0
    left, present = np.zeros(14), np.zeros(14)
    while not feed.done:
        batch, now, day = feed.visits, feed.now, int(feed.now // 24.0)
        present[day] += feed.num_there / feed.config.ticks_per_day
        live.append(len(feed.catalogue))
        gaps.append(batch.gap_hours[batch.visit > 0])
        slates = agent.act(batch, feed.catalogue).article_id
        outcome = feed.serve(slates)
        agent.learn(outcome)
        clicked = slates[np.array(outcome.clicks)]
        ages.append(now - feed.catalogue.published_hours_of(clicked))
        minutes.append(outcome.dwell_minutes[np.array(outcome.clicks)])
        impressions += int(outcome.valid.sum())
        clicks += int(outcome.clicks.sum())
        visits += len(slates)
        left[day] += int(outcome.left.sum())
    assert feed.invalid_entries == 0
    age, read = np.concatenate(ages), np.concatenate(minutes)
    return {
        "live articles, mean": float(np.mean(live)),
        "CTR": clicks / impressions,
        "visits per reader": visits / 1200.0,
        **{f"share of clicks younger than {h} h": float((age < h).mean()) for h in AGES},
        **{f"return gap p{q}, h": float(np.quantile(np.concatenate(gaps), q / 100.0)) for q in (10, 50, 90)},
        "median minutes of a read": float(np.median(read)),
        "minutes per reader": float(read.sum()) / 1200.0,
        "leaving per day, days 1-7": float(left[:7].sum() / present[:7].sum()),
        "leaving per day, days 8-14": float(left[7:].sum() / present[7:].sum()),
        "of hour 0 there after 14 days": 1.0 - float(feed.has_left[:1200].mean()),
        "there after 14 days, over hour 0": feed.num_there / 1200.0,
    }


# Policy, fact, lowest and highest allowed of any seed; in the comment the mean of seeds 50 to 53 as measured.
BANDS: list[tuple[str, str, float, float]] = [
    ("random", "live articles, mean", 780.0, 880.0),  # 830
    ("random", "CTR", 0.02, 0.04),  # .0286
    ("recent", "CTR", 0.055, 0.095),  # .0719
    ("random", "share of clicks younger than 1 h", 0.06, 0.09),  # .0746
    ("random", "share of clicks younger than 3 h", 0.17, 0.23),  # .2
    ("random", "share of clicks younger than 12 h", 0.45, 0.53),  # .48
    ("random", "share of clicks younger than 24 h", 0.61, 0.69),  # .645
    ("random", "share of clicks younger than 72 h", 0.87, 0.92),  # .892
    ("recent", "share of clicks younger than 1 h", 0.29, 0.35),  # .321
    ("recent", "share of clicks younger than 3 h", 0.71, 0.79),  # .744
    ("recent", "share of clicks younger than 12 h", 0.975, 0.995),  # .989
    ("recent", "share of clicks younger than 24 h", 0.985, 0.999),  # .993
    ("random", "return gap p10, h", 1.25, 2.25),  # 1.75
    ("random", "return gap p50, h", 6.0, 8.5),  # 7.56
    ("random", "return gap p90, h", 20.0, 26.0),  # 23.2
    ("recent", "return gap p10, h", 1.0, 2.0),  # 1.56
    ("recent", "return gap p50, h", 5.5, 8.0),  # 7.25
    ("recent", "return gap p90, h", 19.5, 26.0),  # 23.4
    ("random", "visits per reader", 28.0, 35.0),  # 30.8
    ("recent", "visits per reader", 29.0, 37.0),  # 30.9
    ("random", "leaving per day, days 1-7", 0.008, 0.016),  # .011
    ("random", "leaving per day, days 8-14", 0.008, 0.016),  # .0132
    ("recent", "leaving per day, days 1-7", 0.008, 0.016),  # .0112
    ("recent", "leaving per day, days 8-14", 0.008, 0.016),  # .014
    ("random", "of hour 0 there after 14 days", 0.8, 0.88),  # .844
    ("recent", "of hour 0 there after 14 days", 0.8, 0.88),  # .836
    ("random", "there after 14 days, over hour 0", 0.96, 1.05),  # 1.01
    ("recent", "there after 14 days, over hour 0", 0.96, 1.05),  # 1
    ("random", "median minutes of a read", 1.0, 1.8),  # 1.21
    ("recent", "median minutes of a read", 1.0, 1.8),  # 1.19
    ("random", "minutes per reader", 8.0, 19.0),  # 11.2
    ("recent", "minutes per reader", 21.0, 46.0),  # 27.5
]


def row(policy: str, fact: str, low: float, high: float) -> str:
    """The fact as a row of the table in docs/studies/worlds.md."""
    seen = [run(policy, seed)[fact] for seed in SEEDS]
    return f"| `{policy}` | {fact} | {low:g} to {high:g} | {np.mean(seen):.3g} ({min(seen):.3g} to {max(seen):.3g}) |"


@pytest.mark.parametrize(("policy", "fact", "low", "high"), BANDS)
def test_fact_is_within_its_band(policy: str, fact: str, low: float, high: float) -> None:
    print(row(policy, fact, low, high))
    seen = [run(policy, seed)[fact] for seed in SEEDS]
    assert low <= min(seen), seen
    assert max(seen) <= high, seen


def test_the_page_shows_these_bands_and_what_was_measured() -> None:
    page = (Path(__file__).parents[3] / "docs" / "studies" / "worlds.md").read_text().splitlines()
    for policy, fact, low, high in BANDS:
        start = f"| `{policy}` | {fact} | {low:g} to {high:g} | "
        found = [line.removeprefix(start) for line in page if line.startswith(start)]
        assert len(found) == 1, start
        measured = float(found[0].split()[0])
        now = float(np.mean([run(policy, seed)[fact] for seed in SEEDS]))
        # Not to the last digit: another machine's exponential may round another way, and one click changes a run.
        assert measured == pytest.approx(now, rel=0.05), fact


def test_recency_gains_on_random_on_every_seed() -> None:
    """A known sign, seed by seed: appeal halves within hours."""
    for seed in SEEDS:
        assert run("recent", seed)["CTR"] > 2.0 * run("random", seed)["CTR"]
        assert run("recent", seed)["minutes per reader"] > 2.0 * run("random", seed)["minutes per reader"]


def test_the_settings_are_those_of_the_published_table() -> None:
    """docs/mathematics.md 9.3, column ``vivid``: a changed value is another world."""
    from feedgym.env import WORLDS

    world = WORLDS["vivid"]
    reader, newsroom, feed = world.reader, world.feed.newsroom, world.feed
    assert (reader.base_log_odds, reader.taste, reader.taste_concentration) == (-2.3, 3.0, 0.15)
    assert (reader.clickbait_weight, reader.quality_weight, reader.examination) == (0.9, 0.2, 0.85)
    assert (reader.fatigue_weight, reader.fatigue_half_life_hours, reader.already_clicked_weight) == (0.5, 24.0, 0.5)
    assert (reader.satiation_weight, reader.satiation_step, reader.satiation_half_life_hours) == (1.0, 0.35, 24.0)
    dwell = (reader.dwell_log_minutes, reader.dwell_quality, reader.dwell_clickbait, reader.dwell_taste)
    assert dwell == (0.0, 0.45, 0.1, 0.6)
    assert (reader.dwell_log_sd, reader.dwell_cap_minutes) == (0.5, 20.0)
    value = (reader.trust_step, reader.value_quality, reader.value_clickbait, reader.value_nothing)
    assert value == (0.2, 0.6, 1.0, -0.4)
    assert (reader.return_sensitivity, reader.return_mix) == (1.6, 0.5)
    assert (reader.gap_median_hours, reader.gap_log_sd, reader.habit_exponent) == (8.0, 0.6, 0.6)
    assert (reader.leaving_per_day, reader.enrolment_share, reader.subscribe_hazard) == (0.006, 0.0, 0.002)
    assert feed.newcomers_per_day == 0.0128
    assert (reader.memory_slots, feed.tick_hours, feed.slate_size, feed.history_length) == (64, 0.25, 8, 50)
    assert (newsroom.articles_per_day, newsroom.num_topics, newsroom.dim, newsroom.spread) == (400.0, 16, 16, 0.5)
    kinds = [(kind.share, kind.median_hours) for kind in newsroom.half_lives]
    assert (kinds, newsroom.half_life_log_sd, newsroom.max_age_half_lives) == ([(0.8, 4.0), (0.2, 24.0)], 0.3, 6.0)
    assert (newsroom.num_publishers, newsroom.publisher_sd, newsroom.num_authors) == (24, 0.6, 400)
    noise = (newsroom.vector_noise, newsroom.clickbait_noise, newsroom.quality_noise)
    assert (*noise, newsroom.weekend_factor) == (0.5, 0.5, 0.7, 0.6)
    # A sine of +-60 %, which hourly means cut by a little.
    assert max(reader.day_profile) == pytest.approx(1.6, abs=0.01)
    assert min(reader.day_profile) == pytest.approx(0.4, abs=0.01)

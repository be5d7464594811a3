"""Populations last: 90 days under a fixed policy are level in readers and visits, and most readers stay a month.

400 readers, ticks of two hours, seeds that were fixed before; none of them is one that a rate was fitted on.
"""

import numpy as np
import pytest

from feedgym.env import WORLDS
from feedgym.experiments.studies.worlds import newcomers
from feedgym.experiments.studies.worlds.newcomers import FIT_SEEDS, Life, LifeConfig, balance, live, trend

SEEDS = {"recent": (7, 8, 9), "random": (7,)}


def vivid(policy: str, seed: int = 7, rate: float | None = None, days: int = 90) -> Life:
    return live("vivid", policy, seed, LifeConfig(readers=400, days=days, tick_hours=2.0), rate)


@pytest.mark.parametrize("policy", SEEDS)
def test_ninety_days_are_level_and_a_month_keeps_most_of_the_first_readers(policy: str) -> None:
    """Newsrooms differ in quality, and so in what leaves: each may drift by a quarter, all together do not."""
    lives = [vivid(policy, seed) for seed in SEEDS[policy]]
    assert abs(np.mean([trend(life.there) for life in lives])) < 0.2
    assert abs(np.mean([trend(life.visits) for life in lives])) < 0.2
    for life in lives:
        assert 0.75 < life.there.min() < life.there.max() < 1.33
        assert 0.6 < life.first[27] < 0.8
        assert life.first[89] > 0.2
        assert abs(trend(life.visits)) < 0.25
    if policy == "recent":  # what the rate was fitted under
        mean = np.mean([life.leaving for life in lives])
        assert mean == pytest.approx(WORLDS["vivid"].feed.newcomers_per_day, rel=0.2)


def test_a_closed_population_is_not_level() -> None:
    life = vivid("random", rate=0.0, days=45)
    assert trend(life.there) < -0.25
    assert trend(life.visits) < -0.25
    np.testing.assert_array_equal(life.there, life.first)


def test_the_rate_is_what_leaves_in_a_day_of_who_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    life = vivid("random", days=40)
    # Days of readers from readers at the days' ends, and those who left from those who joined.
    joined = 26 * WORLDS["vivid"].feed.newcomers_per_day
    left = joined - (life.there[-1] - life.there[13])
    assert life.leaving == pytest.approx(left / life.there[14:].sum(), rel=0.02)
    asked = []

    def found(world: str, policy: str, seed: int, config: LifeConfig) -> Life:
        asked.append((world, policy, seed))
        return Life(there=life.there, first=life.first, visits=life.visits, reward=life.reward, leaving=seed / 1e4)

    monkeypatch.setattr(newcomers, "live", found)
    assert balance("vivid") == pytest.approx(len(FIT_SEEDS) / sum(1e4 / seed for seed in FIT_SEEDS))
    assert asked == [("vivid", "recent", seed) for seed in FIT_SEEDS]
    assert not {*SEEDS["recent"], *SEEDS["random"]} & set(FIT_SEEDS)


def test_a_trend_is_the_share_by_which_a_line_rises() -> None:
    assert trend(np.linspace(1.0, 3.0, 101), settled=0) == pytest.approx(1.0, rel=0.02)
    assert trend(np.full(50, 4.0)) == pytest.approx(0.0, abs=1e-12)
    assert trend(np.concatenate([np.full(14, 99.0), np.full(30, 2.0)])) == pytest.approx(0.0, abs=1e-12)

"""How many seeds it takes: against simulated paired tests, and what two sizes say of the variance's parts."""

import math

import numpy as np
import pytest

from feedgym.experiments.reports.curves import Curves, Run
from feedgym.experiments.reports.statistics import band
from feedgym.experiments.studies.worlds.power import (
    DAYS,
    power_table,
    seeds_needed,
    smallest_difference,
    split_variance,
)


def share_shown(difference: float, sd: float, num_seeds: int) -> float:
    """How often the paired 95 % interval leaves out zero, in 20,000 simulated comparisons."""
    rng = np.random.default_rng(5)
    _, low, high = band(rng.normal(difference, sd, size=(num_seeds, 20_000)))
    return float(((low > 0) | (high < 0)).mean())


@pytest.mark.parametrize(("difference", "sd"), [(0.1, 0.12), (0.1, 0.05), (-0.3, 0.9)])
def test_the_stated_seeds_have_the_stated_power(difference: float, sd: float) -> None:
    needed = int(seeds_needed(difference, sd**2))
    assert share_shown(difference, sd, needed) > 0.79
    assert share_shown(difference, sd, needed - 1) < 0.8


def test_the_smallest_difference_is_the_inverse() -> None:
    delta = smallest_difference(0.04, 12)
    assert seeds_needed(delta * 1.0001, 0.04) == 12
    assert seeds_needed(delta * 0.9, 0.04) > 12
    assert seeds_needed(0.0, 0.04) == math.inf


def test_two_sizes_give_both_parts_of_the_variance() -> None:
    found = split_variance((1000, 4000), (0.5 + 200 / 1000, 0.5 + 200 / 4000))
    assert found.newsroom == pytest.approx(0.5)
    assert found.readers == pytest.approx(200)
    assert found.at(20_000) == pytest.approx(0.51)


def test_no_part_is_below_zero() -> None:
    assert split_variance((1000, 4000), (0.4, 0.04)).newsroom == 0.0
    grown = split_variance((1000, 4000), (0.1, 0.2))
    assert grown.readers == 0.0
    assert grown.newsroom == pytest.approx(0.15)
    with pytest.raises(ValueError, match="sizes: got"):
        split_variance((1000, 1000), (0.1, 0.1))


def test_the_table_says_that_a_clear_difference_takes_few_seeds_and_more_days_fewer() -> None:
    rng = np.random.default_rng(0)

    def runs(readers: int) -> tuple[Run, ...]:
        made = []
        for seed in range(6):
            luck = rng.normal(0.0, 0.3, 28)
            for agent, extra in (("recent", 0.0), ("popular", 0.5)):
                curves = Curves(readers, 28.0, 24.0)
                curves.totals["reward"] = readers * (1.0 + extra + luck + rng.normal(0.0, 0.2, 28))
                made.append(Run(agent, seed, False, curves))
        return tuple(made)

    rows = power_table({1000: runs(1000), 4000: runs(4000)}, [("recent", "popular")]).splitlines()[2:]
    days = [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]
    assert [row[1] for row in days] == ["7", str(DAYS)]
    for row in days:
        assert float(row[2]) == pytest.approx(0.5, abs=0.15)
        assert 2 <= int(row[5]) <= 6
    assert float(days[1][4]) < float(days[0][4])

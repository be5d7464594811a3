"""Last days against first, as multiples of random's; and the columns of opens from elsewhere."""

import csv
import io
from typing import Any

import numpy as np
import pytest

from feedgym.experiments.reports import Run, rank, ranking_csv, ranking_text, run_points
from feedgym.experiments.reports.curves import OPENS, PARTS, Curves
from feedgym.experiments.reports.run_table import run_table
from feedgym.experiments.reports.trend import trend_of


def run_of(agent: str, seed: int, rewards: Any, clicks: float = 3.0, opens: float | None = None) -> Run:
    """A run of 10 readers with these rewards on its days."""
    totals = {name: np.zeros(4 * len(rewards)) for name in PARTS}
    totals["reward"] = np.repeat(np.asarray(rewards, dtype=np.float64), 4) * 2.5
    totals["clicks"] += clicks * 2.5
    totals["reader_days"] += 2.5
    if opens is not None:
        totals[OPENS] = np.full(4 * len(rewards), opens * 2.5)
    return Run(agent, seed, False, Curves(10, float(len(rewards)), 6.0, totals))


def test_a_trend_is_the_last_third_over_the_first_as_multiples_of_randoms() -> None:
    """Seven days: two against two. Seed 0: (6 / 2) / (2 / 1); seed 1: (3 / 3) / (1 / 2)."""
    runs = [
        run_of("random", 0, [0.5, 0.5, 9, 9, 9, 1, 1]),
        run_of("random", 1, [1, 1, 9, 9, 9, 0.5, 0.5]),
        run_of("learner", 0, [1, 1, 7, 7, 7, 2, 4]),
        run_of("learner", 1, [1, 2, 7, 7, 7, 2, 1]),
    ]
    table = run_table(runs)
    own, steady = trend_of(table, "learner"), trend_of(table, "random")
    assert own is not None and steady is not None  # noqa: PT018
    assert own.mean == pytest.approx((1.5 + 2.0) / 2)
    assert own.low == pytest.approx(1.75 - 12.7062 * 0.25, rel=1e-4)  # t of one degree of freedom, sd / sqrt(2)
    assert not own.falls
    assert (steady.mean, steady.low, steady.high) == (1.0, 1.0, 1.0)
    assert not steady.falls


def test_who_falls_on_all_seeds_is_marked_and_one_seed_says_nothing() -> None:
    days = [1.0, 1.0, 1.0]
    runs = [run_of("random", seed, days) for seed in range(4)]
    runs += [run_of("faller", seed, [2.0, 1.5, 1.0 + 0.01 * seed]) for seed in range(4)]
    runs += [run_of("unsteady", seed, [2.0, 1.5, last]) for seed, last in enumerate((0.4, 1.0, 0.4, 3.0))]
    ranking = rank(runs)
    shown = {line.split()[1]: line for line in ranking_text(ranking).splitlines() if line[:1].isdigit()}
    assert shown["faller"].endswith("0.51 falls")
    assert shown["unsteady"].endswith(" 0.60")
    alone = {row.agent: row.trend for row in rank([run for run in runs if run.seed == 0]).rows}
    assert alone["faller"] is not None
    assert alone["faller"].mean == 0.5
    assert not alone["faller"].falls


@pytest.mark.parametrize(
    "runs",
    [
        [run_of("learner", 0, [1, 2, 3])],  # no random
        [run_of("learner", 0, [1, 2]), run_of("random", 0, [1, 1])],  # too short
        [run_of("learner", 0, [0, 2, 3]), run_of("random", 0, [1, 1, 1])],  # nothing at first
        [run_of("learner", 0, [1, 2, 3]), run_of("random", 0, [1, 1, 0])],
    ],
)
def test_what_cannot_be_said_is_not_said(runs: list[Run]) -> None:
    ranking = rank(runs)
    row = next(row for row in ranking.rows if row.agent == "learner")
    assert row.trend is None
    line = next(line for line in ranking_text(ranking).splitlines() if "learner" in line)
    assert line.endswith(" -")
    assert "nan" not in ranking_csv(ranking)


def test_opens_from_elsewhere_have_columns_where_there_are_such() -> None:
    runs = [run_of("random", seed, [1, 1, 1], clicks=3.0, opens=1.0) for seed in (0, 1)]
    ranking = rank(runs)
    row = ranking.rows[0]
    assert row.organic_opens == pytest.approx(1.0)
    assert row.organic_share == pytest.approx(0.25)
    text = ranking_text(ranking)
    assert "organic %" in text.splitlines()[0]
    assert "their share of all opens" in text
    table = next(csv.DictReader(io.StringIO(ranking_csv(ranking))))
    assert float(table["organic_opens"]) == pytest.approx(1.0)
    assert float(table["trend"]) == 1.0
    assert dict(run_points(runs[0].curves))[24][f"{OPENS}/daily"] == pytest.approx(1.0)
    plain = [run_of("random", 0, [1, 1, 1])]
    assert "organic" not in ranking_text(rank(plain)) + ranking_csv(rank(plain))
    assert f"{OPENS}/daily" not in dict(run_points(plain[0].curves))[24]

"""The ranking table: order, best baseline, common seeds, units and text."""

import csv
import io

import numpy as np
import pytest

from feedgym.experiments.reports.curves import PARTS, Curves, Run
from feedgym.experiments.reports.ranking import number, rank, ranking_csv, ranking_markdown, ranking_text
from feedgym.experiments.reports.run_table import daily_rate, daily_there, run_table
from feedgym.experiments.reports.statistics import paired_difference
from helpers.made_up_runs import fake_runs


def tiny(agent: str, seed: int, reward: float, left: float = 0.0, is_oracle: bool = False) -> Run:
    """Ten readers, two days in one bin each; all reward on the first day."""
    totals = {name: np.zeros(2) for name in PARTS}
    totals["reward"] = np.array([reward, 0.0])
    totals["clicks"] = np.array([20.0, 20.0])
    totals["left"] = np.array([left, left])
    totals["reader_days"] = np.array([10.0, 10.0 - left])
    return Run(agent, seed, is_oracle, Curves(10, 2.0, 24.0, totals))


def test_known_table() -> None:
    """Worked out by hand: 10 readers, 2 days, so 20 reader days."""
    runs = [
        *(tiny("popular", seed, reward) for seed, reward in enumerate((18, 24, 14, 22, 18))),
        *(tiny("learner", seed, reward, left=0.5) for seed, reward in enumerate((20, 28, 16, 24, 22))),
        *(tiny("random", seed, 2) for seed in range(5)),
    ]
    ranking = rank(runs)
    learner, popular, random = ranking.rows
    assert [row.agent for row in ranking.rows] == ["learner", "popular", "random"]
    assert ranking.baseline == "popular"
    assert learner.reward == pytest.approx(1.1)
    assert learner.clicks == pytest.approx(2.0)
    assert learner.readers_lost_percent == pytest.approx(10.0)
    assert learner.reward_there == pytest.approx(22.0 / 19.5)
    assert learner.reward_by_seed == pytest.approx((1, 1.4, 0.8, 1.2, 1.1))
    # The rewards are A and B of docs/mathematics.md 10.5.
    assert learner.versus is not None
    assert (learner.versus.low, learner.versus.high) == pytest.approx((0.0719913, 0.2080087), abs=5e-8)
    assert popular.versus is None
    assert random.versus is not None
    assert random.versus.mean == pytest.approx(0.1 - 0.96)
    text = ranking_text(ranking)
    first = text.splitlines()[2].split()
    assert first == [
        "1",
        "learner",
        "1.100",
        "1.128",
        "2.000",
        "0.000",
        "0.000",
        "10.0",
        "+0.140",
        "[+0.072,",
        "+0.208]",
        "29.3x",
        "-",
    ]
    assert "best baseline" in text.splitlines()[3]


def test_the_best_baseline_is_no_oracle_and_must_have_run() -> None:
    runs = [
        *(tiny("popular", seed, 10) for seed in range(3)),
        *(tiny("recent", seed, 12) for seed in range(3)),
        *(tiny("oracle", seed, 90, is_oracle=True) for seed in range(3)),
    ]
    assert rank(runs).baseline == "recent"
    assert rank(runs, ("oracle", "popular", "absent")).baseline == "popular"
    alone = rank(runs, ("oracle",))
    assert alone.baseline is None
    assert all(row.versus is None for row in alone.rows)
    assert alone.remarks == ("None of the baselines (oracle) was run: no differences.",)
    assert "oracle (oracle, sees latents)" in ranking_text(alone)


def test_agents_are_compared_on_common_seeds_and_it_says_so() -> None:
    runs = [tiny("popular", seed, 10 + seed) for seed in (3, 1, 2)]
    runs += [tiny("learner", seed, 20 + seed) for seed in (1, 3, 7)]
    ranking = rank(runs)
    assert ranking.seeds == (1, 3)
    assert ranking.rows[0].reward_by_seed == pytest.approx((21 / 20, 23 / 20))
    assert ranking.rows[0].versus == paired_difference(np.array([21, 23]) / 20, np.array([11, 13]) / 20)
    assert ranking.remarks == (
        "Not every agent has finished every seed: compared on the common seeds 1, 3. "
        "Left out, by agent and seed: learner 7; popular 2.",
    )
    assert ranking.remarks[0] in ranking_text(ranking)


def lasting(agent: str, seed: int, there: tuple[float, ...]) -> Run:
    """Readers of hour 0: 1,000; there day by day."""
    totals = {name: np.ones(len(there)) for name in PARTS} | {"reader_days": np.array(there)}
    return Run(agent, seed, False, Curves(1000, float(len(there)), 24.0, totals))


def test_it_warns_when_fewer_than_200_readers_a_day_are_left() -> None:
    runs = [lasting("recent", seed, (900.0, 600.0, 400.0)) for seed in (0, 1)]
    runs += [lasting("random", 0, (900.0, 200.0, 200.0)), lasting("random", 1, (900.0, 199.6, 90.0))]
    ranking = rank(runs)
    warning = "random: fewer than 200 readers are there from day 2 on, fewest on day 3 (seed 1): 90."
    assert ranking.remarks == (warning,)
    assert warning in ranking_text(ranking)
    # Per day of a reader who is there, and per reader of hour 0.
    recent = next(row for row in ranking.rows if row.agent == "recent")
    assert (recent.reward, recent.reward_there) == pytest.approx((3.0 / 3000.0, 3.0 / 1900.0))


def test_who_is_there_is_an_average_over_bins_of_any_length() -> None:
    totals = {name: np.zeros(3) for name in PARTS} | {"reader_days": np.array([50.0, 30.0, 10.0])}
    curves = Curves(100, 1.25, 12.0, totals)  # the last bin has six hours
    assert curves.there() == pytest.approx([100.0, 60.0, 40.0])
    assert daily_there(curves) == pytest.approx([80.0, 40.0])


def test_order_of_runs_changes_nothing() -> None:
    runs = fake_runs()
    mixed = [runs[i] for i in np.random.default_rng(1).permutation(len(runs))]
    assert ranking_text(rank(mixed)) == ranking_text(rank(runs))
    assert ranking_csv(rank(mixed)) == ranking_csv(rank(runs))


def test_one_seed_shows_no_interval() -> None:
    ranking = rank(fake_runs(seeds=[4]))
    text = ranking_text(ranking)
    assert "nan" not in text + ranking_markdown(ranking) + ranking_csv(ranking)
    assert "One seed: no interval" in text
    best = next(line for line in text.splitlines() if "regression-dwell" in line)
    assert best.endswith("[-]        -   1.02")


def test_csv_holds_full_precision() -> None:
    ranking = rank(fake_runs())
    rows = list(csv.DictReader(io.StringIO(ranking_csv(ranking))))
    assert [row["agent"] for row in rows] == [row.agent for row in ranking.rows]
    for read, row in zip(rows, ranking.rows, strict=True):
        assert float(read["reward"]) == row.reward
        assert read["difference_low"] == ("" if row.versus is None else str(row.versus.low))


def test_markdown_has_as_many_cells_in_each_line() -> None:
    lines = ranking_markdown(rank(fake_runs())).splitlines()
    assert len(lines) == 2 + 5
    assert len({line.count("|") for line in lines}) == 1


def test_a_short_last_day_counts_by_its_length() -> None:
    totals = {name: np.array([10.0, 10.0, 10.0]) for name in PARTS}
    # A day and a half in bins of 12 hours: the same rate on both days.
    assert daily_rate(Curves(10, 1.5, 12.0, totals), "reward") == pytest.approx([2.0, 2.0])


def test_bad_runs_are_named() -> None:
    one = tiny("popular", 0, 1)
    with pytest.raises(ValueError, match="runs: got \\('popular', 0\\), needs each agent and seed once"):
        run_table([one, one])
    with pytest.raises(ValueError, match="a seed that every agent has finished"):
        run_table([one, tiny("learner", 1, 1)])
    with pytest.raises(ValueError, match="one \\(num_readers, days, bin_hours\\)"):
        run_table([one, Run("learner", 0, False, Curves(11, 2.0, 24.0))])
    with pytest.raises(ValueError, match="at least one finished run"):
        run_table([])


def test_numbers_have_fixed_decimals_and_no_minus_zero() -> None:
    assert [number(x) for x in (-0.0001, 0.0, -10.0, 1234.5)] == ["0.000", "0.000", "-10.000", "1234.500"]
    assert number(0.25, sign="+") == "+0.250"

"""Own lists against one list in report, CSV and summary events."""

import csv
import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from feedgym.experiments.measures import PERSONAL
from feedgym.experiments.reports.curves import Run
from feedgym.experiments.reports.event_files import summary_points
from feedgym.experiments.reports.personal_report import mean_personal
from feedgym.experiments.reports.ranking import rank, ranking_csv
from feedgym.experiments.reports.run_table import run_table
from helpers.folders import report_of
from helpers.made_up_runs import fake_runs

HEADING = "## Is it personal? Own list against one list"


def personal(seed: int) -> dict[str, Any]:
    """Of 3.5 days; the last window has something in even seeds alone."""
    third: dict[str, Any] = {"name": "last_third", "start": 7 / 3, "end": 3.5, "ticks": 0, "visits": 0}
    if seed % 2 == 0:
        third |= {"ticks": 2, "visits": 20, "correlation": -0.001, "gain": -0.0312}
    return {
        "visits": 100 + seed,
        "days": {"correlation": [0.0, None, 0.25 + seed], "gain": [0.5, None, None]},
        "windows": [
            {"name": "day_3", "start": 2.0, "end": 3.0, "ticks": 5, "visits": 50}
            | {"correlation": 0.2 + 0.1 * seed, "gain": 0.1},
            third,
        ],
    }


def with_personal(run: Run) -> Run:
    found = personal(run.seed) if run.agent != "popular" else None
    evaluation = {"relevance": "", "visits": 0, "ranking": {}, "reliability": [], "regret": None, "personal": found}
    return replace(run, evaluation=evaluation)


RUNS = [with_personal(run) for run in fake_runs(("popular", "regression-dwell", "oracle-dwell"), (0, 1))]


def test_the_table_has_intervals_over_seeds_and_leaves_out_who_scores_all_alike(tmp_path: Path) -> None:
    section = report_of(RUNS, tmp_path).split(HEADING)[1].split("\n## ")[0]
    table = [line.strip("|").split("|") for line in section.splitlines() if line.startswith("|")]
    lines = [[cell.strip() for cell in line] for line in table]
    assert lines[0][1:] == [
        "agent",
        "correlation, days 2 to 3 [95 %]",
        "gain %, days 2 to 3 [95 %]",
        "correlation, days 2.33 to 3.5 [95 %]",
        "gain %, days 2.33 to 3.5 [95 %]",
    ]
    # t(1, .975) sd / sqrt(2) = 12.7062 * .05, and one seed has no interval.
    cells = ["+0.25 [-0.39, +0.89]", "+10.0 [+10.0, +10.0]", "+0.00 [-]", "-3.1 [-]"]
    assert lines[2:] == [["1", "oracle-dwell (oracle, sees latents)", *cells], ["2", "regression-dwell", *cells]]
    assert "at least 201 of each agent" in section
    assert "were not asked: popular." in section


def test_where_nothing_is_personal_or_known_there_is_no_section(tmp_path: Path) -> None:
    for runs in ([run for run in RUNS if run.agent == "popular"], fake_runs(("popular",), (0,))):
        assert HEADING not in report_of(runs, tmp_path)
    assert mean_personal([None, {"personal": None}, {}]).windows == {}


def test_csv_and_summary_events_have_the_means() -> None:
    rows = {row["agent"]: row for row in csv.DictReader(io.StringIO(ranking_csv(rank(RUNS))))}
    learned = {name: value for name, value in rows["regression-dwell"].items() if name.startswith("personal_")}
    assert list(learned) == [
        f"personal_{what}_{window}" for window in ("day_3", "day_7", "day_14", "last_third") for what in PERSONAL
    ]
    assert np.allclose([float(learned[f"personal_{what}_day_3"]) for what in ("correlation", "gain")], [0.25, 0.1])
    assert (learned["personal_gain_last_third"], learned["personal_gain_day_7"]) == ("-0.0312", "")
    assert {value for name, value in rows["popular"].items() if name.startswith("personal_")} == {""}
    points = dict(summary_points(run_table(RUNS), "regression-dwell"))
    found = {hour: {t: v for t, v in tags.items() if t.startswith("personal/")} for hour, tags in points.items()}
    assert {hour: tags for hour, tags in found.items() if tags} == {
        24: {"personal/correlation": 0.0, "personal/gain": 0.5},
        72: {"personal/correlation": 0.75},
    }

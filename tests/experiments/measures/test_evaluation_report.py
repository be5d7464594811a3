"""The evaluation of runs in report and CSV."""

import csv
import io
from pathlib import Path

import numpy as np

from feedgym.experiments.measures.evaluation import (
    CLICKED,
    EXPECTED,
    METRICS,
)
from feedgym.experiments.reports.curves import Curves, Run
from feedgym.experiments.reports.evaluation_report import mean_evaluation
from feedgym.experiments.reports.ranking import rank, ranking_csv
from helpers.folders import report_of


# ---- tables ----
def evaluated_run(agent: str, seed: int, level: float, relevance: str = EXPECTED) -> Run:
    totals = {name: np.full(2, 10.0 * level) for name in Curves(10, 2.0, 24.0).totals}
    ranking = dict.fromkeys(METRICS, level) | {"recall_at_100/under_1_h": level + seed}
    table = [
        {"prediction": 0.1, "click_rate": 0.2, "impressions": 10},
        {"prediction": 0.4, "click_rate": 0.2, "impressions": 30 + 30 * seed},
    ]
    found = {"relevance": relevance, "visits": 100 + seed, "ranking": ranking}
    found["reliability"] = table if agent == "learner" else []
    return Run(agent, seed, False, Curves(10, 2.0, 24.0, totals), found)


def test_the_report_and_the_csv_show_means_over_seeds(tmp_path: Path) -> None:
    runs = [
        evaluated_run(agent, seed, level) for agent, level in (("popular", 0.25), ("learner", 0.5)) for seed in (0, 1)
    ]
    text = report_of(runs, tmp_path)
    section = text.split("## Ranking on the full live catalogue")[1].split("## Calibration")[0]
    assert "| 1 | learner | 0.500 | 0.500 | 0.500 | 0.500 | 1.000 | - | - | - | - |" in section
    assert "| 2 | popular | 0.250 |" in section
    assert "at least 201 of each agent" in section
    assert "Biased by exposure" not in section
    calibration = text.split("## Calibration")[1].split("##")[0]
    assert "learner:" in calibration
    assert "popular:" not in calibration
    assert "| 1 | 0.1000 | 0.2000 | 0.500 | 20 |" in calibration
    assert "| 2 | 0.4000 | 0.2000 | 2.000 | 90 |" in calibration
    assert f"| all | {(2 + 36) / 110:.4f} | 0.2000 |" in calibration
    rows = list(csv.DictReader(io.StringIO(ranking_csv(rank(runs)))))
    assert [row["ndcg_at_10"] for row in rows] == ["0.5", "0.25"]
    assert (rows[0]["recall_at_100_under_1_h"], rows[0]["mrr_over_24_h"]) == ("1.0", "")


def test_clicks_as_relevance_are_marked_as_biased(tmp_path: Path) -> None:
    assert "Biased by exposure" in report_of([evaluated_run("popular", 0, 0.5, CLICKED)], tmp_path)


def test_without_evaluation_there_are_no_tables(tmp_path: Path) -> None:
    run = evaluated_run("popular", 0, 0.5)
    text = report_of([Run(run.agent, run.seed, False, run.curves)], tmp_path)
    assert "full live catalogue" not in text
    assert "Calibration" not in text
    assert mean_evaluation([None, None]).ranking == {}

"""Known answers of the numbers for editors, and their tables."""

import csv
import dataclasses
import io
import math
from pathlib import Path

import numpy as np
import pytest

from feedgym.experiments.measures.editor_metrics import age_bucket, gini, shown_less_than, slate_entropy
from feedgym.experiments.measures.editor_sums import NAMES
from feedgym.experiments.measures.repeats import Repeats
from feedgym.experiments.reports.curves import Curves, Run
from feedgym.experiments.reports.editor_report import editor_csv_names, mean_days, mean_editor
from feedgym.experiments.reports.ranking import rank, ranking_csv
from helpers.folders import report_of


# ---- the measures ----
def test_gini_of_known_counts() -> None:
    assert gini(np.array([3, 3, 3])) == 0.0
    assert gini(np.array([0, 0, 0, 8])) == pytest.approx(0.75)
    assert gini(np.array([1, 3])) == pytest.approx(0.25)
    assert math.isnan(gini(np.zeros(4)))
    assert math.isnan(gini(np.zeros(0)))


def test_entropy_of_known_slates() -> None:
    topic = np.array([[1, 1, 1, 1], [0, 1, 2, 3], [5, 5, 6, 6], [5, 5, 6, 6], [1, 2, 3, 4]])
    valid = np.array([[1, 1, 1, 1], [1, 1, 1, 1], [1, 1, 1, 1], [1, 1, 0, 0], [0, 0, 0, 0]], dtype=bool)
    found = slate_entropy(topic, valid)
    assert found[:4] == pytest.approx([0.0, math.log(4), math.log(2), 0.0], abs=1e-12)
    assert math.isnan(found[4])


def test_ages_at_the_edges() -> None:
    ages = np.array([0.0, 0.999, 1.0, 2.9, 3.0, 11.9, 12.0, 23.9, 24.0, 500.0])
    assert age_bucket(ages).tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]


def test_few_is_what_had_been_shown_before_the_tick() -> None:
    article = np.array([0, 0, 1, 0, 1, 1, 0, 2])
    size = np.array([3, 0, 3, 2])
    found = shown_less_than(3, article, size, np.array([1, 0, 9]))
    # Article 0 had 1, 3, 4; article 1 had 0, 1; article 2 had 9.
    assert found.tolist() == [True, True, True, False, True, True, False, False]


def test_repeats_are_those_of_a_set_and_survive_a_snapshot() -> None:
    rng = np.random.default_rng(1)
    repeats, seen, is_live = Repeats(13), set(), np.ones(40, dtype=bool)
    for step in range(20):
        expected = 0
        reader, article = rng.integers(0, 13, 30), rng.integers(step, 20 + step, 30)
        for pair in zip(reader.tolist(), article.tolist(), strict=True):
            expected += pair in seen
            seen.add(pair)
        assert repeats.count(reader, article) == expected
        is_live[:step] = False
        repeats.forget(is_live)
        other = Repeats(13)
        other.restore(repeats.snapshot())
        repeats = other
    assert repeats.count(np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)) == 0


# ---- tables ----
def viewed_run(agent: str, seed: int, level: float) -> Run:
    totals = {name: np.full(2, 10.0 * level) for name in Curves(10, 2.0, 24.0).totals}
    values = {name: level + 0.1 * seed for name in NAMES if not name.endswith("over_24_h")}
    if seed == 0:
        values["click_rate/over_24_h"] = 0.25
    return Run(agent, seed, False, Curves(10, 2.0, 24.0, totals), None, {"followed_readers": 256, "values": values})


def test_the_report_and_the_csv_show_means_over_seeds(tmp_path: Path) -> None:
    runs = [viewed_run(agent, seed, level) for agent, level in (("popular", 0.2), ("learner", 0.5)) for seed in (0, 1)]
    section = report_of(runs, tmp_path).split("## What an editor asks first")[1].split("\n## ")[0]
    assert "| 1 | learner | 55.0 | 55.0 | 0.550 | 0.550 | 0.550 | 55.0 | 55.0 |" in section
    assert "| 2 | popular | 25.0 |" in section
    assert "| learner | exposure % | 55.0 | 55.0 | 55.0 | 55.0 | - | 55.0 | - |" in section
    assert "|  | click rate % | 25.0 | 25.0 | 25.0 | 25.0 | 25.0 | 25.0 | 25.0 |" in section
    assert "of 256 readers" in section
    rows = list(csv.DictReader(io.StringIO(ranking_csv(rank(runs)))))
    assert [float(row["editor_coverage"]) for row in rows] == pytest.approx([0.55, 0.25])
    assert rows[0]["editor_click_rate_over_24_h"] == "0.25"
    assert rows[0]["editor_click_share_over_24_h"] == ""
    assert set(editor_csv_names()) <= rows[0].keys()


def test_means_of_each_day_are_over_the_runs_that_define_it() -> None:
    one = {"coverage": [0.2, 0.4], "click_rate/all": [None, 0.1]}
    two = {"coverage": [0.4, 0.5], "click_rate/all": [0.3, 0.3]}
    found = mean_days([{"days": one}, None, {"values": {}}, {"days": two}])
    assert found[0] == pytest.approx({"editor/coverage": 0.3, "editor/click_rate_all": 0.3})
    assert found[1] == pytest.approx({"editor/coverage": 0.45, "editor/click_rate_all": 0.2})
    assert mean_days([None, {"values": {}}]) == []


def test_without_a_view_there_are_no_tables(tmp_path: Path) -> None:
    run = dataclasses.replace(viewed_run("popular", 0, 0.5), editor=None)
    assert "editor" not in report_of([run], tmp_path)
    assert mean_editor([None, None]).values == {}

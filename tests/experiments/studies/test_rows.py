"""Rows: a study goes on from them without running anything, takes none of other settings, and says what it will do."""

import dataclasses
import json
import shutil
import time
from pathlib import Path
from typing import Any

import pytest

from feedgym.experiments import compare
from feedgym.experiments.compare import CompareConfig
from feedgym.experiments.runs import code_with, kept_result, run_tasks
from feedgym.experiments.studies import rows, study
from feedgym.experiments.studies.rows import kept_rows, read_rows
from feedgym.experiments.studies.units import Unit, plan_text, run_units
from feedgym.experiments.studies.worlds import real_articles

Started = list[tuple[str, int]]
"""Agents and seeds that were run, in order."""


def small(out: Path) -> CompareConfig:
    size: dict[str, Any] = {"seeds": (0, 1), "readers": 10, "days": 1.0, "tick_hours": 6.0}
    return CompareConfig(agents=("random", "recent"), **size, out=out, log=False, workers=1)


def command(at: Path, *more: str) -> list[str]:
    return ["real_articles", "--out", str(at / "studies"), "--rows", str(at / "rows"), *more]


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> Started:
    """The study is a small one, whose runs are noted when they start."""
    found: Started = []

    def noted(tasks: Any, workers: int, tell: Any) -> None:
        found.extend(
            (task.config.agent, task.config.seed) for task in tasks if not (task.folder / "done.json").exists()
        )
        run_tasks(tasks, workers, tell)

    monkeypatch.setattr("feedgym.experiments.compare.run_tasks", noted)
    monkeypatch.setattr(real_articles, "config", small)
    monkeypatch.setattr(real_articles, "CLAIMS", (("recent", "random", "newest first beats chance"),))
    return found


def everything(at: Path) -> dict[str, bytes]:
    return {str(path.relative_to(at)): path.read_bytes() for path in sorted(at.rglob("*")) if path.is_file()}


def test_a_study_goes_on_from_rows_alone(tmp_path: Path, started: Started, capsys: pytest.CaptureFixture[str]) -> None:
    study.main(command(tmp_path, "--plan"))
    assert "4 units, 0 done" in capsys.readouterr().out
    assert everything(tmp_path) == {}  # a plan writes nothing
    study.main(command(tmp_path))
    said = capsys.readouterr().out
    assert said.startswith("Plan of `feedgym study real_articles`: 4 units, 0 done")
    assert "| recent | 10 readers, 1 day | 0, 1 | 2 | 0 |" in said
    assert len(started) == 4
    table = (tmp_path / "studies" / "real_articles" / "table.md").read_bytes()
    kept = (tmp_path / "rows" / "real_articles.jsonl").read_bytes()
    assert len(kept.splitlines()) == 4

    shutil.rmtree(tmp_path / "studies")
    study.main(command(tmp_path, "--plan"))
    assert "4 units, 4 done, about 0.0 CPU-hours" in capsys.readouterr().out
    study.main(command(tmp_path))
    assert len(started) == 4  # nothing was run again
    assert (tmp_path / "studies" / "real_articles" / "table.md").read_bytes() == table
    assert (tmp_path / "rows" / "real_articles.jsonl").read_bytes() == kept

    # One row is lost: its run is done again, and gives the same row.
    lines = kept.splitlines(keepends=True)
    (tmp_path / "rows" / "real_articles.jsonl").write_bytes(b"".join(lines[:2] + lines[3:]))
    shutil.rmtree(tmp_path / "studies")
    study.main(command(tmp_path))
    assert started[4:] == [("recent", 0)]
    assert (tmp_path / "rows" / "real_articles.jsonl").read_bytes() == kept


def test_rows_of_other_settings_are_not_taken(
    tmp_path: Path, started: Started, monkeypatch: pytest.MonkeyPatch
) -> None:
    study.main(command(tmp_path))
    monkeypatch.setattr(real_articles, "config", lambda out: dataclasses.replace(small(out), readers=11, seeds=(1, 2)))
    study.main(command(tmp_path))
    assert len(started) == 8
    kept = [json.loads(line) for line in (tmp_path / "rows" / "real_articles.jsonl").read_text().splitlines()]
    assert [row["result"]["done"]["num_readers"] for row in kept] == [11] * 4  # the others are none of this study


def test_rows_of_other_code_are_done_anew_or_reused(
    tmp_path: Path, started: Started, capsys: pytest.CaptureFixture[str]
) -> None:
    study.main(command(tmp_path))
    file = tmp_path / "rows" / "real_articles.jsonl"
    kept = [json.loads(line) for line in file.read_text().splitlines()]
    for row in kept[:3]:
        row["code"]["feedgym.env"] = "another"
    file.write_text("".join(json.dumps(row) + "\n" for row in kept))
    shutil.rmtree(tmp_path / "studies")
    capsys.readouterr()
    study.main(command(tmp_path, "--plan"))
    assert "4 units, 1 done" in (said := capsys.readouterr().out)
    assert "3 are finished, but of other code" in said
    study.main(command(tmp_path, "--reuse"))
    assert "3 finished runs are of other code" in capsys.readouterr().err
    assert len(started) == 4
    assert "taken as it is (--reuse)" in (tmp_path / "studies" / "real_articles" / "table.md").read_text()
    study.main(command(tmp_path))
    assert "3 finished runs are of other code (changed since: feedgym.env): done anew" in capsys.readouterr().err
    again = [json.loads(line) for line in file.read_text().splitlines()]
    assert all(row["code"] == kept[3]["code"] for row in again)
    assert [row["result"] for row in again] == [row["result"] for row in kept]


def result_unit(out: Path, seed: int) -> Unit:
    path = out / "some" / f"seed-{seed}.json"
    code = code_with("feedgym.experiments.studies.rows")
    return Unit(group="some", seed=seed, size="-", path=path, settings={"of": (1, seed)}, code=code, minutes=30.0)


def test_other_results_have_rows_too(tmp_path: Path) -> None:
    units = [result_unit(tmp_path, seed) for seed in (3, 4)]
    file, made = tmp_path / "rows.jsonl", []

    def do(unit: Unit) -> Any:
        def make() -> dict[str, float]:
            made.append(unit.seed)
            return {"third": 1 / 3, "whole": 2.0}

        return kept_result(unit.path, unit.settings, make, code=unit.code)

    assert "2 units, 0 done, about 1.0 CPU-hours to go" in plan_text("x", units)
    with kept_rows(file, units, tmp_path):
        do(units[1])
    shutil.rmtree(tmp_path / "some")
    with kept_rows(file, units, tmp_path):
        assert do(units[1]) == {"third": pytest.approx(1 / 3, rel=1e-9), "whole": 2.0}
        do(units[0])
    assert made == [4, 3]
    assert [json.loads(line)["path"] for line in file.read_text().splitlines()] == [
        "some/seed-3.json",
        "some/seed-4.json",
    ]
    other = dataclasses.replace(units[0], settings={"of": (1, 5)})
    assert read_rows(file, [other, units[1]], tmp_path).keys() == {units[1].path}


def test_rows_are_written_while_a_study_runs_and_when_it_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "EVERY_SECONDS", 0.01)
    units, file = [result_unit(tmp_path, seed) for seed in (3, 4)], tmp_path / "rows.jsonl"
    meanwhile = []

    def stopped() -> None:
        with kept_rows(file, units, tmp_path):
            kept_result(units[0].path, units[0].settings, lambda: 1, code=units[0].code)
            for _ in range(500):
                if file.exists():
                    break
                time.sleep(0.01)
            meanwhile.extend(file.read_text().splitlines())
            kept_result(units[1].path, units[1].settings, lambda: 1, code=units[1].code)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stopped()
    assert len(meanwhile) == 1
    assert len(file.read_text().splitlines()) == 2


@pytest.mark.parametrize("name", sorted({*study.STUDIES, *study.TABLES} - {"measured_facts", "newcomers"}))
def test_every_study_names_its_work(name: str, tmp_path: Path) -> None:
    units = study.units_of(name, tmp_path)
    assert len({unit.path for unit in units}) == len(units) > 3
    assert all(unit.path.is_relative_to(tmp_path / name) and unit.minutes > 0 for unit in units)
    assert f"{len(units)} units, 0 done" in plan_text(name, units)


def test_a_unit_is_the_run_that_a_comparison_does(tmp_path: Path) -> None:
    config = small(tmp_path)
    assert [unit.state for unit in run_units(config)] == ["to do"] * 4
    compare.run(config, quiet=True)
    assert [unit.state for unit in run_units(config, "part")] == ["done"] * 4

"""A result is of this code: digests of FeedGym's parts and of the user's modules, and what becomes of other results."""

import importlib
import json
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from feedgym.experiments import compare, train
from feedgym.experiments.commands import log
from feedgym.experiments.runs import code, kept_result
from feedgym.experiments.runs.checkpoint import CHECKPOINT, DONE, read_json, write_json
from feedgym.experiments.runs.code import OtherCodeWarning, code_of_feedgym, code_with, own_modules
from feedgym.experiments.runs.messages import Progress
from feedgym.experiments.runs.run_config import RunConfig
from feedgym.experiments.studies import study

READERS = """
import my_tastes
import numpy as np

from feedgym.env import Outcome


class Plain:
    def spawn(self, reader_ids, noise):
        return {"gap": 6.0 + 6.0 * noise.uniform("gap0", "reader")}

    def first_visit(self, state, rows, noise):
        return 12.0 * noise.uniform("first", "reader")

    def respond(self, state, rows, slate, now, noise):
        clicks = slate.valid & (noise.uniform("click", "impression") < my_tastes.BASE)
        return Outcome(clicks=clicks, dwell_minutes=1.0 * clicks, subscribed=np.zeros(len(rows), dtype=bool))

    def next_visit(self, state, rows, outcome, now, noise):
        return state["gap"][rows]
"""
SMALL: dict[str, Any] = {"agent": "recent", "readers": 20, "days": 2.0, "tick_hours": 2.0}
OTHER = {"feedgym.agents": "0123456789abcdef"}


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def made_by_other_code(folder: Path, **parts: str) -> None:
    """As if the agents' code had been another one."""
    settings = read_json(folder / "config.json")
    write_json(folder / "config.json", settings | {"code": settings["code"] | (parts or OTHER)})


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The current folder, with modules of the user's own: forgotten at the end."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if name.split(".")[0].startswith("my_"):
            del sys.modules[name]
    importlib.invalidate_caches()


def forget(*names: str) -> None:
    """As a new process would: modules are read anew."""
    for name in names:
        del sys.modules[name]
    importlib.invalidate_caches()


# ---- FeedGym's own ----
def test_every_part_that_runs_has_a_digest_and_what_only_reports_has_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = [
        *("env/feed/feed.py", "towers/two_tower.py", "agents/agent.py"),
        *("experiments/runs/runner.py", "experiments/measures/repeats.py", "experiments/reports/curves.py"),
    ]
    apart = ["experiments/studies/power.py", "experiments/reports/plots.py", "experiments/compare.py", "docs/a.py"]
    for name in (*files, *apart):
        assert name == "docs/a.py" or name.endswith("power.py") or (code.ROOT / name).is_file(), name
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x = 1\n")
    monkeypatch.setattr(code, "ROOT", tmp_path)

    def digests() -> dict[str, str]:
        code._digest_of_files.cache_clear()
        return dict(code_of_feedgym.__wrapped__())

    first = digests()
    for name in (*files, *apart):
        (tmp_path / name).write_text("x = 2\n")
        part = "feedgym." + name.split("/")[0]
        assert {key for key in first if digests()[key] != first[key]} == ({part} if name in files else set()), name
        (tmp_path / name).write_text("x = 1\n")
    (tmp_path / "env/feed/feed.py").rename(tmp_path / "env/feed/other.py")
    assert digests()["feedgym.env"] != first["feedgym.env"]
    code._digest_of_files.cache_clear()


def test_the_digest_is_read_once_and_fast() -> None:
    code._digest_of_files.cache_clear()
    best = min(_seconds(lambda: code_of_feedgym.__wrapped__(), code._digest_of_files.cache_clear) for _ in range(5))
    assert best < 0.05
    assert code_of_feedgym() is code_of_feedgym()
    assert set(code_with("feedgym.experiments.studies.learning")) == {
        *code.PARTS,
        "feedgym.experiments.studies.learning",
    }


def _seconds(call: Callable[[], object], before: Callable[[], object]) -> float:
    before()
    start = time.process_time()
    call()
    return time.process_time() - start


# ---- the user's own ----
def test_all_modules_of_ones_own_count_however_they_are_imported(own: Path) -> None:
    files = {
        "my_model.py": "import json, numpy\nimport my_package.deep.leaf\nfrom my_plain import x\n"
        "def late():\n    import my_late\n    return importlib.import_module('my_named')\n",
        "my_plain.py": "x = 1\n",
        "my_late.py": "from my_later import *\n",
        "my_later.py": "y = 2\n",
        "my_named.py": "",
        "my_other.py": "not imported",
        "my_package/__init__.py": "from . import side\n",
        "my_package/side.py": "",
        "my_package/deep/__init__.py": "",
        "my_package/deep/leaf.py": "from ..up import z\nfrom feedgym.env import Feed\n",
        "my_package/up.py": "import my_model\nz = 3\n",
    }
    for name, text in files.items():
        (own / name).parent.mkdir(parents=True, exist_ok=True)
        (own / name).write_text(text)
    importlib.import_module("my_model")
    found = own_modules(["my_model"])
    assert sorted(found) == [
        *("my_late", "my_later", "my_model", "my_named", "my_package", "my_package.deep", "my_package.deep.leaf"),
        *("my_package.side", "my_package.up", "my_plain"),
    ]
    assert "my_late" not in sys.modules  # found, not run
    assert own_modules(["json", "numpy.linalg", "feedgym.env", "no_such_module"]) == {}


def test_what_counts_is_the_code_that_runs_not_what_the_file_says_since(own: Path) -> None:
    (own / "my_model.py").write_text("x = 1\n")
    module = importlib.import_module("my_model")
    first = own_modules(["my_model"])
    (own / "my_model.py").write_text("x = 22\n")
    assert own_modules(["my_model"]) == first
    importlib.invalidate_caches()
    importlib.reload(module)
    assert own_modules(["my_model"]) != first


def test_a_module_that_the_reader_model_imports_changes_and_the_run_is_done_anew(
    own: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (own / "my_readers.py").write_text(READERS)
    (own / "my_tastes.py").write_text("BASE = 0.2\n")
    words = ["--reader-model", "my_readers:Plain", "--agents", "random", "--seeds", "0", "--readers", "60"]
    words += ["--days", "1", "--workers", "1", "--out", "o"]

    def compared() -> tuple[float, str]:
        compare.main(words)
        said = capsys.readouterr()
        forget("my_readers", "my_tastes")
        (folder,) = (own / "o" / "runs").glob("*/seed-0")
        return train.load_run(folder).curves.per_reader_day("reward"), said.out + said.err

    first, _ = compared()
    assert "finished before" in compared()[1]
    (own / "my_tastes.py").write_text("BASE = 0.9\n")
    second, said = compared()
    assert second > 2 * first
    assert "finished before" not in said
    expected = "1 finished run is of other code (changed since: my_tastes): done anew; --reuse takes what is finished"
    assert f"feedgym compare: {expected}\n" in said
    assert compared()[0] == second
    (own / "my_tastes.py").write_text("BASE = 0.1\n")
    words.append("--reuse")
    third, said = compared()
    assert third == second
    assert "finished before" in said
    report = (own / "o" / "report.md").read_text()
    assert "1 of 1 runs is of other code (changed since: my_tastes), taken with --reuse: random seed 0." in report


# ---- what is there already ----
def test_a_finished_run_of_other_code_is_done_anew_or_reused(tmp_path: Path) -> None:
    config = RunConfig(**SMALL)
    train.run(config, tmp_path)
    whole = bytes_of(tmp_path)
    made_by_other_code(tmp_path)
    (tmp_path / "curves.csv").write_text((tmp_path / "curves.csv").read_text().replace("1", "2"))
    (tmp_path / "impressions" / "day-0007.parquet").write_bytes(b"of the other code")
    left = bytes_of(tmp_path)
    with pytest.warns(OtherCodeWarning, match=r"feedgym.agents\): what is finished is taken as it is \(--reuse\)"):
        train.run(config, tmp_path, reuse=True)
    assert bytes_of(tmp_path) == left
    with pytest.warns(
        OtherCodeWarning, match=r"1 finished run is of other code \(changed since: feedgym.agents\): done"
    ):
        train.run(config, tmp_path)
    assert bytes_of(tmp_path) == whole
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        train.run(config, tmp_path)


class StopError(Exception):
    pass


@pytest.mark.parametrize("reuse", [False, True])
def test_a_begun_run_of_other_code_is_never_gone_on_with(tmp_path: Path, reuse: bool) -> None:
    config, days = RunConfig(**SMALL), list[float]()

    def stop(progress: Progress) -> None:
        raise StopError

    with pytest.raises(StopError):
        train.run(config, tmp_path, report=stop)
    assert (tmp_path / CHECKPOINT).exists()
    made_by_other_code(tmp_path)
    with pytest.warns(OtherCodeWarning, match="1 unfinished run is of other code .*: done anew$"):
        train.run(config, tmp_path, report=lambda told: days.append(told.day), reuse=reuse)
    assert days == [1.0, 2.0]


def test_a_comparison_says_once_how_many_and_does_only_those_anew(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--agents", "random", "recent", "--seeds", "0", "1", "--readers", "10", "--days", "1", "--tick-hours", "6"]
    words += ["--workers", "1", "--out", str(tmp_path)]
    compare.main(words)
    folders = sorted((tmp_path / "runs").glob("*/seed-*"))
    for folder in folders[:3]:
        made_by_other_code(folder)
    (folders[0] / DONE).rename(folders[0] / CHECKPOINT)
    capsys.readouterr()
    compare.main([*words, "--reuse"])
    said = capsys.readouterr()
    assert said.err.count("other code") == 1
    assert "2 finished runs and 1 unfinished run are of other code" in said.err
    assert "(--reuse); the rest is done anew" in said.err
    assert said.out.count("finished before") == 3
    notes = (tmp_path / "report.md").read_text().partition("## Notes")[2]
    assert "2 of 4 runs are of other code (changed since: feedgym.agents), taken with --reuse: random seed 1;" in notes
    compare.main(words)
    assert "other code" not in (tmp_path / "report.md").read_text()


def test_a_log_of_other_code_is_the_same_log_done_anew(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--agent", "random", "--readers", "10", "--days", "1", "--tick-hours", "6", "--out", str(tmp_path)]
    log.main(words)
    whole = bytes_of(tmp_path)
    made_by_other_code(tmp_path)
    log.main(words)
    assert "feedgym log: 1 finished run is of other code" in capsys.readouterr().err
    assert bytes_of(tmp_path) == whole
    with pytest.raises(SystemExit, match="an empty folder: this one holds a run with other settings"):
        log.main([*words, "--seed", "3"])


def test_a_kept_result_of_other_code_is_made_anew_or_reused(tmp_path: Path) -> None:
    path, made = tmp_path / "result.json", list[int]()

    def make() -> int:
        made.append(1)
        return len(made)

    def kept(digest: str, reuse: bool = False) -> int:
        found: int = kept_result(path, {"seed": 1}, make, code={"a": digest, "b": "same"}, reuse=reuse)
        return found

    assert (kept("one"), kept("one")) == (1, 1)
    with pytest.warns(OtherCodeWarning, match=r"result.json is of other code \(changed since: a\): taken \(--reuse\)"):
        assert kept("two", reuse=True) == 1
    with pytest.warns(OtherCodeWarning, match=r"result.json is of other code \(changed since: a\): made anew"):
        assert kept("two") == 2
    assert kept("two") == 2


def test_a_study_says_in_its_table_what_was_reused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Table:
        @staticmethod
        def run(out: Path, reuse: bool) -> str:
            kept_result(out / "one.json", {}, lambda: 1, code={"a": str(reuse)}, reuse=reuse)
            return "| table |\n"

    monkeypatch.setattr(vars(study)["importlib"], "import_module", lambda name: Table)
    study.main(["index", "--out", str(tmp_path), "--rows", str(tmp_path / "rows")])
    assert "Note" not in (tmp_path / "index" / "table.md").read_text()
    study.main(["index", "--out", str(tmp_path), "--rows", str(tmp_path / "rows"), "--reuse"])
    note = "Note: one.json is of other code (changed since: a): taken (--reuse)."
    assert (tmp_path / "index" / "table.md").read_text().endswith(f"| table |\n\n{note}\n")
    assert "feedgym study: one.json is of other code" in capsys.readouterr().err


def test_the_folder_of_a_run_is_the_same_under_any_code(monkeypatch: pytest.MonkeyPatch) -> None:
    config = RunConfig(**SMALL)
    before, settings = config.folder_name(), config.settings()
    assert json.dumps(settings["code"]) == json.dumps(dict(code_of_feedgym()))
    monkeypatch.setattr("feedgym.experiments.runs.run_config.code_of_feedgym", lambda: OTHER)
    assert config.folder_name() == before
    assert config.settings() == settings | {"code": OTHER}

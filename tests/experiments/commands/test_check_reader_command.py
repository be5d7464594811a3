"""``feedgym check-reader``: plain words, and an exit status for scripts."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from feedgym.experiments import cli
from feedgym.experiments.commands import check_reader

GOOD = """
import numpy as np
from feedgym.env import Outcome

class Good:
    def spawn(self, reader_ids, noise):
        return {"seen": np.zeros(len(reader_ids))}

    def first_visit(self, state, rows, noise):
        return 24.0 * noise.uniform("first", "reader")

    def respond(self, state, rows, slate, now, noise):
        clicks = slate.valid & (noise.uniform("click", "impression") < 0.1)
        return Outcome(clicks=clicks, dwell_minutes=1.0 * clicks, subscribed=np.zeros(len(rows), dtype=bool))

    def next_visit(self, state, rows, outcome, now, noise):
        return 8.0 * noise.exponential("gap")

class Broken(Good):
    def next_visit(self, state, rows, outcome, now, noise):
        return 8.0 - 24.0 * np.random.rand(len(rows))

class Picky(Good):
    def __init__(self, taste):
        self.taste = taste

made = Good()
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "own_readers.py").write_text(GOOD)
    (tmp_path / "unreadable_readers.py").write_text("class Good(:\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    return tmp_path


def ending(*words: str) -> object:
    with pytest.raises(SystemExit) as end:
        check_reader.main(words)
    return end.value.code


@pytest.mark.parametrize("name", ["Good", "made"])
def test_a_good_reader(name: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert ending(f"own_readers:{name}") == 0
    out = capsys.readouterr().out
    assert out.startswith("Good: no problem found in ")
    assert f"--reader-model own_readers:{name}" in out


def test_a_broken_reader(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert ending("own_readers:Broken") == 1
    out = capsys.readouterr().out
    assert out.startswith("Broken: 2 problems found in ")
    assert "next_visit: global randomness\n  seen:  " in out
    assert "next_visit: negative gap\n  seen:  " in out
    assert "fit for the Feed" not in out


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("own_readers:Nobody", "which has no Nobody"),
        ("no_such_readers:Good", "needs an importable module"),
        ("own_readers", "needs module:Class"),
        ("own_readers:Picky", "TypeError: .*'taste'"),
        ("unreadable_readers:Good", "SyntaxError"),
    ],
)
def test_a_reader_that_cannot_be_had(name: str, told: str, folder: Path) -> None:
    said = ending(name)
    assert isinstance(said, str)  # printed to stderr, status 1
    assert said.startswith("feedgym check-reader: ")
    assert re.search(told, said)


@pytest.mark.parametrize(("words", "status"), [(("--help",), 0), ((), 2), (("a:B", "c:D"), 2), (("--seed",), 2)])
def test_usage(words: tuple[str, ...], status: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert ending(*words) == status
    assert capsys.readouterr().out.startswith("usage: feedgym check-reader MODULE:CLASS")


def test_it_is_one_of_the_commands_and_says_so_by_its_exit_status(folder: Path) -> None:
    assert "check-reader" in cli.usage()
    for name, status in (("own_readers:Good", 0), ("own_readers:Broken", 1)):
        words = [sys.executable, "-m", "feedgym.experiments.cli", "check-reader", name]
        done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == status, done.stderr
        assert done.stderr == ""

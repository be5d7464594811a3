"""Event files are the same bytes under the same names: in two runs, in two processes, and after a run was killed."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import metadata as hparams_metadata

from feedgym.experiments import compare, train
from feedgym.experiments.runs import runner
from feedgym.experiments.runs.checkpoint import DONE
from feedgym.experiments.runs.messages import Progress
from feedgym.experiments.runs.run_config import RunConfig

SMALL: dict[str, Any] = {"agent": "regression", "readers": 30, "days": 3.0, "tick_hours": 4.0, "log": False}
FILE = "events.out.tfevents.0000000001.feedgym"


class KilledError(Exception):
    pass


def bytes_of(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("whole")
    train.run(RunConfig(**SMALL), root / "run", tensorboard=root / "tb")
    return root / "tb"


def test_a_run_has_one_file_without_host_process_or_clock(whole: Path) -> None:
    assert [*bytes_of(whole)] == [f"seeds/regression/seed-0/{FILE}"]
    events = EventAccumulator(str(whole / "seeds" / "regression" / "seed-0")).Reload()
    assert [event.wall_time for event in events.Scalars("reward/daily")] == [86400.0, 172800.0, 259200.0]
    content = events.PluginTagToContent("hparams")[hparams_metadata.SESSION_START_INFO_TAG]
    info = hparams_metadata.parse_session_start_info_plugin_data(content)
    assert info.start_time_secs == 0.0
    assert info.hparams["readers"].number_value == 30
    assert info.hparams["world"].string_value == "vivid"


def test_another_process_writes_the_same_bytes(whole: Path, tmp_path: Path) -> None:
    code = f"""
from pathlib import Path
from feedgym.experiments import train
train.run(train.RunConfig(**{SMALL!r}), Path({str(tmp_path)!r}) / "run", tensorboard=Path({str(tmp_path)!r}) / "tb")
"""
    subprocess.run([sys.executable, "-c", code], check=True, env=dict(os.environ, PYTHONHASHSEED="1234"), cwd=tmp_path)
    assert bytes_of(tmp_path / "tb") == bytes_of(whole)


@pytest.mark.parametrize("share", [0.0, 1e9])
@pytest.mark.parametrize("day", [1.0, 2.0, 3.0])
def test_a_killed_run_ends_with_the_same_bytes(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, day: float, share: float
) -> None:
    """With a checkpoint each day, and with one on the first day alone: then days are lived, and told, twice."""
    monkeypatch.setattr(runner, "CHECKPOINT_SHARE", share)

    def kill(progress: Progress) -> None:
        if progress.day == day:
            raise KilledError

    words: dict[str, Any] = {"folder": tmp_path / "run", "tensorboard": tmp_path / "tb"}
    with pytest.raises(KilledError):
        train.run(RunConfig(**SMALL), report=kill, **words)
    # Amid a record, as when the process was killed while it wrote.
    (path,) = (tmp_path / "tb").rglob(FILE)
    path.write_bytes(path.read_bytes()[:-7])
    train.run(RunConfig(**SMALL), **words)
    assert bytes_of(tmp_path / "tb") == bytes_of(whole)


def test_a_run_killed_before_it_was_called_finished_too(whole: Path, tmp_path: Path) -> None:
    words: dict[str, Any] = {"folder": tmp_path / "run", "tensorboard": tmp_path / "tb"}
    train.run(RunConfig(**SMALL), **words)
    (tmp_path / "run" / DONE).unlink()
    train.run(RunConfig(**SMALL), **words)
    assert bytes_of(tmp_path / "tb") == bytes_of(whole)


def test_a_comparison_asked_for_twice_leaves_its_files_as_they_are(tmp_path: Path) -> None:
    words = ["--agents", "random", "recent", "--seeds", "0", "--readers", "10", "--days", "1", "--tick-hours", "6"]
    words += ["--workers", "1", "--out", str(tmp_path)]
    compare.main(words)
    first = bytes_of(tmp_path / "tensorboard")
    assert len(first) == 4
    compare.main(words)
    assert bytes_of(tmp_path / "tensorboard") == first

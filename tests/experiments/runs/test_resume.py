"""A comparison that was killed or stopped in the middle ends with the bytes of one that was not."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

from feedgym.experiments import compare
from feedgym.experiments.compare import CompareConfig

SETTINGS: dict[str, Any] = {
    "agents": ("recent", "popular"),
    "seeds": (0, 1),
    "readers": 60,
    "days": 12.0,
    "tick_hours": 1.0,
    "workers": 2,
}
# Each worker with a run that learns loads torch, which takes longer than all the rest: one such run, in one test.
LEARNING = SETTINGS | {"agents": ("recent", "popular", "regression"), "seeds": (0,), "days": 6.0, "tick_hours": 4.0}


def words(settings: dict[str, Any]) -> list[str]:
    """As a user writes them."""
    agents, seeds = settings["agents"], map(str, settings["seeds"])
    rest = [
        f"--{name.replace('_', '-')}={value}" for name, value in settings.items() if name not in ("agents", "seeds")
    ]
    return ["--agents", *agents, "--seeds", *seeds, *rest]


def bytes_of(folder: Path) -> dict[str, bytes]:
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {str(p.relative_to(folder)): p.read_bytes() for p in paths if "tfevents" not in p.name}


def events_of(folder: Path) -> dict[str, list[tuple[int, str, float]]]:
    """Step, tag and value of every scalar in every event file, a list for each folder."""
    values: dict[str, list[tuple[int, str, float]]] = {}
    for path in sorted(folder.rglob("*tfevents*")):
        of_folder = values.setdefault(str(path.parent.relative_to(folder)), [])
        if path.stat().st_size == 0:
            continue
        for event in EventFileLoader(str(path)).Load():
            for value in event.summary.value:
                if value.metadata.plugin_data.plugin_name == "scalars":
                    of_folder.append((event.step, value.tag, value.tensor.float_val[0]))
    return values


STARTED: list["subprocess.Popen[str]"] = []


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    """A test that fails leaves no processes behind."""
    yield
    for process in STARTED:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    STARTED.clear()


def allow_interrupts() -> None:
    """A shell that runs the tests in the background lets them ignore Ctrl-C, and their children inherit it."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def start(out: Path, settings: dict[str, Any] = SETTINGS) -> "subprocess.Popen[str]":
    process = subprocess.Popen(
        [sys.executable, "-m", "feedgym.experiments.compare", *words(settings), "--out", str(out)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=allow_interrupts,
    )
    STARTED.append(process)
    return process


def wait_for(condition: Any, seconds: float) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.005)
    return False


def until_checkpoint(process: "subprocess.Popen[str]", out: Path, agent: str = "popular") -> None:
    """Of a run of an agent that comes last."""
    assert wait_for(lambda: any(out.glob(f"runs/{agent}*/*/checkpoint.npz")), 60), process.communicate(timeout=5)


def children_of(pid: int) -> list[int]:
    """All processes below this one; none are found where there is no /proc."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(stat.read_text().rpartition(")")[2].split()[1])
        except (OSError, IndexError):
            continue
        if parent == pid:
            found.append(int(stat.parent.name))
    return found


def is_running(pid: int) -> bool:
    try:
        # A zombie has ended: who adopted it may be slow to notice.
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("unbroken")
    compare.run(CompareConfig(**SETTINGS | {"workers": 1}, out=out), quiet=True)
    return out


def check_equal(out: Path, unbroken: Path) -> None:
    whole, resumed = bytes_of(unbroken), bytes_of(out)
    assert resumed.keys() == whole.keys()
    assert [name for name in whole if whole[name] != resumed[name]] == []
    events, resumed_events = events_of(unbroken), events_of(out)
    assert resumed_events == events
    for folder, values in events.items():
        points = [(step, tag) for step, tag, _ in values]
        assert len(points) == len(set(points)) > 0, folder


def check_in_the_middle(out: Path, settings: dict[str, Any] = SETTINGS) -> None:
    assert len(list(out.glob("runs/*/*/done.json"))) < len(settings["agents"]) * len(settings["seeds"])
    assert not (out / "report.md").exists()


def test_after_kill_9_of_all_its_processes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    process = start(tmp_path / "out", LEARNING)
    until_checkpoint(process, tmp_path / "out", "regression")
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate(timeout=20)
    check_in_the_middle(tmp_path / "out", LEARNING)
    # By its own command, as a user would.
    compare.main([*words(LEARNING | {"workers": 1}), "--out", str(tmp_path / "out")])
    assert "Report: " in capsys.readouterr().out
    compare.run(CompareConfig(**LEARNING | {"workers": 1}, out=tmp_path / "unbroken"), quiet=True)
    check_equal(tmp_path / "out", tmp_path / "unbroken")


def test_after_kill_9_of_the_parent_its_workers_end_and_the_restart_waits_for_them(
    unbroken: Path, tmp_path: Path
) -> None:
    process = start(tmp_path)
    until_checkpoint(process, tmp_path)
    workers = children_of(process.pid)
    assert len(workers) >= 2 or sys.platform != "linux"
    process.send_signal(signal.SIGKILL)
    process.wait(timeout=10)
    # At once: the workers may still be at it, and hold their folders.
    compare.run(CompareConfig(**SETTINGS | {"workers": 1}, out=tmp_path), quiet=True)
    assert wait_for(lambda: not any(map(is_running, workers)), 20)
    check_equal(tmp_path, unbroken)


def test_after_ctrl_c(unbroken: Path, tmp_path: Path) -> None:
    process = start(tmp_path)
    until_checkpoint(process, tmp_path)
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=20)
    assert process.returncode == 130
    assert err.strip() == "Stopped. The same command goes on from the last checkpoints."
    assert "Traceback" not in out
    check_in_the_middle(tmp_path)
    compare.run(CompareConfig(**SETTINGS | {"workers": 1}, out=tmp_path), quiet=True)
    check_equal(tmp_path, unbroken)


def test_ctrl_c_while_workers_start_is_as_quiet(tmp_path: Path) -> None:
    process = start(tmp_path)
    assert wait_for(lambda: len(children_of(process.pid)) >= 3, 30) or sys.platform != "linux"
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=20)
    assert process.returncode == 130
    assert err.strip() == "Stopped. The same command goes on from the last checkpoints."

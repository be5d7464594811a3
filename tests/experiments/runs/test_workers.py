"""Runs side by side in processes: messages, failures, workers that die."""

import os
import signal
import time
from pathlib import Path

import pytest

from feedgym.experiments.runs.messages import Failed, Finished, Message, Progress
from feedgym.experiments.runs.run_config import RunConfig
from feedgym.experiments.runs.workers import Task, cores, run_tasks

READERS = """
import os, signal
import numpy as np
from feedgym.env.readers import Outcome


class Mortal:
    "Ends its process in the run of 21 readers, and raises in that of 22."

    def spawn(self, reader_ids, noise):
        return {"visits": np.zeros(len(reader_ids), dtype=np.int32)}

    def first_visit(self, state, rows, noise):
        return np.full(len(rows), 1.0)

    def respond(self, state, rows, slate, now, noise):
        readers = len(state["visits"])
        if now >= 30.0 and readers == 21:
            os.kill(os.getpid(), signal.SIGKILL)
        if now >= 30.0 and readers == 22:
            raise ValueError("all 22 readers refuse")
        clicks = slate.valid & (noise.uniform("click", per="impression") < 0.1)
        return Outcome(clicks=clicks, dwell_minutes=clicks.astype(np.float32), subscribed=np.zeros(len(rows), bool))

    def next_visit(self, state, rows, outcome, now, noise):
        return np.full(len(rows), 8.0)
"""


def tasks_of(folder: Path, more: tuple[int, ...], reader_model: str | None = None) -> list[Task]:
    configs = [
        RunConfig(agent="random", readers=20 + m, days=2, tick_hours=2.0, reader_model=reader_model) for m in more
    ]
    return [Task(config, folder / config.folder_name(), None) for config in configs]


@pytest.mark.parametrize("workers", [1, 2])
def test_every_task_reports_its_days_and_that_it_is_done(tmp_path: Path, workers: int) -> None:
    told: list[tuple[int, Message]] = []
    run_tasks(tasks_of(tmp_path, (0, 1, 2)), workers, lambda number, message: told.append((number, message)))
    for task in range(3):
        messages = [message for number, message in told if number == task]
        days = [message.day for message in messages if isinstance(message, Progress)]
        assert days == [1.0, 2.0]
        assert [message for message in messages if not isinstance(message, Progress)] == [Finished(task)]
        assert isinstance(messages[-1], Finished)


def test_a_run_that_raises_and_a_worker_that_dies_do_not_stop_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mortal_readers.py").write_text(READERS)
    ends: dict[int, Message] = {}
    tasks = tasks_of(tmp_path, (0, 1, 2, 3, 4), "mortal_readers:Mortal")
    run_tasks(tasks, 2, lambda number, message: ends.__setitem__(number, message))
    assert {number for number, end in ends.items() if isinstance(end, Finished)} == {0, 3, 4}
    died, raised = ends[1], ends[2]
    assert isinstance(died, Failed)
    assert f"exit code -{signal.SIGKILL.value}" in died.error
    assert isinstance(raised, Failed)
    assert "Traceback" in raised.error
    assert raised.error.endswith("ValueError: all 22 readers refuse")


def test_if_all_workers_die_the_rest_fails_instead_of_hanging(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mortal_readers_2.py").write_text(READERS.replace("readers == 21", "readers in (20, 21)"))
    ends: dict[int, Message] = {}
    started = time.monotonic()
    tasks = tasks_of(tmp_path, (0, 1, 3), "mortal_readers_2:Mortal")
    run_tasks(tasks, 2, lambda number, message: ends.__setitem__(number, message))
    assert all(isinstance(ends[number], Failed) for number in range(3))
    assert "no worker is left" in str(ends[2])
    assert time.monotonic() - started < 60


def test_workers_leave_no_trace_in_this_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    run_tasks(tasks_of(tmp_path, (0, 1)), 2, lambda number, message: None)
    assert "OMP_NUM_THREADS" not in os.environ
    assert signal.pthread_sigmask(signal.SIG_BLOCK, set()) == set()


def test_cores_are_those_that_this_process_may_use() -> None:
    assert cores() >= 1
    if hasattr(os, "sched_getaffinity"):
        assert cores() == len(os.sched_getaffinity(0))

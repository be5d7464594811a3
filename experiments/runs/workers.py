"""Runs in processes side by side: a few long-lived workers, each with a pipe to this process.

Workers live long because importing torch takes seconds. A run that fails does not stop the others. A worker whose
parent was killed ends by itself: at once if it is idle, else when it next reports, at the end of a simulated day.
"""

import contextlib
import multiprocessing
import os
import signal
import threading
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path

from feedgym.experiments.runs.code import OtherCodeWarning
from feedgym.experiments.runs.messages import Failed, Finished, Message, Progress
from feedgym.experiments.runs.run_config import RunConfig
from feedgym.experiments.runs.runner import run


@dataclass(frozen=True)
class Task:
    """One run to do."""

    config: RunConfig
    folder: Path
    tensorboard: Path | None
    reuse: bool = False
    """Take a finished run of other code as it is."""


def run_tasks(tasks: Sequence[Task], workers: int, tell: Callable[[int, Message], None]) -> None:
    """Do all tasks.

    Args:
        tasks: what to do, in this order.
        workers: processes; 1 works in this process.
        tell: called with (task number, message) as messages come, in this process.
    """
    if workers > 1 and len(tasks) > 1:
        _run_in_processes(tasks, min(workers, len(tasks)), tell)
        return
    for number, task in enumerate(tasks):
        tell(number, _result(number, task, partial(tell, number)))


def cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _run_in_processes(tasks: Sequence[Task], workers: int, tell: Callable[[int, Message], None]) -> None:
    todo = list(enumerate(tasks))
    # A pipe for each worker, no queue: a worker killed while it holds a queue's lock would stop all the others.
    started = [_start() for _ in range(workers)]
    processes = dict(started)
    running: dict[Connection, int] = {}
    try:
        for pipe in list(processes):
            _hand_out(pipe, todo, running)
        while running:
            ready = wait(list(running))
            for pipe in [pipe for pipe in processes if pipe in ready]:
                number = running[pipe]
                try:
                    message: Message = pipe.recv()
                except (EOFError, OSError):
                    processes[pipe].join(timeout=5.0)
                    how = f"its process ended with exit code {processes[pipe].exitcode}, maybe for want of memory"
                    message = Failed(number, how)
                    del running[pipe]
                else:
                    if isinstance(message, Failed | Finished):
                        _hand_out(pipe, todo, running)
                tell(number, message)
        for number, _ in todo:
            tell(number, Failed(number, "no worker is left to do it"))
    finally:
        for pipe, process in processes.items():
            pipe.close()
            if pipe in running:
                process.terminate()
        for process in processes.values():
            process.join(timeout=5.0)


def _hand_out(pipe: Connection, todo: list[tuple[int, Task]], running: dict[Connection, int]) -> None:
    """The next task to this worker, if there is one."""
    running.pop(pipe, None)
    if todo:
        number, task = todo.pop(0)
        running[pipe] = number
        # A worker that is dead already is noticed when its pipe is read.
        with contextlib.suppress(OSError):
            pipe.send((number, task))


def _start() -> tuple[Connection, SpawnProcess]:
    """A worker, and the pipe to it."""
    # spawn, not fork: torch and faiss do not survive a fork with threads.
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_work, args=(there,), daemon=True)
    with _one_thread_each(), _without_interrupts():
        process.start()
    # Or the pipe would not end with the worker.
    there.close()
    return here, process


@contextlib.contextmanager
def _one_thread_each() -> Iterator[None]:
    """BLAS reads this when it is loaded: processes share the cores, so each has one thread."""
    before = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ["OMP_NUM_THREADS"]
        else:
            os.environ["OMP_NUM_THREADS"] = before


@contextlib.contextmanager
def _without_interrupts() -> Iterator[None]:
    """Ctrl-C goes to a terminal's whole group: a worker that is still importing would print a traceback.

    A mask, unlike a handler, is handed down to the new process, and keeps for this one what comes meanwhile.
    """
    if not hasattr(signal, "pthread_sigmask") or threading.current_thread() is not threading.main_thread():
        yield
        return
    # Before the mask: the first worker starts multiprocessing's resource tracker, and that lifts it again.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _work(pipe: Connection) -> None:
    """A worker: do tasks until the pipe ends, because nothing is left to do or the parent is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Two errors say that the other end is closed. Whatever a run made of one, sending its result raises it again.
    with contextlib.suppress(EOFError, OSError):
        while True:
            number, task = pipe.recv()
            pipe.send(_result(number, task, pipe.send))


def _result(number: int, task: Task, report: Callable[[Progress], None]) -> Finished | Failed:
    try:
        with warnings.catch_warnings():
            # Whoever hands out tasks says it once for all of them.
            warnings.simplefilter("ignore", OtherCodeWarning)
            run(task.config, task.folder, tensorboard=task.tensorboard, report=report, reuse=task.reuse)
    except Exception as error:
        return Failed(number, "".join(traceback.format_exception(error)).rstrip())
    return Finished(number)

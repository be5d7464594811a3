"""Runs in processes side by side: a few long-lived workers, a queue of tasks, a stream of messages back.

Workers live long because importing torch takes seconds. A run that fails does not stop the others, and workers
whose parent was killed stop by themselves at the end of the simulated day.
"""

import multiprocessing
import os
import queue
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any

from feedgym.experiments.run_config import RunConfig
from feedgym.experiments.train import Progress


@dataclass(frozen=True)
class Task:
    """One run to do."""

    config: RunConfig
    folder: Path
    tensorboard: Path | None


@dataclass(frozen=True)
class Failed:
    """A run that raised, or whose process died."""

    task: int
    error: str
    """What was raised, with its traceback."""


@dataclass(frozen=True)
class Finished:
    """A run that is done."""

    task: int


Message = Progress | Failed | Finished


class ParentGoneError(RuntimeError):
    """The parent is gone: nobody waits for this worker's results."""


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
        try:
            _run(task, partial(tell, number))
        except Exception as error:
            tell(number, Failed(number, _describe(error)))
        else:
            tell(number, Finished(number))


def _run_in_processes(tasks: Sequence[Task], workers: int, tell: Callable[[int, Message], None]) -> None:
    # spawn, not fork: torch and faiss do not survive a fork with threads.
    context = multiprocessing.get_context("spawn")
    todo: Any = context.Queue()
    back: Any = context.Queue()
    for number, task in enumerate(tasks):
        todo.put((number, task))
    for _ in range(workers):
        todo.put(None)
    # BLAS reads this when it is loaded: one thread a process, since processes share the cores.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    processes = [context.Process(target=_work, args=(todo, back), daemon=True) for _ in range(workers)]
    for process in processes:
        process.start()
    open_tasks, running = set(range(len(tasks))), dict[int, int]()
    try:
        while open_tasks:
            try:
                pid, number, message = back.get(timeout=1.0)
            except queue.Empty:
                for number, failed in _lost(processes, running, open_tasks):
                    tell(number, failed)
                continue
            if message is None:
                running[pid] = number
                continue
            if isinstance(message, Failed | Finished):
                running.pop(pid, None)
                open_tasks.discard(number)
            tell(number, message)
    finally:
        for process in processes:
            if open_tasks:
                process.terminate()
            process.join(timeout=5.0)


def _lost(
    processes: Sequence[SpawnProcess], running: dict[int, int], open_tasks: set[int]
) -> Iterator[tuple[int, Failed]]:
    """Tasks whose process died without a word, such as killed for memory."""
    for process in processes:
        if process.is_alive() or process.exitcode == 0:
            continue
        number = running.pop(process.pid or -1, None)
        if number is not None and number in open_tasks:
            open_tasks.discard(number)
            yield number, Failed(number, f"its process ended with exit code {process.exitcode}")
    if all(not process.is_alive() for process in processes):
        for number in sorted(open_tasks):
            yield number, Failed(number, "no worker is left to do it")
        open_tasks.clear()


def _work(todo: Any, back: Any) -> None:
    """A worker: take tasks until there are none, or until the parent is gone."""
    parent, pid = os.getppid(), os.getpid()
    # A worker must not outlive its parent because of what it could not deliver.
    back.cancel_join_thread()
    while True:
        try:
            item = todo.get(timeout=1.0)
        except queue.Empty:
            if os.getppid() != parent:
                return
            continue
        if item is None:
            back.close()
            back.join_thread()
            return
        number, task = item
        back.put((pid, number, None))

        def report(progress: Progress, number: int = number) -> None:
            if os.getppid() != parent:
                raise ParentGoneError
            back.put((pid, number, progress))

        try:
            _run(task, report)
        except (ParentGoneError, KeyboardInterrupt):
            return
        except Exception as error:
            back.put((pid, number, Failed(number, _describe(error))))
        else:
            back.put((pid, number, Finished(number)))


def _run(task: Task, report: Callable[[Progress], None]) -> None:
    # Here, not above: the parent process needs no torch.
    from feedgym.experiments import train

    train.run(task.config, task.folder, tensorboard=task.tensorboard, report=report)


def _describe(error: Exception) -> str:
    return "".join(traceback.format_exception(error)).rstrip()

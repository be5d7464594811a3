"""Going on from what was kept: byte for byte as if nothing had stopped."""

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from feedgym.env import Feed
from feedgym.experiments import train
from feedgym.experiments.reports import Run as FinishedRun
from feedgym.experiments.runs.messages import Progress
from feedgym.experiments.runs.run_config import RunConfig
from helpers.driving import Run, drive, served_bytes


def save_arrays(file: io.BytesIO, arrays: Any) -> None:
    """As a file without pickle."""
    np.savez(file, **arrays)


@dataclass(frozen=True)
class Resumed:
    """A run in two parts, and its agent at the end of it."""

    agent: Any
    before: Run
    rest: Run


def check_resuming(start: Callable[[], tuple[Any, Feed]], at: float, until: float = np.inf) -> Resumed:
    """Agent and site that are put back from files without pickle serve on as those that went on, byte for byte.

    Args:
        start: a new agent and its site; called twice.
        at: hours, when both are kept.
        until: hours, or the horizon.
    """
    agent, feed = start()
    before = drive(agent, feed, until=at)
    files = [io.BytesIO(), io.BytesIO()]
    for file, arrays in zip(files, (agent.snapshot(), feed.snapshot()), strict=True):
        save_arrays(file, arrays)
    rest = drive(agent, feed, until=until)

    again, other = start()
    for file, part in zip(files, (again, other), strict=True):
        file.seek(0)
        with np.load(file, allow_pickle=False) as kept:
            part.restore(dict(kept))
    resumed = drive(again, other, until=until)
    assert served_bytes(resumed) == served_bytes(rest)
    assert [o.clicks.tobytes() for _, o in resumed] == [o.clicks.tobytes() for _, o in rest]
    one, two = agent.snapshot(), again.snapshot()
    assert one.keys() == two.keys()
    assert {name for name in one if one[name].tobytes() != two[name].tobytes()} == set()
    return Resumed(agent, before, rest)


@contextmanager
def no_global_luck() -> Iterator[None]:
    """Neither torch's nor numpy's global generator is drawn from: no snapshot holds them."""
    before = torch.get_rng_state().clone(), repr(np.random.get_state())  # noqa: NPY002
    yield
    assert torch.equal(before[0], torch.get_rng_state())
    assert before[1] == repr(np.random.get_state())  # noqa: NPY002


def stopped_twice(config: RunConfig, folder: Path) -> FinishedRun:
    """The finished run in ``folder``: stopped after its first day, after the next one, and then let be."""

    def stop(progress: Progress) -> None:
        raise InterruptedError

    for _ in range(2):
        with pytest.raises(InterruptedError):
            train.run(config, folder, report=stop)
    return train.run(config, folder)

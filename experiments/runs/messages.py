"""What a run tells of itself while it goes on: to the terminal, or through a pipe from a worker."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far a run has come."""

    agent: str
    seed: int
    day: float
    """Simulated days done."""
    days: float
    """Horizon."""
    reward: float
    """Per reader per day so far."""
    visits_per_second: float
    """Over the time that this process has spent on the run; 0 if the run was finished before."""


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

"""Live progress of a comparison in the terminal: what runs now, how far it is, what it has earned."""

import sys
import time
from types import TracebackType
from typing import Any

from feedgym.experiments.train import Progress
from feedgym.experiments.workers import Failed, Finished, Message


class LiveProgress:
    """A bar for each run under way and one for all; plain lines where the output is not a terminal.

    Args:
        names: of the tasks, by number.
        days: simulated days of each run.
        quiet: show nothing.
    """

    def __init__(self, names: list[str], days: float, *, quiet: bool = False) -> None:
        self._names, self._days, self._quiet = names, days, quiet
        self._started = time.monotonic()
        self._done_days: dict[int, float] = {}
        self._first_days: dict[int, float] = {}
        self._rows: dict[int, Any] = {}
        self._bars: Any = None

    def __enter__(self) -> "LiveProgress":
        """Start drawing."""
        if not self._quiet and sys.stdout.isatty():
            self._bars = _bars()
            self._bars.start()
            self._all = self._bars.add_task("all runs", total=len(self._names) * self._days, note="")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave the terminal as it was."""
        if self._bars is not None:
            self._bars.stop()

    def update(self, number: int, message: Message) -> None:
        """Take in a message of task ``number``."""
        if self._quiet:
            return
        if isinstance(message, Progress):
            # A run that goes on from a checkpoint did not do its earlier days in this process.
            self._first_days.setdefault(number, message.day if message.visits_per_second == 0 else message.day - 1)
            self._done_days[number] = message.day
            self._show(number, message)
        elif isinstance(message, Finished):
            self._line(f"{self._names[number]}: done", number)
        elif isinstance(message, Failed):
            self._line(f"{self._names[number]}: FAILED: {message.error.splitlines()[-1]}", number)

    def _show(self, number: int, progress: Progress) -> None:
        note = f"reward {progress.reward:.3f} per reader per day, {progress.visits_per_second:,.0f} visits/s"
        if self._bars is None:
            if progress.day >= progress.days:
                before = " (finished before)" if progress.visits_per_second == 0 else ""
                self._print(f"{self._names[number]}: {progress.days:g} days, {note}{before}{self._left()}")
            return
        if number not in self._rows:
            self._rows[number] = self._bars.add_task(self._names[number], total=progress.days, note=note)
        self._bars.update(self._rows[number], completed=progress.day, note=note)
        self._bars.update(self._all, completed=sum(self._done_days.values()), note=self._left())

    def _left(self) -> str:
        """Time left, from the simulated days done in this call."""
        done = sum(self._done_days.values())
        here = done - sum(self._first_days.values())
        left = len(self._names) * self._days - done
        if here <= 0:
            return ""
        seconds = left * (time.monotonic() - self._started) / here
        return f", about {seconds / 60:.1f} min left" if seconds > 1 else ""

    def _line(self, text: str, number: int) -> None:
        if self._bars is not None:
            row = self._rows.pop(number, None)
            if row is not None:
                self._bars.remove_task(row)
            self._bars.console.print(text)
        elif "FAILED" in text:
            self._print(text)

    def _print(self, text: str) -> None:
        print(text, flush=True)


def _bars() -> Any:
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=20),
        TextColumn("day {task.completed:.0f}/{task.total:.0f}"),
        TextColumn("{task.fields[note]}"),
        TimeElapsedColumn(),
    )

"""Live progress in the terminal: what runs now, how far it is, what it has earned, and how long all of it will take."""

import sys
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Any

from feedgym.experiments.runs.messages import Failed, Finished, Message, Progress


class LiveProgress:
    """A bar for each run under way and one for all; plain lines where the output is not a terminal.

    Args:
        names: of the tasks, by number.
        days: simulated days of each run.
        costs: how long a run takes compared with the others; all the same by default.
        every_day: without a terminal, a line for each simulated day, not only for each finished run.
        quiet: show nothing.
    """

    def __init__(
        self,
        names: Sequence[str],
        days: float,
        *,
        costs: Sequence[float] | None = None,
        every_day: bool = False,
        quiet: bool = False,
    ) -> None:
        self._names, self._days, self._quiet, self._every_day = names, days, quiet, every_day
        self._costs = [1.0] * len(names) if costs is None else list(costs)
        self._started = time.monotonic()
        self._done_days: dict[int, float] = {}
        self._first_days: dict[int, float] = {}
        self._last: dict[int, Progress] = {}
        self._num_done = 0
        self._rows: dict[int, Any] = {}
        self._bars: Any = None

    def __enter__(self) -> "LiveProgress":
        """Start drawing."""
        if not self._quiet and sys.stdout.isatty():
            self._bars = _bars()
            self._bars.start()
            if len(self._names) > 1:
                # Counted by cost, so that the bar moves as time does.
                total = sum(self._costs) * self._days
                self._all = self._bars.add_task("all", total=total, count=self._count(), note="starting")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave the terminal as it was."""
        if self._bars is not None:
            for row in self._rows.values():
                self._bars.remove_task(row)
            self._bars.stop()

    def update(self, number: int, message: Message) -> None:
        """Take in a message of task ``number``."""
        if isinstance(message, Progress):
            # A run that goes on from a checkpoint did not do its earlier days in this process.
            self._first_days.setdefault(number, message.day if message.visits_per_second == 0 else message.day - 1)
            self._done_days[number] = message.day
            self._last[number] = message
            self._show(number, message)
            return
        self._num_done += 1
        # A failed run has no days left to wait for.
        self._done_days[number] = self._days
        self._first_days.setdefault(number, self._days)
        if self._bars is not None and number in self._rows:
            self._bars.remove_task(self._rows.pop(number))
        if isinstance(message, Failed):
            self._print(f"{self._names[number]}: FAILED: {message.error.splitlines()[-1]}")
        elif isinstance(message, Finished) and number in self._last:
            last = self._last[number]
            how = "finished before" if last.visits_per_second == 0 else f"{last.visits_per_second:,.0f} visits/s"
            alone = len(self._names) == 1
            left = "" if alone or self._bars is not None else f"; {self._count()}{self._left()}"
            self._print(f"{self._names[number]}: done, reward {last.reward:.3f} per reader per day, {how}{left}")
        self._show_all()

    def _show(self, number: int, progress: Progress) -> None:
        note = f"reward {progress.reward:.3f}, {progress.visits_per_second:,.0f} visits/s"
        alone = len(self._names) == 1
        if self._bars is None:
            if self._every_day:
                self._print(f"{self._names[number]}: day {progress.day:g} of {progress.days:g}, {note}{self._left()}")
            return
        if number not in self._rows:
            self._rows[number] = self._bars.add_task(self._names[number], total=progress.days, count="", note="")
        count = f"day {progress.day:g}/{progress.days:g}"
        note += self._left() if alone else ""
        self._bars.update(self._rows[number], completed=progress.day, count=count, note=note)
        self._show_all()

    def _show_all(self) -> None:
        if self._bars is not None and len(self._names) > 1:
            done = sum(self._costs[number] * days for number, days in self._done_days.items())
            self._bars.update(self._all, completed=done, count=self._count(), note=self._left().removeprefix(", "))

    def _count(self) -> str:
        return f"{self._num_done}/{len(self._names)} runs"

    def _left(self) -> str:
        """Time left, from the simulated days done in this call, each weighed by what its run costs."""
        here = left = 0.0
        for number, cost in enumerate(self._costs):
            done = self._done_days.get(number, 0.0)
            here += cost * (done - self._first_days.get(number, 0.0))
            left += cost * (self._days - done)
        if here <= 0 or left <= 0:
            return ""
        seconds = left * (time.monotonic() - self._started) / here
        return f", {seconds / 60:.1f} min left" if seconds >= 60 else f", {seconds:.0f} s left"

    def _print(self, text: str) -> None:
        if self._quiet:
            return
        if self._bars is not None:
            self._bars.console.print(text, highlight=False, markup=False)
        else:
            print(text, flush=True)


def _bars() -> Any:
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=20),
        TextColumn("{task.fields[count]}"),
        TextColumn("{task.fields[note]}"),
        TimeElapsedColumn(),
    )

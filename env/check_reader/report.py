"""What is wrong with a reader model, in plain words: see :func:`feedgym.env.check_reader_model`."""

import textwrap
from dataclasses import dataclass

_WIDTH = 110


@dataclass(frozen=True, kw_only=True)
class ReaderProblem:
    """One thing that is wrong with a reader model."""

    method: str
    """Where: ``respond``, ``spawn``, ..."""
    check: str
    """What kind of thing, in two or three words: ``batch order``, ``shape``, ..."""
    seen: str
    """What the model did."""
    needed: str
    """What is needed instead."""
    hint: str
    """How this usually comes about, and what to do."""

    def __str__(self) -> str:
        """Four lines or more."""
        parts = {"seen": self.seen, "needs": self.needed, "hint": self.hint}
        lines = [f"{self.method}: {self.check}"]
        for word, text in parts.items():
            indent = f"  {word + ':':<7}"
            lines += textwrap.wrap(text, _WIDTH, initial_indent=indent, subsequent_indent=" " * len(indent))
        return "\n".join(lines)


@dataclass(frozen=True, kw_only=True)
class ReaderReport:
    """Everything that was found."""

    model: str
    """Name of the model's class."""
    problems: tuple[ReaderProblem, ...]
    """What has to be mended, in the order of a reader's life."""
    notes: tuple[ReaderProblem, ...]
    """What is worth knowing and need not be mended: results that differ by rounding only."""
    num_visits: int
    """Visits of the rehearsal."""

    @property
    def ok(self) -> bool:
        """Nothing has to be mended."""
        return not self.problems

    def __str__(self) -> str:
        """The whole report."""
        count = len(self.problems)
        said = "no problem" if count == 0 else "1 problem" if count == 1 else f"{count} problems"
        head = f"{self.model}: {said} found in {self.num_visits} visits"
        notes = [f"(a note, no problem)\n{note}" for note in self.notes]
        return "\n\n".join([head, *map(str, self.problems), *notes])


class Findings:
    """Collects problems: of a kind that a method has shown before, nothing more is written down."""

    def __init__(self) -> None:
        self._problems: list[ReaderProblem] = []
        self._notes: list[ReaderProblem] = []

    def add(self, *problems: ReaderProblem) -> None:
        """Write down what one call showed, all of it, but for kinds of problem that were seen before."""
        seen = {(p.method, p.check) for p in self._problems}
        self._problems += [p for p in problems if (p.method, p.check) not in seen]

    def note(self, problem: ReaderProblem) -> None:
        """Write down something that need not be mended."""
        if (problem.method, problem.check) not in {(p.method, p.check) for p in self._notes}:
            self._notes.append(problem)

    def has(self, method: str, *checks: str) -> bool:
        """One of these kinds of problem has been seen in this method."""
        return any(p.method == method and p.check in checks for p in self._problems)

    def report(self, model: str, num_visits: int) -> ReaderReport:
        """All of it."""
        return ReaderReport(
            model=model,
            problems=tuple(self._problems),
            notes=tuple(self._notes),
            num_visits=num_visits,
        )

"""What the work of a study consists of: units, each kept when it is finished; what each takes, and which are done.

A unit is a run of a comparison, which has a folder, or any other result, which has a file (``kept_result``). A study
names its units before it starts, so that its plan can be printed, and so that what is finished can be kept in rows.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from feedgym.experiments.compare import CompareConfig
from feedgym.experiments.reports import markdown_table
from feedgym.experiments.runs import changed, found_result, standing, without_code
from feedgym.experiments.studies.pace import run_minutes

State = Literal["done", "of other code", "to do"]


@dataclass(frozen=True, kw_only=True)
class Unit:
    """A piece of work, done or to do."""

    group: str
    """Its line in the plan: who or what, and in which part of the study."""
    seed: int
    size: str
    """Readers and days, in words."""
    path: Path
    """Folder of a run, or the ``.json`` file of another result."""
    settings: Mapping[str, Any]
    """All that the result depends on, less the code that makes it."""
    code: Mapping[str, str]
    """Of what makes it, see ``runs.code``."""
    minutes: float
    """Of one core that it takes, about."""

    @property
    def is_run(self) -> bool:
        """Whether it is a run, with a folder."""
        return self.path.suffix != ".json"

    @property
    def state(self) -> State:
        """What there is of it in its folder."""
        if self.is_run:
            there = standing(self.path, {"code": self.code})
            if there.state != "finished":
                return "to do"
            return "of other code" if there.changed else "done"
        found = found_result(self.path, self.settings)
        return "to do" if found is None else self.state_of(found["code"])

    def state_of(self, code: Mapping[str, str] | None) -> State:
        """Of a finished result that this code has made."""
        return "of other code" if changed(code, self.code) else "done"


def state_with(unit: Unit, rows: Mapping[Path, Mapping[str, Any]]) -> State:
    """What there is of a unit in its folder or in rows, by path: the better of the two."""
    if unit.state == "done" or unit.path not in rows:
        return unit.state
    return unit.state_of(rows[unit.path]["code"])


def run_units(config: CompareConfig, part: str = "") -> list[Unit]:
    """The runs of a comparison, which is ``part`` of a study."""
    before = f"{part}: " if part else ""
    return [
        Unit(
            group=f"{before}{run.agent}",
            seed=run.seed,
            size=size_words(run.readers, run.horizon_days),
            path=config.out / "runs" / run.folder_name(),
            settings=without_code(run.settings()),
            code=run.code(),
            minutes=run_minutes(run),
        )
        for run in config.runs()
    ]


def size_words(readers: int, days: float) -> str:
    """Such as ``2,000 readers, 28 days``."""
    return f"{readers:,} readers, {days:g} day{'' if days == 1 else 's'}"


def plan_text(name: str, units: Sequence[Unit], rows: Mapping[Path, Mapping[str, Any]] | None = None) -> str:
    """What a study will do: a line per group of units, and how many minutes of one core are to go.

    Args:
        name: of the study.
        units: its work.
        rows: what is finished in rows that are not laid out yet, by path.
    """
    if not units:
        return f"Plan of `feedgym study {name}`: one piece, of which nothing is kept before its end.\n"
    states = {unit.path: state_with(unit, rows or {}) for unit in units}
    todo = [unit for unit in units if states[unit.path] != "done"]
    other = sum(state == "of other code" for state in states.values())
    words = f"{len(units)} units, {len(units) - len(todo)} done, {hours_words(todo)} to go"
    if other:
        words += f"; {other} are finished, but of other code: done anew unless --reuse takes them"
    lines = []
    for group, size in dict.fromkeys((unit.group, unit.size) for unit in units):
        mine = [unit for unit in units if (unit.group, unit.size) == (group, size)]
        to_go = [unit for unit in mine if states[unit.path] != "done"]
        seeds = _seeds_words([unit.seed for unit in mine])
        cells = [str(len(mine)), str(len(mine) - len(to_go)), f"{sum(unit.minutes for unit in to_go):.1f}"]
        lines.append([group, size, seeds, *cells])
    table = markdown_table(["unit", "size", "seeds", "units", "done", "minutes to go"], lines)
    return f"Plan of `feedgym study {name}`: {words}.\n\n{table}\n"


def hours_words(units: Sequence[Unit]) -> str:
    """Such as ``about 1.3 CPU-hours``: an estimate from the pace of short runs."""
    return f"about {sum(unit.minutes for unit in units) / 60:.1f} CPU-hours"


def _seeds_words(seeds: Sequence[int]) -> str:
    seeds = sorted(set(seeds))
    if len(seeds) > 2 and seeds[-1] - seeds[0] == len(seeds) - 1:
        return f"{seeds[0]} to {seeds[-1]}"
    return ", ".join(map(str, seeds))

"""Own list against one list for all, in tables: over seeds, what ``measures/personal.py`` found in each run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import numpy as np

from feedgym.experiments.measures import NEW_VISITS, PERSONAL, WINDOW_NAMES, personal_tag
from feedgym.experiments.reports.statistics import band, mean_of_days

_MISSING = "-"
_DECIMALS = {"correlation": 2, "gain": 1, "gain_new": 1}
_PER_CENT = ("gain", "gain_new")
_TITLES = {"gain_new": "gain of new readers"}


class Estimate(NamedTuple):
    """A mean over seeds with its 95 % interval; ends are NaN for one seed."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class PersonalFound:
    """One agent, over seeds."""

    windows: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    """First and last day of each window that the runs have, by name; empty if one list is everybody's own."""
    values: Mapping[tuple[str, str], Estimate] = field(default_factory=dict)
    """By window and what was measured, over the runs that define it; missing where none does."""
    visits: int = 0
    """Looked at in all runs together."""


class Shown(Protocol):
    """A row of the ranking table, as far as it is needed here."""

    @property
    def name(self) -> str:
        """The agent, as shown."""
        ...

    @property
    def personal(self) -> PersonalFound:
        """What was found."""
        ...


def _known(found: Sequence[Mapping[str, Any] | None]) -> list[Mapping[str, Any]]:
    """What runs say of it, from their evaluations; none of those that say nothing."""
    parts = [one.get("personal") for one in found if one is not None]
    return [part for part in parts if part is not None]


def mean_personal(found: Sequence[Mapping[str, Any] | None]) -> PersonalFound:
    """Over an agent's runs, from their evaluations."""
    known = _known(found)
    windows = {window["name"]: (window["start"], window["end"]) for one in known for window in one["windows"]}
    values = {}
    for name in windows:
        of_window = [window for one in known for window in one["windows"] if window["name"] == name]
        for what in PERSONAL:
            each = np.array([window[what] for window in of_window if what in window])
            if len(each):
                values[name, what] = Estimate(*(float(end[0]) for end in band(each[:, None])))
    return PersonalFound(windows, values, sum(one["visits"] for one in known))


def mean_personal_days(found: Sequence[Mapping[str, Any] | None]) -> list[dict[str, float]]:
    """Mean over an agent's runs of each day's numbers, by TensorBoard tag; each over the runs that define it."""
    return mean_of_days([one["days"] for one in _known(found)], {name: personal_tag(name) for name in PERSONAL})


def personal_csv_names() -> list[str]:
    """Columns of ``ranking.csv``."""
    return [f"personal_{what}_{window}" for window in WINDOW_NAMES for what in PERSONAL]


def personal_csv_values(found: PersonalFound) -> list[float | str]:
    """Values of :func:`personal_csv_names`, means over seeds; empty where there is none."""
    keys = [(window, what) for window in WINDOW_NAMES for what in PERSONAL]
    return [found.values[key].mean if key in found.values else "" for key in keys]


def personal_cells(rows: Sequence[Shown]) -> tuple[list[str], list[list[str]]]:
    """Titles and rows of the table: agents whose lists are a reader's own, with their places in the ranking."""
    seen = {name: days for row in rows for name, days in row.personal.windows.items()}
    windows = [name for name in WINDOW_NAMES if name in seen]
    # Of what no run has defined there is no column: where nobody joins, late windows have no new readers.
    found = {key for row in rows for key in row.personal.values}
    keys = [(name, what) for name in windows for what in PERSONAL if (name, what) in found]
    titles = [
        f"{_TITLES.get(what, what)}{' %' if what in _PER_CENT else ''}, "
        f"days {seen[name][0]:.3g} to {seen[name][1]:.3g} [95 %]"
        for name, what in keys
    ]
    cells = [
        [str(place), row.name, *(_cell(row.personal, name, what) for name, what in keys)]
        for place, row in enumerate(rows, 1)
        if row.personal.windows
    ]
    return ["", "agent", *titles], cells


def personal_remarks(rows: Sequence[Shown]) -> list[str]:
    """How to read the table; nothing if nobody's lists are a reader's own."""
    seen = [row for row in rows if row.personal.windows]
    if not seen:
        return []
    remarks = [
        "All who visit in a tick are looked at together. Correlation: of scores with the simulator's expected minutes, "
        "each less its article's and its reader's mean; 0 where nothing personal is known. What is good for everybody "
        "is in neither.",
        "Gain: expected minutes of each visitor's own best articles by these scores, over those of the one list with "
        "the best mean scores, less 1. Below 0, one list for all would serve readers better than their own do.",
        f"New readers: the same on their first {NEW_VISITS} visits, of which few come after the first days.",
        f"Visits: at least {min(row.personal.visits for row in seen):,} of each agent. Agents see readers as they have "
        "made them: what a reader has just read tires her.",
    ]
    others = [row.name for row in rows if not row.personal.windows]
    if others:
        remarks.append(f"Without a row, since they score all readers alike or were not asked: {', '.join(others)}.")
    return remarks


def _cell(found: PersonalFound, window: str, what: str) -> str:
    estimate = found.values.get((window, what))
    if estimate is None:
        return _MISSING
    factor, decimals = 100.0 if what in _PER_CENT else 1.0, _DECIMALS[what]
    # Adding 0 takes the sign from a zero.
    mean, low, high = (f"{round(factor * end, decimals) + 0.0:+.{decimals}f}" for end in estimate)
    return f"{mean} [{_MISSING}]" if np.isnan(estimate.low) else f"{mean} [{low}, {high}]"

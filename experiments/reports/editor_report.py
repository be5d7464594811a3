"""The editor's view in tables: means over seeds of what ``measures/editor_view.py`` found."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from feedgym.experiments.measures import GROUPS, NAMES, SHARES, editor_tag
from feedgym.experiments.reports.statistics import mean_of_days

_MISSING = "-"
_OVERALL = {
    "coverage": "ever shown %",
    "daily_coverage": "shown in a day %",
    "gini_exposure": "Gini exposure",
    "gini_clicks": "Gini clicks",
    "topic_entropy": "topics of a slate (nats)",
    "repeat_share": "repeats %",
    "unfilled_share": "left empty %",
    "explored_share": "explored %",
}
_BY_GROUP = {
    "exposure_share": "exposure %",
    "click_share": "clicks %",
    "reward_share": "reward %",
    "click_rate": "click rate %",
    "reward_per_impression": "reward per 100",
}


@dataclass(frozen=True)
class EditorFound:
    """One agent, means over seeds."""

    values: Mapping[str, float] = field(default_factory=dict)
    """By name, see ``NAMES``; those that are defined in no run are missing."""
    followed_readers: int = 0
    """Of each run, followed for topics and repeats."""


class Shown(Protocol):
    """A row of the ranking table, as far as it is needed here."""

    @property
    def name(self) -> str:
        """The agent, as shown."""
        ...

    @property
    def editor(self) -> EditorFound:
        """What was found."""
        ...


def mean_editor(found: Sequence[Mapping[str, Any] | None]) -> EditorFound:
    """Mean over an agent's runs, from their summaries; each number over the runs that define it."""
    known = [one for one in found if one is not None]
    if not known:
        return EditorFound()
    values = {name: [one["values"][name] for one in known if name in one["values"]] for name in NAMES}
    means = {name: float(np.mean(each)) for name, each in values.items() if each}
    return EditorFound(means, known[0]["followed_readers"])


def mean_days(found: Sequence[Mapping[str, Any] | None]) -> list[dict[str, float]]:
    """Mean over an agent's runs of each day's numbers, by TensorBoard tag; each over the runs that define it."""
    known = [one["days"] for one in found if one is not None and "days" in one]
    return mean_of_days(known, {name: editor_tag(name) for name in NAMES})


def editor_csv_names() -> list[str]:
    """Columns of ``ranking.csv``."""
    return [f"editor_{name.replace('/', '_')}" for name in NAMES]


def editor_csv_values(found: EditorFound) -> list[float | str]:
    """Values of :func:`editor_csv_names`; empty where there is none."""
    return [found.values.get(name, "") for name in NAMES]


def overall_cells(rows: Sequence[Shown]) -> tuple[list[str], list[list[str]]]:
    """Titles and rows of the table of coverage, concentration, variety and repeats."""
    cells = [
        [str(place), row.name, *(_cell(row.editor, name, title) for name, title in _OVERALL.items())]
        for place, row in enumerate(rows, 1)
    ]
    return ["", "agent", *_OVERALL.values()], cells


def age_cells(rows: Sequence[Shown]) -> tuple[list[str], list[list[str]]]:
    """Titles and rows of the table by age of the article: five rows an agent."""
    titles = ["agent", "", *(group.replace("_", " ") for group in GROUPS)]
    cells = [
        [row.name if what == SHARES[0] else "", title, *(_cell(row.editor, f"{what}/{g}", title) for g in GROUPS)]
        for row in rows
        for what, title in _BY_GROUP.items()
    ]
    return titles, cells


def editor_remarks(rows: Sequence[Shown]) -> list[str]:
    """How to read the tables; nothing if no run has an editor's view."""
    seen = [row.editor for row in rows if row.editor.values]
    if not seen:
        return []
    return [
        "Ever shown, shown in a day: of the articles that were live. Gini: 0 where all of them have the same, near 1 "
        "where few have all. Topics: entropy within a slate, 0 where all are the same. Repeats: impressions whose "
        f"reader had been shown the article at an earlier visit, of {seen[0].followed_readers:,} readers. Left empty: "
        "positions for which rules, or a shortlist without exploration, had no article. Explored: positions of visits "
        "that got a uniform slate, which is the epsilon of an agent that explores.",
        "Shares are of all impressions, clicks and reward; rates are of the group's own impressions. The first 50 "
        "impressions of an article overlap with the ages. Reward that belongs to no article is left out.",
    ]


def _cell(found: EditorFound, name: str, title: str) -> str:
    value = found.values.get(name)
    if value is None:
        return _MISSING
    if title.endswith("%"):
        return f"{100 * value:.1f}"
    return f"{100 * value:.2f}" if title.endswith("per 100") else f"{value:.3f}"

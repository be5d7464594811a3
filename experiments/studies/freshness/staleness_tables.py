"""Tables of the study ``staleness``: what each setting loses against real time, seed by seed, and what it costs.

Shapes: S seeds, T bins of six hours. Reward is per reader per day.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from feedgym.agents import parse_agent
from feedgym.env.arrays import Doubles
from feedgym.env.checks import require
from feedgym.experiments.benchmarks import ServingFigures
from feedgym.experiments.reports import (
    MISSING,
    TITLES,
    Paired,
    Run,
    cost_cell,
    interval,
    markdown_table,
    number,
    paired_difference,
)
from feedgym.experiments.studies.freshness.staleness_settings import WARM_DAYS, Setting

PAIRS = (
    ("items 24 h", "training 24 h", "articles a day late, both trained daily"),
    ("daily vectors", "items 24 h", "then readers' vectors daily too"),
    ("batch", "daily vectors", "then slates drawn ahead too"),
    ("batch", "batch of 1 slate", "lists of five slates, not of one"),
    ("batch 6 h", "batch", "drawn every 6 hours, not every 24"),
    ("batch 1 h", "batch 6 h", "drawn every hour, not every 6"),
    ("realtime", "batch 1 h", "at request, not every hour"),
    ("realtime", "recent", "two towers in real time against newest first"),
    ("realtime", "popular", "two towers in real time against popularity"),
    ("batch", "recent", "two towers in batch against newest first in real time"),
    ("batch", "popular", "two towers in batch against popularity in real time"),
    ("batch 6 h", "recent", "the same, every 6 hours"),
    ("batch 6 h", "popular", "the same, every 6 hours"),
    ("batch 1 h", "recent", "the same, every hour"),
    ("batch 1 h", "popular", "the same, every hour"),
)
"""(setting, other, what the difference is)"""
BY_HOURS = ("batch", "daily vectors", "items 24 h")
"""Settings that are fresh at midnight, and least so before the next."""


@dataclass(frozen=True)
class Line:
    """One setting against real time."""

    setting: Setting
    reward: float
    versus: Paired | None
    """Reward minus real time's; None for real time itself."""
    percent: float
    """That difference in per cent of real time's reward."""
    late: Paired | None
    """The same difference over the days after ``WARM_DAYS``."""
    late_percent: float
    seeds_below: int
    """Seeds on which it earned less than in real time."""


def rewards(runs: Sequence[Run], label: str, first_day: int = 0) -> Doubles:
    """Reward per reader per day over the days from ``first_day`` on, by rising seed, (S,).

    Raises:
        ValueError: no such runs.
    """
    found = {run.seed: run.curves.daily("reward")[first_day:].mean() for run in runs if run.agent == label}
    require(bool(found), "label", label, f"one that was run: {sorted({run.agent for run in runs})}")
    return np.array([found[seed] for seed in sorted(found)])


def warm_days(run: Run) -> int:
    """``WARM_DAYS``, or as many as leave a day of a shorter run."""
    return min(WARM_DAYS, len(run.curves.daily("reward")) - 1)


def line(runs: Sequence[Run], setting: Setting) -> Line:
    """A setting against its reference."""
    reference = parse_agent(setting.reference).label
    warm = warm_days(runs[0])
    mine, theirs = rewards(runs, setting.label), rewards(runs, reference)
    late_mine, late_theirs = rewards(runs, setting.label, warm), rewards(runs, reference, warm)
    versus, late = paired_difference(mine, theirs), paired_difference(late_mine, late_theirs)
    return Line(
        setting=setting,
        reward=float(mine.mean()),
        versus=None if setting.is_reference else versus,
        percent=100.0 * versus.mean / float(theirs.mean()),
        late=None if setting.is_reference else late,
        late_percent=100.0 * late.mean / float(late_theirs.mean()),
        seeds_below=int(np.count_nonzero(mine < theirs)),
    )


def reward_table(runs: Sequence[Run], settings: Sequence[Setting]) -> str:
    """A row per setting: reward, the paired difference to real time, and that of the later days."""
    seeds = len({run.seed for run in runs})
    rows = []
    for found in (line(runs, setting) for setting in settings):
        own = found.setting.is_reference
        rows.append(
            [
                *(found.setting.group, found.setting.name, number(found.reward)),
                *(interval(found.versus), MISSING if own else number(found.percent, 1, "+")),
                MISSING if own else f"{found.seeds_below} of {seeds}",
                *(interval(found.late), MISSING if own else number(found.late_percent, 1, "+")),
            ]
        )
    titles = ["varied", "setting", "reward", "against real time [95 %]", "%", "seeds below"]
    return markdown_table([*titles, f"from day {WARM_DAYS + 1} on [95 %]", "%"], rows)


def pairs_table(runs: Sequence[Run], settings: Sequence[Setting]) -> str:
    """What each step between real time and batch is worth, and who beats a cheap baseline: of what was run."""
    named = {setting.name: setting for setting in settings}
    rows = []
    for one, other, what in PAIRS:
        if not {one, other} <= named.keys():
            continue
        mine, theirs = (rewards(runs, named[name].label) for name in (one, other))
        paired = paired_difference(mine, theirs)
        percent = 100.0 * paired.mean / float(theirs.mean())
        rows.append([what, f"{one} - {other}", interval(paired), number(percent, 1, "+")])
    return markdown_table(["step", "difference", "reward [95 %]", "%"], rows)


def reward_per_visit(run: Run) -> Doubles:
    """By six hours of the day, over the days after the warm ones: reward per visit, (4,)."""
    bins = round(24.0 / run.curves.bin_hours)
    first = bins * warm_days(run)
    totals = [run.curves.totals[name][first:].reshape(-1, bins).sum(axis=0) for name in ("reward", "visits")]
    each: Doubles = totals[0] / np.maximum(totals[1], 1.0)
    return each


def hours_table(runs: Sequence[Run], settings: Sequence[Setting]) -> str:
    """Reward per visit against real time's in the same hours, by hours since midnight, when all was made anew."""
    named = {setting.name: setting for setting in settings}

    def by_seed(name: str) -> Doubles:
        found = {run.seed: reward_per_visit(run) for run in runs if run.agent == named[name].label}
        return np.stack([found[seed] for seed in sorted(found)])

    reference = by_seed("realtime")
    rows = []
    for name in (name for name in BY_HOURS if name in named):
        mine = by_seed(name)
        cells = []
        for hour in range(mine.shape[1]):
            paired = paired_difference(mine[:, hour], reference[:, hour])
            mean = float(reference[:, hour].mean())
            low, high = 100.0 * paired.low / mean, 100.0 * paired.high / mean
            cells.append(f"{number(100.0 * paired.mean / mean, 0, '+')} % [{low:+.0f}, {high:+.0f}]")
        rows.append([name, *cells])
    width = 24 // reference.shape[1]
    hours = [f"{width * k} to {width * (k + 1)} h" for k in range(reference.shape[1])]
    return markdown_table(["since midnight", *hours], rows)


def counts(runs: Sequence[Run], label: str) -> dict[str, float]:
    """What 1,000 visits take of each of ``TITLES``, means over seeds; empty of agents that count nothing."""
    found = [run.serving for run in runs if run.agent == label and run.serving is not None]
    return {
        name: float(np.mean([1000.0 * of_run.get(name, 0) / max(of_run["visits"], 1) for of_run in found]))
        for name in TITLES
        if found
    }


_TIMED = ("default slates", "further pages", "serving CPU ms", "ratio", "training CPU ms")


def cost_table(runs: Sequence[Run], settings: Sequence[Setting], timed: Mapping[str, ServingFigures]) -> str:
    """Counts of 1,000 visits, a row per setting; and of those that were timed, CPU time."""
    rows = []
    for setting in settings:
        number_of, cpu = counts(runs, setting.label), timed.get(setting.name)
        rows.append(
            [
                setting.name,
                *(cost_cell(name, number_of[name], ",") if number_of else MISSING for name in TITLES),
                *([MISSING] * len(_TIMED) if cpu is None else _timed(cpu)),
            ]
        )
    return markdown_table(["1,000 visits of", *TITLES.values(), *_TIMED], rows)


def _timed(cpu: ServingFigures) -> tuple[str, ...]:
    milliseconds, training = 1000.0 * cpu.serving_seconds, 1000.0 * cpu.training_seconds
    repeats = (f"{cpu.default_slates:,.0f}", f"{cpu.further_pages:,.0f}")
    return (*repeats, f"{milliseconds:.0f}", f"{cpu.ratio:.2f}", f"{training:.0f}" if training else MISSING)

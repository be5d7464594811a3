"""What a run earned, in bins of simulated time: the numbers that every table, picture and event file is made of.

The unit of comparison is cumulative reward per reader per simulated day, denominators fixed in advance
(docs/mathematics.md 4.4): the readers of hour 0, gone for good or not; what newcomers bring is counted. Beside it
stands the reward of a day of a reader who is there: has joined, and has not left for good.
"""

from collections.abc import Mapping
from dataclasses import InitVar, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from feedgym.env.arrays import Arrays, Doubles
from feedgym.env.feed import Opens, ServedOutcome

PARTS = ("reward", "clicks", "dwell_minutes", "visits", "impressions", "subscriptions", "left", "reader_days")
"""What is counted in each bin; ``left`` counts readers who left for good, ``reader_days`` days of readers who were
there, tick by tick (both latent: a site cannot see who has left)."""
OPENS = "organic_opens"
"""Counted, too, in worlds where readers come from elsewhere: articles opened without a slate."""


@dataclass
class Curves:
    """Totals over all readers in each bin of one run, float64 (T,) each.

    Args:
        num_readers: readers at hour 0, P.
        days: horizon in simulated days.
        bin_hours: length of a bin in hours.
    """

    num_readers: int
    days: float
    bin_hours: float = 6.0
    totals: dict[str, Doubles] = field(default_factory=dict)
    """One array (T,) for each of ``PARTS``, and for ``OPENS`` where there are such."""
    with_opens: InitVar[bool] = False

    def __post_init__(self, with_opens: bool) -> None:
        """Start with empty bins where no totals are given."""
        if not self.totals:
            num_bins = int(np.ceil(24.0 * self.days / self.bin_hours - 1e-9))
            names = (*PARTS, OPENS) if with_opens else PARTS
            self.totals = {name: np.zeros(num_bins) for name in names}

    @property
    def has_opens(self) -> bool:
        """Opens from elsewhere are counted."""
        return OPENS in self.totals

    def record(self, now: float, outcome: ServedOutcome, reader_days: float, opens: Opens | None = None) -> None:
        """Add one tick, served at ``now`` hours.

        Args:
            now: its time.
            outcome: of its visits.
            reader_days: its length in days, times the readers there.
            opens: what was opened from elsewhere; what they pay, if anything, is reward like any other.
        """
        index = int(now / self.bin_hours + 1e-9)
        values = {
            "reward": outcome.reward.sum(dtype=np.float64),
            "clicks": np.count_nonzero(outcome.clicks),
            "dwell_minutes": outcome.dwell_minutes.sum(dtype=np.float64),
            "visits": len(outcome.reward),
            "impressions": np.count_nonzero(outcome.valid),
            "subscriptions": np.count_nonzero(outcome.subscribed),
            "left": np.count_nonzero(outcome.left),
            "reader_days": reader_days,
        }
        if opens is not None:
            values["reward"] += opens.reward.sum(dtype=np.float64)
            values[OPENS] = len(opens)
        for name, value in values.items():
            self.totals[name][index] += value

    def end_hours(self) -> Doubles:
        """Simulated time at the end of each bin, (T,)."""
        ends: Doubles = self.bin_hours * np.arange(1.0, len(self.totals["reward"]) + 1)
        return ends

    def cumulative(self, name: str) -> Doubles:
        """Total so far per reader (not divided by days), at the end of each bin, (T,)."""
        so_far: Doubles = np.cumsum(self.totals[name]) / self.num_readers
        return so_far

    def daily(self, name: str) -> Doubles:
        """Total of each simulated day per reader, (days,)."""
        day = (self.end_hours() - self.bin_hours) // 24.0
        totals: Doubles = np.bincount(day.astype(np.int64), weights=self.totals[name]).astype(np.float64, copy=False)
        per_reader: Doubles = totals / self.num_readers
        return per_reader

    def per_reader_day(self, name: str) -> float:
        """Mean over readers and days: the number that ranks agents."""
        return float(self.totals[name].sum()) / (self.num_readers * self.days)

    def per_day_there(self, name: str) -> float:
        """Mean over the days of readers who were there; NaN where nobody ever was."""
        days = float(self.totals["reader_days"].sum())
        return float(self.totals[name].sum()) / days if days > 0 else np.nan

    def there(self) -> Doubles:
        """Readers who were there, on average over each bin, (T,): a last, shorter bin counts by its length."""
        ends = np.minimum(self.end_hours(), 24.0 * self.days)
        readers: Doubles = 24.0 * self.totals["reader_days"] / np.diff(ends, prepend=0.0)
        return readers

    def snapshot(self) -> Arrays:
        """All totals, copied."""
        return {name: values.copy() for name, values in self.totals.items()}

    def restore(self, arrays: Arrays) -> None:
        """Become the curves of a snapshot."""
        self.totals = {name: arrays[name].astype(np.float64) for name in self.totals}


@dataclass(frozen=True)
class Run:
    """A finished run of one agent under one seed."""

    agent: str
    """Name as on the command line, such as ``regression-dwell``."""
    seed: int
    is_oracle: bool
    """The agent sees latents: a reference, marked as such wherever it is shown."""
    curves: Curves
    evaluation: Mapping[str, Any] | None = None
    """Ranking of the live catalogue and calibration, see ``Evaluation.summary``; None where it was not evaluated."""
    editor: Mapping[str, Any] | None = None
    """What was shown, see ``EditorView.summary``; None in runs from before there was one."""
    serving: Mapping[str, int] | None = None
    """What serving has cost, counted, see ``ServingCost``; None of an agent that retrieves nothing."""


def write_curves(curves: Curves) -> str:
    """CSV: hours at the end of each bin, and the totals in it; numbers to the last digit."""
    lines = [",".join(("end_hours", *curves.totals))]
    columns = [curves.end_hours(), *curves.totals.values()]
    lines += [",".join(repr(float(value)) for value in row) for row in zip(*columns, strict=True)]
    return "\n".join(lines) + "\n"


def read_curves(path: Path, shape: Mapping[str, Any]) -> Curves:
    """Read what :func:`write_curves` wrote; ``shape`` holds num_readers, days and bin_hours."""
    header, *lines = path.read_text().splitlines()
    names = header.split(",")
    # In any order: what was laid out from rows is sorted.
    if names[:1] != ["end_hours"] or sorted({*names[1:]} | {OPENS}) != sorted([*PARTS, OPENS]):
        raise ValueError(f"{path.name}: got columns {names}, needs {['end_hours', *PARTS]}, maybe {OPENS!r}, too")
    table = np.array([[float(cell) for cell in line.split(",")] for line in lines])
    totals = {name: table[:, 1 + index].copy() for index, name in enumerate(names[1:])}
    return Curves(shape["num_readers"], shape["days"], shape["bin_hours"], totals)

"""The ranking table: what each agent earned, and its paired difference to the best baseline.

All numbers are per reader of hour 0 per simulated day, means over the common seeds, but two: ``there`` is the reward of
a day of a reader who was there, and readers lost are those who left for good, per 100 of hour 0. The interval is a
paired 95 % t interval over seeds (docs/mathematics.md 4.6).
"""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import isnan

import numpy as np

from feedgym.experiments.reports.curves import OPENS, Run
from feedgym.experiments.reports.editor_report import EditorFound, editor_csv_names, editor_csv_values, mean_editor
from feedgym.experiments.reports.evaluation_report import Evaluated, csv_names, csv_values, mean_evaluation
from feedgym.experiments.reports.personal_report import (
    PersonalFound,
    mean_personal,
    personal_csv_names,
    personal_csv_values,
)
from feedgym.experiments.reports.run_table import RunTable, run_table, shown_name
from feedgym.experiments.reports.statistics import Paired, paired_difference, variance_factor
from feedgym.experiments.reports.trend import Trend, trend_of

BASELINES = ("random", "recent", "popular")
"""Agents that learn nothing; the best of them is what others are compared with."""
FEW_READERS = 200
"""Readers there on a day below which a report warns: what follows is a few people's."""
MISSING = "-"
"""Shown where there is no number: one seed has no interval, a baseline no difference to itself."""


@dataclass(frozen=True)
class Row:
    """One agent, means over seeds."""

    agent: str
    is_oracle: bool
    """Sees latents: a reference, not a competitor."""
    reward: float
    """Per reader per day."""
    reward_there: float
    """Per day of a reader who was there (latent)."""
    clicks: float
    """Per reader per day."""
    dwell_minutes: float
    """Per reader per day."""
    visits: float
    """Per reader per day."""
    readers_lost_percent: float
    """Readers who have left for good by the end, per 100 of hour 0 (latent)."""
    versus: Paired | None
    """Reward minus the best baseline's, seed by seed; None for that baseline itself or if there is none."""
    reward_by_seed: tuple[float, ...]
    """Per reader per day, in the order of ``Ranking.seeds``."""
    evaluated: Evaluated = field(default_factory=Evaluated)
    """How it ranks the full live catalogue, and whether its predicted clicks come true."""
    editor: EditorFound = field(default_factory=EditorFound)
    """What was shown: ages, coverage, concentration, variety, repeats."""
    personal: PersonalFound = field(default_factory=PersonalFound)
    """Readers' own lists against one list for all."""
    trend: Trend | None = None
    """Last days against first, as multiples of ``random``'s; None where that cannot be said."""
    organic_opens: float | None = None
    """Opens from elsewhere, without a slate, per reader per day; None in a world without."""

    @property
    def organic_share(self) -> float | None:
        """Share of all opens that came from elsewhere; None in a world without, or where nothing was opened."""
        opens = self.organic_opens
        return None if not opens else opens / (opens + self.clicks)

    @property
    def name(self) -> str:
        """The agent, as shown."""
        return shown_name(self.agent, self.is_oracle)


@dataclass(frozen=True)
class Ranking:
    """All agents, most reward first."""

    rows: tuple[Row, ...]
    baseline: str | None
    """The baseline with the highest mean reward; None if none was run."""
    seeds: tuple[int, ...]
    """Seeds that every agent has finished: all numbers are over these."""
    num_readers: int
    days: float
    remarks: tuple[str, ...]
    """What the reader of the table should know, such as runs that were left out."""


def rank(runs: Sequence[Run], baselines: Sequence[str] = BASELINES) -> Ranking:
    """Rank agents by mean reward per reader per day on the seeds that all of them have.

    Args:
        runs: finished runs in any order.
        baselines: names of agents to compare with; those that were not run, and oracles, are passed over.

    Returns:
        Rows with the highest reward first, equal ones by name.

    Raises:
        ValueError: as :func:`~feedgym.experiments.reports.run_table.run_table`.
    """
    table = run_table(runs)
    reward = {agent: float(table.rates(agent, "reward").mean()) for agent in table.runs}
    candidates = [name for name in reward if name in baselines and not table.is_oracle(name)]
    baseline = max(candidates, key=lambda name: reward[name], default=None)
    order = sorted(reward, key=lambda name: (-reward[name], name))
    remarks = list(table.remarks)
    if baseline is None:
        remarks.append(f"None of the baselines ({', '.join(baselines)}) was run: no differences.")
    if len(table.seeds) == 1:
        remarks.append("One seed: no interval, and the order may be luck.")
    remarks += few_readers(table, order)
    return Ranking(
        rows=tuple(_row(table, agent, baseline) for agent in order),
        baseline=baseline,
        seeds=table.seeds,
        num_readers=table.shape.num_readers,
        days=table.shape.days,
        remarks=tuple(remarks),
    )


def few_readers(table: RunTable, agents: Sequence[str]) -> list[str]:
    """A warning of each agent who had fewer than ``FEW_READERS`` on some day of some seed: the worst one.

    Of a comparison that began with fewer, the report's limits say so.
    """
    warnings: list[str] = []
    if table.shape.num_readers < FEW_READERS:
        return warnings
    for agent in agents:
        there = table.daily_there(agent)
        seed, day = np.unravel_index(int(there.argmin()), there.shape)
        if there[seed, day] < FEW_READERS:
            first = int(np.flatnonzero((there < FEW_READERS).any(axis=0))[0])
            warnings.append(
                f"{shown_name(agent, table.is_oracle(agent))}: fewer than {FEW_READERS} readers are there from day "
                f"{first + 1} on, fewest on day {day + 1} (seed {table.seeds[seed]}): {there[seed, day]:.0f}."
            )
    return warnings


def _row(table: RunTable, agent: str, baseline: str | None) -> Row:
    reward = table.rates(agent, "reward")
    versus = None
    if baseline is not None and agent != baseline:
        versus = paired_difference(reward, table.rates(baseline, "reward"))
    return Row(
        agent=agent,
        is_oracle=table.is_oracle(agent),
        reward=float(reward.mean()),
        reward_there=float(np.mean([run.curves.per_day_there("reward") for run in table.runs[agent]])),
        clicks=float(table.rates(agent, "clicks").mean()),
        dwell_minutes=float(table.rates(agent, "dwell_minutes").mean()),
        visits=float(table.rates(agent, "visits").mean()),
        readers_lost_percent=float(table.lost(agent)[:, -1].mean()),
        versus=versus,
        reward_by_seed=tuple(map(float, reward)),
        evaluated=mean_evaluation([run.evaluation for run in table.runs[agent]]),
        editor=mean_editor([run.editor for run in table.runs[agent]]),
        personal=mean_personal([run.evaluation for run in table.runs[agent]]),
        trend=trend_of(table, agent),
        organic_opens=float(table.rates(agent, OPENS).mean()) if table.has_opens else None,
    )


def number(value: float, decimals: int = 3, sign: str = "-") -> str:
    """``value`` with fixed decimals; zero has no minus sign."""
    zero = f"{0:.{decimals}f}"
    return f"{value:{sign}.{decimals}f}".replace(f"-{zero}", zero)


def interval(paired: Paired | None) -> str:
    """Such as ``+0.140 [+0.072, +0.208]``; the mean alone with one seed."""
    if paired is None:
        return MISSING
    has_ends = not isnan(paired.low)
    ends = f"{number(paired.low, sign='+')}, {number(paired.high, sign='+')}" if has_ends else MISSING
    return f"{number(paired.mean, sign='+')} [{ends}]"


def shrinkage(paired: Paired | None) -> str:
    """By what pairing divides the variance of the difference, such as ``29x``; see ``pairing_gain``."""
    if paired is None or isnan(paired.pairing_gain):
        return MISSING
    factor = variance_factor(paired.pairing_gain)
    # Runs that differ by a constant leave rounding errors for a variance.
    return ">1e6x" if factor > 1e6 else f"{factor:.1f}x"


def has_organic(ranking: Ranking) -> bool:
    """Readers of this world also come from elsewhere."""
    return any(row.organic_opens is not None for row in ranking.rows)


def trend_text(trend: Trend | None) -> str:
    """Such as ``0.82 falls``."""
    if trend is None:
        return MISSING
    return f"{number(trend.mean, 2)} falls" if trend.falls else number(trend.mean, 2)


def header(ranking: Ranking) -> list[str]:
    """Column titles of :func:`cells`."""
    against = f"reward vs {ranking.baseline} [95 %]" if ranking.baseline else "reward vs baseline"
    return [
        *("", "agent", "reward", "there", "clicks", "dwell min", "visits", "lost %"),
        *(("organic", "organic %") if has_organic(ranking) else ()),
        *(against, "pairing", "trend"),
    ]


def cells(ranking: Ranking) -> list[list[str]]:
    """The table's rows as text."""
    return [
        [
            str(place),
            shown_name(row.agent, row.is_oracle),
            *map(number, (row.reward, row.reward_there, row.clicks, row.dwell_minutes, row.visits)),
            number(row.readers_lost_percent, 1),
            *(_organic(row) if has_organic(ranking) else ()),
            "best baseline" if row.agent == ranking.baseline else interval(row.versus),
            shrinkage(row.versus),
            trend_text(row.trend),
        ]
        for place, row in enumerate(ranking.rows, 1)
    ]


def _organic(row: Row) -> tuple[str, str]:
    share = row.organic_share
    return number(row.organic_opens or 0.0), MISSING if share is None else number(100.0 * share, 1)


def caption(ranking: Ranking) -> str:
    """What the numbers are, in a few lines."""
    organic = "organic: opens from elsewhere, without a slate, and their share of all opens.\n"
    return (
        f"Per reader of hour 0 per day, means over {_count(len(ranking.seeds), 'seed')}; "
        f"{_count(ranking.num_readers, 'reader')}, {_count(ranking.days, 'day')}.\n"
        "there: reward per day of a reader who is there. lost: readers gone for good, per 100 of hour 0.\n"
        f"{organic if has_organic(ranking) else ''}"
        "pairing: how many times smaller the variance of the difference is for sharing news, readers and luck.\n"
        "trend: reward of the last third of the days over the first, as multiples of random's; falls: surely below 1."
    )


def _count(amount: float, noun: str) -> str:
    return f"{amount:,g} {noun}" + ("" if amount == 1 else "s")


def ranking_text(ranking: Ranking) -> str:
    """The table for a terminal, with its caption and remarks; no trailing newline."""
    lines = [header(ranking), *cells(ranking)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    rows = ["  ".join(_aligned(line, widths)).rstrip() for line in lines]
    rule = "-" * max(map(len, rows))
    return "\n".join([rows[0], rule, *rows[1:], rule, caption(ranking), *ranking.remarks])


def _aligned(line: list[str], widths: list[int]) -> list[str]:
    # Names to the left, numbers to the right.
    pairs = zip(line, widths, strict=True)
    return [text.ljust(width) if column == 1 else text.rjust(width) for column, (text, width) in enumerate(pairs)]


def ranking_markdown(ranking: Ranking) -> str:
    """The table in Markdown, without caption; no trailing newline."""
    return markdown_table(header(ranking), cells(ranking))


def markdown_table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table: the first two columns to the left, numbers to the right."""
    rule = ["---" if column < 2 else "---:" for column in range(len(titles))]
    escaped = [[text.replace("|", "\\|") for text in line] for line in (titles, rule, *rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in escaped)


def ranking_csv(ranking: Ranking) -> str:
    """The table in full precision, a row per agent; empty where there is no number."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    metrics = ("reward", "reward_there", "clicks", "dwell_minutes", "visits", "readers_lost_percent")
    paired = ("mean", "low", "high", "sd", "pairing_gain")
    writer.writerow(
        [
            *("agent", "is_oracle", "num_seeds", *metrics, "baseline"),
            *(f"difference_{name}" for name in paired),
            *csv_names(),
            *editor_csv_names(),
            *personal_csv_names(),
            *("trend", "trend_low", "trend_high"),
            *(("organic_opens", "organic_share") if has_organic(ranking) else ()),
        ]
    )
    for row in ranking.rows:
        values = [getattr(row, name) for name in metrics]
        versus = [getattr(row.versus, name) if row.versus else "" for name in paired]
        empty_nan = ["" if isinstance(x, float) and isnan(x) else x for x in versus]
        trend = ["" if row.trend is None or isnan(x := getattr(row.trend, n)) else x for n in ("mean", "low", "high")]
        organic = ["" if value is None else value for value in (row.organic_opens, row.organic_share)]
        writer.writerow(
            [
                *(row.agent, int(row.is_oracle), len(ranking.seeds), *values, ranking.baseline or "", *empty_nan),
                *csv_values(row.evaluated),
                *editor_csv_values(row.editor),
                *personal_csv_values(row.personal),
                *trend,
                *(organic if has_organic(ranking) else ()),
            ]
        )
    return out.getvalue()

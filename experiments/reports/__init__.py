"""Runs into curves, intervals, tables, pictures, event files and pages. May import ``measures``."""

from feedgym.experiments.reports.curves import Curves, Run, read_curves, write_curves
from feedgym.experiments.reports.event_files import (
    LiveEvents,
    Point,
    logdir,
    retire,
    run_folder,
    run_head,
    run_points,
    write_summary_events,
)
from feedgym.experiments.reports.personal_report import PersonalFound
from feedgym.experiments.reports.plots import PALETTE, plot_curves
from feedgym.experiments.reports.ranking import (
    MISSING,
    Ranking,
    interval,
    markdown_table,
    number,
    rank,
    ranking_csv,
    ranking_markdown,
    ranking_text,
    trend_text,
)
from feedgym.experiments.reports.report import pairing_sentence, tensorboard_line, write_report
from feedgym.experiments.reports.serving_report import TITLES, cost_cell
from feedgym.experiments.reports.statistics import Paired, band, paired_difference, t_quantile

__all__ = [
    "MISSING",
    "PALETTE",
    "TITLES",
    "Curves",
    "LiveEvents",
    "Paired",
    "PersonalFound",
    "Point",
    "Ranking",
    "Run",
    "band",
    "cost_cell",
    "interval",
    "logdir",
    "markdown_table",
    "number",
    "paired_difference",
    "pairing_sentence",
    "plot_curves",
    "rank",
    "ranking_csv",
    "ranking_markdown",
    "ranking_text",
    "read_curves",
    "retire",
    "run_folder",
    "run_head",
    "run_points",
    "t_quantile",
    "tensorboard_line",
    "trend_text",
    "write_curves",
    "write_report",
    "write_summary_events",
]

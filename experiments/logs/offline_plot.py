"""The picture of off-policy estimates: a row for each estimator, with its interval, beside the log and the truth.

What has a warning is grey and says which: an estimate that rests on a handful of visits is not read by its place.
"""

import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from feedgym.experiments.logs.offline_result import OfflineResult, decimals

SOUND, DOUBTFUL, MODELLED = "#0072b2", "#9a9a9a", "#d55e00"
TRUTH, LOGGED = "#009e73", "#5b4023"
INCHES_A_ROW = 0.52


def draw_estimates(result: OfflineResult, path: Path) -> None:
    """Write the picture as PNG.

    Args:
        result: with estimates.
        path: of the file; its folder is made.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows, below = result.estimates[::-1], _below(result)
    figure = Figure(figsize=(10.5, 1.7 + INCHES_A_ROW * len(rows) + 0.17 * len(below)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    low, high = _span(result)
    _draw_lines(axes, result)
    for y, row in enumerate(rows):
        _draw_row(axes, y, row, low, high, decimals(result))
    axes.set_yticks(range(len(rows)), [str(row["estimator"]) for row in rows])
    axes.set_ylim(-0.6, len(rows) - 0.4)
    axes.set_xlim(low, high)
    axes.set_xlabel("reward a visit, on the days kept back; bars: 95 % over readers")
    axes.grid(axis="x", color="#e6e6e6", linewidth=0.8)
    axes.set_axisbelow(True)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.tick_params(axis="y", length=0, pad=12)
    figure.suptitle(_title(result), x=0.01, ha="left", fontsize=11)
    axes.legend(loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=2, frameon=False, fontsize=9, borderaxespad=0.2)
    if below:
        figure.supxlabel("\n".join(below), x=0.01, ha="left", fontsize=8, color="#555555")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130, facecolor="white")


def _title(result: OfflineResult) -> str:
    by = {"estimated": "estimated propensities", "logged": "logged propensities", "unknown": "no propensities"}
    return f"{result.agent}: off-policy estimates by {by[result.propensities]}"


def _draw_lines(axes: Any, result: OfflineResult) -> None:
    """Where truth and log stand; the truth with its own interval."""
    truth, logged, d = result.estimates[0].get("truth"), result.logged_visit_reward, decimals(result)
    if truth is not None:
        axes.axvline(truth, color=TRUTH, linewidth=2, zorder=1, label=f"truth (simulator): {truth:.{d}f}")
        half = 1.96 * (result.truth_error or 0.0)
        axes.axvspan(truth - half, truth + half, color=TRUTH, alpha=0.12, linewidth=0, zorder=0)
    if logged is not None:
        axes.axvline(logged, color=LOGGED, linestyle=(0, (4, 2)), zorder=1, label=f"logged policy: {logged:.{d}f}")


def _draw_row(axes: Any, y: int, row: Mapping[str, Any], low: float, high: float, d: int) -> None:
    """A dot, its interval, and in words what they are; an arrow at the edge where the interval goes on."""
    colour = MODELLED if row["extrapolates"] else DOUBTFUL if row["warnings"] else SOUND
    ends = np.clip([row["low"], row["high"]], low, high)
    axes.plot(ends, [y, y], color=colour, linewidth=2.4, solid_capstyle="butt", zorder=2)
    for beyond, edge, marker in ((row["low"] < low, low, "<"), (row["high"] > high, high, ">")):
        if beyond:
            axes.plot([edge], [y], marker=marker, color=colour, markersize=8, clip_on=False, zorder=3)
    if low <= row["value"] <= high:
        axes.plot([row["value"]], [y], marker="o", color=colour, markersize=7, zorder=4)
    axes.annotate(
        f"{row['value']:.{d}f}  [{row['low']:.{d}f}, {row['high']:.{d}f}]\n{_said(row)}",
        (1.0, y),
        xycoords=("axes fraction", "data"),
        xytext=(16, 0),
        textcoords="offset points",
        fontsize=8,
        va="center",
        color="#777777" if colour == DOUBTFUL else "#222222",
    )


def _said(row: Mapping[str, Any]) -> str:
    """What is to be known of an estimate, in a few words; the table has the sentences."""
    if row["extrapolates"]:
        return "the model's word alone: extrapolates"
    size, mean = row["effective_sample_size"], row["mean_weight"]
    doubt = " - see warnings" if row["warnings"] else ""
    return f"effective sample {size:,.0f}, mean weight {mean:.2f}{doubt}"


def _span(result: OfflineResult) -> tuple[float, float]:
    """The axis: all that can be trusted, truth and log; of the rest no more than three times as much."""
    firm = [row for row in result.estimates if not row["warnings"]]
    marks = [result.logged_visit_reward, result.estimates[0].get("truth")]
    marks += [row[end] for row in firm for end in ("low", "high")]
    sure = np.array([mark for mark in marks if mark is not None and np.isfinite(mark)])
    every = np.array([row[end] for row in result.estimates for end in ("low", "high")])
    every = every[np.isfinite(every)]
    if not len(sure):
        sure = every if len(every) else np.zeros(1)
    low, high = float(sure.min()), float(sure.max())
    width = max(high - low, 0.1 * max(abs(high), abs(low)), 1e-9)
    if len(every):
        low, high = min(low, max(float(every.min()), low - width)), max(high, min(float(every.max()), high + width))
    margin = 0.06 * (high - low)
    return low - margin, high + margin


def _below(result: OfflineResult) -> list[str]:
    """Notes under the picture, not wider than it."""
    return [line for note in result.notes for line in textwrap.wrap(f"Note: {note}.", 140)]

"""Picture of the study ``staleness``: reward against each clock, and reward against what serving costs.

matplotlib is imported only where it draws.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from feedgym.experiments.benchmarks import ServingFigures
from feedgym.experiments.reports import PALETTE, Run
from feedgym.experiments.studies.freshness.staleness_settings import WARM_DAYS, Setting
from feedgym.experiments.studies.freshness.staleness_tables import Line, line

LEFT_OF_ALL = 0.25
"""Where 0 hours stand on the logarithmic axis."""
TITLES = {
    "items": "articles enter the index every ... hours",
    "readers": "readers' vectors made every ... hours",
    "lag": "what readers do is known ... hours later",
    "training": "trained every ... hours",
}
STYLES = dict(zip(TITLES, zip(PALETTE, "osD^", strict=False), strict=True))


def plot_staleness(
    settings: Sequence[Setting],
    runs: Mapping[str, Sequence[Run]],
    costs: Mapping[str, Mapping[str, ServingFigures]],
    path: Path,
) -> None:
    """Write the picture: a column for each world.

    Args:
        settings: what was run.
        runs: of each world.
        costs: of each world, by name of the settings that were timed.
        path: PNG to write.
    """
    from matplotlib import style
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with style.context("default", after_reset=True):
        figure = Figure(figsize=(5.5 * len(runs), 7.6), dpi=75)
        FigureCanvasAgg(figure)
        panels = figure.subplots(2, len(runs), squeeze=False)
        for panel in panels[0, 1:]:
            panel.sharey(panels[0, 0])
        for column, (world, found) in enumerate(runs.items()):
            lines = [line(found, setting) for setting in settings]
            _clocks(panels[0, column], world, lines)
            _costs(panels[1, column], lines, costs[world])
        panels[0, 0].set_ylabel(f"reward against real time, from day {WARM_DAYS + 1} on, %")
        panels[1, 0].set_ylabel("minutes read per reader per day, all days")
        panels[0, 0].legend(fontsize=8, loc="lower left", frameon=False)
        num_seeds = len({run.seed for run in next(iter(runs.values()))})
        note = f"{num_seeds} seeds; bars: 95 % t interval of the paired difference to real time"
        figure.text(0.01, 0.01, note, fontsize=8, color="#444444")
        figure.tight_layout(rect=(0.0, 0.025, 1.0, 1.0))
        figure.savefig(path, format="png", metadata={"Software": None})


def _clocks(axes: Any, world: str, lines: Sequence[Line]) -> None:
    """How much reward each clock costs, over the days after the warm ones: the first have no model, or a poor one."""
    for clock, (colour, marker) in STYLES.items():
        mine = [found for found in lines if found.setting.group == clock]
        # Real time itself: no lag, and training every 6 hours.
        points = [(6.0 if clock == "training" else LEFT_OF_ALL, 0.0, 0.0)]
        points += [(found.setting.hours or 0.0, found.late_percent, _half_percent(found)) for found in mine]
        x, y, half = zip(*sorted(points), strict=True)
        axes.errorbar(
            x, y, half, color=colour, marker=marker, markersize=4, linewidth=1.4, capsize=2, label=TITLES[clock]
        )
    _frame(axes, world)
    axes.set_xscale("log")
    ticks = (LEFT_OF_ALL, 0.5, 1, 3, 6, 24, 48)
    axes.set_xticks(ticks, labels=["0", *(f"{tick:g}" for tick in ticks[1:])])
    axes.minorticks_off()
    axes.set_xlabel("hours", fontsize=9)


def _half_percent(found: Line) -> float:
    """Half the interval of the difference, in per cent of real time's reward."""
    if found.late is None or found.late.mean == 0.0:
        return 0.0
    return (found.late.high - found.late.low) / 2.0 * abs(found.late_percent / found.late.mean)


def _costs(axes: Any, lines: Sequence[Line], costs: Mapping[str, ServingFigures]) -> None:
    """Reward against CPU time of the modes, and of cheap baselines."""
    for number, found in enumerate(found for found in lines if found.setting.name in costs):
        colour = _colour(found.setting)
        half = 0.0 if found.versus is None else (found.versus.high - found.versus.low) / 2.0
        x = 1000.0 * costs[found.setting.name].serving_seconds
        axes.errorbar(x, found.reward, half, color=colour, marker="o", markersize=5, capsize=2, linestyle="none")
        # Neighbours in the list stand close together: their names on different sides.
        offset, side = (((6, 4), "left"), ((-6, -11), "right"))[number % 2]
        place = {"textcoords": "offset points", "ha": side, "fontsize": 8, "color": colour}
        axes.annotate(found.setting.name, (x, found.reward), offset, **place)
    _frame(axes, "")
    axes.set_xscale("log")
    axes.margins(x=0.25)
    ticks = [tick for tick in (1, 3, 10, 30, 100, 300, 1000, 3000) if axes.get_xlim()[0] <= tick <= axes.get_xlim()[1]]
    axes.set_xticks(ticks, labels=[f"{tick:g}" for tick in ticks])
    axes.minorticks_off()
    axes.set_xlabel("CPU ms of serving per 1,000 visits", fontsize=9)
    axes.set_ylim(min(0.0, axes.get_ylim()[0]), None)


def _colour(setting: Setting) -> str:
    return "#5b4023" if setting.group == "baseline" else PALETTE[0]


def _frame(axes: Any, title: str) -> None:
    axes.set_title(title, loc="left", fontsize=11)
    axes.grid(color="#e6e6e6", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=9)

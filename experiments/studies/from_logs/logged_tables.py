"""Cells and pictures of the studies of learning from logs: means, and paired differences with intervals."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from feedgym.experiments.reports import PALETTE, band, interval, number, paired_difference


def mean_cells(values: Sequence[Sequence[float]]) -> list[str]:
    """The mean over seeds of each."""
    return [number(float(np.mean(of_seeds))) for of_seeds in values]


def difference_cells(a: Sequence[float], b: Sequence[float]) -> list[str]:
    """A - B over seeds with its interval, in per cent of the mean of B, seeds above 0, and the verdict."""
    paired = paired_difference(np.asarray(a), np.asarray(b))
    verdict = "yes" if paired.low > 0 else "no: the reverse" if paired.high < 0 else "not shown"
    above = sum(x > y for x, y in zip(a, b, strict=True))
    return [interval(paired), f"{100 * paired.mean / float(np.mean(b)):+.0f}", f"{above} of {len(a)}", verdict]


def plot_differences(
    pairs: Mapping[tuple[str, str, str], tuple[Sequence[float], Sequence[float]]], path: Path, title: str
) -> None:
    """A panel for each first name, a colour for each second, a place for each third: mean and interval of A - B."""
    firsts, seconds, thirds = (list(dict.fromkeys(key[k] for key in pairs)) for k in range(3))

    def draw(figure: Any) -> None:
        panels = figure.subplots(1, len(firsts), sharey=True, squeeze=False)[0]
        for axes, first in zip(panels, firsts, strict=True):
            axes.axhline(0.0, color="#8a8a8a", linewidth=0.8)
            for place, second in enumerate(seconds):
                shown = [third for third in thirds if (first, second, third) in pairs]
                two = [pairs[first, second, third] for third in shown]
                paired = [paired_difference(np.asarray(a), np.asarray(b)) for a, b in two]
                mean = np.array([p.mean for p in paired])
                error = [mean - [p.low for p in paired], np.array([p.high for p in paired]) - mean]
                x = np.array([thirds.index(third) for third in shown]) + 0.16 * (place - (len(seconds) - 1) / 2)
                colour = PALETTE[place % len(PALETTE)]
                axes.errorbar(x, mean, yerr=error, fmt="o", color=colour, capsize=3, linewidth=1.4, label=second)
            axes.set_xticks(range(len(thirds)), thirds)
            axes.set_xlim(-0.5, len(thirds) - 0.5)
            axes.set_title(first, loc="left", fontsize=10.5)
        panels[0].legend(frameon=False, fontsize=9)

    _write(path, title, draw)


def plot_by_size(rewards: Mapping[str, Mapping[int, Sequence[float]]], path: Path, title: str, label: str) -> None:
    """A line for each name: mean over seeds by size, with its 95 % interval."""

    def draw(figure: Any) -> None:
        axes = figure.subplots()
        for place, (name, by_size) in enumerate(rewards.items()):
            mean, low, high = band(np.array([by_size[size] for size in by_size]).T)
            # Side by side, or intervals hide each other.
            x = np.array(list(by_size)) * 1.04 ** (place - (len(rewards) - 1) / 2)
            axes.errorbar(
                x, mean, yerr=[mean - low, high - mean], marker="o", capsize=3, color=PALETTE[place], label=name
            )
        axes.set_xscale("log")
        axes.set_xticks(list(by_size), [f"{size:,}" for size in by_size])
        axes.minorticks_off()
        axes.set_xlabel(label, fontsize=9.5)
        axes.legend(frameon=False, fontsize=9, loc="center left", bbox_to_anchor=(1.0, 0.5))

    _write(path, title, draw)


def _write(path: Path, title: str, draw: Any) -> None:
    """The same values give the same bytes."""
    from matplotlib import style
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    path.parent.mkdir(parents=True, exist_ok=True)
    with style.context("default", after_reset=True):
        figure = Figure(figsize=(10, 4.4), dpi=100, layout="constrained")
        FigureCanvasAgg(figure)
        draw(figure)
        for axes in figure.axes:
            axes.spines[["top", "right"]].set_visible(False)
            axes.grid(color="#e6e6e6", linewidth=0.7)
            axes.set_axisbelow(True)
        figure.suptitle(title, x=0.01, ha="left", fontsize=12, weight="bold")
        # matplotlib would sign with its version: bytes would change with it and nothing else.
        figure.savefig(path, format="png", metadata={"Software": None})

"""The picture of study ``index``: reward and recall against the CPU time of the index, a column for each size."""

from collections.abc import Mapping
from pathlib import Path

from feedgym.experiments.reports import PALETTE, Paired

Points = Mapping[str, tuple[float, float, Paired]]
"""By the name of the index: CPU milliseconds for 1,000 visits, recall, difference in reward to exact search."""


def save_plot(path: Path, sizes: Mapping[int, Points]) -> None:
    """Draw it.

    Args:
        path: where to.
        sizes: points by the number of live articles.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator, NullFormatter

    figure = Figure(figsize=(3.6 * len(sizes) + 1.8, 6.4), layout="constrained")
    panels = figure.subplots(2, len(sizes), sharex="col", sharey="row", squeeze=False)
    names = list(next(iter(sizes.values())))
    for column, (live, points) in enumerate(sizes.items()):
        above, below = panels[:, column]
        for name, (cpu, recall, versus) in points.items():
            colour = PALETTE[names.index(name) % len(PALETTE)]
            error = [[versus.mean - versus.low], [versus.high - versus.mean]]
            above.errorbar(cpu, versus.mean, yerr=error, fmt="o", color=colour, capsize=3, label=name)
            below.plot(cpu, recall, "o", color=colour)
        above.axhline(0.0, color="#6e6e6e", linewidth=0.8)
        above.set_title(f"{live:,} live")
        below.set_xscale("log")
        below.xaxis.set_minor_formatter(NullFormatter())
        below.xaxis.set_major_formatter("{x:g}")
        below.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        below.set_xlabel("CPU ms of the index for 1,000 visits")
    panels[0, 0].set_ylabel("reward, less exact search's")
    panels[1, 0].set_ylabel("recall@100")
    handles, labels = panels[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right center", frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)

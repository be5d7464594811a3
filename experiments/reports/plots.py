"""The picture of a comparison: reward each day, readers there, and cumulative reward, with bands over seeds.

Where oracles are shown, those who compete also have a panel of their own: beside what latents can earn, the
differences that matter would be a line's width.

An agent's colour follows from its name, so that it stays the same from picture to picture. Oracles are grey and dashed
and say what they are. matplotlib is imported only where it draws: it would cost every command its start-up time.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np

from feedgym.env.arrays import Doubles
from feedgym.experiments.reports.curves import Run
from feedgym.experiments.reports.run_table import RunTable, run_table, shown_name
from feedgym.experiments.reports.statistics import band

PALETTE = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#882255", "#332288", "#999933")
"""Told apart by colour-blind readers (Okabe & Ito 2008; the last three from Tol's muted scheme)."""
BASELINE_STYLES = {"random": ("#b89b72", ":"), "recent": ("#8c6d46", "-."), "popular": ("#5b4023", "-")}
"""Browns of growing depth for agents that learn nothing."""
ORACLE_COLOUR = "#6e6e6e"
ORACLE_DASHES = ((0, (5, 2)), (0, (2, 1.5)), (0, (8, 2, 2, 2)), (0, (8, 3)))
LABEL_HEIGHT = 0.042
"""Least distance of two labels, as a share of the panel's height."""


def line_styles(oracle_of: dict[str, bool]) -> dict[str, tuple[str, Any]]:
    """Colour and dash pattern of each agent.

    The colour is looked up by a hash of the name; where two agents of one picture would share it, the later by name
    takes the next free one, and from the tenth learner on colours come again with dots.

    Args:
        oracle_of: whether the agent sees latents, by name.

    Returns:
        matplotlib colour and line style by name.
    """
    styles: dict[str, tuple[str, Any]] = {}
    oracles = sorted(name for name, is_oracle in oracle_of.items() if is_oracle)
    for index, name in enumerate(oracles):
        styles[name] = (ORACLE_COLOUR, ORACLE_DASHES[index % len(ORACLE_DASHES)])
    learners = [name for name in sorted(oracle_of) if name not in oracles and name not in BASELINE_STYLES]
    styles |= {name: BASELINE_STYLES[name] for name in sorted(oracle_of) if name in BASELINE_STYLES}
    taken: list[int] = []
    for name in learners:
        slot = crc32(name.encode()) % len(PALETTE)
        rounds = len(taken) // len(PALETTE)
        while taken.count(slot) > rounds:
            slot = (slot + 1) % len(PALETTE)
        taken.append(slot)
        styles[name] = (PALETTE[slot], "-" if rounds == 0 else (0, (1, 1)))
    return styles


def spread(heights: Doubles, least: float) -> Doubles:
    """Heights of labels: as close to those wanted as it gets with ``least`` between any two.

    Labels that would touch form a block around the mean of what they want (pool adjacent violators), inside [0, 1]
    as long as they fit.

    Args:
        heights: wanted, as shares of the panel's height, float (n,).
        least: smallest distance.

    Returns:
        Heights in the order of the input, float (n,).
    """
    order = np.argsort(heights, kind="stable")
    # Without the distances the task is: closest values that do not fall.
    wanted = heights[order] - least * np.arange(len(heights))
    blocks: list[tuple[float, int]] = []
    for value in wanted:
        total, size = float(value), 1
        while blocks and blocks[-1][0] / blocks[-1][1] > total / size:
            before, count = blocks.pop()
            total, size = total + before, size + count
        blocks.append((total, size))
    flat = np.concatenate([np.full(size, total / size) for total, size in blocks])
    flat = np.clip(flat, 0.0, max(0.0, 1.0 - least * (len(heights) - 1)))
    result = np.empty(len(heights))
    result[order] = flat + least * np.arange(len(heights))
    return result


def plot_curves(runs: Sequence[Run], path: Path, reward_label: str, *, title: str = "") -> None:
    """Write the picture, 1200 x 750 pixels; the same runs give the same bytes.

    Args:
        runs: finished runs; the common seeds are drawn.
        path: PNG to write.
        reward_label: what the reward is, with its unit, such as ``dwell minutes``.
        title: what was compared, above the panels.

    Raises:
        ValueError: as :func:`~feedgym.experiments.reports.run_table.run_table`.
    """
    from matplotlib import style
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    table = run_table(runs)
    # The user's own matplotlib settings stay out, and so does pyplot with its global state.
    with style.context("default", after_reset=True):
        figure = Figure(figsize=(12, 7.5), dpi=100)
        FigureCanvasAgg(figure)
        _draw(figure, table, reward_label, title)
        # matplotlib would sign with its version: bytes would change with it and nothing else.
        figure.savefig(path, format="png", metadata={"Software": None})


def _draw(figure: Any, table: RunTable, reward_label: str, title: str) -> None:
    styles = line_styles({agent: table.is_oracle(agent) for agent in table.runs})
    grid = figure.add_gridspec(
        2,
        2,
        width_ratios=(1, 1.1),
        left=0.06,
        right=0.765,  # the rest is for names
        bottom=0.1,
        top=0.89,
        hspace=0.26,
    )
    competing = [agent for agent in styles if not table.is_oracle(agent)]
    apart = 0 < len(competing) < len(styles)
    daily, there = figure.add_subplot(grid[0, 0]), figure.add_subplot(grid[1, 0])
    total = figure.add_subplot(grid[0, 1] if apart else grid[:, 1])
    close = figure.add_subplot(grid[1, 1]) if apart else None

    days = table.shape.end_hours() / 24.0
    from_zero = np.concatenate([[0.0], np.minimum(days, table.shape.days)])
    for agent, (colour, dashes) in styles.items():
        line = {"color": colour, "linestyle": dashes, "linewidth": 1.7, "zorder": 2 + table.is_oracle(agent)}
        rates = table.daily(agent, "reward")
        ends = np.minimum(np.arange(1, rates.shape[1] + 1), table.shape.days)
        so_far = _with_start(table.cumulative(agent, "reward"))
        _curve(total, from_zero, so_far, line)
        _curve(there, from_zero, _with_start(table.there(agent), table.shape.num_readers), line)
        if agent in competing or not apart:
            _curve(daily, ends, rates, line, marker="o" if rates.shape[1] == 1 else None)
        if agent in competing and close is not None:
            _curve(close, from_zero, so_far, line)

    names = {
        daily: f"{reward_label} per reader, each day" + (", without oracles" if apart else ""),
        total: f"{reward_label} per reader, so far",
        there: "readers who are there (latent: no site sees it)",
    }
    if close is not None:
        names[close] = f"{reward_label} per reader, so far, without oracles"
    for axes, name in names.items():
        axes.set_title(name, loc="left", fontsize=10.5)
        axes.set_xlim(0, table.shape.days)
        axes.set_ylim(min(0.0, axes.get_ylim()[0]), None)
        axes.grid(color="#e6e6e6", linewidth=0.7)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(labelsize=9)
    daily.tick_params(labelbottom=False)
    there.set_xlabel("simulated day", fontsize=9.5)
    lowest = total if close is None else close
    lowest.set_xlabel("simulated day", fontsize=9.5)
    # Names stand once: those who compete have theirs on the panel of their own.
    _label_ends(total, table, {a: style for a, style in styles.items() if not (apart and a in competing)})
    if close is not None:
        total.tick_params(labelbottom=False)
        _label_ends(close, table, {agent: styles[agent] for agent in competing})

    num_seeds = len(table.seeds)
    bands = f"{num_seeds} seeds, bands: pointwise 95 % t interval" if num_seeds > 1 else "one seed: no bands"
    figure.text(0.06, 0.95, title or "Same readers, same news, same luck for every agent", fontsize=12.5, weight="bold")
    figure.text(0.06, 0.02, f"{table.shape.num_readers:,} readers, {bands}", fontsize=9, color="#444444")


def _with_start(values: Doubles, start: float = 0.0) -> Doubles:
    """Put the value of hour 0 before the curves (S, T)."""
    return np.concatenate([np.full((len(values), 1), start), values], axis=1)


def _curve(axes: Any, days: Doubles, values: Doubles, line: dict[str, Any], marker: str | None = None) -> None:
    mean, lower, upper = band(values)
    axes.plot(days, mean, marker=marker, **line)
    if len(values) > 1:
        axes.fill_between(days, lower, upper, color=line["color"], alpha=0.16, linewidth=0, zorder=1)


def _label_ends(axes: Any, table: RunTable, styles: dict[str, tuple[str, Any]]) -> None:
    """Name each line at its right end, outside the panel: nothing is covered and no colour has to be looked up."""
    ends = np.array([table.cumulative(agent, "reward")[:, -1].mean() for agent in styles])
    low, high = axes.get_ylim()
    # A panel that is half as high needs twice the share for the same letters.
    least = min(LABEL_HEIGHT * 0.79 / axes.get_position().height, 1.0 / len(ends))
    heights = spread((ends - low) / (high - low), least)
    for (agent, (colour, dashes)), end, height in zip(styles.items(), ends, heights, strict=True):
        # In axes' shares: from the end of the line to the label.
        axes.plot(
            [1.0, 1.02, 1.04, 1.075],
            [(end - low) / (high - low), height, height, height],
            transform=axes.transAxes,
            color=colour,
            linestyle=dashes,
            linewidth=1.2,
            clip_on=False,
        )
        name = shown_name(agent, table.is_oracle(agent))
        axes.text(
            1.085, height, name, transform=axes.transAxes, color=colour, va="center", fontsize=min(9, 320 / len(name))
        )

"""TensorBoard event files, without torch: single seeds under ``seeds/``, means and bands under ``summary/``.

The step is the simulated hour. So is the wall time (hour 1 is 3,600 s after 1970): TensorBoard's RELATIVE axis then
shows simulated hours, and a resumed run's file does not differ from an uninterrupted one's.

A step never comes twice: a file is written from all points so far, under a new name, and the one before is emptied. It
opens with a session start, on which a TensorBoard that is already running drops what it had read, as by ``purge_step``.
"""

from collections.abc import Iterable, Mapping, Sequence
from math import ceil
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from feedgym.env.arrays import Doubles
from feedgym.env.checks import require
from feedgym.env.files import whole_file
from feedgym.experiments.reports.curves import Curves, Run
from feedgym.experiments.reports.editor_report import mean_days
from feedgym.experiments.reports.run_table import RunTable, daily_rate, lost_percent, run_table, shown_name
from feedgym.experiments.reports.statistics import band

Point = tuple[int, dict[str, float]]
"""A step (simulated hour) and the value of each tag at it."""

MAX_RUNS = 40
"""TensorBoard's charts stay empty, until one picks runs by hand, in a folder with more runs than this."""
PREFIX = "events.out.tfevents."
DAILY = ("reward", "clicks", "dwell_minutes", "visits", "impressions", "subscriptions")
"""Written as ``<name>/daily``, per reader."""


# ---- where things go ----
def run_folder(root: Path, agent: str, seed: int, is_oracle: bool) -> Path:
    """Folder of one seed of one agent; an oracle's name says that it is one, as TensorBoard shows folder names."""
    require("/" not in agent, "agent", agent, "a name without '/'")
    return root / "seeds" / shown_name(agent, is_oracle) / f"seed-{seed}"


def summary_folder(root: Path, agent: str, is_oracle: bool) -> Path:
    """Folder of an agent's mean and band."""
    require("/" not in agent, "agent", agent, "a name without '/'")
    return root / "summary" / shown_name(agent, is_oracle)


def logdir(root: Path, num_agents: int, num_seeds: int) -> Path:
    """What to give to ``tensorboard --logdir``: everything if TensorBoard draws that many runs, else the summary."""
    return root if num_agents * (num_seeds + 1) <= MAX_RUNS else root / "summary"


# ---- what is written ----
def run_points(curves: Curves, until_hours: float = float("inf")) -> list[Point]:
    """All points of a run up to now; ``reward/cumulative`` each bin, the rest at the end of each day.

    All are per reader, but ``readers_lost_percent`` (of all seats, so far; latent).

    Args:
        curves: the run's totals, maybe not complete.
        until_hours: simulated time that has been run; bins and days that end later are left out.

    Returns:
        Points in the order of their steps, each step once.
    """
    points: dict[int, dict[str, float]] = {}
    reward, lost = curves.cumulative("reward"), lost_percent(curves)
    # A step is a whole number: of bins shorter than an hour only those that end on the hour are written.
    for index, end in enumerate(curves.end_hours()):
        if end <= until_hours + 1e-9 and abs(end - round(end)) < 1e-6:
            point = {"reward/cumulative": reward[index], "readers_lost_percent/cumulative": lost[index]}
            points.setdefault(round(end), {}).update(point)
    daily = {f"{name}/daily": daily_rate(curves, name) for name in DAILY}
    for day, end in enumerate(_day_ends(curves)):
        if end <= until_hours + 1e-9:
            points.setdefault(ceil(end), {}).update({tag: values[day] for tag, values in daily.items()})
    return sorted((step, {tag: float(v) for tag, v in values.items()}) for step, values in points.items())


def _day_ends(curves: Curves) -> Doubles:
    """Hour at which each day ends, (days,); the last may be short."""
    ends: Doubles = np.minimum(24.0 * np.arange(1, len(curves.daily("reward")) + 1), 24.0 * curves.days)
    return ends


def summary_points(table: RunTable, agent: str) -> list[Point]:
    """Mean over seeds and pointwise 95 % band: ``cumulative_reward/*``, ``daily_reward/*``, readers lost.

    Of what an editor asks (``editor/*``) the means of each day.
    """
    every_bin = table.shape.end_hours()
    on_hour = np.abs(every_bin - np.round(every_bin)) < 1e-6
    ends = np.round(every_bin[on_hour])
    points: dict[int, dict[str, float]] = {}
    curves = (
        ("cumulative_reward", ends, table.cumulative(agent, "reward")[:, on_hour]),
        ("daily_reward", _day_ends(table.shape), table.daily(agent, "reward")),
        ("readers_lost_percent", ends, table.lost(agent)[:, on_hour]),
    )
    for name, hours, values in curves:
        mean, lower, upper = band(values)
        if len(values) == 1:
            # A margin chart with nan or missing edges draws nothing at all; its title says that there is no band.
            lower = upper = mean
        for hour, *row in zip(hours, mean, lower, upper, strict=True):
            tags = (f"{name}/mean", f"{name}/lower", f"{name}/upper")
            points.setdefault(ceil(hour), {}).update(zip(tags, map(float, row), strict=True))
    days = mean_days([run.editor for run in table.runs[agent]])
    for hour, found in zip(_day_ends(table.shape), days, strict=False):
        points.setdefault(ceil(hour), {}).update(found)
    return sorted(points.items())


def write_run_events(
    root: Path,
    run: Run,
    hparams: Mapping[str, bool | int | float | str],
    points: Sequence[Point] | None = None,
) -> Path:
    """Write a finished run's curves, with its hparams in the same file (a folder of their own would be one more run).

    Args:
        root: TensorBoard folder of the comparison.
        run: the run.
        hparams: settings to show beside it; ``agent`` and ``seed`` are added.
        points: all points, where there are more than the curves hold, such as training losses.

    Returns:
        The run's folder.
    """
    from tensorboard.plugins.hparams import summary_v2

    folder = run_folder(root, run.agent, run.seed, run.is_oracle)
    shown = {**hparams, "agent": run.agent, "seed": run.seed}
    # Time and group are fixed, so that writing twice gives the same bytes and each run is a row of its own.
    group = f"{run.agent}/seed-{run.seed}"
    first = summary_v2.hparams_pb(shown, trial_id=group, start_time_secs=0.0)
    _rewrite(folder, run_points(run.curves) if points is None else points, [first])
    return folder


def write_summary_events(root: Path, runs: Sequence[Run]) -> Path:
    """Write each agent's mean and band over the common seeds, and the layout of the Margin charts.

    Args:
        root: TensorBoard folder of the comparison.
        runs: finished runs; agents of an earlier call that are not among them disappear.

    Returns:
        ``root / "summary"``.
    """
    table = run_table(runs)
    keep = {agent: summary_folder(root, agent, table.is_oracle(agent)) for agent in table.runs}
    for folder in sorted((root / "summary").glob("*/")):
        if folder not in keep.values():
            _remove_events(folder)
    for index, (agent, folder) in enumerate(keep.items()):
        # TensorBoard takes a layout from any run: in an agent's own file it needs no run of its own.
        _rewrite(folder, summary_points(table, agent), [_layout(len(table.seeds))] if index == 0 else [])
    return root / "summary"


def _layout(num_seeds: int) -> Any:
    """Summary that holds the custom scalars layout: Margin charts of the mean and its band."""
    from tensorboard.compat.proto import summary_pb2, tensor_pb2, tensor_shape_pb2, types_pb2
    from tensorboard.plugins.custom_scalar import layout_pb2, metadata

    what = f"{num_seeds} seeds, 95 % band" if num_seeds > 1 else "one seed, no band"
    charts = []
    # TensorBoard shows a category's charts from the last to the first.
    titles = {
        "readers_lost_percent": "readers lost so far, % (latent)",
        "daily_reward": "reward per reader each day",
        "cumulative_reward": "reward per reader so far",
    }
    for name, title in titles.items():
        series = layout_pb2.MarginChartContent.Series(
            value=f"{name}/mean", lower=f"{name}/lower", upper=f"{name}/upper"
        )
        margin = layout_pb2.MarginChartContent(series=[series])
        charts.append(layout_pb2.Chart(title=f"{title}: {what}", margin=margin))
    layout = layout_pb2.Layout(category=[layout_pb2.Category(title="means over seeds", chart=charts)])
    tensor = tensor_pb2.TensorProto(
        dtype=types_pb2.DT_STRING,
        tensor_shape=tensor_shape_pb2.TensorShapeProto(),
        string_val=[layout.SerializeToString()],
    )
    value = summary_pb2.Summary.Value(
        tag=metadata.CONFIG_SUMMARY_TAG, tensor=tensor, metadata=metadata.create_summary_metadata()
    )
    return summary_pb2.Summary(value=[value])


# ---- how it is written ----
class LiveEvents:
    """Writes a run's points as they come; a resumed run gives all points so far and starts a fresh file."""

    def __init__(self, folder: Path, points: Iterable[Point] = ()) -> None:
        """Replace what the folder's event files hold by ``points``, and keep the file open.

        Args:
            folder: as :func:`run_folder` gives it.
            points: what was reached before, such as ``run_points(curves, now)``.
        """
        points = list(points)
        self.last_step = points[-1][0] if points else -1
        self._file = _rewrite(folder, points).open("ab")

    def add(self, step: int, values: Mapping[str, float]) -> None:
        """Add one point and hand it to the operating system, so that TensorBoard sees it now.

        Args:
            step: simulated hour, later than all before.
            values: value of each tag.

        Raises:
            ValueError: if the step is not later than the last.
        """
        require(step > self.last_step, "step", step, f"> {self.last_step}, the last step written")
        self.last_step = step
        _write_point(self._file, step, values)
        self._file.flush()

    def close(self) -> None:
        """Close the file; closing twice is fine."""
        self._file.close()


def _rewrite(folder: Path, points: Sequence[Point], summaries: Sequence[Any] = ()) -> Path:
    """Replace what the folder's event files hold by these points; returns the path of the one file with content."""
    from tensorboard.compat.proto import event_pb2

    old = sorted(folder.glob(f"{PREFIX}*"))
    # A new name each time: a TensorBoard that is running would go on reading a replaced file's old content.
    number = 1 + max((_number(path) for path in old), default=0)
    path = folder / f"{PREFIX}{number:010d}.feedgym"
    # Not this name and ".part": TensorBoard would read it while it is written.
    with whole_file(path, "events.part") as temporary:
        with temporary.open("wb") as file:
            _write(file, event_pb2.Event(file_version="brain.Event:2"))
            start = event_pb2.SessionLog(status=event_pb2.SessionLog.START)
            _write(file, event_pb2.Event(step=0, session_log=start))
            for summary in summaries:
                _write(file, event_pb2.Event(step=0, summary=summary))
            for step, values in points:
                _write_point(file, step, values)
        # Emptied before the new one is there: whenever the power fails, no step is on disk twice. Not removed at
        # once: TensorBoard's Python reader (--load_fast false) goes to the next file only from one that it can still
        # open.
        for gone in old[:-1]:
            gone.unlink()
        for before in old[-1:]:
            before.write_bytes(b"")
    return path


def _number(path: Path) -> int:
    """The count in a file's name; 0 for a name that is not ours."""
    digits = path.name.removeprefix(PREFIX).split(".")[0]
    return int(digits) if digits.isdigit() else 0


def _remove_events(folder: Path) -> None:
    """Remove what was written here, and the folder if nothing else is in it."""
    for path in folder.glob(f"{PREFIX}*"):
        path.unlink()
    if not any(folder.iterdir()):
        folder.rmdir()


def _write_point(file: BinaryIO, step: int, values: Mapping[str, float]) -> None:
    from tensorboard.compat.proto import event_pb2, summary_pb2

    scalars = [summary_pb2.Summary.Value(tag=tag, simple_value=value) for tag, value in values.items()]
    summary = summary_pb2.Summary(value=scalars)
    _write(file, event_pb2.Event(wall_time=3600.0 * step, step=step, summary=summary))


def _write(file: BinaryIO, event: Any) -> None:
    # Not EventFileWriter: it names files by clock and host, and writes from a thread.
    from tensorboard.summary.writer.record_writer import RecordWriter

    RecordWriter(file).write(event.SerializeToString())

"""TensorBoard event files, without torch: single seeds under ``seeds/``, means and bands under ``summary/``.

The step is the simulated hour. So is the wall time (hour 1 is 3,600 s after 1970): TensorBoard's RELATIVE axis then
shows simulated hours, and a resumed run's file does not differ from an uninterrupted one's.

A run has one file, ``events.out.tfevents.0000000001.feedgym``: the same bytes in every process, on every machine, and
whether or not the run was stopped. A step never comes twice: where a file has to change what it holds, it is written
anew, under a new name, and the one before is emptied. It opens with a session start, on which a TensorBoard that is
already running drops what it had read, as by ``purge_step``.
"""

import io
import os
from collections.abc import Iterable, Mapping, Sequence
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np

from feedgym.env.arrays import Doubles
from feedgym.env.checks import require
from feedgym.env.files import whole_file
from feedgym.experiments.reports.curves import OPENS, Curves, Run
from feedgym.experiments.reports.editor_report import mean_days
from feedgym.experiments.reports.personal_report import mean_personal_days
from feedgym.experiments.reports.run_table import RunTable, daily_rate, daily_there, lost_percent, run_table, shown_name
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

    All are per reader of hour 0, but ``reward_there/daily``, per reader who is there, ``readers_there`` (how many
    were, on average over the day), and ``readers_lost_percent`` (per 100 of hour 0, so far); these are latent.

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
    names = (*DAILY, OPENS) if curves.has_opens else DAILY
    daily = {f"{name}/daily": daily_rate(curves, name) for name in names}
    there = daily_rate(curves, "reader_days")
    daily["readers_there/daily"] = daily_there(curves)
    daily["reward_there/daily"] = np.divide(daily["reward/daily"], there, out=np.zeros_like(there), where=there > 0)
    for day, end in enumerate(_day_ends(curves)):
        if end <= until_hours + 1e-9:
            points.setdefault(ceil(end), {}).update({tag: values[day] for tag, values in daily.items()})
    return sorted((step, {tag: float(v) for tag, v in values.items()}) for step, values in points.items())


def _day_ends(curves: Curves) -> Doubles:
    """Hour at which each day ends, (days,); the last may be short."""
    ends: Doubles = np.minimum(24.0 * np.arange(1, len(curves.daily("reward")) + 1), 24.0 * curves.days)
    return ends


def summary_points(table: RunTable, agent: str) -> list[Point]:
    """Mean over seeds and pointwise 95 % band: ``cumulative_reward/*``, ``daily_reward/*``, readers lost and there.

    Of what an editor asks (``editor/*``), and of what is personal (``personal/*``), the means of each day.
    """
    every_bin = table.shape.end_hours()
    on_hour = np.abs(every_bin - np.round(every_bin)) < 1e-6
    ends = np.round(every_bin[on_hour])
    points: dict[int, dict[str, float]] = {}
    curves = (
        ("cumulative_reward", ends, table.cumulative(agent, "reward")[:, on_hour]),
        ("daily_reward", _day_ends(table.shape), table.daily(agent, "reward")),
        ("readers_lost_percent", ends, table.lost(agent)[:, on_hour]),
        ("readers_there", _day_ends(table.shape), table.daily_there(agent)),
    )
    for name, hours, values in curves:
        mean, lower, upper = band(values)
        if len(values) == 1:
            # A margin chart with nan or missing edges draws nothing at all; its title says that there is no band.
            lower = upper = mean
        for hour, *row in zip(hours, mean, lower, upper, strict=True):
            tags = (f"{name}/mean", f"{name}/lower", f"{name}/upper")
            points.setdefault(ceil(hour), {}).update(zip(tags, map(float, row), strict=True))
    runs = table.runs[agent]
    for days in (mean_days([run.editor for run in runs]), mean_personal_days([run.evaluation for run in runs])):
        for hour, found in zip(_day_ends(table.shape), days, strict=False):
            points.setdefault(ceil(hour), {}).update(found)
    return sorted(points.items())


def run_head(agent: str, seed: int, hparams: Mapping[str, bool | int | float | str]) -> list[Any]:
    """What a run's file opens with: its hparams, in the same file, since a folder of their own would be one more run.

    Args:
        agent: name of the agent.
        seed: of the run.
        hparams: settings to show; agent and seed are added.
    """
    from tensorboard.plugins.hparams import summary_v2
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    shown = {**hparams, "agent": agent, "seed": seed}
    # Time and group are fixed, so that writing twice gives the same bytes and each run is a row of its own.
    summary = summary_v2.hparams_pb(shown, trial_id=f"{agent}/seed-{seed}", start_time_secs=0.0)
    data = summary.value[0].metadata.plugin_data
    # A map has no order of its own: every process would write it in another one.
    data.content = HParamsPluginData.FromString(data.content).SerializeToString(deterministic=True)
    return [summary]


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
        "readers_lost_percent": "readers lost so far, per 100 of hour 0 (latent)",
        "readers_there": "readers there each day (latent)",
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
    """Writes a run's points as they come, into one file that is the same however often the run was stopped.

    A run that goes on finds its own file: what stands there beyond the points given is what it will write again. So it
    is read past, not written, and the file grows from its end.
    """

    def __init__(self, folder: Path, points: Iterable[Point] = (), head: Sequence[Any] = ()) -> None:
        """Go on with the folder's file, or begin one where there is none that begins so.

        Args:
            folder: as :func:`run_folder` gives it.
            points: what was reached before, such as ``run_points(curves, now)``.
            head: what the file opens with, see :func:`run_head`.
        """
        self._folder, self._head, self._points = folder, head, list(points)
        self.last_step = self._points[-1][0] if self._points else -1
        self._open(_rewrite(folder, self._points, head, goes_on=True))

    def _open(self, path: Path) -> None:
        self._ahead = path.read_bytes()[len(_content(self._points, self._head)) :]
        self._file = path.open("r+b")
        self._file.seek(-len(self._ahead), os.SEEK_END)

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
        self._points.append((step, dict(values)))
        record = _point(step, values)
        if self._ahead.startswith(record):
            self._ahead = self._ahead[len(record) :]
            self._file.seek(len(record), os.SEEK_CUR)
            return
        if not record.startswith(self._ahead):
            # Of another run, or what a loss of power left: TensorBoard has read it, so the points get a new file.
            self._file.close()
            self._open(_rewrite(self._folder, self._points, self._head))
            return
        # At the end of the file, or where a killed run stopped amid a record.
        self._ahead = b""
        self._file.write(record)
        self._file.flush()

    def close(self) -> None:
        """Close the file; closing twice is fine."""
        self._file.close()


def retire(folder: Path) -> None:
    """Empty what the folder's file holds: a run that is done anew begins another one."""
    for path in folder.glob(f"{PREFIX}*"):
        path.write_bytes(b"")


def _content(points: Sequence[Point], summaries: Sequence[Any]) -> bytes:
    """A whole file."""
    from tensorboard.compat.proto import event_pb2

    start = event_pb2.SessionLog(status=event_pb2.SessionLog.START)
    first = [event_pb2.Event(file_version="brain.Event:2"), event_pb2.Event(step=0, session_log=start)]
    head = first + [event_pb2.Event(step=0, summary=summary) for summary in summaries]
    return b"".join([*map(_record, head), *(_point(step, values) for step, values in points)])


def _rewrite(folder: Path, points: Sequence[Point], summaries: Sequence[Any] = (), goes_on: bool = False) -> Path:
    """Have the folder's event files hold these points; returns the path of the one file with content.

    Args:
        folder: of the files.
        points: all of them.
        summaries: what the file opens with.
        goes_on: a file that begins so may hold more.
    """
    folder.mkdir(parents=True, exist_ok=True)
    content = _content(points, summaries)
    old = sorted(folder.glob(f"{PREFIX}*"))
    if old:
        there = old[-1].read_bytes()
        if there == content or (goes_on and there.startswith(content)):
            return old[-1]
        if goes_on and there and content.startswith(there):
            # Cut short, as by a loss of power: what is missing is put behind.
            with old[-1].open("ab") as file:
                file.write(content[len(there) :])
            return old[-1]
    # A new name each time: a TensorBoard that is running would go on reading a replaced file's old content.
    number = 1 + max((_number(path) for path in old), default=0)
    path = folder / f"{PREFIX}{number:010d}.feedgym"
    with whole_file(path, "events.part") as temporary:
        temporary.write_bytes(content)
        # Emptied before the new one is there: whenever the power fails, no step is on disk twice. Not removed at once:
        # TensorBoard's Python reader (--load_fast false) goes to the next file only from one that it can still open.
        for one in old[:-1]:
            one.unlink()
        for one in old[-1:]:
            one.write_bytes(b"")
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


def _point(step: int, values: Mapping[str, float]) -> bytes:
    from tensorboard.compat.proto import event_pb2, summary_pb2

    scalars = [summary_pb2.Summary.Value(tag=tag, simple_value=value) for tag, value in values.items()]
    return _record(event_pb2.Event(wall_time=3600.0 * step, step=step, summary=summary_pb2.Summary(value=scalars)))


def _record(event: Any) -> bytes:
    # Not EventFileWriter: it names files by clock and host, and writes from a thread.
    from tensorboard.summary.writer.record_writer import RecordWriter

    written = io.BytesIO()
    RecordWriter(written).write(event.SerializeToString(deterministic=True))
    return written.getvalue()

"""Event files, read back with TensorBoard's own reader: values, steps once, bands, hparams, Margin charts."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.custom_scalar import layout_pb2
from tensorboard.plugins.hparams import metadata as hparams_metadata

from feedgym.experiments.reports.curves import Run
from feedgym.experiments.reports.event_files import (
    LiveEvents,
    logdir,
    retire,
    run_folder,
    run_head,
    run_points,
    summary_folder,
    write_summary_events,
)
from feedgym.experiments.reports.run_table import run_table
from feedgym.experiments.reports.statistics import band
from helpers.made_up_runs import fake_runs


def read(folder: Path) -> Any:
    accumulator = EventAccumulator(str(folder), size_guidance={"scalars": 0, "tensors": 0}, purge_orphaned_data=False)
    return accumulator.Reload()


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    accumulator = read(folder)
    return {tag: [(e.step, e.value) for e in accumulator.Scalars(tag)] for tag in accumulator.Tags()["scalars"]}


def event_files(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if path.is_file() and path.stat().st_size > 0]


def write_run_events(root: Path, run: Run, hparams: Any) -> Path:
    folder = run_folder(root, run.agent, run.seed, run.is_oracle)
    LiveEvents(folder, run_points(run.curves), run_head(run.agent, run.seed, hparams)).close()
    return folder


def test_a_runs_curves_come_back(tmp_path: Path) -> None:
    (run,) = fake_runs(agents=["popular"], seeds=[2])
    folder = write_run_events(tmp_path, run, {})
    assert folder == tmp_path / "seeds" / "popular" / "seed-2"
    values = scalars(folder)
    assert [step for step, _ in values["reward/cumulative"]] == list(range(6, 73, 6))
    assert [v for _, v in values["reward/cumulative"]] == pytest.approx(run.curves.cumulative("reward"), rel=1e-6)
    for name in ("reward", "clicks", "dwell_minutes", "visits", "impressions", "subscriptions"):
        assert [step for step, _ in values[f"{name}/daily"]] == [24, 48, 72]
        assert [v for _, v in values[f"{name}/daily"]] == pytest.approx(run.curves.daily(name), rel=1e-6)
    assert values["readers_lost_percent/cumulative"][-1][1] == pytest.approx(run.curves.totals["left"].sum())


def test_writing_again_leaves_each_step_once(tmp_path: Path) -> None:
    runs = fake_runs()
    for _ in range(2):
        folder = write_run_events(tmp_path, runs[0], {"lr": 0.1})
        write_summary_events(tmp_path, runs)
    for place in (folder, tmp_path / "summary" / "popular"):
        assert len(event_files(place)) == 1
        for points in scalars(place).values():
            steps = [step for step, _ in points]
            assert steps == sorted(set(steps))


def test_a_resumed_run_equals_an_uninterrupted_one(tmp_path: Path) -> None:
    (run,) = fake_runs(agents=["popular"], seeds=[0])
    points = run_points(run.curves)
    whole = LiveEvents(tmp_path / "whole")
    for step, values in points:
        whole.add(step, values)
    whole.close()

    first = LiveEvents(tmp_path / "resumed")
    for step, values in points[:8]:
        first.add(step, values)
    first.close()
    # The checkpoint is older than the last event: hours 36 to 48 are run again.
    again = LiveEvents(tmp_path / "resumed", points=run_points(run.curves, until_hours=35.9))
    assert again.last_step == 30
    for step, values in points[5:]:
        again.add(step, values)
    again.close()

    (whole_file,), (resumed_file,) = event_files(tmp_path / "whole"), event_files(tmp_path / "resumed")
    assert whole_file.read_bytes() == resumed_file.read_bytes()
    assert scalars(tmp_path / "resumed")["reward/daily"] == scalars(tmp_path / "whole")["reward/daily"]


def test_live_points_can_be_read_at_once_and_no_step_comes_twice(tmp_path: Path) -> None:
    live = LiveEvents(tmp_path)
    live.add(6, {"reward/cumulative": 0.5})
    assert scalars(tmp_path) == {"reward/cumulative": [(6, 0.5)]}
    with pytest.raises(ValueError, match="step: got 6, needs > 6"):
        live.add(6, {"reward/cumulative": 0.6})
    live.close()


def test_a_half_written_record_does_no_harm(tmp_path: Path) -> None:
    live = LiveEvents(tmp_path, points=[(6, {"x": 1.0}), (12, {"x": 2.0})])
    live.close()
    (path,) = event_files(tmp_path)
    path.write_bytes(path.read_bytes()[:-5])
    LiveEvents(tmp_path, points=[(6, {"x": 1.0}), (12, {"x": 2.0})]).close()
    assert scalars(tmp_path) == {"x": [(6, 1.0), (12, 2.0)]}


def test_a_running_tensorboard_drops_what_was_rewritten(tmp_path: Path) -> None:
    LiveEvents(tmp_path, points=[(6, {"x": 1.0}), (12, {"x": 2.0})]).close()
    running = EventAccumulator(str(tmp_path)).Reload()
    LiveEvents(tmp_path, points=[(6, {"x": 5.0})]).close()
    running.Reload()
    assert [(e.step, e.value) for e in running.Scalars("x")] == [(6, 5.0)]


def test_a_run_that_goes_on_otherwise_gets_a_new_file(tmp_path: Path) -> None:
    LiveEvents(tmp_path, points=[(6, {"x": 1.0}), (12, {"x": 2.0}), (18, {"x": 3.0})]).close()
    again = LiveEvents(tmp_path, points=[(6, {"x": 1.0})])
    again.add(12, {"x": 2.0})
    assert [path.name for path in event_files(tmp_path)] == ["events.out.tfevents.0000000001.feedgym"]
    again.add(18, {"x": 4.0})
    again.add(24, {"x": 5.0})
    again.close()
    assert [path.name for path in event_files(tmp_path)] == ["events.out.tfevents.0000000002.feedgym"]
    assert scalars(tmp_path) == {"x": [(6, 1.0), (12, 2.0), (18, 4.0), (24, 5.0)]}


def test_what_was_retired_is_not_gone_on_with(tmp_path: Path) -> None:
    LiveEvents(tmp_path, points=[(6, {"x": 1.0}), (12, {"x": 2.0})]).close()
    retire(tmp_path)
    LiveEvents(tmp_path, points=[]).close()
    assert scalars(tmp_path) == {}
    assert [path.name for path in event_files(tmp_path)] == ["events.out.tfevents.0000000002.feedgym"]


def test_summary_is_mean_and_band_over_seeds(tmp_path: Path) -> None:
    runs = fake_runs()
    write_summary_events(tmp_path, runs)
    assert sorted(p.name for p in (tmp_path / "summary").iterdir()) == [
        "oracle-dwell (oracle, sees latents)",
        "popular",
        "random",
        "recent",
        "regression-dwell",
    ]
    values = scalars(tmp_path / "summary" / "popular")
    expected = band(run_table(runs).cumulative("popular", "reward"))
    for tag, curve in zip(("mean", "lower", "upper"), expected, strict=True):
        points = values[f"cumulative_reward/{tag}"]
        assert [step for step, _ in points] == list(range(6, 73, 6))
        assert [v for _, v in points] == pytest.approx(curve, rel=1e-6)
    assert [step for step, _ in values["daily_reward/mean"]] == [24, 48, 72]


def test_margin_charts_stand_in_one_run_and_name_tags_that_exist(tmp_path: Path) -> None:
    root = write_summary_events(tmp_path, fake_runs())
    layouts = []
    for folder in sorted(root.iterdir()):
        accumulator = read(folder)
        if "custom_scalars__config__" in accumulator.Tags()["tensors"]:
            (event,) = accumulator.Tensors("custom_scalars__config__")
            layouts.append(layout_pb2.Layout.FromString(event.tensor_proto.string_val[0]))
    (layout,) = layouts
    series = [chart.margin.series[0] for chart in layout.category[0].chart]
    assert "cumulative_reward/mean" in {s.value for s in series}
    tags = set(scalars(summary_folder(tmp_path, "popular", False)))
    assert {tag for s in series for tag in (s.value, s.lower, s.upper)} == tags


def test_hparams_are_in_the_runs_own_file(tmp_path: Path) -> None:
    (run,) = fake_runs(agents=["oracle-dwell"], seeds=[3])
    folder = write_run_events(tmp_path, run, {"learning_rate": 0.01, "world": "vivid", "greedy": True})
    assert folder == run_folder(tmp_path, "oracle-dwell", 3, True)
    assert [p for p in folder.rglob("*") if p.is_dir()] == []
    content = read(folder).PluginTagToContent("hparams")[hparams_metadata.SESSION_START_INFO_TAG]
    info = hparams_metadata.parse_session_start_info_plugin_data(content)
    assert info.hparams["learning_rate"].number_value == 0.01
    assert info.hparams["world"].string_value == "vivid"
    assert info.hparams["greedy"].bool_value is True
    assert info.hparams["agent"].string_value == "oracle-dwell"
    assert info.hparams["seed"].number_value == 3
    before = event_files(folder)[0].read_bytes()
    write_run_events(tmp_path, run, {"learning_rate": 0.01, "world": "vivid", "greedy": True})
    assert event_files(folder)[0].read_bytes() == before


def test_agents_that_are_gone_disappear_and_nothing_else(tmp_path: Path) -> None:
    write_summary_events(tmp_path, fake_runs())
    own = tmp_path / "summary" / "random" / "notes.txt"
    own.write_text("mine")
    write_summary_events(tmp_path, fake_runs(agents=["popular"]))
    assert sorted(p.name for p in (tmp_path / "summary").iterdir()) == ["popular", "random"]
    assert event_files(own.parent) == [own]


def test_one_seed_draws_a_band_of_no_width(tmp_path: Path) -> None:
    write_summary_events(tmp_path, fake_runs(agents=["popular"], seeds=[0]))
    values = scalars(tmp_path / "summary" / "popular")
    assert values["cumulative_reward/lower"] == values["cumulative_reward/mean"]
    assert np.isfinite([v for points in values.values() for _, v in points]).all()


@pytest.mark.parametrize(("days", "bin_hours"), [(1.5, 0.5), (2.0, 5.0), (1.3, 6.0)])
def test_steps_are_whole_hours_and_unique_for_any_bins(days: float, bin_hours: float) -> None:
    (run,) = fake_runs(agents=["popular"], seeds=[0], days=days, bin_hours=bin_hours)
    points = run_points(run.curves)
    steps = [step for step, _ in points]
    assert steps == sorted(set(steps))
    assert all(type(step) is int for step in steps)
    assert sum("reward/daily" in values for _, values in points) == 2
    # Bins of half an hour: only every second one ends on the hour.
    on_hour = [end for end in run.curves.end_hours() if end == int(end)]
    assert [step for step, values in points if "reward/cumulative" in values] == on_hour
    assert run_points(run.curves, until_hours=24 * days)[-1][1]["reward/daily"] > 0


def test_too_many_runs_are_not_shown_at_once() -> None:
    root = Path("tb")
    assert logdir(root, num_agents=8, num_seeds=4) == root  # 8 means and 32 seeds: 40
    assert logdir(root, num_agents=8, num_seeds=5) == root / "summary"
    with pytest.raises(ValueError, match="a name without '/'"):
        run_folder(root, "a/b", 0, False)

"""One run: same bytes whichever way it is driven or interrupted, and what its folder holds."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from feedgym.agents.baselines.popularity import BaselineAgent
from feedgym.env import read_impressions
from feedgym.experiments import train
from feedgym.experiments.runs import runner
from feedgym.experiments.runs.checkpoint import CHECKPOINT, DONE, locked
from feedgym.experiments.runs.drive import make_drive
from feedgym.experiments.runs.messages import Progress
from feedgym.experiments.runs.run_config import RunConfig
from feedgym.experiments.runs.runner import load_run
from feedgym.experiments.train import TrainConfig

SMALL: dict[str, Any] = {"agent": "regression", "readers": 40, "days": 3.0, "tick_hours": 1.0}


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


class StopError(Exception):
    pass


def stop_at(day: float) -> Callable[[Progress], None]:
    def report(progress: Progress) -> None:
        if progress.day >= day:
            raise StopError

    return report


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    train.run(RunConfig(**SMALL), folder)
    return folder


def test_a_folder_holds_config_log_articles_curves_and_the_end(whole: Path) -> None:
    days = [f"impressions/day-000{day}.parquet" for day in range(3)]
    assert [*bytes_of(whole)] == [
        ".lock",
        "articles.parquet",
        "config.json",
        "curves.csv",
        "done.json",
        "embeddings.npz",
        *days,
    ]
    run = load_run(whole)
    log = read_impressions(whole / "impressions").to_pydict()
    assert run.curves.totals["clicks"].sum() == sum(log["clicked"]) > 0
    assert run.curves.totals["impressions"].sum() == len(log["clicked"])
    assert run.curves.totals["reward"].sum() == pytest.approx(sum(log["reward"]), rel=1e-6)
    assert run.curves.totals["left"].sum() == np.count_nonzero(
        np.array(log["terminated"])[np.array(log["position"]) == 0]
    )


def test_the_vector_face_gives_the_same_bytes(whole: Path, tmp_path: Path) -> None:
    train.run(RunConfig(**SMALL, face="vector"), tmp_path)
    assert bytes_of(tmp_path) == bytes_of(whole)


@pytest.mark.parametrize("day", [1.0, 3.0])
def test_a_run_stopped_at_the_end_of_a_day_goes_on_with_the_same_bytes(
    whole: Path, tmp_path: Path, day: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A checkpoint every day, however fast the days: else the clock decides which days have one.
    monkeypatch.setattr(runner, "CHECKPOINT_SHARE", 0.0)
    with pytest.raises(StopError):
        train.run(RunConfig(**SMALL), tmp_path, report=stop_at(day))
    assert (tmp_path / CHECKPOINT).exists()
    assert not (tmp_path / DONE).exists()
    days: list[float] = []
    train.run(RunConfig(**SMALL), tmp_path, report=lambda progress: days.append(progress.day))
    assert days == [d for d in (1.0, 2.0, 3.0) if d > day]
    assert bytes_of(tmp_path) == bytes_of(whole)


def test_a_run_stopped_amid_a_day_does_that_day_again(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from feedgym.experiments.reports.curves import Curves

    record = Curves.record

    def failing(self: Curves, now: float, *what: Any) -> None:
        if now >= 30.0:
            raise StopError
        record(self, now, *what)

    with monkeypatch.context() as patch:
        patch.setattr(Curves, "record", failing)
        with pytest.raises(StopError):
            train.run(RunConfig(**SMALL), tmp_path)
    train.run(RunConfig(**SMALL), tmp_path)
    assert bytes_of(tmp_path) == bytes_of(whole)


def test_a_finished_run_is_read_not_run_and_a_leftover_checkpoint_goes(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, data in bytes_of(whole).items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(data)
    (tmp_path / CHECKPOINT).write_bytes(b"killed between done.json and this file's removal")
    monkeypatch.setattr(runner, "make_drive", lambda config: pytest.fail("it was run"))
    told: list[Progress] = []
    run = train.run(RunConfig(**SMALL), tmp_path, report=told.append)
    assert bytes_of(tmp_path) == bytes_of(whole)
    assert [(progress.day, progress.visits_per_second) for progress in told] == [(3.0, 0.0)]
    assert told[0].reward == pytest.approx(run.curves.per_reader_day("reward"))


def test_a_run_waits_for_the_one_that_holds_its_folder(tmp_path: Path) -> None:
    config = RunConfig(agent="random", readers=5, days=1.0, tick_hours=2.0)
    days: list[float] = []
    with locked(tmp_path):
        other = threading.Thread(target=train.run, args=(config, tmp_path), kwargs={"report": lambda p: days.append(1)})
        other.start()
        other.join(timeout=0.7)
        assert other.is_alive()
        assert days == []
        assert not (tmp_path / "config.json").exists()
    other.join(timeout=30)
    assert days == [1]
    assert (tmp_path / DONE).exists()


def test_torch_has_one_thread_in_a_run_and_its_own_number_after_it(tmp_path: Path) -> None:
    import torch

    before = torch.get_num_threads()
    seen: list[int] = []
    torch.set_num_threads(3)
    try:
        config = RunConfig(agent="random", readers=5, days=1.0, tick_hours=6.0)
        train.run(config, tmp_path, report=lambda progress: seen.append(torch.get_num_threads()))
        assert seen == [1]
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


def test_without_a_log_there_are_only_curves(tmp_path: Path) -> None:
    train.run(RunConfig(agent="random", readers=5, days=1.5, tick_hours=6.0, log=False), tmp_path)
    assert [*bytes_of(tmp_path)] == [".lock", "config.json", "curves.csv", "done.json"]
    assert load_run(tmp_path).curves.days == 1.5


def test_the_command_runs_and_goes_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--agent", "recent", "--readers", "20", "--days", "2", "--tick-hours", "2", "--reward.click", "1", "--out"]
    train.main([*words, str(tmp_path)])
    first = capsys.readouterr().out
    (folder,) = tmp_path.glob("runs/recent-*/seed-0")
    assert "recent seed 0: day 1 of 2, reward " in first
    assert f"feedgym show {folder}" in first
    rate = load_run(folder).curves.per_reader_day("reward")
    assert f"reward {rate:.3f}, clicks " in first
    train.main([*words, str(tmp_path)])
    second = capsys.readouterr().out
    assert "finished before" in second
    assert f"reward {rate:.3f}, clicks " in second


def test_the_command_fills_in_the_horizon_of_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    articles = tmp_path / "a.csv"
    articles.write_text("article_id,published_at\n1,2023-02-02T07:00:31\n2,2023-02-04T01:00:31\n")
    assert TrainConfig(articles=articles).run_config().days == 2.0
    assert TrainConfig().run_config() == RunConfig(days=14.0)
    with pytest.raises(SystemExit) as error:
        train.main(["--articles", str(tmp_path / "none.csv")])
    assert str(error.value) == f"feedgym train: articles: got {str(tmp_path / 'none.csv')!r}, needs a file that exists"


def test_checkpoints_take_a_tenth_of_the_time_at_most(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that only checkpoints move, and days: saving takes 1 s, a day 3 s; then every fourth day is saved."""
    clock, saved = [0.0], list[int]()
    plain = vars(runner)["save_arrays"]

    def slow(path: Path, arrays: Any) -> None:
        plain(path, arrays)
        clock[0] += 1.0
        saved.append(int(arrays["feed/tick"]))

    monkeypatch.setattr(runner, "save_arrays", slow)
    monkeypatch.setattr(vars(runner)["time"], "perf_counter", lambda: clock[0])
    config = RunConfig(agent="random", readers=20, days=9.0, tick_hours=1.0, log=False)

    def next_day(progress: Progress) -> None:
        clock[0] += 3.0

    train.run(config, tmp_path, report=next_day)
    assert saved == [24, 24 * 5, 24 * 9]


def test_an_agents_metrics_go_under_train_unless_they_name_a_group(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    told = {"loss": 0.5, "retrieval/recall_at_k": 0.25, "serving/queries per 1,000": 2000.0}
    monkeypatch.setattr(BaselineAgent, "metrics", lambda self: told)
    config = RunConfig(agent="recent", readers=10, days=2.0, tick_hours=4.0, log=False)
    train.run(config, tmp_path / "run", tensorboard=tmp_path / "tb")
    (folder,) = (tmp_path / "tb" / "seeds").glob("*/seed-0")
    events = EventAccumulator(str(folder)).Reload()
    for tag, value in (("train/loss", 0.5), ("retrieval/recall_at_k", 0.25), ("serving/queries per 1,000", 2000.0)):
        assert [(event.step, event.value) for event in events.Scalars(tag)] == [(24, value), (48, value)]
    assert [tag for tag in events.Tags()["scalars"] if tag.startswith("train/")] == ["train/loss"]


@pytest.mark.parametrize("name", ["reward/cumulative", "editor/click_rate_all"])
def test_an_agents_metrics_do_not_take_the_place_of_the_runs_own(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(BaselineAgent, "metrics", lambda self: {name: 1.0})
    message = rf"metrics: got \['{name}'\], needs names that the run's own curves do not have"
    with pytest.raises(ValueError, match=message):
        train.run(RunConfig(agent="recent", readers=10, days=1.0, tick_hours=4.0, log=False), tmp_path)


RENEWED: dict[str, Any] = {"agent": "random", "readers": 40, "tick_hours": 1.0, "newcomers_per_day": 0.4}


def test_days_of_readers_who_are_there_are_counted_tick_by_tick(tmp_path: Path) -> None:
    config = RunConfig(days=2.0, log=False, **RENEWED)
    run = train.run(config, tmp_path)
    feed = make_drive(config).feed
    agent, days, left = config.plan().start(feed), np.zeros(8), 0
    while not feed.done:
        joined = int((feed.population.joined_hours <= feed.now).sum())
        days[int(feed.now // 6.0)] += (40 + joined - left) / 24.0
        left += int(feed.serve(agent.act(feed.visits, feed.catalogue).article_id).left.sum())
    np.testing.assert_allclose(run.curves.totals["reader_days"], days, rtol=1e-12)
    assert run.curves.there()[-1] > 60


def test_a_short_run_begins_a_long_one_in_log_and_curves(tmp_path: Path) -> None:
    short, long = (train.run(RunConfig(days=days, **RENEWED), tmp_path / f"{days:g}") for days in (1.0, 2.0))
    curves = [(tmp_path / name / "curves.csv").read_text().splitlines() for name in ("1", "2")]
    assert curves[0] == curves[1][:5]
    for name, total in short.curves.totals.items():
        assert total.tobytes() == long.curves.totals[name][:4].tobytes()
    logs = [read_impressions(tmp_path / name / "impressions") for name in ("1", "2")]
    # What follows a run's last visits lies beyond its horizon.
    beyond = ("run_id", "hours_to_next_visit", "truncated")
    names = [name for name in logs[0].column_names if name not in beyond]
    for name in names:  # as text: NaN equals NaN
        one, other = (repr(log[name].to_pylist()[: len(logs[0])]) for log in logs)
        assert one == other, name
    assert max(logs[0]["reader_id"].to_pylist()) >= 40

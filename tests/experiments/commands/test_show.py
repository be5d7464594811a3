"""Looking inside a run: every number shown is the log's; what cannot be shown is explained."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from feedgym.env import read_impressions
from feedgym.env.config import RewardConfig
from feedgym.experiments import train
from feedgym.experiments.commands import show
from feedgym.experiments.runs.messages import Progress
from feedgym.experiments.runs.run_config import RunConfig
from feedgym.experiments.runs.run_log import ATTRIBUTES, RunLog

SETTINGS: dict[str, Any] = {
    "agent": "recent:epsilon=0.3",
    "readers": 40,
    "days": 3.0,
    "tick_hours": 1.0,
    "log_marginals": True,
    "reward": RewardConfig(click=1.0, subscription=5.0),
}


@pytest.fixture(scope="module")
def comparison(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("show")
    for seed in (0, 1):
        config = RunConfig(**SETTINGS, seed=seed)
        train.run(config, out / "runs" / config.folder_name())
    return out


@pytest.fixture(scope="module")
def folder(comparison: Path) -> Path:
    (found,) = comparison.glob("runs/*/seed-0")
    return found


@pytest.fixture(scope="module")
def log(folder: Path) -> dict[str, np.ndarray[Any, Any]]:
    table = read_impressions(folder / "impressions")
    return {name: table[name].to_numpy() for name in table.column_names if name != "device"}


def shown(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    show.main([str(word) for word in words])
    return capsys.readouterr().out


def cells(text: str) -> list[list[str]]:
    """The rows of a table, without its heading."""
    below = re.split(r"─+ *\n", text)[1].split("\n" + " " * 20)[0]
    return [re.split(r"\s+", line.strip()) for line in below.splitlines() if line.strip()]


def busiest_visit(log: dict[str, np.ndarray[Any, Any]]) -> int:
    """The visit with most clicks among those that show articles of the shortlist and others."""
    ids = np.unique(log["visit_id"])
    of = {i: log["visit_id"] == i for i in ids}
    mixed = [i for i in ids if 0 < log["in_shortlist"][of[i]].mean() < 1 and log["visit"][of[i]][0] > 0]
    return int(max(mixed, key=lambda i: log["clicked"][of[i]].sum()))


def test_a_visit_shows_its_slate_as_logged(
    folder: Path, log: dict[str, np.ndarray[Any, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    visit = busiest_visit(log)
    of = {name: values[log["visit_id"] == visit] for name, values in log.items()}
    assert of["clicked"].sum() > 0
    text = shown(capsys, folder, "--visit", visit)
    assert f"reader {of['reader_id'][0]}, visit number {of['visit'][0] + 1}, " in text
    assert f"N {of['num_live'][0]} live articles, M {of['shortlist_size'][0]} in the shortlist" in text
    assert f"epsilon 0.3, temperature 1{', explored: a uniform slate' if of['explored'][0] else ''}\n" in text
    assert "served by recent:epsilon=0.3, version 0" in text
    assert f"log propensity of the slate: {of['log_propensity'][0]:.6f}" in text
    for what, name in (("at its position, whatever stands above", "slot_marginal"), ("on the slate", "inclusion")):
        assert f"{what}: {', '.join(f'{value:.3g}' for value in of[name])}\n" in text
    reward = of["reward"].sum(dtype=np.float64) + 5.0 * of["subscribed"][0]
    assert f"reward {reward:.3f}" in text
    before = (log["reader_id"] == of["reader_id"][0]) & (log["visit"] < of["visit"][0])
    assert f"history: {log['clicked'][before].sum()} clicks before" in text
    articles = pq.read_table(folder / "articles.parquet").to_pydict()
    rows = cells(text)
    assert len(rows) == 8
    assert ("* breaking" in text) == any(articles["breaking"][i] for i in of["article_id"])
    for k, row in enumerate(rows):
        article = of["article_id"][k]
        assert row[:3] == [str(k), str(article), f"{articles['topic'][article]}{'*' * articles['breaking'][article]}"]
        age = of["time_hours"][k] - articles["published_hours"][article]
        assert row[3:5] == [f"{age:.1f}", str(articles["publisher"][article])]
        names = ("clickbait_proxy", "quality_proxy", "latent_quality", "latent_clickbait")
        assert row[5:9] == [f"{articles[name][article]:+.2f}" for name in names]
        assert row[9] == f"{articles['latent_half_life_hours'][article]:.1f}"
        in_shortlist = bool(of["in_shortlist"][k])
        assert row[10] == (f"{of['logit'][k]:.3f}" if in_shortlist else "-")
        assert row[11:13] == [f"{of['slot_propensity'][k]:.3g}", "yes" if in_shortlist else "no"]
        assert row[13:] == (["yes", f"{of['dwell_minutes'][k]:.2f}"] if of["clicked"][k] else [])


def test_a_life_shows_every_visit_of_the_reader(
    folder: Path, log: dict[str, np.ndarray[Any, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    clicks = np.bincount(log["reader_id"], weights=log["clicked"])
    reader = int(np.argmax(clicks))
    of = {name: values[log["reader_id"] == reader] for name, values in log.items()}
    text = shown(capsys, folder, "--reader", reader)
    rows = cells(text)
    visits = np.unique(of["visit_id"])
    assert [row[1] for row in rows] == [str(i) for i in visits]
    topic = np.array(pq.read_table(folder / "articles.parquet", columns=["topic"])["topic"])
    times = of["time_hours"][of["position"] == 0]
    for k, (row, visit) in enumerate(zip(rows, visits, strict=True)):
        here = of["visit_id"] == visit
        clicked = here & of["clicked"]
        assert row[2:4] == ["day", str(int(times[k] // 24))]
        assert row[4] == f"{int(times[k] % 24):02d}:00"
        assert row[5] == ("-" if k == 0 else f"{times[k] - times[k - 1]:.2f}")
        assert row[6:8] == [str(clicked.sum()), f"{of['dwell_minutes'][here].sum():.2f}"]
        topics = [str(t) for t in topic[of["article_id"][clicked]]]
        assert row[9 : 9 + len(topics)] == topics
    subscriptions = int(of["subscribed"][of["position"] == 0].sum())
    reward = of["reward"].sum(dtype=np.float64) + 5.0 * subscriptions
    assert f"in all: {len(visits)} visits, {8 * len(visits)} impressions, {int(clicks[reader])} clicks" in text
    assert f"reward {reward:.2f}" in text


def test_a_life_says_how_it_ended(
    folder: Path, log: dict[str, np.ndarray[Any, Any]], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    train.run(RunConfig(**SETTINGS, seed=7), tmp_path / "left")
    table = read_impressions(tmp_path / "left" / "impressions")
    gone, waiting = table.filter(table["terminated"])["reader_id"].to_pylist(), log["reader_id"][log["truncated"]]
    assert "left for good (latent)" in shown(capsys, tmp_path / "left", "--reader", gone[0])
    assert "not yet back when the run ends" in shown(capsys, folder, "--reader", waiting[0])
    brief = RunConfig(agent="random", readers=40, days=0.125, tick_hours=1.0)
    train.run(brief, tmp_path / "b")
    came = read_impressions(tmp_path / "b" / "impressions")["reader_id"].to_pylist()
    never = sorted(set(range(40)) - set(came))
    assert "has not come yet" in shown(capsys, tmp_path / "b", "--reader", never[0])


def test_a_run_is_summed_up_with_visits_and_readers_to_try(
    folder: Path, log: dict[str, np.ndarray[Any, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    text = shown(capsys, folder)
    visits = len(np.unique(log["visit_id"]))
    assert "recent:epsilon=0.3, seed 0, world vivid: finished, 3 days" in text
    assert f"{visits} visits of {len(np.unique(log['reader_id']))} readers (40 at hour 0)" in text
    assert f"{log['clicked'].sum()} clicks" in text
    assert f"reward {train.load_run(folder).curves.per_reader_day('reward'):.3f} per reader per day" in text
    found = re.search(r"--visit ([\d, ]+)\n.*--reader ([\d, ]+)\n", text)
    assert found is not None
    tries = found.group(1).split(", "), found.group(2).split(", ")
    assert len(tries[0]) == len(tries[1]) == 3
    for visit, reader in zip(*tries, strict=True):
        shown(capsys, folder, "--visit", visit)
        shown(capsys, folder, "--reader", reader)


def test_the_folder_of_a_comparison_lists_its_runs(comparison: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for place in (comparison, comparison / "runs"):
        text = shown(capsys, place)
        assert "Name one of them: feedgym show " in text
        assert [row[:2] for row in cells(text)[:2]] == [["recent:epsilon=0.3", "0"], ["recent:epsilon=0.3", "1"]]
    with pytest.raises(SystemExit, match=r"needs one run's folder, such as .*seed-0"):
        show.main([str(comparison), "--reader", "1"])


def test_a_run_that_is_not_finished_is_shown_as_far_as_its_log_goes(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    class StopError(Exception):
        pass

    def stop(progress: Progress) -> None:
        if progress.day == 2.0:
            raise StopError

    with pytest.raises(StopError):
        train.run(RunConfig(**SETTINGS), tmp_path, report=stop)
    assert "not finished, 2 of 3 days in the log" in shown(capsys, tmp_path)
    early = RunLog(tmp_path)
    visit = early.column("visit_id")[0]
    # The articles are read from the checkpoint: the same as from the finished run.
    assert shown(capsys, tmp_path, "--visit", visit) == shown(capsys, folder, "--visit", visit)
    ids = np.array([0, 5, 10**6, -1])
    for name, values in early.articles(ids).items():
        assert values[:2] == pytest.approx(RunLog(folder).articles(ids)[name][:2])
        assert np.isnan(values[2:]).all()
    (tmp_path / "checkpoint.npz").unlink()
    assert set(RunLog(tmp_path).articles(ids)) == set(ATTRIBUTES)
    assert " - " in shown(capsys, tmp_path, "--visit", visit)


def test_rows_are_found_across_row_groups(tmp_path: Path) -> None:
    import pyarrow as pa

    (tmp_path / "impressions").mkdir()
    (tmp_path / "config.json").write_text('{"agent": "recent", "seed": 0, "readers": 1, "log": true}')
    rng = np.random.default_rng(3)
    reader, value = rng.integers(0, 50, (2, 1000)), np.arange(2000).reshape(2, 1000)
    for day in range(2):
        table = pa.table({"reader_id": reader[day], "value": value[day]})
        pq.write_table(table, tmp_path / "impressions" / f"day-000{day}.parquet", row_group_size=64)
    log = RunLog(tmp_path)
    for wanted in (0, 7, 49):
        found = log.rows("reader_id", wanted, ["value"])["value"].to_numpy()
        assert found.tolist() == value[reader == wanted].tolist()
    assert log.rows("reader_id", 50, ["value"]).num_rows == 0


def test_what_cannot_be_shown_is_explained(folder: Path, tmp_path: Path) -> None:
    def said(*words: object) -> str:
        with pytest.raises(SystemExit) as error:
            show.main([str(word) for word in words])
        return str(error.value.code)

    assert said(folder, "--reader", 400).startswith("feedgym show: reader: got 400, needs 0 to 39, the readers of")
    ids = RunLog(folder).column("visit_id")
    assert f"visit: got 99999, needs a visit of this log; they are between {ids.min()} and {ids.max()}" in said(
        folder, "--visit", 99999
    )
    assert "needs not given together" in said(folder, "--visit", 3, "--reader", 2)
    assert f"folder: got '{tmp_path}', needs a run's folder" in said(tmp_path)
    assert "needs a folder that exists" in said(tmp_path / "none")
    train.run(RunConfig(agent="random", readers=5, days=1.0, tick_hours=6.0, log=False), tmp_path / "a")
    assert "needs a run with a log" in said(tmp_path / "a", "--reader", 1)
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "config.json").write_bytes((folder / "config.json").read_bytes())
    assert "needs a run with a finished simulated day" in said(tmp_path / "b")
    (tmp_path / "b" / "impressions").mkdir()
    (tmp_path / "b" / "impressions" / "day-0000.parquet").write_bytes(b"PAR1 and no more")
    assert "cut short or no Parquet" in said(tmp_path / "b")

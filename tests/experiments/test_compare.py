"""The comparison: same bytes, pairing, failures, what users bring, and clear errors."""

import csv
import dataclasses
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from feedgym.agents.registry import split_agents
from feedgym.env import read_impressions
from feedgym.env.config import RewardConfig
from feedgym.experiments import compare
from feedgym.experiments.compare import CompareConfig, command_line, reward_label
from feedgym.experiments.runs import runner
from feedgym.experiments.runs.run_config import RunConfig
from helpers.paths import EBNERD

SMALL: dict[str, Any] = {
    "agents": ("recent", "regression"),
    "seeds": (0, 1),
    "readers": 50,
    "days": 2.0,
    "tick_hours": 3.0,
    "workers": 1,
}
OWN_READERS = """
import os
import numpy as np
from feedgym.env.readers import Outcome


class Own:
    "Fails on day 1 of the run whose agent shows few old articles, as long as the test says so."

    def spawn(self, reader_ids, noise):
        return {"visits": np.zeros(len(reader_ids), dtype=np.int32)}

    def first_visit(self, state, rows, noise):
        return 1.0 + noise.uniform("first", per="reader")

    def respond(self, state, rows, slate, now, noise):
        if now > 30.0 and "FEEDGYM_TEST_FAILS" in os.environ and slate.age_hours[slate.valid].mean() < 12.0:
            raise ArithmeticError("too fresh")
        clicks = slate.valid & (noise.uniform("click", per="impression") < 0.1)
        return Outcome(clicks=clicks, dwell_minutes=clicks.astype(np.float32), subscribed=np.zeros(len(rows), bool))

    def next_visit(self, state, rows, outcome, now, noise):
        return 4.0 + 8.0 * noise.uniform("gap")
"""


def bytes_of(folder: Path) -> dict[str, bytes]:
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {str(p.relative_to(folder)): p.read_bytes() for p in paths if "tfevents" not in p.name}


def run(out: Path, **settings: Any) -> compare.CompareResult:
    return compare.run(CompareConfig(**SMALL | settings, out=out), quiet=True)


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("compare")
    run(out)
    return out


@pytest.fixture
def own_readers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A reader model in the current folder, under a name that no other test has imported."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / f"own_readers_{tmp_path.name}.py").write_text(OWN_READERS)
    return f"own_readers_{tmp_path.name}:Own"


# ---- the same bytes ----
def test_twice_in_processes_or_not_gives_the_same_bytes(tmp_path: Path) -> None:
    # One seed: only one of the two workers has to load torch.
    run(tmp_path / "one", seeds=(0,))
    run(tmp_path / "other", seeds=(0,), workers=2)
    one, other = bytes_of(tmp_path / "one"), bytes_of(tmp_path / "other")
    assert {"report.md", "ranking.csv", "curves.png", "compare.json"} <= one.keys()
    assert len([name for name in one if name.endswith("day-0001.parquet")]) == 2
    assert other.keys() == one.keys()
    assert [name for name in one if one[name] != other[name]] == []


def test_through_the_vector_face_all_files_are_the_same(
    out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = CompareConfig.runs

    def through_the_face(config: CompareConfig) -> list[RunConfig]:
        return [dataclasses.replace(one, face="vector") for one in runs(config)]

    seen: list[str] = []

    make_drive = vars(runner)["make_drive"]
    monkeypatch.setattr(CompareConfig, "runs", through_the_face)
    monkeypatch.setattr(runner, "make_drive", lambda config: seen.append(config.face) or make_drive(config))
    run(tmp_path)
    assert seen == ["vector"] * 4
    assert bytes_of(tmp_path) == bytes_of(out)


def test_finished_runs_are_skipped_and_others_get_folders_of_their_own(
    out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(out, tmp_path, dirs_exist_ok=True)
    ran: list[tuple[str, int]] = []
    make_drive = vars(runner)["make_drive"]

    def noted(config: RunConfig) -> Any:
        ran.append((config.agent, config.seed))
        return make_drive(config)

    monkeypatch.setattr(runner, "make_drive", noted)
    run(tmp_path)
    assert ran == []
    assert bytes_of(tmp_path) == bytes_of(out)
    run(tmp_path, agents=("recent", "popular"), seeds=(1, 2))
    assert sorted(ran) == [("popular", 1), ("popular", 2), ("recent", 2)]
    run(tmp_path, agents=("recent",), slate_size=5)
    assert ran[3:] == [("recent", 0), ("recent", 1)]
    assert len(list((tmp_path / "runs").glob("recent-*"))) == 2


# ---- one world for all ----
def test_all_agents_of_a_seed_meet_the_same_newsroom_and_the_same_first_visits(out: Path) -> None:
    first: dict[tuple[str, int], list[tuple[int, float]]] = {}
    news: dict[tuple[str, int], bytes] = {}
    columns = ["reader_id", "visit", "position", "time_hours"]
    for agent in ("recent", "regression"):
        for seed in (0, 1):
            (folder,) = out.glob(f"runs/{agent}-*/seed-{seed}")
            log = read_impressions(folder / "impressions", columns=columns).to_pydict()
            rows = zip(*(log[name] for name in columns), strict=True)
            first[agent, seed] = [(r, time) for r, visit, position, time in rows if visit == position == 0]
            news[agent, seed] = (folder / "articles.parquet").read_bytes()
    for seed in (0, 1):
        assert len(first["recent", seed]) > 25
        assert first["recent", seed] == first["regression", seed]
        assert news["recent", seed] == news["regression", seed]
    assert first["recent", 0] != first["recent", 1]
    assert news["recent", 0] != news["recent", 1]


def test_the_ranking_is_of_the_runs(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--agents", "recent,regression", "--seeds", "0", "1", "--readers", "50", "--days", "2"]
    words += ["--tick-hours", "3", "--workers", "1", "--out"]
    compare.main([*words, str(out)])
    printed = capsys.readouterr().out
    rows = list(csv.DictReader((out / "ranking.csv").read_text().splitlines()))
    assert sorted(row["agent"] for row in rows) == ["recent", "regression"]
    for row in rows:
        rates = []
        for seed in (0, 1):
            (folder,) = out.glob(f"runs/{row['agent']}-*/seed-{seed}")
            log = read_impressions(folder / "impressions", columns=["reward", "clicked"]).to_pydict()
            rates.append((sum(log["reward"]) / 100, sum(log["clicked"]) / 100))
        assert float(row["reward"]) == pytest.approx(np.mean([rate for rate, _ in rates]), rel=1e-6)
        assert float(row["clicks"]) == pytest.approx(np.mean([rate for _, rate in rates]))
        assert f"{row['agent']}" in printed
        assert f"{float(row['reward']):.3f}" in printed
    assert float(rows[0]["reward"]) >= float(rows[1]["reward"])
    assert rows[0]["baseline"] == "recent"
    assert "recent seed 0: done, reward " in printed
    assert "finished before" in printed
    assert f"Report: {out / 'report.md'}" in printed


# ---- what fails ----
def test_a_reader_model_that_raises_is_named_and_the_rest_is_reported_and_fixed_it_goes_on(
    own_readers: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    settings: dict[str, Any] = {"agents": ("random", "recent"), "seeds": (3,), "reader_model": own_readers}
    run(tmp_path / "whole", **settings)
    monkeypatch.setenv("FEEDGYM_TEST_FAILS", "1")
    with pytest.raises(RuntimeError, match="1 of 2 runs failed") as error:
        run(tmp_path / "out", **settings)
    text = str(error.value)
    assert "recent seed 3:\nTraceback" in text
    assert "in respond" in text
    assert "ArithmeticError: too fresh" in text
    assert "random" in (tmp_path / "out" / "report.md").read_text()
    (failed,) = tmp_path.glob("out/runs/recent-*/seed-3")
    (whole,) = tmp_path.glob("whole/runs/recent-*/seed-3")
    assert (failed / "checkpoint.npz").exists()
    day = "impressions/day-0000.parquet"
    assert (failed / day).read_bytes() == (whole / day).read_bytes()
    monkeypatch.delenv("FEEDGYM_TEST_FAILS")
    run(tmp_path / "out", **settings)
    assert bytes_of(tmp_path / "out") == bytes_of(tmp_path / "whole")


def test_the_command_ends_with_the_error_of_a_failed_run(
    own_readers: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FEEDGYM_TEST_FAILS", "1")
    words = f"--agents recent --seeds 0 --readers 20 --days 2 --tick-hours 3 --reader-model {own_readers}".split()
    with pytest.raises(SystemExit) as error:
        compare.main([*words, "--out", str(tmp_path / "out"), "--workers", "1"])
    assert "feedgym compare: 1 of 1 runs failed" in str(error.value)
    assert "recent seed 0:\nTraceback" in str(error.value)
    assert "recent seed 0: FAILED: ArithmeticError: too fresh" in capsys.readouterr().out


def test_failures_that_leave_no_common_seed_are_still_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:

    make_drive = vars(runner)["make_drive"]

    def failing(config: RunConfig) -> Any:
        if (config.agent, config.seed) in (("recent", 0), ("random", 1)):
            raise ArithmeticError("no luck")
        return make_drive(config)

    monkeypatch.setattr(runner, "make_drive", failing)
    with pytest.raises(RuntimeError, match="2 of 4 runs failed"):
        run(tmp_path, agents=("random", "recent"))
    assert not (tmp_path / "report.md").exists()


def test_oracles_need_a_reader_model_that_says_what_it_expects(own_readers: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"reader_model: got '.*', needs a method expected_response for oracle-click"):
        run(tmp_path / "out", agents=("recent", "oracle-click"), reader_model=own_readers)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"agents": ("recent", "recent")}, "needs different agents or settings"),
        ({"agents": ("recent", "recent:epsilon=0.05")}, "needs different agents or settings"),
        ({"agents": ()}, "agents: got .*, needs at least one"),
        ({"agents": ("recent,nope",)}, "agent: got 'nope', needs one of random"),
        ({"seeds": (1, 1)}, "seeds: got .*, needs different seeds"),
        ({"seeds": ()}, "seeds: got .*, needs at least one"),
        ({"world": "mars"}, "world: got 'mars', needs one of vivid"),
        ({"workers": -1}, "workers: got -1"),
    ],
)
def test_a_bad_setting_is_named_with_the_value_seen_and_what_is_allowed(settings: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        CompareConfig(**settings)


@pytest.mark.parametrize("days", [[], ["--days", "1"]])
def test_a_wrong_articles_file_is_one_clear_line(
    tmp_path: Path, days: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    bad = tmp_path / "bad.csv"
    bad.write_text("article_id,published_at\n1,yesterday\n")
    for path, why in ((tmp_path / "none.csv", "needs a file that exists"), (bad, "yesterday")):
        with pytest.raises(SystemExit) as error:
            compare.main(["--articles", str(path), "--out", str(tmp_path / "out"), *days])
        said = str(error.value.code) + capsys.readouterr().err
        assert why in said
        assert "Traceback" not in said
    assert not (tmp_path / "out").exists()


# ---- what users bring ----
def test_a_file_of_articles_is_replayed_and_the_report_says_what_was_drawn(tmp_path: Path) -> None:
    assert CompareConfig(articles=EBNERD).runs()[0].days == 28.0
    agents = ("random", "recent", "popular", "regression")
    result = run(tmp_path, agents=agents, seeds=(0,), readers=40, days=2.0, articles=EBNERD)
    assert {row.agent for row in result.ranking.rows} == set(agents)
    assert all(row.clicks > 0 for row in result.ranking.rows)
    report = result.report.read_text()
    assert "3,080 articles over 28 days from" in report
    assert "Drawn by noise keyed by the article: topic, vector, quality" in report


def test_a_catalogue_smaller_than_a_slate_and_an_empty_one_are_no_trouble(tmp_path: Path) -> None:
    world: dict[str, Any] = {"seeds": (0,), "articles_per_day": 2.0, "slate_size": 20}
    few = run(tmp_path / "few", agents=("random", "recent", "popular", "regression"), **world)
    assert all(row.visits > 0 for row in few.ranking.rows)
    agents = ("random", "recent", "popular", "regression", "contrastive", "oracle-dwell")
    none = run(tmp_path / "none", agents=agents, seeds=(0,), articles_per_day=0.0)
    for row in none.ranking.rows:
        assert row.reward == row.clicks == 0.0
        assert row.visits > 0
    assert (tmp_path / "none" / "curves.png").stat().st_size > 10_000


# ---- words ----
def test_agents_may_stand_in_one_word_with_commas() -> None:
    assert split_agents(["recent,popular", "random"]) == ("recent", "popular", "random")
    words = ["recent,regression:target=click,sharpness=4,random", "regression:widths=(64,32),dim=8"]
    assert split_agents(words) == (
        *("recent", "regression:target=click,sharpness=4", "random"),
        "regression:widths=(64,32),dim=8",
    )
    assert split_agents([" recent , popular ,"]) == ("recent", "popular")


def test_the_command_in_the_report_does_the_same_again() -> None:
    import shlex

    import tyro

    config = CompareConfig(
        agents=("recent", "regression:widths=(64,32),target=click"),
        seeds=(4, 5),
        readers=7,
        days=1.5,
        tick_hours=0.5,
        reward=RewardConfig(click=1.0, dwell_minutes=0.0),
        log=False,
    )
    words = shlex.split(command_line(config))
    assert words[:2] == ["feedgym", "compare"]
    assert tyro.cli(CompareConfig, args=words[2:]) == config
    assert command_line(CompareConfig()) == "feedgym compare"


def test_the_reward_in_words() -> None:
    assert reward_label(RewardConfig()) == "minutes read"
    assert reward_label(RewardConfig(click=0.5, subscription=10)) == "0.5 x clicks + minutes read + 10 x subscriptions"

"""``compare`` in a world of modules: agents rank as they should, and a run that was stopped goes on."""

import dataclasses
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from feedgym.agents.registry import parse_agent
from feedgym.env import Feed, read_impressions
from feedgym.experiments import compare, train
from feedgym.experiments.compare import CompareConfig, command_line
from feedgym.experiments.runs.messages import Progress
from feedgym.experiments.runs.run_config import RunConfig

SEEDS = (0, 1)


def test_popular_and_regression_beat_random_under_every_seed(tmp_path: Path) -> None:
    regression = parse_agent("regression:train_every_hours=12").label
    config = CompareConfig(
        agents=("random", "popular", regression),
        seeds=SEEDS,
        readers=1000,
        days=2.0,
        tick_hours=0.5,
        evaluate_visits=24,
        modules=True,
        out=tmp_path,
    )
    assert "--modules" in command_line(config)
    result = compare.run(dataclasses.replace(config, workers=1), quiet=True)
    reward = {(run.agent, run.seed): float(run.curves.totals["reward"].sum()) for run in result.runs}
    for agent in ("popular", regression):
        assert [seed for seed in SEEDS if reward[agent, seed] <= reward["random", seed]] == []
    assert "a click opens a module" in result.report.read_text()
    # Every agent was shown the same editions of the same articles.
    for name in ("articles.parquet", "modules.parquet"):
        assert len({path.read_bytes() for path in tmp_path.glob(f"runs/*/seed-1/{name}")}) == 1
        assert len({path.read_bytes() for path in tmp_path.glob(f"runs/*/seed-*/{name}")}) == len(SEEDS)
    folder = next(tmp_path.glob("runs/random-*/seed-1"))
    shown = set(pq.read_table(folder / "modules.parquet")["article_id"].to_pylist())
    served = set(read_impressions(folder / "impressions")["article_id"].to_pylist())
    assert served <= shown
    assert len(served) > 1000


def test_a_run_that_was_stopped_ends_with_the_same_bytes(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"agent": "regression", "seed": 3, "readers": 60, "days": 3.0, "tick_hours": 3.0}
    config = RunConfig(**settings, modules=True)

    def stop(progress: Progress) -> None:
        raise KeyboardInterrupt

    train.run(config, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        train.run(config, tmp_path / "stopped", report=stop)
    assert (tmp_path / "stopped" / "checkpoint.npz").exists()
    train.run(config, tmp_path / "stopped")
    for path in sorted((tmp_path / "whole").rglob("*")):
        if path.is_file():
            other = tmp_path / "stopped" / path.relative_to(tmp_path / "whole")
            assert other.read_bytes() == path.read_bytes(), path.name


def test_without_modules_nothing_of_them_is_written(tmp_path: Path) -> None:
    config = RunConfig(agent="random", readers=5, days=0.2)
    assert type(Feed(config.feed_config()).newsroom).__name__ == "SyntheticNewsroom"
    train.run(config, tmp_path)
    assert (tmp_path / "articles.parquet").exists()
    assert not (tmp_path / "modules.parquet").exists()

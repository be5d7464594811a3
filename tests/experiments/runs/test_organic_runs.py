"""Runs in a world where readers also come from elsewhere: the share that comes about, logs, going on after a stop."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from feedgym.env.log import OPENS, read_impressions, read_opens
from feedgym.experiments import train
from feedgym.experiments.runs.run_config import RunConfig
from helpers.resuming import stopped_twice

SMALL: dict[str, Any] = {"readers": 60, "days": 4.0, "tick_hours": 1.0, "organic_share": 0.5, "organic_reward": 0.25}


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.mark.parametrize(("world", "days", "tick_hours"), [("vivid", 7.0, 0.5), ("measured", 4.0, 0.25)])
def test_the_share_comes_about_where_slates_are_as_good_as_those_of_recent(
    tmp_path: Path, world: str, days: float, tick_hours: float
) -> None:
    """Over seeds; and random, who wins fewer clicks, has a larger one."""
    shared: dict[str, Any] = {"world": world, "readers": 500, "days": days, "tick_hours": tick_hours}
    shared["organic_share"] = 0.3
    shares: dict[str, list[float]] = {"recent": [], "random": []}
    for agent, seed in (("recent", 11), ("recent", 12), ("random", 11)):
        config = RunConfig(agent=agent, seed=seed, log=False, evaluate_visits=0, **shared)
        totals = train.run(config, tmp_path / f"{agent}-{seed}").curves.totals
        opens, clicks = totals["organic_opens"].sum(), totals["clicks"].sum()
        shares[agent].append(float(opens / (opens + clicks)))
    assert abs(np.mean(shares["recent"]) - 0.3) < 0.04
    assert shares["random"][0] > 0.4


def test_a_run_logs_its_opens_and_counts_them_once(tmp_path: Path) -> None:
    run = train.run(RunConfig(agent="recent", seed=1, **SMALL), tmp_path)
    opens, shown = read_opens(tmp_path), read_impressions(tmp_path)
    totals = run.curves.totals
    assert opens.num_rows == totals["organic_opens"].sum() > 100
    assert np.count_nonzero(shown["clicked"]) == totals["clicks"].sum()
    paid = np.sum(opens["reward"].to_numpy(), dtype=np.float64)
    assert paid == pytest.approx(0.25 * np.sum(opens["dwell_minutes"].to_numpy()), rel=1e-5)
    slates = np.sum(shown["reward"].to_numpy(), dtype=np.float64)
    assert totals["reward"].sum() == pytest.approx(slates + paid, rel=1e-5)
    assert set(opens["channel"].to_pylist()) == {"search", "push", "social", "front_page"}
    days = [pq.read_table(part)["time_hours"].to_numpy() // 24.0 for part in sorted((tmp_path / OPENS).glob("*"))]
    assert [set(day) for day in days] == [{0.0}, {1.0}, {2.0}, {3.0}]


def test_a_stopped_run_ends_with_the_same_bytes(tmp_path: Path) -> None:
    settings = SMALL | {"tick_hours": 3.0}
    config = RunConfig(agent="contrastive:max_steps=4,batch_clicks=32", seed=1, **settings)
    train.run(config, tmp_path / "whole")
    stopped_twice(config, tmp_path / "stopped")
    assert bytes_of(tmp_path / "whole") == bytes_of(tmp_path / "stopped")


def test_both_drives_have_the_same_bytes(tmp_path: Path) -> None:
    for face in ("feed", "vector"):
        train.run(RunConfig(agent="random", seed=2, face=face, **SMALL | {"days": 2.0}), tmp_path / face)
    assert bytes_of(tmp_path / "feed") == bytes_of(tmp_path / "vector")


def test_agents_under_one_seed_meet_the_same_opens(tmp_path: Path) -> None:
    """Of readers who are there under both: as many as stay."""
    logs = []
    for agent in ("random", "recent"):
        train.run(RunConfig(agent=agent, seed=3, evaluate_visits=0, **SMALL), tmp_path / agent)
        table = read_opens(tmp_path / agent)
        names = ("reader_id", "number", "tick", "article_id", "channel", "dwell_minutes")
        logs.append(set(zip(*(table[name].to_pylist() for name in names), strict=True)))
    assert len(logs[0] & logs[1]) > 0.9 * max(map(len, logs))


def test_without_opens_a_run_has_no_file_of_them(tmp_path: Path) -> None:
    run = train.run(RunConfig(agent="random", seed=1, **SMALL | {"organic_share": 0.0}), tmp_path)
    assert not (tmp_path / OPENS).exists()
    assert "organic_opens" not in run.curves.totals
    assert read_opens(tmp_path).num_rows == 0

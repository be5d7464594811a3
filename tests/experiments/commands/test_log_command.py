"""``feedgym log``: a run with its log in one folder, by a policy that explores, or marked as one that does not."""

from pathlib import Path
from typing import Any

import pytest

from feedgym.env.log.reader import LogReader
from feedgym.experiments import cli
from feedgym.experiments.commands import log
from feedgym.experiments.commands.log import LogConfig, make_log, with_epsilon
from feedgym.experiments.runs.runner import load_run

SMALL: dict[str, Any] = {"readers": 30, "days": 1.0, "tick_hours": 1.0}


def test_a_log_is_a_run_in_one_folder(tmp_path: Path) -> None:
    config = LogConfig(**SMALL, out=tmp_path)
    assert config.plan().label == "popular:epsilon=0.1"
    assert make_log(config) is None
    assert {"impressions", "articles.parquet", "config.json", "done.json"} <= {path.name for path in tmp_path.iterdir()}
    reader = LogReader(tmp_path)
    assert reader.articles_path == tmp_path / "articles.parquet"
    assert reader.config == config.run_config().settings()
    assert reader.summary.why_unsupported is None
    assert reader.summary.num_visits == load_run(tmp_path).curves.totals["visits"].sum() > 0
    written = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.parquet")}
    make_log(config)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.parquet")} == written


def test_a_folder_holds_one_log(tmp_path: Path) -> None:
    make_log(LogConfig(**SMALL, out=tmp_path))
    with pytest.raises(ValueError, match=r"out: got .*needs an empty folder: this one holds a run with other settings"):
        make_log(LogConfig(**SMALL, out=tmp_path, seed=1))


@pytest.mark.parametrize(
    ("agent", "epsilon", "why"),
    [
        ("popular:greedy=True", None, "it serves greedily"),
        ("popular", 0.0, "epsilon is 0"),
        ("recent:epsilon=0.0", None, "epsilon is 0"),
        ("oracle-dwell", None, "by what only the simulator knows"),
    ],
)
def test_a_policy_without_support_is_refused_or_marked(
    agent: str, epsilon: float | None, why: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=f"agent: got .*{why}.*needs a policy that explores"):
        LogConfig(**SMALL, agent=agent, epsilon=epsilon)
    config = LogConfig(**SMALL, agent=agent, epsilon=epsilon, allow_unsupported=True, out=tmp_path)
    assert why in str(make_log(config))
    # The log itself says so, to whoever reads it.
    assert LogReader(tmp_path).summary.why_unsupported is not None


def test_exploration_is_given_once() -> None:
    assert LogConfig(**SMALL, agent="recent:epsilon=0.3").plan().label == "recent:epsilon=0.3"
    assert LogConfig(**SMALL, agent="random").plan().label == "random"
    assert LogConfig(**SMALL, epsilon=0.2).plan().label == "popular:epsilon=0.2"
    with pytest.raises(ValueError, match=r"epsilon: got 0.2, needs 0.3, as the agent's settings say"):
        LogConfig(**SMALL, agent="recent:epsilon=0.3", epsilon=0.2)
    with pytest.raises(ValueError, match=r"epsilon: got 0.2, needs none: random has no such setting"):
        LogConfig(**SMALL, agent="random", epsilon=0.2)
    with pytest.raises(ValueError, match="log: got False, needs True"):
        LogConfig(**SMALL, log=False)
    assert with_epsilon(LogConfig(**SMALL).plan(), None) == LogConfig(**SMALL).plan()


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--readers", "30", "--days", "1", "--tick-hours", "1", "--out", str(tmp_path / "log")]
    log.main([*words, "--agent", "popular:greedy=True", "--allow-unsupported"])
    text = " ".join(capsys.readouterr().out.split())
    assert "Unsupported: it serves greedily" in text
    with pytest.raises(SystemExit, match=r"feedgym log: out: got .*holds a run with other settings"):
        log.main(words)
    assert {"log", "offline"} <= cli.COMMANDS.keys()

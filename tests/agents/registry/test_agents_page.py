"""docs/guide/agents.md: its agent runs in every command, favours what its readers click, and resumes byte for byte."""

import importlib
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from feedgym.agents import AgentKind, make_agent, slate_policy
from feedgym.agents.agent import Agent
from feedgym.agents.learners import ADVANTAGES
from feedgym.env import Feed, FeedConfig
from feedgym.experiments import compare
from feedgym.experiments.commands import agents as agents_command

PAGE = (Path(__file__).parents[3] / "docs" / "guide" / "agents.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
MODULE, PYTHON, CREDIT = BLOCKS


@pytest.fixture
def my_agents(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    (tmp_path / "my_agents.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "my_agents", raising=False)
    return importlib.import_module("my_agents")


def lived(agent: Any, feed: Feed) -> list[tuple[Any, Any, Any]]:
    """Rows, topics shown and topics clicked before, of every tick with visits."""
    seen = []
    while not feed.done:
        visits, now_clicked = feed.visits, feed.visits.history_id
        served = agent.act(visits, feed.catalogue)
        seen.append((visits.rows, served.article_id, now_clicked))
        agent.learn(feed.serve(served.article_id))
    return seen


def test_it_is_thirty_lines_of_code() -> None:
    lines = [line for line in MODULE.splitlines() if line.strip() and not line.strip().startswith(("#", '"""'))]
    assert len(lines) <= 30


def test_the_python_block_runs(my_agents: Any) -> None:
    names: dict[str, Any] = {}
    exec(compile(PYTHON, "docs/guide/agents.md", "exec"), names)
    assert names["feed"].done
    assert names["agent"].act.__self__ is names["agent"]


def test_a_credit_of_ones_own_is_a_function_and_a_line() -> None:
    before = dict(ADVANTAGES)
    try:
        exec(compile(CREDIT, "docs/guide/agents.md", "exec"), {})
        assert set(ADVANTAGES) - set(before) == {"per_click"}
        feed = Feed(FeedConfig(num_readers=60, days=0.5), seed=3)
        assert lived(make_agent("reinforce", credit="per_click", train_every_hours=4.0).start(feed), feed)
    finally:
        ADVANTAGES.pop("per_click", None)


def test_readers_are_shown_the_topics_that_they_clicked(my_agents: Any) -> None:
    def share(pull: float) -> float:
        feed = Feed(FeedConfig(num_readers=150, days=1.5), seed=3)
        rows = lived(make_agent("my_agents.TOPICAL", pull=pull).start(feed), feed)
        topics = feed.catalogue.archive.column("topic")
        hits = total = 0
        for _, shown, clicked in rows:
            for slate, history in zip(shown, clicked, strict=True):
                known = topics[history[history >= 0]]
                if len(known):
                    hits += int(np.isin(topics[slate[slate >= 0]], known).sum())
                    total += len(slate)
        return hits / total

    assert share(6.0) > 1.5 * share(0.0)


def test_without_pull_it_is_the_agent_recent(my_agents: Any) -> None:
    ids = []
    for name, settings in (("my_agents.TOPICAL", {"pull": 0.0}), ("recent", {})):
        feed = Feed(FeedConfig(num_readers=60, days=0.5), seed=3)
        ids.append([shown for _, shown, _ in lived(make_agent(name, **settings).start(feed), feed)])
    for own, recent in zip(*ids, strict=True):
        np.testing.assert_array_equal(own, recent)


def test_the_commands_of_the_page(my_agents: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (line,) = re.findall(r"^feedgym compare (.*)$", PAGE, re.MULTILINE)
    small = ["--readers", "40", "--days", "1", "--tick-hours", "2", "--seeds", "0", "--workers", "1", "--no-log"]
    compare.main([*line.split(), *small, "--out", str(tmp_path / "out")])
    printed = capsys.readouterr().out
    for label in ("recent", "my_agents.TOPICAL", "my_agents.TOPICAL:epsilon=0.1,pull=1.5"):
        assert label in printed
    (word,) = re.findall(r"^feedgym agents (.*)$", PAGE, re.MULTILINE)
    agents_command.main([word])
    printed = capsys.readouterr().out
    assert "  pull=3.0\n      What an article gains if all clicks of the reader were in its topic." in printed
    assert "  epsilon=0.05\n" in printed


def test_it_goes_on_byte_for_byte(my_agents: Any) -> None:
    def ids(stop: int | None) -> list[Any]:
        feed, shown = Feed(FeedConfig(num_readers=60, days=0.5), seed=3), list[Any]()
        agent: Agent = make_agent("my_agents.TOPICAL").start(feed)
        while not feed.done:
            if stop is not None and len(shown) == stop:
                kept = agent.snapshot()
                agent = make_agent("my_agents.TOPICAL").start(feed)
                agent.restore(kept)
            shown.append(agent.act(feed.visits, feed.catalogue).article_id)
            agent.learn(feed.serve(shown[-1]))
        return shown

    for whole, stopped in zip(ids(None), ids(40), strict=True):
        np.testing.assert_array_equal(whole, stopped)


def test_the_tables_name_the_members_that_there_are() -> None:
    fields = re.findall(r"`(\w+)`", " ".join(re.findall(r"^\| (`[^|]*)\|", PAGE.split("## With a memory")[0], re.M)))
    assert set(fields) == set(AgentKind.__dataclass_fields__)
    members = " ".join(
        re.findall(r"^\| (`[^|]*)\|", PAGE.split("## With a memory")[1].split("## With towers")[0], re.M)
    )
    named = set(re.findall(r"`(\w+)", members))
    assert named == {name for name in vars(Agent) if not name.startswith("_")}
    for name in ("sample_slates", "serve"):
        assert f"`{name}`" in PAGE
        assert callable(getattr(slate_policy, name))


def test_editorial_rules_hold_for_an_agent_of_ones_own(my_agents: Any) -> None:
    feed = Feed(FeedConfig(num_readers=30, days=0.5), seed=1)
    agent = make_agent("my_agents.TOPICAL", rules="exclude(topic=3)").start(feed)
    for _, shown, _ in lived(agent, feed):
        topics = feed.catalogue.archive.column("topic")
        assert not (topics[shown[shown >= 0]] == 3).any()


def test_importing_the_face_stays_free_of_torch() -> None:
    code = "import sys, feedgym.agents; print([m for m in ('torch', 'faiss') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"

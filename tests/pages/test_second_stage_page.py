"""docs/guide/second_stage.md: its names are the table's, its commands are agents, its cross is told and fitted."""

import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from feedgym.agents import parse_agent
from feedgym.agents.registry.plans import split_agents
from feedgym.agents.two_tower.second_stage import CROSSES, SOURCES, cross_names
from feedgym.env import Feed, FeedConfig
from helpers.driving import drive
from helpers.inside import learner_of

PAGE = (Path(__file__).parents[2] / "docs" / "guide" / "second_stage.md").read_text()
(MODULE,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
AGENTS = [
    name
    for line in re.findall(r"^feedgym compare --agents (.*)$", PAGE, flags=re.MULTILINE)
    for name in split_agents(line.split())
]


def test_the_names_are_those_of_the_code() -> None:
    endings = re.findall(r"^\| `(_\w+)` \|", PAGE, flags=re.MULTILINE)
    kinds = re.findall(r"`(\w+)`", re.split(r"Of each\s+kind\s", PAGE)[1].split(")")[0])
    named = {kind + ending for kind in kinds for ending in endings} | {"session_page", "session_topic"}
    assert named == set(cross_names("all"))
    assert f"takes all {len(named)}," in PAGE
    assert {f"source_{name}" for name in SOURCES} == set(CROSSES) - named
    assert re.findall(r"^\| `([a-z]+)` \|", PAGE, flags=re.MULTILINE)[:4] == ["towers", *SOURCES]
    for name in SOURCES:
        assert f"`source_{name}`" in PAGE


def test_what_it_says_is_refused_is_refused() -> None:
    for name in ("reinforce", "direct", "ltv", "regression-dwell:serving=streaming"):
        with pytest.raises(ValueError, match="crosses: got 'all', needs 'none'"):
            parse_agent(f"{name}{',' if ':' in name else ':'}crosses=all")
    for name in ("linear", "regression", "regression-dwell", "regression-click", "return"):
        parse_agent(f"{name}:crosses=all")


def test_its_commands_and_its_cross(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_crosses.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.delitem(sys.modules, "my_crosses", raising=False)
    monkeypatch.setitem(CROSSES, "article_refused", CROSSES["article_shown"])  # so that it is taken back
    plans = {name: parse_agent(name) for name in AGENTS}
    assert len(plans) == 10
    site = Feed(FeedConfig(num_readers=150, days=2.0, tick_hours=1.0), seed=3)
    (own,) = [name for name in AGENTS if name.startswith("my_crosses")]
    agent: Any = parse_agent(f"{own},max_steps=4").start(site)
    drive(agent, site)
    assert (np.abs(learner_of(agent).cross_weights) > 1e-3).all()

"""README's examples run and stand on top, its names exist, and its reader model plugs into ``compare``."""

import re
import sys
from pathlib import Path

import pytest

from feedgym.agents import AGENTS
from feedgym.agents.registry import split_agents
from feedgym.experiments.compare import CompareConfig, run

README = (Path(__file__).parents[2] / "README.md").read_text()
QUICK_START, READER = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


def test_the_front_door_comes_first() -> None:
    """A command within 25 lines, a quick start of ten lines within 60, pip, and the environment's activation."""
    lines = README.splitlines()
    assert any(line.startswith("make demo") for line in lines[:25])
    assert any(line.startswith(". .venv/bin/activate") for line in lines[:25])
    assert any(line.startswith("pip install ") for line in lines[:60])
    assert QUICK_START.splitlines()[-1] in lines[:60]
    assert len([line for line in QUICK_START.splitlines() if line.strip()]) <= 10


def test_the_quick_start_runs(capsys: pytest.CaptureFixture[str]) -> None:
    exec(QUICK_START.replace("num_readers=500, days=3", "num_readers=60, days=1.5"), {})
    found = re.fullmatch(r"([\d.]+) minutes read per reader\n", capsys.readouterr().out)
    assert found is not None
    assert float(found[1]) > 0.0


def test_the_reader_model_has_about_twenty_lines() -> None:
    lines = [line for line in READER.splitlines() if line.strip() and not line.lstrip().startswith(("#", '"""'))]
    assert len(lines) <= 20


def test_the_quick_start_runs_on_these_readers() -> None:
    names: dict[str, object] = {}
    exec(READER, names)
    small = QUICK_START.replace("num_readers=500, days=3", "num_readers=60, days=1.5")
    exec(small.replace("seed=0)", "seed=0, reader_model=NightOwl())"), names)
    assert float(names["minutes"]) > 10.0  # type: ignore[arg-type]


def test_the_reader_model_plugs_into_compare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "night_owl.py").write_text(READER)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    # The gallery's page has a module of this name too.
    monkeypatch.setitem(sys.modules, "night_owl", None)
    monkeypatch.delitem(sys.modules, "night_owl")
    config = CompareConfig(
        agents=("random", "recent"),
        seeds=(0, 1),
        readers=80,
        days=2.0,
        reader_model="night_owl:NightOwl",
        out=tmp_path / "out",
        workers=1,
    )
    result = run(config, quiet=True)
    reward = {row.agent: row.reward for row in result.ranking.rows}
    assert reward["recent"] > 1.5 * reward["random"] > 0  # fresh articles appeal to night owls
    assert "night_owl:NightOwl" in result.report.read_text()
    # They come in the evening only.
    from feedgym.env import read_impressions

    logs = sorted((tmp_path / "out" / "runs").glob("*/*/impressions"))
    hours = read_impressions(logs[0], columns=["time_hours"])["time_hours"].to_numpy() % 24.0
    assert ((hours >= 18.0) | (hours == 0.0)).all()


def test_the_agents_named_exist_and_all_are_named() -> None:
    table = README[README.index("## Agents") : README.index("## What was found")]
    named = set(re.findall(r"`([a-z0-9-]+)`", table))
    assert set(AGENTS) <= named
    for words in re.findall(r"--agents ([\w:=,.-]+)", README):
        for agent in split_agents([words]):
            assert agent.split(":")[0] in AGENTS


def test_pages_and_pictures_that_it_links_to_exist() -> None:
    root = Path(__file__).parents[2]
    links = re.findall(r"\]\(((?!http)[^)#]+)\)", README)
    assert links
    assert [link for link in links if not (root / link).exists()] == []

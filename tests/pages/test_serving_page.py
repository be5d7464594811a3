"""docs/guide/serving.md: its example runs, its table is the presets', its commands are agents."""

import dataclasses
import re
from pathlib import Path

import pytest

from feedgym.agents import parse_agent
from feedgym.agents.serving.clocks import PRESETS
from feedgym.agents.serving.serving_cost import ServingCost

PAGE = (Path(__file__).parents[2] / "docs" / "guide" / "serving.md").read_text()


def test_the_example_runs(capsys: pytest.CaptureFixture[str]) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    hourly = code.replace("days=2.0)", "days=2.0, tick_hours=1.0)")
    assert hourly != code
    exec(compile(hourly, "docs/guide/serving.md", "exec"), {})
    lines = capsys.readouterr().out.splitlines()
    counts = r"(\w+): (\d+) visits, (\d+) searches, (\d+) articles embedded, (\d+) passed over, (\d+) empty"
    found = [re.fullmatch(counts, line) for line in lines]
    assert [line and line[1] for line in found] == list(PRESETS)
    visits, searches, embedded, expired, empty = ([int(line[i]) for line in found if line] for i in range(2, 7))
    assert searches[:2] == visits[:2]
    assert searches[2] < 0.5 * visits[2]
    assert embedded[2] < embedded[0]
    assert [n > 0 for n in expired] == [False, False, True]
    assert empty[:2] == [0, 0]


def test_the_table_of_clocks_is_that_of_the_presets() -> None:
    rows = re.findall(r"^\| `(\w+_hours)` \| ([\d.]+) \| ([\d.]+) \| ([\d.]+) \|", PAGE, flags=re.MULTILINE)
    clocks = [f.name for f in dataclasses.fields(PRESETS["batch"]) if f.name.endswith("_hours")]
    assert [name for name, *_ in rows] == clocks
    for name, *hours in rows:
        assert [float(h) for h in hours] == [getattr(preset, name) for preset in PRESETS.values()]


def test_the_table_of_costs_has_every_count() -> None:
    rows = re.findall(r"^\| `(\w+)` \| [^|]+ \|$", PAGE, flags=re.MULTILINE)
    assert rows == [name for name in ServingCost().counts if name != "visits"]


def test_commands_name_agents() -> None:
    (commands,) = re.findall(r"```\n(feedgym train.*?)```", PAGE, re.DOTALL)
    agents = re.findall(r"(?<= )(?:regression|reinforce)\S*", commands)
    assert len(agents) == 5
    assert {dict(parse_agent(agent).settings).get("serving", "realtime") for agent in agents} == set(PRESETS)

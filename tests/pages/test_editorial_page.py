"""docs/guide/editorial.md: its example runs, its table is what the code reads, its commands are agents."""

import re
from pathlib import Path

import pytest

from feedgym.agents import parse_agent
from feedgym.agents.editorial import rules as editorial
from feedgym.agents.editorial.syntax import rules_of
from feedgym.experiments.measures.editor_sums import NAMES

PAGE = (Path(__file__).parents[2] / "docs" / "guide" / "editorial.md").read_text()
TABLE = re.findall(r"^\| `([^`]+)` \| `([^`]+)` \|", PAGE, flags=re.MULTILINE)


def test_the_example_runs(capsys: pytest.CaptureFixture[str]) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    exec(compile(code, "docs/guide/editorial.md", "exec"), {})
    assert re.fullmatch(r"\d+ positions stayed empty\n", capsys.readouterr().out)


@pytest.mark.parametrize(("text", "code"), TABLE)
def test_both_ways_of_writing_a_rule_mean_the_same(text: str, code: str) -> None:
    assert rules_of(text) == rules_of((eval(code, vars(editorial)),))


def test_commands_name_agents() -> None:
    assert len(TABLE) == 8
    (commands,) = re.findall(r"```\n(feedgym train.*?)```", PAGE, re.DOTALL)
    agents = re.findall(r'"([^"]+)"', commands)
    assert len(agents) == 3
    for agent in agents:
        assert parse_agent(agent).settings


def test_the_editors_numbers_are_those_of_the_page() -> None:
    section = PAGE.split("## What an editor asks first")[1]
    named = set(re.findall(r"`(\w+)`", "".join(re.findall(r"\|[^|]+\|\n", section))))
    assert named == {name.partition("/")[0] for name in NAMES}

"""docs/guide/published.md is made of the facts in the code, and its commands name agents that there are."""

import re
from pathlib import Path

from feedgym.agents import parse_agent
from feedgym.agents.registry import split_agents
from feedgym.agents.registry.published import SYSTEMS
from feedgym.agents.registry.published.page import page

PAGE = (Path(__file__).parents[2] / "docs" / "guide" / "published.md").read_text()


def test_the_page_is_what_the_facts_say() -> None:
    made = page()
    assert made == PAGE, "made anew by: python -m feedgym.agents.registry.published.page > docs/guide/published.md"
    assert re.findall(r"^## (.*)$", PAGE, re.MULTILINE) == list(SYSTEMS)


def test_the_commands_name_agents() -> None:
    (line,) = re.findall(r"^feedgym compare --agents (.*)$", PAGE, re.MULTILINE)
    told = [*split_agents(line.split()), *re.findall(r"^feedgym towers (\S+)", PAGE, re.MULTILINE)]
    assert {parse_agent(agent).name for agent in told} & set(SYSTEMS)

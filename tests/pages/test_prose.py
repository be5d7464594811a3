"""Lines of prose on pages are at most 120 characters, as lines of code are.

Exempt is what cannot be broken or must not be: tables, code, pictures, and a line that is one word, such as a link.
"""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LONGEST = 120
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


def long_lines(text: str) -> list[str]:
    """Lines of prose that are too long and could be broken."""
    found, is_code = [], False
    for line in text.splitlines():
        if line.lstrip().startswith("```"):
            is_code = not is_code
        words = re.sub(r"^(?:[-*>]|\d+\.) +", "", line.strip())
        exempt = is_code or line.startswith(("    ", "|", "#", "![")) or " " not in words
        if len(line) > LONGEST and not exempt:
            found.append(line)
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_lines_of_prose_are_short(page: Path) -> None:
    assert long_lines(page.read_text()) == []


def test_a_long_line_is_found() -> None:
    long, longest = "word " * 23 + "words", "word " * 24 + "w"
    assert (len(long), len(longest)) == (120, 121)
    assert long_lines(f"{long}\n{longest}\n- {longest}") == [longest, f"- {longest}"]
    link = f"- [here]({'far/' * 30})"
    assert long_lines(f"```\n{longest}\n```\n| {longest} |\n    {longest}\n# {longest}\n{link}") == []
    assert long_lines(f"```\n```\n{longest}") == [longest]

"""The examples of docs/guide/gymnasium.md run as they stand, and print what they promise."""

import re
import warnings
from pathlib import Path

import pytest

from feedgym.env.faces.actions import ACTIONS, ORDERS
from feedgym.env.faces.news_feed_env import OBSERVATIONS

PAGE = Path(__file__).parents[3] / "docs" / "guide" / "gymnasium.md"
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE.read_text(), flags=re.DOTALL)
PRINTED = [
    r"(\d+) visits, (\d+\.\d) minutes read, (left|stayed)",
    r"(\d+) visits, (\d+\.\d) minutes read",
    r"(\d+) minutes",
    r"(\d+) minutes",
]
"""What each example prints, in the order of the page."""


def test_every_example_of_the_page_is_checked() -> None:
    assert len(BLOCKS) == len(PRINTED)


@pytest.mark.parametrize(("block", "printed"), list(enumerate(PRINTED)))
def test_example_runs_without_warnings(block: int, printed: str, capsys: pytest.CaptureFixture[str]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        exec(compile(BLOCKS[block], f"docs/guide/gymnasium.md, example {block}", "exec"), {})
    out = capsys.readouterr().out
    found = re.match(printed, out)
    assert found is not None, out
    assert float(found.group(1)) > 0


def test_the_settings_of_the_page_are_those_of_the_face() -> None:
    for setting, known in (("action", ACTIONS), ("obs", OBSERVATIONS), ("order", ORDERS)):
        named = re.findall(rf'^\| `{setting}="(\w+)"`', PAGE.read_text(), flags=re.MULTILINE)
        assert named == [*known]

"""The examples of docs/gymnasium.md run as they stand, and print what they promise."""

import re
import warnings
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "gymnasium.md"
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE.read_text(), flags=re.DOTALL)


def test_the_page_has_its_three_examples() -> None:
    assert len(BLOCKS) == 3


@pytest.mark.parametrize(
    ("block", "printed"),
    [(0, r"(\d+) visits, (\d+\.\d) minutes read, (left|stayed)"), (1, r"(\d+) minutes"), (2, r"(\d+) minutes")],
)
def test_example_runs_without_warnings(block: int, printed: str, capsys: pytest.CaptureFixture[str]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        exec(compile(BLOCKS[block], f"docs/gymnasium.md, example {block}", "exec"), {})
    out = capsys.readouterr().out
    found = re.match(printed, out)
    assert found is not None, out
    assert float(found.group(1)) > 0

"""The pages: an index names all of them, a summary stands on top of each study, make and CONTRIBUTING agree."""

import ast
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = [*sorted(ROOT.glob("*.md")), *sorted(DOCS.rglob("*.md"))]
STUDIES = sorted((DOCS / "studies").glob("*.md"))


def test_the_index_names_every_page() -> None:
    index = (DOCS / "README.md").read_text()
    named = {(DOCS / link).resolve() for link in re.findall(r"\]\(((?!http)[^)#]+)[^)]*\)", index)}
    # The pages of the mathematics have contents of their own.
    pages = {page for page in PAGES if page != DOCS / "README.md" and page.parent != DOCS / "mathematics"}
    assert pages - named == set()
    assert [
        line for line in index.splitlines() if line.startswith("| ") and "?" not in line and "question" not in line
    ] == []


@pytest.mark.parametrize("page", STUDIES, ids=lambda page: page.stem)
def test_a_study_begins_with_five_lines(page: Path) -> None:
    title, _, rest = page.read_text().partition("\n")
    assert title.startswith("# ")
    head, summary, *_ = re.split(r"\*\*In five lines\*\*\n\n", rest)
    assert not head.strip(), "something stands before the summary"
    points = re.split(r"^- ", summary.split("\n\n")[0], flags=re.MULTILINE)[1:]
    assert len(points) == 5
    assert max(len(point) for point in points) < 400


def test_what_pages_import_of_feedgym_is_there() -> None:
    """Also of examples that are too slow, or lack a file, to be run by a test of their own page."""
    found = []
    for page in PAGES:
        for block in re.findall(r"^```python\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL):
            lines = [node for node in ast.parse(block).body if isinstance(node, ast.ImportFrom)]
            for node in lines:
                if (node.module or "").startswith("feedgym"):
                    exec(ast.unparse(node), {})
                    found.append(node.module)
    assert len(found) > 20


def test_the_tick_of_the_architecture_runs() -> None:
    (block,) = re.findall(
        r"^```python\n(.*?)^```", (ROOT / "docs" / "architecture.md").read_text(), re.MULTILINE | re.DOTALL
    )
    names: dict[str, Any] = {}
    exec(block, names)
    assert names["feed"].done
    assert names["agent"].policy_version > 0


def test_pictures_stand_beside_their_pages() -> None:
    shown = {
        (page.parent / name).resolve()
        for page in PAGES
        for name in re.findall(r"!\[[^]]*\]\(([^)]+)\)", page.read_text())
    }
    assert shown == {path.resolve() for path in DOCS.rglob("*.png")}
    for folder in ("guide", "studies"):
        for page in (DOCS / folder).glob("*.md"):
            assert re.findall(r"!\[[^]]*\]\([^)]*/[^)]*\)", page.read_text()) == []


def test_make_says_how_to_activate_the_environment() -> None:
    if shutil.which("make") is None:
        pytest.skip("no make here")
    for target in ("setup", "demo"):
        # Inside another make, as in `make test`, make tells of the folder last unless it is asked not to.
        command = ["make", "--no-print-directory", "-n", target]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
        assert ". .venv/bin/activate" in done.stdout.splitlines()[-1], target


def test_contributing_names_every_target() -> None:
    (targets,) = re.findall(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    named = set(re.findall(r"`make ([a-z]+)", (ROOT / "CONTRIBUTING.md").read_text()))
    assert named == set(targets.split())


def test_what_contributing_names_is_there() -> None:
    """Paths from the root, and the tables that are said to stand in a file."""
    page = (ROOT / "CONTRIBUTING.md").read_text()
    paths = set(re.findall(r"`((?:env|towers|agents|experiments|tests|docs)/[\w./]*)`", page))
    assert len(paths) > 15
    assert [path for path in sorted(paths) if "NAME" not in path and not (ROOT / path).exists()] == []
    for item in re.split(r"^(?:\d\. |#)", page, flags=re.MULTILINE):
        files = [ROOT / path for path in re.findall(r"`([\w./]+\.py)`", item) if "NAME" not in path]
        for table in re.findall(r"`(_?[A-Z][A-Z_]{2,})`", item) if files else ():
            assert any(re.search(rf"^{table}\b", path.read_text(), re.MULTILINE) for path in files), table

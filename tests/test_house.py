"""The house: packages, which way imports point, what importing costs, and no trace of one machine."""

import ast
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TOP = ("env", "towers", "agents", "experiments")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
# Third-party packages that a folder must not import. What is not named is allowed.
BANNED = {
    "env": {"torch", "faiss", "tensorboard", "matplotlib", "tyro", "rich", "polars", "duckdb", "pandas"},
    "towers": {"faiss", "tensorboard", "matplotlib", "gymnasium", "pyarrow"},
    "agents": {"tensorboard", "matplotlib", "gymnasium", "pyarrow"},
    "experiments": set(),
}
# Our own folders that each may import: down only.
BELOW = {"env": {"env"}, "towers": {"towers"}, "agents": {"agents", "towers", "env"}, "experiments": set(TOP)}


def modules(folder: str) -> list[Path]:
    return sorted((ROOT / folder).rglob("*.py"))


def imported(tree: ast.AST) -> set[str]:
    """Full names of all modules that a module imports, wherever: at the top, in functions, for type checking."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative import"
            names |= {node.module or ""} if node.module != "feedgym" else {f"feedgym.{a.name}" for a in node.names}
    return names


def wrong_imports(folder: str, source: str) -> set[str]:
    names = imported(ast.parse(source))
    ours = {name for name in names if name.split(".")[0] == "feedgym" and name.split(".")[1:2] != []}
    upward = {name for name in ours if name.split(".")[1] not in BELOW[folder]}
    # A top-level `env` would be a user's own, or another package's.
    bare = {name for name in names if name.split(".")[0] in TOP}
    return upward | bare | {name for name in names if name.split(".")[0] in BANNED[folder]}


@pytest.mark.parametrize("folder", TOP)
def test_imports_point_down_only(folder: str) -> None:
    files = modules(folder)
    assert len(files) > 3
    found = {str(path.relative_to(ROOT)): wrong_imports(folder, path.read_text()) for path in files}
    assert {name: wrong for name, wrong in found.items() if wrong} == {}


@pytest.mark.parametrize(
    ("folder", "source"),
    [
        ("env", "import torch"),
        ("env", "def f():\n    import faiss.contrib"),
        ("env", "from matplotlib import pyplot"),
        ("env", "from feedgym.towers import TwoTower"),
        ("env", "from feedgym import agents"),
        ("towers", "from feedgym.env.checks import require"),
        ("agents", "if True:\n    from feedgym.experiments import compare"),
        ("agents", "from env import Feed"),
    ],
)
def test_wrong_imports_are_found(folder: str, source: str) -> None:
    assert len(wrong_imports(folder, source)) == 1


def test_the_list_of_packages_equals_the_folders() -> None:
    folders = {path.parent for top in TOP for path in modules(top)}
    names = {"feedgym." + ".".join(folder.relative_to(ROOT).parts) for folder in folders}
    listed = PROJECT["tool"]["setuptools"]["packages"]
    assert sorted(listed) == sorted(names)
    for folder in folders:
        assert (folder / "__init__.py").is_file(), folder
    data = PROJECT["tool"]["setuptools"]["package-data"]
    # One marker a top folder: type checkers look for it upwards (PEP 561), and `feedgym` itself has no file.
    assert {name for name, patterns in data.items() if "py.typed" in patterns} == {f"feedgym.{top}" for top in TOP}
    assert [top for top in TOP if not (ROOT / top / "py.typed").is_file()] == []


def test_the_root_is_no_package() -> None:
    assert not (ROOT / "__init__.py").exists()
    assert not (ROOT / "feedgym").exists()
    assert PROJECT["tool"]["setuptools"]["package-dir"] == {"feedgym": "."}


def loaded_by(code: str) -> set[str]:
    """Top-level modules that are loaded once ``code`` has run in a process of its own."""
    full = f"{code}\nimport sys\nprint('LOADED', *{{name.split('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", full], capture_output=True, text=True, check=True, cwd=ROOT.parent)
    return set(done.stdout.split("LOADED")[1].split())


HEAVY = {"torch", "faiss", "pyarrow", "matplotlib", "tensorboard", "scipy", "pandas"}


def test_the_simulated_site_loads_nothing_heavy() -> None:
    loaded = loaded_by(
        "import numpy as np; from feedgym.env import Feed; feed = Feed();"
        "feed.serve(np.full((len(feed.visits), 8), feed.catalogue.article_id[0]))"
    )
    assert {"numpy", "gymnasium"} <= loaded
    assert loaded & HEAVY == set()


def test_reading_the_names_of_agents_loads_no_torch() -> None:
    assert loaded_by("import feedgym.agents; feedgym.agents.make_agent('regression')") & {"torch", "faiss"} == set()


@pytest.mark.parametrize("words", [["--help"], []])
def test_the_console_command_helps_without_torch(words: list[str]) -> None:
    code = f"import sys; sys.argv = ['feedgym', *{words!r}]\nfrom feedgym.experiments.cli import main\n"
    code += "try:\n    main()\nexcept SystemExit as end:\n    assert not end.code, end.code"
    assert loaded_by(code) & HEAVY == set()


def test_the_check_of_what_is_loaded_can_fail() -> None:
    assert "pyarrow" in loaded_by("import pyarrow")


def test_the_console_command_is_declared() -> None:
    assert PROJECT["project"]["scripts"]["feedgym"] == "feedgym.experiments.cli:main"


def tracked() -> list[Path]:
    done = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)
    if done.returncode != 0:
        pytest.skip("not a git checkout")
    return [ROOT / name for name in done.stdout.decode().split("\0") if name]


def test_no_file_names_a_path_of_one_machine() -> None:
    # Written in parts, so that this file passes its own test.
    paths = [("/" + name + "/").encode() for name in ("work", "tmp", "root")]
    found = [
        f"{path.relative_to(ROOT)}: {text.decode()}"
        for path in tracked()
        if path.is_file()
        for text in paths
        if text in path.read_bytes()
    ]
    assert found == []


def ignored(paths: list[str]) -> list[str]:
    """Those of the paths that git leaves out."""
    done = subprocess.run(["git", "check-ignore", *paths], cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.split()


def test_no_file_of_a_package_is_ignored() -> None:
    """`env/` and `runs/` are usual lines of .gitignore, and would lose a folder of ours without a word."""
    files = [str(path.relative_to(ROOT)) for top in (*TOP, "tests") for path in modules(top)]
    assert ignored([*files, *TOP]) == []
    # git knows its own files whatever .gitignore says, so new files of every folder are asked about, too.
    folders = sorted({str(Path(file).parent) for file in files})
    assert ignored([f"{folder}/new.py" for folder in folders]) == []
    if tracked():
        assert ignored(["runs/compare/report.md"]) != []


MOST_LINES = 400
# Longer files, each with its reason.
LONGER = {
    "env/feed/feed.py": "one class, what happens in a tick in its order; its parts are modules beside it",
}


def test_no_file_is_long_without_a_reason() -> None:
    """Tests included: past some 400 lines a file is mostly two ideas."""
    files = [path for top in (*TOP, "tests") for path in modules(top)]
    assert len(files) > 400
    lines = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in files}
    assert {name: n for name, n in lines.items() if n > MOST_LINES and name not in LONGER} == {}
    assert set(LONGER) <= set(lines)

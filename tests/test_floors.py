"""The rooms of the house: imports between them point down, outsiders import faces, no folder is a warehouse.

``docs/architecture.md`` draws the same picture. A room is a folder below one of the four top folders, or a module
beside the folders; it may import rooms of lower floors only, wherever in a module the import stands.
"""

import ast
import functools
import importlib
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# From the top down. Rooms of one floor do not import each other.
FLOORS: dict[str, list[set[str]]] = {
    "env": [
        {"log", "faces"},
        {"check_reader", "worlds"},
        {"feed"},
        {"readers"},
        {"newsroom"},
        {"config", "noise"},
        {"arrays", "checks", "files", "late_names"},
    ],
    "agents": [
        {"registry", "logged"},
        {"two_tower"},
        {"learners", "baselines", "off_policy"},
        {"serving", "ope", "agent"},
        {"slate_policy"},
        {"retrieval", "editorial"},
        {"expressions"},
    ],
    "experiments": [
        {"studies"},
        {"commands", "offline"},
        {"compare", "train", "logs", "vectors", "benchmarks"},
        {"runs"},
        {"reports"},
        {"measures", "cli"},
    ],
}
MOST_ENTRIES = 16
Arrow = tuple[str, str, str, str]
"""Module, room, imported module, its room."""


def modules(top: str) -> dict[str, Path]:
    """All modules of a top folder by their full name."""
    paths = sorted((ROOT / top).rglob("*.py"))
    names = ["feedgym." + ".".join(path.relative_to(ROOT).with_suffix("").parts) for path in paths]
    return dict(zip([name.removesuffix(".__init__") for name in names], paths, strict=True))


@functools.cache
def imports_in(source: str) -> tuple[ast.Import | ast.ImportFrom, ...]:
    """All imports of a module, wherever they stand. Each module is read by many tests."""
    return tuple(node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Import | ast.ImportFrom))


def room_of(module: str) -> str | None:
    """``feedgym.agents.serving.clocks`` is in the room ``serving``; a top folder's own face is in none."""
    parts = module.split(".")
    return parts[2] if len(parts) > 2 else None


def arrows_of(module: str, source: str, known: dict[str, Path]) -> list[Arrow]:
    """Imports of a module that lead to another room of the same top folder."""
    top, own = module.split(".")[1], room_of(module)
    found = []
    for node in imports_in(source):
        if isinstance(node, ast.Import):
            targets = [alias.name for alias in node.names]
        else:
            base = node.module or ""
            # `from feedgym.agents import retrieval` imports a room, too.
            targets = [f"{base}.{a.name}" if f"{base}.{a.name}" in known else base for a in node.names]
        for target in targets:
            there = room_of(target)
            if target.startswith(f"feedgym.{top}.") and own is not None and there not in (None, own):
                found.append((module, own, target, str(there)))
    return found


def floor_of(top: str, room: str) -> int:
    """0 at the top."""
    floors = [number for number, rooms in enumerate(FLOORS[top]) if room in rooms]
    assert len(floors) == 1, f"{top}/{room} stands {len(floors)} times in FLOORS"
    return floors[0]


def upward(arrows: list[Arrow]) -> list[str]:
    """Arrows that do not point down."""
    top = arrows[0][0].split(".")[1] if arrows else ""
    return [f"{a} -> {b}" for a, own, b, there in arrows if floor_of(top, own) >= floor_of(top, there)]


def past_the_face(arrows: list[Arrow], known: dict[str, Path]) -> list[str]:
    """Arrows from outside to the inside of a room that has a face."""
    return [f"{a} -> {b}" for a, _, b, _ in arrows if b.count(".") > 2 and b in known]


@pytest.mark.parametrize("top", sorted(FLOORS))
def test_imports_between_rooms_point_down(top: str) -> None:
    known = modules(top)
    arrows = [arrow for name, path in known.items() for arrow in arrows_of(name, path.read_text(), known)]
    assert len(arrows) > 20
    assert upward(arrows) == []


@pytest.mark.parametrize("top", sorted(FLOORS))
def test_every_room_has_one_floor(top: str) -> None:
    rooms = {room for room in map(room_of, modules(top)) if room is not None}
    assert rooms == set().union(*FLOORS[top])
    assert sum(map(len, FLOORS[top])) == len(rooms)


@pytest.mark.parametrize("top", sorted(FLOORS))
def test_the_page_of_the_architecture_has_these_floors(top: str) -> None:
    page = (ROOT / "docs" / "architecture.md").read_text()
    (table,) = re.findall(rf"^### `{top}/`\n(.*?)(?=^###|\n\n)", page, re.MULTILINE | re.DOTALL)
    rows = re.findall(r"^\| (\d+) \| `(\w+)` \| \S", table, re.MULTILINE)
    assert sorted((int(floor), room) for floor, room in rows) == [
        (number, room) for number, rooms in enumerate(FLOORS[top], start=1) for room in sorted(rooms)
    ]


def test_an_arrow_up_is_found() -> None:
    known = modules("agents")
    source = "def late():\n    from feedgym.agents.two_tower import TwoTowerAgent"
    assert upward(arrows_of("feedgym.agents.serving.clocks", source, known)) != []
    assert upward(arrows_of("feedgym.agents.ope.target", "from feedgym.agents import serving", known)) != []
    assert upward(arrows_of("feedgym.agents.logged.site", source, known)) == []


@pytest.mark.parametrize("top", [*sorted(FLOORS), "towers"])
def test_there_is_no_circle(top: str) -> None:
    """Of modules, imports for type checkers and those in functions included."""
    known = modules(top)
    below: dict[str, set[str]] = {}
    for name, path in known.items():
        below[name] = {
            f"{node.module}.{a.name}" if f"{node.module}.{a.name}" in known else str(node.module)
            for node in imports_in(path.read_text())
            if isinstance(node, ast.ImportFrom)
            for a in node.names
        } & set(known)
        # What a face hands out late, too: `from room import Name` reads the module of that name.
    left = dict(below)
    while free := [name for name, needs in left.items() if not needs & left.keys()]:
        for name in free:
            del left[name]
    assert sorted(left) == []


@pytest.mark.parametrize("top", sorted(FLOORS))
def test_outsiders_import_faces(top: str) -> None:
    for other in FLOORS:
        known = modules(top)
        found = []
        for name, path in modules(other).items():
            for node in imports_in(path.read_text()):
                target = node.module if isinstance(node, ast.ImportFrom) else None
                inside = target is not None and target in known and target.count(".") > 2
                if inside and not (other == top and room_of(str(target)) == room_of(name)):
                    found.append(f"{name} -> {target}")
        assert found == []


def test_every_name_of_a_face_is_there() -> None:
    """Also those that are looked up late."""
    faces = [name for top in (*FLOORS, "towers") for name, path in modules(top).items() if path.name == "__init__.py"]
    assert len(faces) > 30
    for face in faces:
        module = importlib.import_module(face)
        assert module.__doc__, face
        for name in getattr(module, "__all__", ()):
            assert getattr(module, name) is not None, (face, name)


@pytest.mark.parametrize("top", [*sorted(FLOORS), "towers", "tests"])
def test_no_folder_is_a_warehouse(top: str) -> None:
    folders = [ROOT / top, *(path for path in (ROOT / top).rglob("*") if path.is_dir() and path.name != "__pycache__")]
    entries = {
        str(folder.relative_to(ROOT)): len(
            [
                path
                for path in folder.iterdir()
                if path.name not in ("__pycache__", "__init__.py", "py.typed", "conftest.py")
            ]
        )
        for folder in folders
    }
    assert {name: count for name, count in entries.items() if count > MOST_ENTRIES} == {}

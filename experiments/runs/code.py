"""Of which code a result is: digests of the source that a run executes, FeedGym's own and the user's.

A result is taken for a run only where both its settings and this are the same. Code that changed is said in words, by
part, and the run is done anew; ``--reuse`` takes the finished result as it is, and reports say so. A comment changes a
digest, too: what a change means, no program knows.
"""

import ast
import functools
import hashlib
import importlib.util
import site
import sys
import sysconfig
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

ROOT = Path(__file__).resolve().parents[2]
"""Holds the four top folders."""
PARTS: Mapping[str, tuple[str, ...]] = {
    "feedgym.env": ("env",),
    "feedgym.towers": ("towers",),
    "feedgym.agents": ("agents",),
    # What makes a run's numbers; not what starts runs, nor what is made of them: reports, studies, commands.
    "feedgym.experiments": ("experiments/runs", "experiments/measures", "experiments/reports/curves.py"),
}
"""Parts of FeedGym that every run executes, and where they are."""
Code = dict[str, str]
"""Digest by part of FeedGym, or by name of a module."""


class OtherCodeWarning(UserWarning):
    """A result that is there was made by other code than this."""


@functools.cache
def code_of_feedgym() -> Mapping[str, str]:
    """Of each of ``PARTS``: read once, so that it is the code of this process also where files change meanwhile."""
    return {name: _digest_of_files(places) for name, places in PARTS.items()}


def code_with(*names: str) -> Code:
    """Of what every run executes, and of these modules of FeedGym besides, such as the one that measures a study."""
    files = {name: "/".join(name.split(".")[1:]) + ".py" for name in names}
    return {**code_of_feedgym(), **{name: _digest_of_files((file,)) for name, file in files.items()}}


@functools.cache
def _digest_of_files(places: tuple[str, ...]) -> str:
    """Names and bytes of all Python files at these places below ``ROOT``."""
    hashed = hashlib.sha256()
    for place in places:
        at = ROOT / place
        for path in sorted(at.rglob("*.py")) if at.is_dir() else [at]:
            data = path.read_bytes()
            hashed.update(f"{path.relative_to(ROOT).as_posix()} {len(data)}\n".encode() + data)
    return hashed.hexdigest()[:16]


# ---- the user's own modules ----
def own_modules(names: Iterable[str]) -> Code:
    """Of these modules and all that they import, those that are neither FeedGym's, Python's nor installed.

    Args:
        names: modules that are loaded, such as those of a reader model and of an agent.
    """
    found: Code = {}
    todo, seen = [part for name in names for part in _with_parents(name)], set[str]()
    while todo:
        name = todo.pop()
        if name in seen:
            continue
        seen.add(name)
        known = _source_of(name)
        if known is not None:
            found[name] = known.digest
            todo += known.imports
    return dict(sorted(found.items()))


class _Source(NamedTuple):
    spec: ModuleSpec | None
    """Of the module when it was read: another one after ``importlib.reload``."""
    digest: str
    imports: list[str]


_LOADED: "WeakKeyDictionary[ModuleType, _Source]" = WeakKeyDictionary()


def _source_of(name: str) -> _Source | None:
    """Of a module of the user's own, as it was when it was first asked about: the file may change, what runs does not.

    None for all other modules.
    """
    module = sys.modules.get(name)
    if module is None:
        spec = _spec_of(name)
        path = None if spec is None else spec.origin
        return None if path is None or not _is_own(path) else _read(name, Path(path), None)
    path = getattr(module, "__file__", None)
    if path is None or not _is_own(path):
        return None
    known = _LOADED.get(module)
    if known is None or known.spec is not module.__spec__:
        known = _LOADED[module] = _read(name, Path(path), module)
    return known


def _spec_of(name: str) -> ModuleSpec | None:
    """Where a module that is not loaded would come from; nothing is imported."""
    parent, _, _ = name.rpartition(".")
    if not parent:
        return PathFinder.find_spec(name)
    above = sys.modules.get(parent)
    spec = _spec_of(parent) if above is None else above.__spec__
    places = None if spec is None else spec.submodule_search_locations
    return None if places is None else PathFinder.find_spec(name, list(places))


@functools.lru_cache(maxsize=4096)
def _is_own(path: str) -> bool:
    """Whether a file is the user's: not of the standard library, of an installed package, or of FeedGym."""
    at = Path(path).resolve()
    if {"site-packages", "dist-packages"} & set(at.parts) or not at.is_file():
        return False
    return not any(at.is_relative_to(place) for place in _not_own())


@functools.cache
def _not_own() -> tuple[Path, ...]:
    named = sysconfig.get_paths()
    places = [named[key] for key in ("stdlib", "platstdlib", "purelib", "platlib")] + site.getsitepackages()
    ours = [ROOT / part.split(".")[1] for part in PARTS]
    return (*(Path(place).resolve() for place in places), *ours)


def _read(name: str, path: Path, module: ModuleType | None) -> _Source:
    data = path.read_bytes()
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    imports = {*_named_in(data, package), *_seen_in(module)} if path.suffix == ".py" else _seen_in(module)
    every = sorted({part for found in imports for part in _with_parents(found)})
    spec = None if module is None else module.__spec__
    return _Source(spec, hashlib.sha256(data).hexdigest()[:16], every)


def _named_in(source: bytes, package: str) -> Iterator[str]:
    """Modules that a source may import, at its top or in a function: some of the names are no modules."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                base = importlib.util.resolve_name("." * node.level + base, package)
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("import_module", "__import__")):
            yield from (a.value for a in node.args[:1] if isinstance(a, ast.Constant) and isinstance(a.value, str))


def _seen_in(module: ModuleType | None) -> set[str]:
    """Modules of what a loaded module holds, however it came there."""
    values = [] if module is None else list(vars(module).values())
    found = {value.__name__ for value in values if isinstance(value, ModuleType)}
    makers = [value if isinstance(value, type | FunctionType) else type(value) for value in values]
    return found | {maker.__module__ for maker in makers if isinstance(maker.__module__, str)}


def _with_parents(name: str) -> list[str]:
    """``a``, ``a.b`` and ``a.b.c``: importing the last runs all of them."""
    parts = name.split(".")
    return [".".join(parts[: end + 1]) for end in range(len(parts))] if all(parts) else []


# ---- said in words ----
def changed(then: Mapping[str, str] | None, now: Mapping[str, str]) -> tuple[str, ...]:
    """Parts and modules whose code is not what it was, sorted; those that came or went are among them."""
    then = {} if then is None else then
    return tuple(sorted(name for name in then.keys() | now.keys() if then.get(name) != now.get(name)))


def without_code(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of a run less the code that it is of."""
    return {name: value for name, value in settings.items() if name != "code"}


def of_other_code(what: str, parts: Sequence[str]) -> str:
    """``2 finished runs are of other code (changed since: feedgym.agents)``."""
    return f"{what} of other code (changed since: {', '.join(parts)})"


def say(words: str) -> None:
    """To whoever runs this: a line of a command's output, a warning in a notebook."""
    warnings.warn(words, OtherCodeWarning, stacklevel=3)


@contextmanager
def heard() -> Iterator[list[str]]:
    """What is said of other code inside, collected; it is shown all the same."""
    said: list[str] = []
    with warnings.catch_warnings():
        warnings.simplefilter("always", OtherCodeWarning)
        show = warnings.showwarning

        def also(message: Warning | str, category: type[Warning], *rest: Any) -> None:
            if issubclass(category, OtherCodeWarning):
                said.append(str(message))
            show(message, category, *rest)

        warnings.showwarning = also  # type: ignore[assignment]
        yield said

"""Names of a package that are looked up when they are first asked for, so that importing it stays cheap.

A face (``__init__.py``) whose room imports torch or faiss says where its names live instead of importing them:
reading the settings of a learner, say, then loads no torch (PEP 562).
"""

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def late_names(package: str, homes: Mapping[str, str]) -> Callable[[str], Any]:
    """A module's ``__getattr__``.

    Args:
        package: the face's own ``__name__``.
        homes: the module of the package, relative to it, in which each name lives.
    """

    def __getattr__(name: str) -> Any:  # noqa: N807 - it becomes a module's
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(import_module(f"{package}.{homes[name]}"), name)

    return __getattr__

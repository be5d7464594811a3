"""Settings that name an entry of a table, such as ``encoder`` one of ``HISTORY_ENCODERS``.

The field says where its table is, not what is in it. So the names stand once; a name that was added from outside is
allowed like any other; and reading the settings loads no torch, which the tables need.
"""

from collections.abc import Iterable
from dataclasses import Field, field, fields
from importlib import import_module
from typing import TYPE_CHECKING, Any

from feedgym.towers.checks import require

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


def one_of(default: str, *tables: str) -> Any:
    """A field of a config that names an entry.

    Args:
        default: its value if not given.
        *tables: where the names are, such as ``feedgym.towers.prediction:PREDICTIONS``; several count as one.
    """
    return field(default=default, metadata={"one_of": tables})


def tables_of(setting: "Field[Any]") -> tuple[str, ...]:
    """The tables of a field, as ``module:NAME``; none where it names no entry."""
    tables: tuple[str, ...] = setting.metadata.get("one_of", ())
    return tables


def names_in(tables: Iterable[str]) -> tuple[str, ...]:
    """All names that there are now in tables of ``module:NAME``."""
    found: list[str] = []
    for place in tables:
        module, _, name = place.partition(":")
        found += getattr(import_module(module), name)
    return tuple(found)


def require_known(config: "DataclassInstance") -> None:
    """Raise ``ValueError`` on the first name that is in no table of its field."""
    for setting in fields(config):
        tables = tables_of(setting)
        if tables:
            value, known = getattr(config, setting.name), names_in(tables)
            require(value in known, setting.name, value, f"one of {', '.join(known)}")

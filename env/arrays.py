"""Names for the array types of signatures, and what is done to structs of arrays."""

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Ints = NDArray[np.int64]
SmallInts = NDArray[np.int32]
Bools = NDArray[np.bool_]
AnyArray = NDArray[Any]

Arrays = dict[str, AnyArray]
"""A struct of arrays by name: a reader model's state, or a snapshot (keys joined by ``/``)."""


def nest(prefix: str, arrays: Mapping[str, AnyArray]) -> Arrays:
    """``arrays`` with ``prefix/`` before each key: how a part's snapshot goes into the whole's."""
    return {f"{prefix}/{key}": value for key, value in arrays.items()}


def unnest(prefix: str, arrays: Mapping[str, AnyArray]) -> Arrays:
    """The inverse of :func:`nest`: the entries below ``prefix/``, without it."""
    start = f"{prefix}/"
    return {key[len(start) :]: value for key, value in arrays.items() if key.startswith(start)}


def lengthened(values: AnyArray, size: int, fill: float = 0.0) -> AnyArray:
    """A copy with room for ``size`` rows, at least twice as many as there were; ``fill`` stands in the new ones."""
    new = np.full((max(size, 2 * len(values)), *values.shape[1:]), fill, dtype=values.dtype)
    new[: len(values)] = values
    return new


def copied(owner: object, fields: Iterable[str], rows: int | None = None) -> Arrays:
    """Fields of an object as entries of its snapshot: copies of arrays, and plain numbers as arrays of shape ().

    Args:
        owner: the object.
        fields: names of its attributes; the entry of ``_clicks`` is ``clicks``.
        rows: where arrays have room for more, how many of their rows are in use.
    """
    entries: Arrays = {}
    for field in fields:
        value = getattr(owner, field)
        entries[field.removeprefix("_")] = np.array(value if rows is None else value[:rows])
    return entries


def put_back(owner: object, fields: Iterable[str], snapshot: Mapping[str, AnyArray], room: int | None = None) -> None:
    """The inverse of :func:`copied`: fresh arrays of the types that the fields have now, plain numbers as such.

    Args:
        owner: the object.
        fields: as there.
        snapshot: its entries, among others.
        room: for how many rows there shall be room in the arrays; what is beyond those of the snapshot is 0.

    Raises:
        ValueError: the snapshot lacks a field.
    """
    for field in fields:
        name = field.removeprefix("_")
        if name not in snapshot:
            raise ValueError(f"snapshot: got {sorted(snapshot)}, needs also {name!r}")
        before, saved = getattr(owner, field), snapshot[name]
        if not isinstance(before, np.ndarray):
            setattr(owner, field, type(before)(saved.item()))
        elif room is None:
            setattr(owner, field, saved.astype(before.dtype))
        else:
            roomy = np.zeros((room, *saved.shape[1:]), dtype=before.dtype)
            roomy[: len(saved)] = saved
            setattr(owner, field, roomy)


def taken_at(values: AnyArray, column: Ints, nothing: float) -> AnyArray:
    """What stands in columns (n, K) of rows (n, M), in the type of ``values``; ``nothing`` where the column is -1."""
    taken: AnyArray = np.full(column.shape, nothing, dtype=values.dtype)
    row, place = np.nonzero(column >= 0)
    taken[row, place] = values[row, column[row, place]]
    return taken


_Record = TypeVar("_Record")


def rows_of(record: _Record, which: Ints | Bools, *, shared: tuple[str, ...] = ()) -> _Record:
    """Some rows of a record of arrays, as a record of the same kind.

    Args:
        record: a dataclass or a named tuple. Its arrays have a row each; records in it are taken alike. What is one
            value for all rows (numbers, None, texts) stays.
        which: rows by number, int64 (m,), or a mask, bool (n,).
        shared: fields whose arrays are the same for all rows, and stay.
    """
    names: tuple[str, ...] = getattr(record, "_fields", ())
    if dataclasses.is_dataclass(record):
        names = tuple(f.name for f in dataclasses.fields(record))
    taken: dict[str, Any] = {}
    for name in names:
        value = getattr(record, name)
        if name in shared:
            taken[name] = value
        elif isinstance(value, np.ndarray):
            taken[name] = value[which]
        elif dataclasses.is_dataclass(value) or hasattr(value, "_fields"):
            taken[name] = rows_of(value, which)
        else:
            taken[name] = value
    return type(record)(**taken)

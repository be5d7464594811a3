"""What a reader model knows of each reader, side by side: a visit reads one row instead of a dozen arrays.

With a million readers every array costs a visit its own cache and TLB misses: packed, reading and writing the
default reader's ten columns takes half the time (at 100,000 readers three quarters of it).
"""

from collections.abc import Mapping

import numpy as np

from feedgym.env.arrays import AnyArray, Floats, Ints

PACKED = "packed"
_LINE_BYTES = 64


class PackedState(dict[str, AnyArray]):
    """A reader model's state of which some columns stand in one structured array, ``state["packed"]``.

    They can be read and written by name all the same: ``state["trust"]`` is a view of that column.
    """

    def __missing__(self, name: str) -> AnyArray:
        """A packed column: a view (P, ...)."""
        packed = self.get(PACKED)
        if packed is None or name not in (packed.dtype.names or ()):
            raise KeyError(name)
        column: AnyArray = packed[name]
        return column


def pack(columns: Mapping[str, AnyArray]) -> AnyArray:
    """Columns (P, ...) side by side, a structured array (P,).

    Rows fill whole cache lines. Field by field without holes, so that ``np.concatenate`` keeps the layout; the widest
    numbers first, so that all of them are aligned.
    """
    columns = dict(sorted(columns.items(), key=lambda entry: -entry[1].dtype.itemsize))
    fields: list[tuple[str, np.dtype[np.generic], tuple[int, ...]]] = [
        (name, column.dtype, column.shape[1:]) for name, column in columns.items()
    ]
    spare = -np.dtype(fields).itemsize % _LINE_BYTES
    if spare:
        fields.append(("spare", np.dtype(np.uint8), (spare,)))
    packed = np.zeros(len(next(iter(columns.values()))), dtype=fields)
    for name, column in columns.items():
        packed[name] = column
    return packed


def take_rows(packed: AnyArray, rows: Ints) -> AnyArray:
    """A copy of the rows (n,) of a packed array (P,). As plain floats: numpy copies structs field by field."""
    copied: AnyArray = _words(packed).take(rows, axis=0).view(packed.dtype)
    return copied.reshape(len(rows))


def put_rows(packed: AnyArray, rows: Ints, values: AnyArray) -> None:
    """Write ``values`` (n,), from :func:`take_rows`, back to the rows (n,)."""
    _words(packed)[rows] = _words(values)


def _words(packed: AnyArray) -> Floats:
    """The same memory as float32 (P, W)."""
    return packed.view(np.float32).reshape(len(packed), packed.dtype.itemsize // 4)

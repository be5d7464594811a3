"""Names for the array types of signatures."""

from collections.abc import Mapping
from typing import Any

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

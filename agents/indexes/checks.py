"""What every index refuses: ids that are no article ids, vectors that are not finite float32 rows."""

import numpy as np

from feedgym.env.arrays import AnyArray, Bools, Floats, Ints
from feedgym.env.checks import require

MAX_ID = 2**31 - 1


def check_ids(ids: Ints) -> None:
    """Refuse what are not distinct article ids, int64 (m,)."""
    fits = isinstance(ids, np.ndarray) and ids.dtype == np.int64 and ids.ndim == 1
    require(fits, "ids", kind(ids), "an int64 array (m,)")
    refuse(ids, (ids < 0) | (ids >= MAX_ID), "", f"article ids from 0 to {MAX_ID - 1}")
    ordered = np.sort(ids)
    twice = ordered[1:][ordered[1:] == ordered[:-1]]
    require(not len(twice), "ids", f"article {twice[:1]} twice", "distinct articles")


def check_rows(ids: Ints, vectors: Floats, dim: int) -> None:
    """Refuse what are not articles (m,) with a finite float32 vector (m, d) each."""
    check_ids(ids)
    check_vectors(vectors, dim, "vectors")
    require(len(vectors) == len(ids), "vectors", vectors.shape, f"{len(ids)} rows, one per id")


def check_vectors(vectors: Floats, dim: int, name: str) -> None:
    """Refuse what are not finite float32 rows (any, d)."""
    fits = isinstance(vectors, np.ndarray) and vectors.dtype == np.float32
    fits = fits and vectors.ndim == 2 and vectors.shape[1] == dim
    require(fits, name, kind(vectors), f"a float32 array (rows, {dim})")
    bad = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
    require(not len(bad), name, f"NaN or inf in row {bad[:1]}", "finite numbers")


def check_whole(value: int, name: str) -> None:
    """Refuse what is not a whole number of at least 1."""
    require(isinstance(value, int | np.integer) and value >= 1, name, value, "an integer >= 1")


def refuse(ids: Ints, bad: Bools, why: str, allowed: str) -> None:
    """Raise, naming the first article that is bad."""
    if bad.any():
        require(False, "ids", f"article {int(ids[bad][0])} {why}".strip(), allowed)


def refuse_present(ids: Ints, present: Bools) -> None:
    """Raise, naming the first article that is there already."""
    refuse(ids, present, "which is in the index already", "new articles (see update)")


def refuse_absent(ids: Ints, absent: Bools) -> None:
    """Raise, naming the first article that is not there."""
    refuse(ids, absent, "which is not in the index", "articles of the index, see ids")


def kind(value: AnyArray | object) -> str:
    """Dtype and shape of an array, or the type of what is none."""
    return f"{value.dtype} {value.shape}" if isinstance(value, np.ndarray) else type(value).__name__

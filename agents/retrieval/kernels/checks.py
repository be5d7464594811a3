"""What every index refuses: ids that are no article ids, vectors that are not finite float32 rows."""

import math

import numpy as np

from feedgym.env.arrays import AnyArray, Bools, Doubles, Floats, Ints
from feedgym.env.checks import require

MAX_ID = 2**31 - 1
_LARGEST = float(np.finfo(np.float32).max)


def check_ids(ids: Ints) -> None:
    """Refuse what are not distinct article ids, int64 (m,)."""
    if not (isinstance(ids, np.ndarray) and ids.dtype == np.int64 and ids.ndim == 1):
        require(False, "ids", kind(ids), "an int64 array (m,)")
    if len(ids) == 0:
        return
    ordered = np.sort(ids)
    if ordered[0] < 0 or ordered[-1] >= MAX_ID:
        refuse(ids, (ids < 0) | (ids >= MAX_ID), "", f"article ids from 0 to {MAX_ID - 1}")
    same = ordered[1:] == ordered[:-1]
    if same.any():
        require(False, "ids", f"article {ordered[1:][same][:1]} twice", "distinct articles")


def check_rows(ids: Ints, vectors: Floats, dim: int) -> float:
    """Refuse what are not articles (m,) with a finite float32 vector (m, d) each; the largest norm of a vector."""
    check_ids(ids)
    _, largest = norms_of(vectors, dim, "vectors")
    if len(vectors) != len(ids):
        require(False, "vectors", vectors.shape, f"{len(ids)} rows, one per id")
    return largest


def check_queries(queries: Floats, dim: int, k: int, largest_norm: float) -> Doubles:
    """Refuse what cannot be searched for among vectors of at most this norm; the norms of the queries (B,)."""
    norms, largest = norms_of(queries, dim, "queries")
    check_whole(k, "k")
    reach = largest * largest_norm
    if not reach < _LARGEST:
        require(False, "queries", f"scores up to {reach:.3g}", f"scores below {_LARGEST:.3g}")
    return norms


def norms_of(vectors: Floats, dim: int, name: str) -> tuple[Doubles, float]:
    """Norms of rows (any, d), float64, and the largest of them; what is no finite float32 row is refused."""
    fits = isinstance(vectors, np.ndarray) and vectors.dtype == np.float32
    if not (fits and vectors.ndim == 2 and vectors.shape[1] == dim):
        require(False, name, kind(vectors), f"a float32 array (rows, {dim})")
    norms: Doubles = np.sqrt(np.einsum("md,md->m", vectors, vectors, dtype=np.float64))
    # No square of a float32 leaves float64, and max hands NaN on: finite if and only if all coordinates are.
    largest = float(norms.max(initial=0.0))
    if not math.isfinite(largest):
        require(False, name, f"NaN or inf in row {np.flatnonzero(~np.isfinite(norms))[:1]}", "finite numbers")
    return norms, largest


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

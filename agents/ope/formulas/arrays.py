"""What the estimators take: float64 arrays of one number of visits, checked at the border.

Shapes: n visits, K positions.
"""

import numpy as np
import numpy.typing as npt

from feedgym.env.arrays import Doubles
from feedgym.env.checks import require


def of_visits(value: npt.ArrayLike, name: str, like: Doubles | None = None) -> Doubles:
    """A finite number for each visit, float64 (n,).

    Args:
        value: what the caller gave.
        name: of the argument, for errors.
        like: an array whose shape it must have.

    Raises:
        ValueError: another shape; no visit; NaN or infinite.
    """
    return _checked(value, name, 1, like)


def of_slots(value: npt.ArrayLike, name: str, like: Doubles | None = None) -> Doubles:
    """A finite number for each position of each visit, float64 (n, K); arguments as :func:`of_visits`."""
    return _checked(value, name, 2, like)


def weights(value: npt.ArrayLike, name: str, ndim: int) -> Doubles:
    """Ratios of two policies' chances, finite and >= 0, float64 (n,) or (n, K)."""
    array = _checked(value, name, ndim, None)
    require(bool((array >= 0).all()), name, float(array.min()), ">= 0: ratios of chances")
    return array


def _checked(value: npt.ArrayLike, name: str, ndim: int, like: Doubles | None) -> Doubles:
    array: Doubles = np.asarray(value, dtype=np.float64)
    require(array.ndim == ndim, name, array.shape, f"{ndim} axes: " + ("(n,)" if ndim == 1 else "(n, K)"))
    require(array.size > 0, name, array.shape, "at least one visit and one position")
    if like is not None:
        require(array.shape == like.shape, name, array.shape, f"shape {like.shape}, as the weights have")
    if not np.isfinite(array).all():
        row = int(np.argmax(~np.isfinite(array).reshape(len(array), -1).all(axis=1)))
        require(False, name, f"{array[row]} in row {row}", "finite numbers")
    return array

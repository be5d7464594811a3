"""A number for each article id: where an article stands. Ids are dense and grow, so that a plain array maps them.

Letters: m articles.
"""

from typing import TypeVar

import numpy as np
import numpy.typing as npt

from feedgym.env.arrays import Ints, lengthened

Rows = TypeVar("Rows", bound=npt.NDArray[np.generic])


class ById:
    """A map from article ids to whole numbers, 4 bytes per article ever published (8 for int64).

    Args:
        nothing: what an article has that is not in the map.
        dtype: of the numbers.
    """

    def __init__(self, nothing: int = -1, dtype: type[np.signedinteger] = np.int32) -> None:
        self._nothing = nothing
        # The last entry stands for all ids that are not here: it is never set.
        self._values = np.full(1024, nothing, dtype=dtype)

    def __getitem__(self, ids: Ints) -> Ints:
        """The numbers of article ids of any shape; -1 and unknown ids have ``nothing``."""
        found: Ints = self._values.take(np.minimum(ids, len(self._values) - 1), mode="wrap")
        return found

    def __setitem__(self, ids: Ints, values: Ints | int) -> None:
        """Set the numbers of articles (m,)."""
        size = int(ids.max(initial=-1)) + 2
        if size > len(self._values):
            self._values = lengthened(self._values, size, self._nothing)
        self._values[ids] = values

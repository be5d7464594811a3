"""What the user tower said of each reader, kept until the readers' clock or a new model asks for it anew.

Shapes: n readers, d dimensions, P parameters of the age decay.
"""

from collections.abc import Callable

import numpy as np
import torch

from feedgym.env.arrays import Arrays, Bools, Floats, Ints, copied, lengthened, put_back
from feedgym.towers.interface import UserOutput

_NAMES = ("_key", "_vector", "_decay")


class ReaderVectors:
    """Rows by reader, growing by doubling. Ages enter later: they are always those of the request.

    Made when first asked for, of what was known at the clock's time: the same vectors as if all readers' had been made
    then, for the readers who come.
    """

    def __init__(self) -> None:
        self._key: Ints = np.full((0, 2), -1, dtype=np.int64)
        self._vector: Floats = np.zeros((0, 0), dtype=np.float32)
        self._decay: Floats = np.zeros((0, 0), dtype=np.float32)

    def of(self, rows: Ints, period: int, version: int, embed: Callable[[Bools], UserOutput]) -> tuple[UserOutput, int]:
        """Vectors of readers ``rows`` (n,), and how many of them had to be made.

        Args:
            rows: of the population.
            period: of the readers' clock.
            version: of the model.
            embed: makes those of the rows that it is told, bool (n,).
        """
        if len(rows) == 0:
            return embed(np.zeros(0, dtype=np.bool_)), 0
        self._reserve(int(rows.max()) + 1)
        stale: Bools = (self._key[rows] != (period, version)).any(axis=1)
        number = int(np.count_nonzero(stale))
        if number:
            made, where = embed(stale), rows[stale]
            if self._vector.shape[1] == 0:
                self._vector = np.zeros((len(self._key), made.vector.shape[1]), dtype=np.float32)
                self._decay = np.zeros((len(self._key), made.decay.shape[1]), dtype=np.float32)
            self._vector[where], self._decay[where] = made.vector.numpy(), made.decay.numpy()
            self._key[where] = (period, version)
        kept = UserOutput(torch.from_numpy(self._vector[rows]), torch.from_numpy(self._decay[rows]))
        return kept, number

    def _reserve(self, size: int) -> None:
        if size <= len(self._key):
            return
        for name in _NAMES:
            setattr(self, name, lengthened(getattr(self, name), size, -1 if name == "_key" else 0))

    def snapshot(self) -> Arrays:
        """All arrays, copied."""
        return copied(self, _NAMES)

    def restore(self, snapshot: Arrays) -> None:
        """Become the vectors of a snapshot."""
        put_back(self, _NAMES, snapshot)

"""Means over a learner's steps, between two looks at its metrics."""

import numpy as np

from feedgym.env.arrays import Arrays


class Averages:
    """Values by name, until their means are asked for."""

    def __init__(self) -> None:
        self._seen: dict[str, list[float]] = {}

    def note(self, name: str, value: float) -> None:
        """Keep a step's value."""
        self._seen.setdefault(name, []).append(value)

    def take(self) -> dict[str, float]:
        """Means since the last call."""
        seen, self._seen = self._seen, {}
        return {name: float(np.mean(values)) for name, values in seen.items()}

    def snapshot(self) -> Arrays:
        """What has not been asked for yet."""
        arrays: Arrays = {name: np.asarray(values) for name, values in self._seen.items()}
        return arrays

    def restore(self, snapshot: Arrays) -> None:
        """The inverse of :meth:`snapshot`."""
        self._seen = {name: values.tolist() for name, values in snapshot.items()}

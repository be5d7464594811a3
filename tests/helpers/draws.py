"""Random numbers: generators that remember, and arrays of them."""

from typing import Any

import numpy as np
import torch

from feedgym.env.arrays import Floats


class Recorder:
    """A generator that remembers its integers; with ``all_draws``, what it drew of ``random`` too."""

    def __init__(self, seed: int, all_draws: bool = False) -> None:
        self._rng, self._all = np.random.default_rng(seed), all_draws
        self.drawn: list[Any] = []

    def integers(self, *args: Any, **named: Any) -> Any:
        self.drawn.append(self._rng.integers(*args, **named))
        return self.drawn[-1]

    def random(self, *args: Any, **named: Any) -> Any:
        drawn = self._rng.random(*args, **named)
        if self._all:
            self.drawn.append(drawn)
        return drawn


def normal(rng: np.random.Generator | int, *shape: int) -> Floats:
    """Standard normal numbers of a generator, or of a seed."""
    return np.random.default_rng(rng).standard_normal(shape, dtype=np.float32)


def seeded(seed: int = 0) -> torch.Generator:
    """A generator of torch."""
    return torch.Generator().manual_seed(seed)

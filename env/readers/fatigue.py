"""Fatigue as an effect: articles that were shown before, and those that were clicked, win fewer clicks.

``w_fat log(1 + k)`` with k the decayed count of own unclicked exposures, and ``w_again`` once clicked; what is
remembered is in :mod:`feedgym.env.readers.exposure`.
"""

import numpy as np

from feedgym.env.arrays import Arrays, Floats, Ints
from feedgym.env.readers.config import NewsReaderConfig
from feedgym.env.readers.effects import Reaction, Shown
from feedgym.env.readers.exposure import Recall, empty_memory, recall, remember

MEMORY = "memory"


class Fatigue:
    """An effect (see :class:`feedgym.env.readers.effects.Effect`).

    Args:
        config: weights, half-life, slots of the memory.
    """

    def __init__(self, config: NewsReaderConfig) -> None:
        self._weight = np.float32(config.fatigue_weight)
        self._again = np.float32(config.already_clicked_weight)
        self._half_life_hours = config.fatigue_half_life_hours
        self._slots = config.memory_slots

    def columns(self, num_readers: int, num_topics: int) -> Arrays:
        """Exposures so far, and how many of them pushed another article out of the memory."""
        return {name: np.zeros(num_readers, dtype=np.int32) for name in ("exposures", "evictions")}

    def beside(self, num_readers: int) -> Arrays:
        """The exposure memory."""
        return {MEMORY: empty_memory(num_readers, self._slots)}

    def oppose(self, shown: Shown, against: Floats) -> Recall:
        """Against what was shown or clicked before."""
        memory: Ints = shown.state[MEMORY]
        seen = recall(memory, shown.rows, shown.article_id, self._clock(shown))
        against += self._weight * seen.log_count
        if self._again:
            against += self._again * seen.clicked
        return seen

    def after(self, shown: Shown, found: Recall, reaction: Reaction) -> None:
        """Remember the exposures and clicks."""
        memory, reader = shown.state[MEMORY], shown.reader
        remember(memory, found, shown.article_id, reaction.clicks, reaction.exposed, self._clock(shown))
        exposures, evictions = reader["exposures"], reader["evictions"]
        exposures += np.add.reduce(reaction.exposed, axis=0, dtype=np.int32)
        evictions += np.add.reduce(found.evicts & reaction.exposed, axis=0, dtype=np.int32)

    def _clock(self, shown: Shown) -> np.float32:
        return np.float32(shown.now / self._half_life_hours)

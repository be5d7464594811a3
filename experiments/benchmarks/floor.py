"""The floor under the Feed: what any simulation of the same visits has to do, in bare numpy.

The same slates for the same readers: gather the articles, the readers and the memory; one inner product and one
random number an impression, three a visit; write readers and memory back; put the visits in order of the next
one. No clock, no checks, no counters, no keys to the random numbers, no dwell, no trust, no log.
Shapes: P readers, A articles, n visits, K positions.
"""

import numpy as np

from feedgym.env.arrays import Bools, Ints

ARTICLE_COLUMNS = 22
READER_COLUMNS = 48
MEMORY_SLOTS = 64


class Floor:
    """Arrays as large as the Feed's, and one function.

    Args:
        num_readers: P.
        num_articles: ids are below this; the rest wrap around.
    """

    def __init__(self, num_readers: int, num_articles: int) -> None:
        self._rng = np.random.default_rng(0)
        self._articles = self._rng.random((num_articles, ARTICLE_COLUMNS), dtype=np.float32)
        self._readers = np.zeros((num_readers, READER_COLUMNS), dtype=np.float32)
        self._memory = np.zeros((num_readers, MEMORY_SLOTS), dtype=np.int64)
        self.visits = 0
        """Served so far."""

    def serve(self, rows: Ints, slates: Ints) -> Bools:
        """Clicks (K, n) of the readers at ``rows`` (n,) on ``slates`` (n, K)."""
        rng, n = self._rng, len(rows)
        article_id = np.ascontiguousarray(slates.T)
        readers = self._readers.take(rows, axis=0)
        coefficients = np.ascontiguousarray(readers[:, :ARTICLE_COLUMNS])
        logit = np.empty(article_id.shape, dtype=np.float32)
        for position, ids in enumerate(article_id):
            articles = self._articles.take(ids, axis=0, mode="wrap")
            np.einsum("nd,nd->n", articles, coefficients, out=logit[position])
        memory = self._memory.reshape(-1)
        slot = (article_id & (MEMORY_SLOTS - 1)) + rows * MEMORY_SLOTS
        known = memory.take(slot) == article_id
        logit -= known
        clicks: Bools = rng.random(article_id.shape, dtype=np.float32) * (1.0 + np.exp(-logit)) < 0.03
        memory[slot] = article_id
        self._readers[rows] = readers
        rng.random((3, n))
        np.argsort(rng.integers(0, 256, n, dtype=np.uint8), kind="stable")
        self.visits += n
        return clicks

"""Repeats: how many impressions are of articles that their reader has been shown at an earlier visit.

Memory is a byte for each reader that is followed and each article that any of them has been shown and that is still
live: the Feed keeps a reader's clicks, not what the reader was shown.
Shapes: n visits, K positions, m impressions, B articles remembered, R readers who are followed.
"""

import numpy as np

from feedgym.env.arrays import Arrays, Bools, Ints


class Repeats:
    """Who was shown what.

    Args:
        num_readers: readers who are followed, R.
    """

    def __init__(self, num_readers: int) -> None:
        self._article: Ints = np.zeros(0, dtype=np.int64)
        self._seen: Bools = np.zeros((0, num_readers), dtype=np.bool_)

    def count(self, reader: Ints, article: Ints) -> int:
        """Take in impressions of any number of visits; an article shows once in a visit.

        Args:
            reader: numbers below R, int (m,).
            article: ids, int64 (m,).

        Returns:
            How many of these impressions are repeats.
        """
        if len(article) == 0:
            return 0
        place = self._place_of(article)
        before = np.count_nonzero(self._seen)
        self._seen[place, reader] = True
        # Whatever their order: of the impressions of a pair of reader and article all but the very first are repeats.
        return len(article) - int(np.count_nonzero(self._seen) - before)

    def forget(self, is_live: Bools) -> None:
        """Drop the articles that are not live, by ``is_live`` (A,): they are never shown again."""
        keep = is_live[self._article]
        self._article, self._seen = self._article[keep], self._seen[keep]

    def snapshot(self) -> Arrays:
        """What is remembered; a bit for a reader and an article."""
        return {"article": self._article.copy(), "seen": np.packbits(self._seen, axis=1)}

    def restore(self, arrays: Arrays) -> None:
        """Go on from a snapshot with as many readers."""
        self._article = arrays["article"].astype(np.int64)
        self._seen = np.unpackbits(arrays["seen"], axis=1, count=self._seen.shape[1]).astype(np.bool_)

    def _place_of(self, article: Ints) -> Ints:
        """Rows of ``_seen`` of ids (m,), int64 (m,); those without one get one."""
        # By tables over the ids: sorting impressions takes ten times as long.
        known = np.zeros(1 + max(int(article.max()), int(self._article.max(initial=-1))), dtype=np.bool_)
        known[article] = True
        known[self._article] = True
        both = np.flatnonzero(known)
        place = np.zeros(len(known), dtype=np.int64)
        place[both] = np.arange(len(both))
        if len(both) > len(self._article):
            seen = np.zeros((len(both), self._seen.shape[1]), dtype=np.bool_)
            seen[place[self._article]] = self._seen
            self._article, self._seen = both, seen
        return place.take(article)

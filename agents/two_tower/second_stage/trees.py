"""The ranker ``gbdt``: boosted trees over the first stage's score, age, position and crosses, trained from the replay.

It learns from scores as they were when slates were served: of articles that the towers had not yet been trained on, so
that the trees also learn how far the score is to be believed. With ``ranker_vectors`` the towers' vectors are columns,
too: those of the model that serves.
Shapes: n visits, K positions, M shortlist, X crosses, R impressions, d and e columns
of a reader's and of an article's vector, F = 3 + X (+ d + e) columns.
"""

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from feedgym.agents.two_tower.second_stage.boosted import Boosted, Boosting
from feedgym.env.arrays import AnyArray, Arrays, Doubles, Floats, Ints


class Rows(Protocol):
    """Visits kept, by column."""

    def column(self, name: str) -> AnyArray:
        """One column of all of them."""
        ...


class TreeRanker:
    """What is added to the scores of a shortlist.

    Args:
        boosting: how trees are grown.
        target: what is foretold, ``dwell`` (minutes) or ``click``.
        num_crosses: X.
        with_vectors: the towers' vectors are columns, too.
    """

    def __init__(self, boosting: Boosting, target: str, num_crosses: int, *, with_vectors: bool = False) -> None:
        self.with_vectors = with_vectors
        self._boosted, self._target, self._num_crosses = Boosted(boosting), target, num_crosses

    def fit(self, replay: Rows, published_hours: Doubles, vectors: tuple[Floats, Floats] | None = None) -> None:
        """Grow the trees anew from all impressions kept.

        Args:
            replay: visits, with ``score`` and, where there are some, ``crosses``.
            published_hours: of articles by id.
            vectors: of the visits' readers (V, d), and of articles by id (A, e); None: the trees have none.
        """
        shown = replay.column("article_id")
        slot, position = np.nonzero(shown >= 0)
        if len(slot) == 0:
            return
        age = replay.column("now")[slot] - published_hours[shown[slot, position]]
        score = replay.column("score")[slot, position]
        told = list(replay.column("crosses")[slot, position].T) if self._num_crosses else []
        if vectors is not None:
            readers, articles = vectors
            told += [*readers[slot].T, *articles[shown[slot, position]].T]
        value = replay.column("dwell_minutes" if self._target == "dwell" else "clicks")[slot, position]
        self._boosted.fit(_columns(score, age, position, told), score.astype(np.float64), value.astype(np.float64))

    def correction(
        self,
        score: Floats,
        age_hours: Floats,
        crosses: Floats | None,
        vectors: tuple[Floats, Floats] | None = None,
    ) -> Floats:
        """What is added to scores (n, M) of articles of these ages, at the top: float32 (n, M).

        Args:
            score: of the first stage, in all of it.
            age_hours: (n, M).
            crosses: (X, n, M); None: there are none.
            vectors: of the readers (n, d), and of the articles (n, M, e); None: the trees have none.
        """
        told = [] if crosses is None else list(crosses.reshape(len(crosses), -1))
        if vectors is not None:
            readers, articles = vectors
            told += [*np.repeat(readers, score.shape[1], axis=0).T, *articles.reshape(score.size, -1).T]
        rows = _columns(score.ravel(), age_hours.ravel(), np.zeros(score.size), told)
        return self._boosted.correction(rows).reshape(score.shape)

    def snapshot(self) -> Arrays:
        """The trees."""
        return self._boosted.snapshot()

    def restore(self, snapshot: Arrays) -> None:
        """Become the ranker of a snapshot."""
        self._boosted.restore(snapshot)


def _columns(score: AnyArray, age: AnyArray, position: Ints | Doubles, told: Sequence[AnyArray]) -> Floats:
    """All columns side by side, (R, F)."""
    columns: Floats = np.empty((len(score), 3 + len(told)), dtype=np.float32)
    columns[:, 0], columns[:, 1], columns[:, 2] = score, np.log1p(np.maximum(age, 0.0)), position
    for j, column in enumerate(told):
        columns[:, 3 + j] = column
    return columns

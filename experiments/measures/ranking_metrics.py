"""How well scores rank the full live catalogue: recall@k, NDCG@k and reciprocal rank, ties by expectation.

Gains are graded: with the chance of a click for a gain, recall@k is the chance that one relevant article, drawn in
proportion to gain, stands among the first k. All articles are ranked: metrics on a sample of them can order models
wrongly (Krichene & Rendle, KDD 2020). Tied articles stand in random order, and what is returned is the expectation
over it (McSherry & Najork, ECIR 2008), so that no order of ids helps or harms: a policy without scores (all tied) gets
exactly what random ranking gets.
Shapes: n visits, N live articles. Ranks count from 0.
"""

from dataclasses import dataclass

import numpy as np

from feedgym.env.arrays import Doubles, Floats, Ints
from feedgym.env.checks import require


@dataclass(frozen=True)
class Ranks:
    """Where each article stands by score."""

    above: Ints
    """Articles with a higher score, int64 (n, N)."""
    tied: Ints
    """Articles with the same score, itself among them, int64 (n, N)."""

    def expected(self, weight: Doubles) -> Doubles:
        """Expected weight of each article's rank, float64 (n, N): the mean over the ranks that its ties share.

        Args:
            weight: of the ranks 0 .. N - 1, float64 (N,).
        """
        num_articles = self.above.shape[1]
        require(weight.shape == (num_articles,), "weight", weight.shape, f"({num_articles},)")
        if (self.tied == 1).all():
            return weight[self.above]
        # Differences of a cumulated sum: where N is large they keep some 12 of 16 digits.
        so_far = np.concatenate([[0.0], np.cumsum(weight)])
        mean: Doubles = (so_far[self.above + self.tied] - so_far[self.above]) / self.tied
        return mean


def ranks(score: Doubles | Floats) -> Ranks:
    """Rank each row, the highest score first.

    Args:
        score: (n, N), any finite or infinite numbers.

    Raises:
        ValueError: not two axes, or NaN among the scores.
    """
    require(score.ndim == 2, "score", score.shape, "(n, N)")
    require(not np.isnan(score).any(), "score", "NaN", "numbers")
    n, num_articles = score.shape
    above = np.zeros((n, num_articles), dtype=np.int64)
    tied = np.ones((n, num_articles), dtype=np.int64)
    if score.size == 0:
        return Ranks(above, tied)
    # Not a stable sort, which takes four times as long: the order of tied articles cannot be told from the result.
    order = np.argsort(-score, axis=1)
    ordered = np.take_along_axis(score, order, axis=1)
    place = np.arange(num_articles)
    differs = ordered[:, 1:] != ordered[:, :-1]
    if differs.all():
        np.put_along_axis(above, order, np.broadcast_to(place, order.shape), axis=1)
        return Ranks(above, tied)
    edge = np.ones((n, 1), dtype=np.bool_)
    starts, ends = np.hstack([edge, differs]), np.hstack([differs, edge])
    first = np.maximum.accumulate(np.where(starts, place, 0), axis=1)
    last = np.minimum.accumulate(np.where(ends, place, num_articles)[:, ::-1], axis=1)[:, ::-1]
    np.put_along_axis(above, order, first, axis=1)
    np.put_along_axis(tied, order, last - first + 1, axis=1)
    return Ranks(above, tied)


def top_weight(num_articles: int, k: int) -> Doubles:
    """1 for the first k ranks, float64 (N,)."""
    require(k >= 1, "k", k, ">= 1")
    return (np.arange(num_articles) < k).astype(np.float64)


def discount_weight(num_articles: int, k: int) -> Doubles:
    """1 / log2(rank + 2) for the first k ranks, as in DCG (Jarvelin & Kekalainen, TOIS 2002), float64 (N,)."""
    weight: Doubles = top_weight(num_articles, k) / np.log2(np.arange(num_articles) + 2.0)
    return weight


def reciprocal_weight(num_articles: int) -> Doubles:
    """1 / (rank + 1), float64 (N,)."""
    weight: Doubles = 1.0 / np.arange(1.0, num_articles + 1.0)
    return weight


def share_of_gain(expected: Doubles, gain: Doubles) -> Doubles:
    """Mean of ``expected`` weighted by gain, float64 (n,); NaN in rows without any gain.

    Args:
        expected: of each article, (n, N), see :meth:`Ranks.expected`.
        gain: relevance, (n, N), >= 0.
    """
    _check_gain(expected.shape, gain)
    return _ratio(np.einsum("ij,ij->i", expected, gain), gain.sum(axis=1))


def discounted_share(expected: Doubles, gain: Doubles, k: int) -> Doubles:
    """DCG over that of the best order, float64 (n,); NaN in rows without any gain.

    Args:
        expected: expected :func:`discount_weight` of each article, (n, N).
        gain: relevance, (n, N), >= 0; gains count as they are, not as 2^gain - 1.
        k: ranks that count.
    """
    _check_gain(expected.shape, gain)
    num_articles = gain.shape[1]
    size = min(k, num_articles)
    best = -np.sort(-np.partition(gain, num_articles - size, axis=1)[:, num_articles - size :], axis=1)
    ideal = best @ discount_weight(num_articles, k)[:size]
    return _ratio(np.einsum("ij,ij->i", expected, gain), ideal)


def recall_at_k(score: Doubles, gain: Doubles, k: int) -> Doubles:
    """Gain among the k highest scores over all gain, float64 (n,); NaN in rows without any gain.

    Args:
        score: (n, N).
        gain: relevance, (n, N), >= 0.
        k: >= 1; where k >= N it is 1.

    Raises:
        ValueError: shapes that differ, NaN, a negative gain, k < 1.
    """
    return share_of_gain(ranks(score).expected(top_weight(score.shape[1], k)), gain)


def ndcg_at_k(score: Doubles, gain: Doubles, k: int) -> Doubles:
    """DCG of the k highest scores over that of the k highest gains, float64 (n,): as :func:`recall_at_k`."""
    return discounted_share(ranks(score).expected(discount_weight(score.shape[1], k)), gain, k)


def mrr(score: Doubles, gain: Doubles) -> Doubles:
    """Expected 1 / (rank + 1) of one relevant article drawn in proportion to gain, float64 (n,).

    With one relevant article the usual reciprocal rank. With several it is their mean, not that of the first one
    alone: linear in gain, as graded gains need.
    """
    return share_of_gain(ranks(score).expected(reciprocal_weight(score.shape[1])), gain)


def _check_gain(shape: tuple[int, ...], gain: Doubles) -> None:
    require(gain.shape == shape, "gain", gain.shape, f"{shape}, as the scores")
    low = float(gain.min(initial=0.0))  # NaN goes through a minimum
    require(low >= 0.0, "gain", low, ">= 0 everywhere")


def _ratio(part: Doubles, whole: Doubles) -> Doubles:
    some = whole > 0
    ratio: Doubles = np.where(some, part / np.where(some, whole, 1.0), np.nan)
    return ratio

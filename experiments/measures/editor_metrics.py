"""Measures of what was shown: age, articles that few have seen, topics of a slate, concentration.

Shapes: n visits, K positions, m impressions, A articles.
"""

import itertools

import numpy as np

from feedgym.env.arrays import AnyArray, Bools, Doubles, Ints

AGE_EDGES = (1.0, 3.0, 12.0, 24.0)
"""Ages in hours between the buckets; an article of exactly 1 hour is in the second."""


def age_bucket(age_hours: Doubles) -> AnyArray:
    """Bucket of each age (m,), 0 for under ``AGE_EDGES[0]``, int8 (m,)."""
    # Four comparisons: searchsorted takes several times as long.
    bucket = np.zeros(len(age_hours), dtype=np.int8)
    for edge in AGE_EDGES:
        bucket += age_hours >= edge
    return bucket


def shown_less_than(limit: int, article: Ints, size: Ints, before: Ints) -> Bools:
    """Whether each impression's article had been shown fewer than ``limit`` times before that tick.

    Args:
        limit: impressions, >= 0.
        article: ids, tick after tick, int64 (m,).
        size: impressions of each tick, int64 (ticks,), m in all.
        before: impressions of each article before the first tick, int64 (A,), A above all ids.

    Returns:
        bool (m,).
    """
    below: Bools = np.empty(len(article), dtype=np.bool_)
    count = before.copy()
    # A pass for each tick, while its few articles are in the cache: a sort of all of them takes three times as long.
    end = np.cumsum(size).tolist()
    for start, stop in itertools.pairwise([0, *end]):
        ids = article[start:stop]
        np.less(count.take(ids), limit, out=below[start:stop])
        np.add.at(count, ids, 1)
    return below


def slate_entropy(topic: AnyArray, valid: Bools) -> Doubles:
    """Entropy of the topics of each slate, in nats: 0 where all are the same, log K where all differ.

    Args:
        topic: int (n, K).
        valid: bool (n, K): entries that show something; others are left out.

    Returns:
        float64 (n,); NaN for slates that show nothing.
    """
    n, size = topic.shape
    # An entry that shows nothing has a topic of its own, and is left out below.
    column = np.where(valid, topic, -1 - np.arange(size)).T.astype(np.int16, order="C")
    same = np.ones((size, n), dtype=np.int16)
    for shift in range(1, size):
        equal = column[shift:] == column[:-shift]
        same[shift:] += equal
        same[:-shift] += equal
    shown = np.count_nonzero(valid, axis=1)
    log = np.log(np.arange(1, size + 1, dtype=np.float64))
    mean_log = np.where(valid.T, log.take(same - 1), 0.0).sum(axis=0)
    # -sum over topics of (c / s) log(c / s), as a mean over entries.
    entropy = np.where(shown > 0, log.take(np.maximum(shown, 1) - 1) - mean_log / np.maximum(shown, 1), np.nan)
    return entropy


def gini(count: AnyArray) -> float:
    """Gini coefficient of counts (A,) >= 0: 0 where all are equal, ``1 - 1 / A`` where one has all; NaN for all 0."""
    total = float(count.sum())
    if total == 0.0:
        return float("nan")
    ordered, number = np.sort(count).astype(np.float64), len(count)
    weight = 2.0 * np.arange(1, number + 1) - number - 1
    return float((weight * ordered).sum() / (number * total))

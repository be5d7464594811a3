"""Inclusion probabilities and slot marginals of the slate policy (algorithms.md, 2.5).

A Plackett-Luce slate is a race: article a arrives at an exponential time of rate w_a, and the K earliest are the
slate. With n_{-a}(t) the number of other articles arrived by t,

    m_k(a) = int_0^inf w_a e^{-w_a t} P(n_{-a}(t) = k - 1) dt,      i(a) = sum over k of m_k(a).

The count is Poisson-binomial over the shortlist, binomial over the tail that shares one rate. The integral is done
by Gauss-Legendre in u = 1 - e^{-t / t*}, t* the time at which K arrivals are expected. An article of weight w then
lives on u < 1 / (w t*): where a peaked softmax makes w t* large, 16 nodes would step over it, and more are taken.
Shapes: B visits, M columns of a shortlist (-1 pads), N live articles, W articles asked for, K positions, Q nodes.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from feedgym.agents.draw_weights import (
    Doubles,
    Ints,
    as_epsilon,
    as_ids,
    as_num_live,
    as_shortlist,
    columns_in_shortlist,
    draw_weights,
)
from feedgym.env.checks import require

NODES = 16
"""At the least. Relative error 1e-10 at N = 5000, M = 200, K = 10; 1e-5 on an eight-article toy."""
MOST_NODES = 512
"""Enough for w t* up to 16,000; beyond (epsilon 0, logits more than about 10 apart) marginals lose digits."""
_LARGEST_REMOVED = 0.75
"""Taking an article out of the count divides errors by 1 - x at each step: beyond, it is counted anew without it."""
_MISSING = 0.02
"""Of an article, at the time given where K takes all that can be shown: late enough for the slowest of them."""
_BLOCK = 1 << 17
"""Counts (K x rows x nodes) held at once: a megabyte, which stays in the second-level cache."""


@dataclass(frozen=True)
class _Race:
    """Rates of a batch of visits."""

    listed: Doubles
    """w of the shortlist's articles, (B, M); 0 at padding."""
    tail: Doubles
    """eps / N, (B,)."""
    tail_count: Doubles
    """N - M_b, (B,)."""


def inclusion_probability(
    slates: npt.ArrayLike,
    logits: npt.ArrayLike,
    shortlist: npt.ArrayLike,
    num_live: npt.ArrayLike,
    epsilon: npt.ArrayLike,
    slate_size: int,
    *,
    nodes: int | None = None,
) -> Doubles:
    """Chance that each article of ``slates`` stands anywhere in a slate of ``slate_size``, float64 (B, W).

    Args:
        slates: articles asked for, int64 (B, W); -1 is answered with 1.
        logits: float64 (B, M), after temperature; ignored where the shortlist is padded.
        shortlist: int64 (B, M); -1 pads.
        num_live: N, a scalar or (B,).
        epsilon: share of uniform exploration, a scalar or (B,).
        slate_size: K.
        nodes: of the quadrature; None takes as many as each row's weights ask for, 16 to 512.

    Raises:
        ValueError: as ``slate_log_propensity``; ``slate_size`` or ``nodes`` below 1.
    """
    chance: Doubles = _marginals(slates, logits, shortlist, num_live, epsilon, slate_size, nodes).sum(axis=2)
    return chance


def slot_marginal(
    slates: npt.ArrayLike,
    logits: npt.ArrayLike,
    shortlist: npt.ArrayLike,
    num_live: npt.ArrayLike,
    epsilon: npt.ArrayLike,
    slate_size: int,
    *,
    nodes: int | None = None,
) -> Doubles:
    """Chance that the article at position k of ``slates`` (B, W), W <= K, stands at that position, (B, W).

    Arguments and errors as :func:`inclusion_probability`; more positions than ``slate_size`` are refused.
    """
    asked = as_ids(slates, "slates", 2)
    require(asked.shape[1] <= slate_size, "slates", asked.shape, f"at most slate_size ({slate_size}) columns")
    by_slot = _marginals(asked, logits, shortlist, num_live, epsilon, slate_size, nodes)
    place = np.arange(asked.shape[1])
    own: Doubles = np.where(asked >= 0, by_slot[:, place, place], 1.0)
    return own


def inclusion_time(
    logits: npt.ArrayLike,
    shortlist: npt.ArrayLike,
    num_live: npt.ArrayLike,
    epsilon: npt.ArrayLike,
    slate_size: int,
) -> Doubles:
    """The time t* at which ``slate_size`` arrivals are expected, float64 (B,).

    ``1 - exp(-w t*)`` is the cheap inclusion probability: it sums to K exactly. Where K takes all that can be shown
    no time does, and one at which a fiftieth of an article is missing is given instead.
    """
    z, listed = as_shortlist(logits, shortlist, check=True)
    return _time(_race(z, listed, num_live, epsilon), slate_size)


def _race(z: Doubles, listed: Ints, num_live: npt.ArrayLike, epsilon: npt.ArrayLike) -> _Race:
    rows = len(listed)
    weights = draw_weights(z, listed, as_num_live(num_live, rows), as_epsilon(epsilon, rows))
    return _Race(np.exp(weights.log_listed), np.exp(weights.log_tail), weights.tail_count.astype(np.float64))


def _time(race: _Race, slate_size: int) -> Doubles:
    """Newton from t = K: the expected count is concave in t, so from below it never overshoots."""
    possible = np.count_nonzero(race.listed > 0, axis=1) + np.where(race.tail > 0, race.tail_count, 0.0)
    target = np.minimum(float(slate_size), possible - _MISSING)
    t = np.minimum(float(slate_size), target)
    for _ in range(100):
        alive, tail_alive = np.exp(-race.listed * t[:, None]), np.exp(-race.tail * t)
        count = (1.0 - alive).sum(axis=1) + race.tail_count * (1.0 - tail_alive)
        slope = (race.listed * alive).sum(axis=1) + race.tail_count * race.tail * tail_alive
        step = (target - count) / slope
        t = t + step
        if float(np.abs(step / t).max(initial=0.0)) < 1e-12:
            break
    found: Doubles = t
    return found


def _marginals(
    slates: npt.ArrayLike,
    logits: npt.ArrayLike,
    shortlist: npt.ArrayLike,
    num_live: npt.ArrayLike,
    epsilon: npt.ArrayLike,
    slate_size: int,
    nodes: int | None,
) -> Doubles:
    """m_k(a) of each article asked for and each position k, (B, W, K); padding has a 1 on its first position."""
    require(slate_size >= 1, "slate_size", slate_size, ">= 1")
    require(nodes is None or nodes >= 1, "nodes", nodes, "None, or >= 1")
    asked = as_ids(slates, "slates", 2)
    z, listed = as_shortlist(logits, shortlist, check=True)
    require(len(asked) == len(listed), "slates", asked.shape, f"{len(listed)} rows, as the shortlist")
    race = _race(z, listed, num_live, epsilon)
    column = columns_in_shortlist(asked, listed)
    scale = _time(race, slate_size)
    wanted = _nodes(race, scale) if nodes is None else np.full(len(asked), nodes)
    result: Doubles = np.empty((*asked.shape, slate_size))
    for count in np.unique(wanted).tolist():  # at most six sizes
        point, weight = np.polynomial.legendre.leggauss(count)
        u, du = 0.5 * (point + 1.0), 0.5 * weight
        group = np.flatnonzero(wanted == count)
        step = max(1, _BLOCK // (slate_size * count))
        for start in range(0, len(group), step):
            rows = group[start : start + step]
            part = _Race(race.listed[rows], race.tail[rows], race.tail_count[rows])
            time = -scale[rows, None] * np.log1p(-u)
            result[rows] = _integrate(part, column[rows], time, scale[rows, None] * du / (1.0 - u), slate_size)
    result[asked < 0] = np.eye(1, slate_size)
    return result


def _nodes(race: _Race, scale: Doubles) -> Ints:
    """Nodes that each row needs, (B,): Gauss nodes near the end of the interval lie 1 / n^2 apart."""
    heaviest = np.maximum(race.listed.max(axis=1, initial=0.0), race.tail) * scale
    doublings = np.ceil(np.log2(np.maximum(np.sqrt(heaviest) / 4.0, 1.0)))
    wanted: Ints = np.minimum(NODES * 2.0**doublings, MOST_NODES).astype(np.int64)
    return wanted


def _integrate(race: _Race, column: Ints, time: Doubles, dt: Doubles, slate_size: int) -> Doubles:
    """(b, W, K) for b rows; ``time`` and ``dt`` are (b, Q)."""
    everyone = _count(race.listed, time, slate_size)
    tail = _binomial(race.tail, race.tail_count, time, slate_size)
    tail_without = _binomial(race.tail, np.maximum(race.tail_count - 1.0, 0.0), time, slate_size)
    own = np.where(column >= 0, np.take_along_axis(race.listed, np.maximum(column, 0), axis=1), race.tail[:, None])
    result: Doubles = np.empty((*column.shape, slate_size))
    for place in range(column.shape[1]):
        inside, rate = column[:, place] >= 0, own[:, place, None]
        arrived = -np.expm1(-rate * time)
        others = np.where(inside[:, None], _without(everyone, arrived), everyone)
        again = inside[:, None] & (arrived >= _LARGEST_REMOVED)
        if again.any():
            row, node = np.nonzero(again)
            rates = race.listed[row]
            rates[np.arange(len(row)), column[row, place]] = 0.0
            others[:, row, node] = _count(rates, time[row, node][:, None], slate_size)[..., 0]
        before = _convolve(others, np.where(inside[:, None], tail, tail_without))
        density = rate * np.exp(-rate * time) * dt
        result[:, place] = np.einsum("kbq,bq->bk", before, density)
    return result


def _count(rates: Doubles, time: Doubles, size: int) -> Doubles:
    """Chance that j of the articles with ``rates`` (b, M) have arrived by ``time`` (b, Q), j < K: (K, b, Q)."""
    chance: Doubles = np.zeros((size, *time.shape))
    chance[0] = 1.0
    for column in range(rates.shape[1]):  # over the shortlist; each pass counts one article in for all visits
        left = np.exp(-rates[:, column, None] * time)
        moved = chance[:-1] * (1.0 - left)
        chance *= left
        chance[1:] += moved
    return chance


def _without(chance: Doubles, arrived: Doubles) -> Doubles:
    """Take an article, arrived with chance (b, Q), out of the count (K, b, Q); any value where it is nearly sure."""
    safe = np.where(arrived < _LARGEST_REMOVED, arrived, 0.0)
    others = np.empty_like(chance)
    others[0] = chance[0] / (1.0 - safe)
    for j in range(1, len(chance)):
        others[j] = (chance[j] - safe * others[j - 1]) / (1.0 - safe)
    return others


def _binomial(rate: Doubles, count: Doubles, time: Doubles, size: int) -> Doubles:
    """Chance that j of ``count`` (b,) articles of one ``rate`` (b,) have arrived by ``time``, j < K: (K, b, Q)."""
    clock = rate[:, None] * time
    odds = np.expm1(clock)
    chance: Doubles = np.empty((size, *time.shape))
    chance[0] = np.exp(-count[:, None] * clock)
    for j in range(1, size):
        chance[j] = chance[j - 1] * odds * (np.maximum(count - (j - 1), 0.0) / j)[:, None]
    return chance


def _convolve(a: Doubles, b: Doubles) -> Doubles:
    """Distribution of the sum of two independent counts, cut at K: (K, b, Q)."""
    total = a[:1] * b[0]
    total = np.concatenate([total, np.zeros((len(a) - 1, *a.shape[1:]))])
    for j in range(1, len(a)):
        total[j] = (a[: j + 1] * b[j::-1]).sum(axis=0)
    return total


def cheap_inclusion(weight: Doubles, time: Doubles) -> Doubles:
    """``1 - exp(-w t*)`` for weights (B, W) and times (B,): within 1 % at real sizes, and cheap inside gradients."""
    chance: Doubles = -np.expm1(-weight * time[:, None])
    return chance

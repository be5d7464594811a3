"""How many articles of a race have arrived by a time, and how many besides each of some (docs/mathematics.md 2.5).

The count is Poisson-binomial: article a has arrived by t with chance ``x = 1 - exp(-w t)``. Heavy articles are
counted in one by one, O(K) each. Light ones, most of a shortlist, are taken together: with
``y = exp(w t) - 1`` their count has the generating function ``prod exp(-w t) (1 + y z)``, whose coefficients follow
from the power sums of y by Newton's identities; and those are polynomials in t, with the moments of the weights as
coefficients, so that no node of an integral looks at the light articles.
What the articles in question have to do with it is left out by products over those before and those after each:
sums of positive terms only, where taking an article out of a count by division loses all digits as x nears 1.
Shapes: b visits, C nodes of all of them in a row, K counts 0 .. K - 1, W articles asked for, L light ones.
"""

import functools
import math

import numpy as np

from feedgym.env.arrays import Doubles, Ints

_MOST_SUMS = 24
"""Power sums that are used: the next ones move a count by less than (K heaviest / expected count)^24 < 1e-11."""
_MORE_MOMENTS = 16
"""Moments beyond as many as power sums. The Taylor remainder may reach a per cent at the last nodes, where it meets
chances of 1e-8, and falls with the 17th power of t and faster: inclusions keep seven digits (tested)."""


def light_limit(slate_size: int) -> float:
    """The w T up to which an article is light.

    Newton's identities alternate in sign and lose a factor of about exp(K^2 / L_eff), with L_eff at least the
    expected count at T over this limit: it keeps the factor below e^14; 2 is what Taylor's series is short for.
    """
    return min(2.0, 14.0 / slate_size)


def light_count(moment: Doubles, row: Ints, tau: Doubles, slate_size: int) -> Doubles:
    """Chance that j of the light articles have arrived, (K, C).

    Args:
        moment: sum over each visit's light articles of (w T)^m, m = 1 .., (b, :func:`num_moments`).
        row: whose node, (C,).
        tau: t / T, (C,).
        slate_size: K.
    """
    num_sums = _num_sums(slate_size)
    power: Doubles = np.empty((moment.shape[1], len(row)))
    power[0] = tau
    for m in range(1, len(power)):
        np.multiply(power[m - 1], tau, out=power[m])
    mean = moment[:, 0][row] * tau  # the sum of w t
    power *= moment.T[:, row]
    sums = _taylor(num_sums, moment.shape[1]) @ power
    # exp(-mean) must not underflow: the count of two halves, of four quarters.
    halvings = max(0, math.ceil(math.log2(max(float(mean.max(initial=0.0)), 1.0) / 600.0)))
    sums *= 0.5**halvings
    chance: Doubles = np.empty((slate_size, len(row)))
    chance[0] = np.exp(-mean * 0.5**halvings)
    for j in range(1, slate_size):
        used = min(j, num_sums)
        np.einsum("ic,ic->c", sums[:used], chance[j - used : j][::-1], out=chance[j])
        chance[j] /= j
    for _ in range(halvings):
        chance = convolve(chance, chance)
    return chance


def moments(weight: Doubles, slate_size: int) -> Doubles:
    """Sums over L of weight^m, m = 1 .., of weights (b, L): (b, :func:`num_moments`)."""
    result: Doubles = np.empty((len(weight), num_moments(slate_size)))
    power = weight.copy()
    for m in range(result.shape[1]):
        power.sum(axis=1, out=result[:, m])
        power *= weight
    return result


def num_moments(slate_size: int) -> int:
    """How many moments of the light articles' weights are asked for."""
    return _num_sums(slate_size) + _MORE_MOMENTS


def _num_sums(slate_size: int) -> int:
    return min(max(slate_size - 1, 1), _MOST_SUMS)


@functools.cache
def _taylor(num_sums: int, num_moments: int) -> Doubles:
    """Coefficients of s^m in ``(-1)^(r - 1) (e^s - 1)^r``, r = 1 .., m = 1 ..: (num_sums, num_moments)."""
    base = np.array([0.0] + [1.0 / math.factorial(m) for m in range(1, num_moments + 1)])
    power, rows = base, []
    for r in range(num_sums):
        rows.append((-1.0) ** r * power[1:])
        power = np.convolve(power, base)[: num_moments + 1]
    return np.array(rows)


def count_in(chance: Doubles, left: Doubles, out: Doubles, spare: Doubles) -> None:
    """Count one more article in: ``out`` (K, C) may be ``chance`` itself; it is still away with ``left`` (C,)."""
    moved = np.multiply(chance[:-1], 1.0 - left, out=spare)
    np.multiply(chance, left, out=out)
    out[1:] += moved


def convolve(a: Doubles, b: Doubles) -> Doubles:
    """Distribution of the sum of two independent counts, cut at K: (K, C)."""
    total: Doubles = np.empty_like(a)
    for j in range(len(a)):
        np.einsum("ic,ic->c", a[: j + 1], b[: j + 1][::-1], out=total[j])
    return total


def besides_each(others: Doubles, left: Doubles, place: Ints) -> tuple[Doubles, Doubles]:
    """Counts of all articles but one, for each of W.

    Args:
        others: count of everybody but the W, (K, C).
        left: chance that each of the W is still away, (W, C).
        place: of each, 0 .. K - 1, (W,).

    Returns:
        ``exactly``: chance that ``place`` of all but the one have arrived, (W, C); ``fewer``: that fewer than K have.
    """
    size, width = len(others), len(left)
    before: Doubles = np.empty((width, *others.shape))
    spare: Doubles = np.empty((size - 1, others.shape[1]))
    before[0] = others
    for i in range(width - 1):
        count_in(before[i], left[i], before[i + 1], spare)
    exactly, fewer = np.empty_like(left), np.empty_like(left)
    after: Doubles = np.zeros_like(others)  # of those that follow: at most W - 1 - i
    after[0] = 1.0
    at_most: Doubles = np.ones_like(others)
    for i in range(width - 1, -1, -1):
        k, follow = int(place[i]), width - 1 - i
        first = max(0, k - follow)
        np.einsum("jc,jc->c", before[i, first : k + 1], after[: k - first + 1][::-1], out=exactly[i])
        np.einsum("jc,jc->c", before[i], at_most[::-1], out=fewer[i])
        if i > 0:
            used = min(follow + 2, size)
            count_in(after[:used], left[i], after[:used], spare[: used - 1])
            at_most[0] = after[0]
            for j in range(1, min(follow + 1, size)):  # np.cumsum over the first axis takes four times as long
                np.add(at_most[j - 1], after[j], out=at_most[j])
    return exactly, fewer

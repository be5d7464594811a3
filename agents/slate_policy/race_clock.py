"""When things happen in a race of articles: the times that inclusion chances are made of (docs/mathematics.md 2.5).

Article a arrives at an exponential time of rate p_a; the K earliest are the slate. ``t*`` is the time at which K
arrivals are expected. Integrals over the whole race stop at ``T``, when fewer than K have arrived with a chance below
``LATE``, and run in ``x = log(1 + t / K)``. The heavy articles of a peaked softmax arrive hundreds of times earlier
than the light ones: in x both take up room, so that a few nodes more serve for them. In ``u = 1 - exp(-t / t*)``
16 nodes do where p t* is a few, and 500 were needed where it is hundreds.
Shapes: B visits, M columns of a shortlist, C nodes of all visits in a row, visit after visit.
"""

import functools
import math
from dataclasses import dataclass

import numpy as np

from feedgym.env.arrays import Doubles, Ints

LATE = 1e-8
"""Chance, at most about, of fewer than K arrivals by the end of the integrals: what they leave out."""
MOST_NODES = 800
"""Enough for a T of 1e80. With logits 200 apart, what is shown last keeps four digits."""
_END = 1e290
"""No race lasts longer: of logits more than 660 apart, the lighter article has no chance that doubles can tell."""
_MISSING = 0.02
"""Of an article, at the time given where K takes all that can be shown: late enough for the slowest of them."""


@dataclass(frozen=True)
class Rates:
    """The softmax of a batch of visits, as the rates of a race: they sum to 1 over the articles that can come."""

    listed: Doubles
    """p of the articles that are told apart, (B, M); 0 at padding."""
    each: Doubles | None = None
    """Articles that each column of ``listed`` stands for, (B, M), 0 at padding; None: one each."""

    def rows(self, which: Ints) -> "Rates":
        """Of some visits."""
        return Rates(self.listed[which], None if self.each is None else self.each[which])

    def possible(self) -> Doubles:
        """How many articles can be shown at all, (B,)."""
        listed = self.listed > 0
        if self.each is not None:
            stood_for: Doubles = np.where(listed, self.each, 0.0).sum(axis=1)
            return stood_for
        count: Doubles = np.count_nonzero(listed, axis=1).astype(np.float64)
        return count

    def waiting(self, time: Doubles) -> Doubles:
        """How many articles of each column are expected not to have arrived by ``time`` (B,): (B, M)."""
        waiting: Doubles = np.exp(self.listed * -time[:, None])
        if self.each is not None:
            waiting *= self.each
        return waiting

    def slope(self, waiting: Doubles) -> Doubles:
        """Arrivals per unit of time, given :meth:`waiting` then; never 0: (B,)."""
        # Where nobody can arrive, a time stays where it is.
        slope: Doubles = np.maximum(np.einsum("bm,bm->b", self.listed, waiting), 1e-300)
        return slope


def reachable(possible: Doubles, slate_size: int) -> Doubles:
    """Arrivals to wait for, (B,): K, or a little less than all that can be shown at all."""
    wanted: Doubles = np.clip(possible - _MISSING, 0.0, float(slate_size))
    return wanted


def expected_time(rates: Rates, slate_size: int) -> Doubles:
    """``t*``, (B,): when K arrivals are expected."""
    target = reachable(rates.possible(), slate_size)
    return arrival_time(rates, target, target)


def arrival_time(rates: Rates, target: Doubles, start: Doubles, tolerance: float = 1e-12) -> Doubles:
    """When ``target`` arrivals are expected, (B,): Newton.

    The expected count is concave in time and never above it, so the answer is not below ``target``; from below no step
    overshoots, and from above a first one may, as far as ``target``.

    Args:
        rates: of the visits.
        target: (B,), below what is possible.
        start: where to look first, (B,), at least ``target``.
        tolerance: a visit is left when a step has moved it by less than this share: what is wrong then is about the
            square of that.
    """
    t = start.copy()
    open_rows: Ints = np.arange(len(t))
    part = rates
    for _ in range(100):
        now, wanted = t[open_rows], target[open_rows]
        waiting = part.waiting(now)
        held = part.listed.shape[1] if part.each is None else part.each.sum(axis=1)
        step = (wanted - held + waiting.sum(axis=1)) / part.slope(waiting)
        t[open_rows] = np.maximum(now + step, wanted)
        again = np.abs(step) > tolerance * np.abs(t[open_rows])
        if not again.any():
            break
        if np.count_nonzero(again) < 0.7 * len(again):  # else the copy costs more than it saves
            open_rows = open_rows[again]
            part = rates.rows(open_rows)
    return t


def last_time(rates: Rates, slate_size: int, middle: Doubles) -> Doubles:
    """``T``, (B,): by then at most ``LATE`` is left of the chance of fewer than K arrivals.

    Chernoff: P(n <= k) <= z^-k E[z^n] for every z in (0, 1). The log of it is convex and falls with t, so Newton
    comes from below from the first step on; it stops within a few per cent, on which nothing depends.

    Args:
        rates: of the visits.
        slate_size: K.
        middle: ``t*``, (B,).
    """
    log_late = math.log(LATE)
    possible = rates.possible()
    before = np.minimum(float(slate_size), possible) - 1.0
    # Of two rules the smaller z: the best one for a Poisson count, and one that a small catalogue can still reach.
    reach = np.exp(1.3 * log_late / np.maximum(possible - before, 1.0))
    mean = _poisson_mean(slate_size - 1, log_late)
    z = np.minimum((slate_size - 1) / mean, reach)
    z = np.maximum(z, 1e-40)
    keep, gain = 1.0 - z, -before * np.log(z) - log_late
    t = np.minimum(middle * (mean / slate_size), _END)
    # Where nobody can arrive, a time stays where it is.
    open_rows: Ints = np.flatnonzero(possible > 0)
    part = rates if len(open_rows) == len(t) else rates.rows(open_rows)
    for _ in range(60):
        now, z_now, keep_now = t[open_rows], z[open_rows], keep[open_rows]
        alive = np.exp(part.listed * -now[:, None]) * keep_now[:, None]
        left = alive + z_now[:, None]
        # E[z^n] is a product over the articles: of padding, at rate 0, it is 1.
        log_each, slope = np.log(left), alive / left
        if part.each is not None:
            log_each, slope = part.each * log_each, part.each * slope
        with np.errstate(over="ignore", divide="ignore"):  # later than any number is cut off
            step = (gain[open_rows] + log_each.sum(axis=1)) / np.einsum("bm,bm->b", part.listed, slope)
        # From above, a step may lead below the first article's time.
        t[open_rows] = np.clip(now + step, 0.1 * now, _END)
        again = (np.abs(step) > 0.05 * now) & (t[open_rows] < _END)
        if not again.any():
            break
        open_rows = open_rows[again]
        part = rates.rows(open_rows)
    return t


def _poisson_mean(count: int, log_chance: float) -> float:
    """The mean at which Chernoff's bound on P(Poisson <= count) is ``exp(log_chance)``."""
    mean = count - 2.0 * log_chance
    for _ in range(50):
        mean = count - log_chance + count * math.log(mean / count) if count else -log_chance
    return mean


@dataclass(frozen=True)
class Nodes:
    """Times at which races are looked at, all visits in a row."""

    row: Ints
    """Whose, (C,): 0 .. B - 1, in order."""
    start: Ints
    """Of each visit's nodes, (B,)."""
    time: Doubles
    """(C,)"""
    weight: Doubles
    """dt, (C,)."""


def num_nodes(end: Doubles, slate_size: int) -> Ints:
    """Nodes of each visit, (B,): errors near 1e-7 of every marginal, the small ones too; fitted for K of 1 to 100."""
    length, root = np.log1p(end / slate_size), math.sqrt(slate_size)
    wanted = 7.0 + 0.08 * slate_size + (0.9 + root) * length
    wanted += (1.0 + 0.35 * root) * np.maximum(length - 8.0, 0.0)
    count: Ints = np.minimum(np.ceil(wanted), MOST_NODES).astype(np.int64)
    return count


def make_nodes(end: Doubles, slate_size: int, count: Ints) -> Nodes:
    """Gauss-Legendre in ``log(1 + t / K)`` from 0 to ``end`` (B,), with ``count`` (B,) nodes each."""
    sizes, which = np.unique(count, return_inverse=True)
    points = [_gauss(int(size)) for size in sizes]
    node = np.array([0, *np.cumsum(sizes)])[which]
    row: Ints = np.repeat(np.arange(len(count)), count)
    start: Ints = np.cumsum(count) - count
    place = np.arange(len(row)) - start[row] + node[row]
    length = np.log1p(end / slate_size)[row]
    x = np.concatenate([point for point, _ in points])[place] * length
    dx = np.concatenate([weight for _, weight in points])[place] * length
    grown = np.expm1(x)
    return Nodes(row, start, slate_size * grown, slate_size * (grown + 1.0) * dx)


@functools.cache
def _gauss(count: int) -> tuple[Doubles, Doubles]:
    """Points and weights on (0, 1)."""
    point, weight = np.polynomial.legendre.leggauss(count)
    return 0.5 * (point + 1.0), 0.5 * weight

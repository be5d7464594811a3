"""Inclusion probabilities and slot marginals of the slate policy (docs/mathematics.md 2.5).

A Plackett-Luce slate is a race: article a arrives at an exponential time of rate w_a, and the K earliest are the
slate. With n_{-a}(t) the number of other articles arrived by t,

    m_k(a) = int_0^inf w_a e^{-w_a t} P(n_{-a}(t) = k - 1) dt,      i(a) = sum over k of m_k(a).

One pass gives both: the slot needs one chance of the count, the inclusion their sum. ``race_clock`` has the times of
the integral, ``arrivals`` the counts.
Shapes: B visits, b of them at a time, M columns of a shortlist (-1 pads), N live articles, W articles asked for,
K positions, C nodes of all of b visits in a row.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from feedgym.agents.slate_policy.arrivals import (
    besides_each,
    binomial_count,
    convolve,
    count_in,
    light_count,
    light_limit,
    moments,
)
from feedgym.agents.slate_policy.draw import Draw, as_ids, refuse_rows
from feedgym.agents.slate_policy.draw_weights import columns_in_shortlist, draw_weights
from feedgym.agents.slate_policy.race_clock import Nodes, Rates, expected_time, last_time, make_nodes, num_nodes
from feedgym.env.arrays import Bools, Doubles, Ints
from feedgym.env.checks import require

_BLOCK = 1 << 15
"""Counts (K x C) held at once: what one article asked for needs, 256 KB, stays in the second-level cache."""
_TOGETHER = 16
"""Articles asked for in one pass, at the most."""


class SlateMarginals(NamedTuple):
    """Chances of what B slates show (docs/mathematics.md 2.3)."""

    slot_marginal: Doubles
    """Chance that the article at position k stands at that position, (B, W); 1 at padding."""
    inclusion: Doubles
    """Chance that it stands anywhere in a slate, (B, W); 1 at padding."""
    inclusion_time: Doubles
    """``t*``, (B,)."""


def slate_marginals(slates: npt.ArrayLike, draw: Draw, *, nodes: int | None = None) -> SlateMarginals:
    """Slot marginals, inclusion probabilities and ``t*`` of slates, at the price of one of them.

    Args:
        slates: int64 (B, W), W <= K, the article of each position; -1 pads.
        draw: what they were drawn from, or what another policy would draw from.
        nodes: of the quadrature; None takes as many as each row's race asks for, 10 to 50 at most settings.

    Raises:
        ValueError: as ``slate_log_propensity``; ``nodes`` below 1; more than K positions.
    """
    asked = as_ids(slates, "slates", 2)
    require(asked.shape[1] <= draw.slate_size, "slates", asked.shape, f"at most slate_size ({draw.slate_size}) columns")
    return _marginals(asked, draw, nodes)


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

    Any number of articles may be asked for. Arguments and errors as :meth:`Draw.of` and :func:`slate_marginals`.
    """
    draw = Draw.of(logits, shortlist, num_live, epsilon, slate_size)
    return _marginals(as_ids(slates, "slates", 2), draw, nodes).inclusion


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

    Arguments and errors as :meth:`Draw.of` and :func:`slate_marginals`, which gives more for the same.
    """
    draw = Draw.of(logits, shortlist, num_live, epsilon, slate_size)
    return slate_marginals(slates, draw, nodes=nodes).slot_marginal


def inclusion_time(draw: Draw) -> Doubles:
    """The time t* at which ``slate_size`` arrivals are expected, float64 (B,).

    ``1 - exp(-w t*)`` is the cheap inclusion probability: it sums to K exactly. Where K takes all that can be shown
    no time does, and one at which a fiftieth of an article is missing is given instead.
    """
    return expected_time(Rates.of(draw_weights(draw)), draw.slate_size)


def cheap_inclusion(weight: Doubles, time: Doubles) -> Doubles:
    """``1 - exp(-w t*)`` for weights (B, W) and times (B,): within 1 % at real sizes, and cheap inside gradients."""
    chance: Doubles = -np.expm1(-weight * time[:, None])
    return chance


def _marginals(asked: Ints, draw: Draw, nodes: int | None) -> SlateMarginals:
    """Column c of ``asked`` (B, W) is asked for position c, or for the last where a slate has no such position."""
    require(nodes is None or nodes >= 1, "nodes", nodes, "None, or >= 1")
    require(len(asked) == len(draw), "slates", asked.shape, f"{len(draw)} rows, as the shortlist")
    listed, slate_size = draw.shortlist, draw.slate_size
    live: Ints = np.broadcast_to(draw.num_live, (len(draw),))
    share: Doubles = np.broadcast_to(draw.epsilon, (len(draw),))
    rates = Rates.of(draw_weights(draw))
    middle = expected_time(rates, slate_size)
    end = last_time(rates, slate_size, middle)
    count: Ints = num_nodes(end, slate_size) if nodes is None else np.full(len(asked), nodes)
    result = SlateMarginals(np.ones(asked.shape), np.ones(asked.shape), middle)
    twice, uniform = _repeats(asked), share == 1.0
    for group, together in ((~twice & ~uniform, _TOGETHER), (twice & ~uniform, 1)):
        rows = np.flatnonzero(group)
        for first in range(0, asked.shape[1] if len(rows) else 0, together):
            columns = slice(first, min(first + together, asked.shape[1]))
            place = np.minimum(np.arange(columns.start, columns.stop), slate_size - 1)
            race = _Race.of(asked[rows, columns], listed[rows], rates.rows(rows), end[rows], count[rows], slate_size)
            result.slot_marginal[rows, columns], result.inclusion[rows, columns] = race.integrate(place)
    # Exploration alone: all live articles are alike.
    result.slot_marginal[uniform] = np.where(
        np.arange(asked.shape[1]) < live[uniform, None], 1.0 / live[uniform, None], 0.0
    )
    result.inclusion[uniform] = np.minimum(slate_size / live[uniform, None], 1.0)
    padded = asked < 0
    result.slot_marginal[padded], result.inclusion[padded] = 1.0, 1.0
    return result


def _repeats(asked: Ints) -> Bools:
    """Rows that ask for an article twice, (B,): to count it with those "besides" itself would be wrong."""
    ordered = np.sort(asked, axis=1)
    twice: Bools = ((ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] >= 0)).any(axis=1)
    return twice


@dataclass(frozen=True)
class _Race:
    """What b visits are asked for, and against whom it races."""

    rate: Doubles
    """w of what is asked for, (b, W); 0 at padding and for what cannot be shown."""
    others: Doubles
    """w T of the shortlist's articles, (b, M); 0 at padding and for what is asked for."""
    tail: Doubles
    """w T of an article of the tail, (b,)."""
    tail_count: Doubles
    """How many of the tail are not asked for, (b,)."""
    end: Doubles
    """T, (b,)."""
    nodes: Ints
    """(b,)"""
    slate_size: int

    @classmethod
    def of(cls, asked: Ints, listed: Ints, rates: Rates, end: Doubles, nodes: Ints, slate_size: int) -> "_Race":
        column = columns_in_shortlist(asked, listed)
        from_tail = (asked >= 0) & (column < 0)
        # An article that is asked for twice is asked for alone.
        tail_count = rates.tail_count - from_tail.sum(axis=1)
        refuse_rows(
            tail_count < 0,
            "slates",
            lambda b: f"{from_tail[b].sum()} articles from outside the shortlist in row {b}",
            "no more than num_live leaves there",
            lambda b: f" ({rates.tail_count[b]:.0f})",
        )
        rate = np.where(from_tail, rates.tail[:, None], 0.0)
        others = rates.listed * end[:, None]
        row, place = np.nonzero(column >= 0)
        rate[row, place] = rates.listed[row, column[row, place]]
        others[row, column[row, place]] = 0.0
        return cls(rate, others, rates.tail * end, tail_count, end, nodes, slate_size)

    def integrate(self, place: Ints) -> tuple[Doubles, Doubles]:
        """Chance of standing at ``place`` (W,), and of standing anywhere, (b, W) each."""
        heavy = self.others > light_limit(self.slate_size)
        heavy_tail = (self.tail > light_limit(self.slate_size)) & (self.tail_count > 0)
        num_heavy = np.count_nonzero(heavy, axis=1)
        # Alike with alike: a block counts in as many as its row with most.
        order = np.lexsort((num_heavy, heavy_tail))
        block = np.cumsum(self.nodes[order]) // max(1, _BLOCK // self.slate_size)
        slot, anywhere = np.empty_like(self.rate), np.empty_like(self.rate)
        for rows in np.split(order, np.flatnonzero(np.diff(block)) + 1):
            if len(rows) == 0:
                continue
            node = make_nodes(self.end[rows], self.slate_size, self.nodes[rows])
            count = self._count_others(rows, node, heavy[rows], heavy_tail[rows])
            rate = self.rate[rows]
            left = np.exp(rate.T[:, node.row] * -node.time)
            exactly, fewer = besides_each(count, left, place)
            left *= node.weight
            slot[rows] = rate * np.add.reduceat(exactly * left, node.start, axis=1).T
            anywhere[rows] = rate * np.add.reduceat(fewer * left, node.start, axis=1).T
        return slot, anywhere

    def _count_others(self, rows: Ints, node: Nodes, heavy: Bools, heavy_tail: Bools) -> Doubles:
        """Of everybody who is not asked for, (K, C)."""
        size = self.slate_size
        weight, tail, tail_count = self.others[rows], self.tail[rows], self.tail_count[rows]
        moment = moments(np.where(heavy, 0.0, weight), size)
        moment += np.where(heavy_tail, 0.0, tail_count)[:, None] * moments(tail[:, None], size)
        tau = node.time / self.end[rows][node.row]
        count = light_count(moment, node.row, tau, size)
        if heavy_tail.any():
            tails = np.where(heavy_tail, tail_count, 0.0)
            count = convolve(count, binomial_count(tail[node.row], tails[node.row], tau, size))
        row, column = np.nonzero(heavy)
        num_heavy = np.count_nonzero(heavy, axis=1)
        rank = np.arange(len(row)) - (np.cumsum(num_heavy) - num_heavy)[row]
        one_by_one: Doubles = np.zeros((int(num_heavy.max()), len(rows)))
        one_by_one[rank, row] = weight[row, column]
        spare = np.empty((size - 1, len(tau)))
        for rate in one_by_one:
            count_in(count, np.exp(rate[node.row] * -tau), count, spare)
        return count

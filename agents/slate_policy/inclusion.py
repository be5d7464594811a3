"""Inclusion probabilities and slot marginals of the slate policy (docs/mathematics.md 2.5).

A Plackett-Luce slate is a race: article a of the shortlist arrives at an exponential time of rate p_a, and the K
earliest are the slate. With n_{-a}(t) the number of other articles arrived by t,

    m_k(a) = (1 - eps) int_0^inf p_a e^{-p_a t} P(n_{-a}(t) = k - 1) dt + eps / N,      i(a) = sum over k of m_k(a):

a visit that explores shows every live article at every position alike. One pass gives both: the slot needs one chance
of the count, the inclusion their sum. ``race_clock`` has the times of the integral, ``arrivals`` the counts.
Shapes: B visits, b of them at a time, M columns of a shortlist (-1 pads), N live articles, W articles asked for,
K positions, C nodes of all of b visits in a row.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from feedgym.agents.slate_policy.arrivals import besides_each, count_in, light_count, light_limit, moments
from feedgym.agents.slate_policy.draw import Draw, as_ids, refuse_rows
from feedgym.agents.slate_policy.race_clock import Nodes, Rates, expected_time, last_time, make_nodes, num_nodes
from feedgym.agents.slate_policy.softmax import columns_in_shortlist, softmax_of
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
    """The time t* at which ``slate_size`` arrivals are expected in a visit that does not explore, float64 (B,).

    ``1 - exp(-p t*)`` is the cheap inclusion probability of such a visit: it sums to K exactly. Where K takes all that
    can be shown no time does, and one at which a fiftieth of an article is missing is given instead.
    """
    return expected_time(Rates(np.exp(softmax_of(draw).log_p)), draw.slate_size)


def cheap_inclusion(log_p: Doubles, time: Doubles, epsilon: float | Doubles, explored: float | Doubles) -> Doubles:
    """``(1 - eps) (1 - exp(-p t*)) + eps K / N``: within 1 % of the inclusion at real sizes (docs/mathematics.md 2.5).

    Args:
        log_p: log of the softmax, float64 (B, W); -inf outside the shortlist.
        time: t*, (B,).
        epsilon: chance that a visit explores, of all or (B,).
        explored: K / N, at most 1: the chance of every live article in a visit that does; of all or (B,).
    """
    share = np.broadcast_to(epsilon, (len(log_p),))[:, None]
    uniform = np.broadcast_to(explored, (len(log_p),))[:, None]
    chance: Doubles = (1.0 - share) * -np.expm1(-np.exp(log_p) * time[:, None]) + share * uniform
    return chance


def explored_inclusion(draw: Draw) -> Doubles:
    """``K / N``, at most 1: the chance of every live article in a visit that explores, (B,)."""
    live: Ints = np.broadcast_to(draw.num_live, (len(draw),))
    chance: Doubles = np.minimum(draw.slate_size / np.maximum(live, 1), 1.0)
    return chance


def _marginals(asked: Ints, draw: Draw, nodes: int | None) -> SlateMarginals:
    """Column c of ``asked`` (B, W) is asked for position c, or for the last where a slate has no such position."""
    require(nodes is None or nodes >= 1, "nodes", nodes, "None, or >= 1")
    require(len(asked) == len(draw), "slates", asked.shape, f"{len(draw)} rows, as the shortlist")
    slate_size, rows, width = draw.slate_size, len(draw), asked.shape[1]
    live: Ints = np.broadcast_to(draw.num_live, (rows,))
    share: Doubles = np.broadcast_to(draw.epsilon, (rows,))
    column = columns_in_shortlist(asked, draw.shortlist)
    twice = _repeats(asked)
    _check_outside(asked, column, live - draw.shortlist_size, twice)
    rates = Rates(np.exp(softmax_of(draw).log_p))
    middle = expected_time(rates, slate_size)
    slot, anywhere = np.zeros(asked.shape), np.zeros(asked.shape)
    raced: Bools = (share < 1.0) & (column >= 0).any(axis=1)
    for group, together in ((raced & ~twice, _TOGETHER), (raced & twice, 1)):
        found = np.flatnonzero(group)
        if len(found) == 0:
            continue
        part = rates.rows(found)
        end = last_time(part, slate_size, middle[found])
        count: Ints = num_nodes(end, slate_size) if nodes is None else np.full(len(found), nodes)
        for first in range(0, width, together):
            columns = slice(first, min(first + together, width))
            place = np.minimum(np.arange(columns.start, columns.stop), slate_size - 1)
            race = _Race.of(column[found, columns], part, end, count, slate_size)
            slot[found, columns], anywhere[found, columns] = race.integrate(place)
    explored = np.where(np.arange(width) < live[:, None], 1.0 / np.maximum(live, 1)[:, None], 0.0)
    slot = (1.0 - share)[:, None] * slot + share[:, None] * explored
    anywhere = (1.0 - share)[:, None] * anywhere + (share * explored_inclusion(draw))[:, None]
    padded = asked < 0
    slot[padded], anywhere[padded] = 1.0, 1.0
    return SlateMarginals(slot, anywhere, middle)


def _check_outside(asked: Ints, column: Ints, others: Ints, twice: Bools) -> None:
    """Refuse rows that ask for more articles from outside the shortlist than live there."""
    outside = ((asked >= 0) & (column < 0)).sum(axis=1)
    refuse_rows(
        (outside > others) & ~twice,
        "slates",
        lambda b: f"{outside[b]} articles from outside the shortlist in row {b}",
        "no more than num_live leaves there",
        lambda b: f" ({others[b]})",
    )


def _repeats(asked: Ints) -> Bools:
    """Rows that ask for an article twice, (B,): to count it with those "besides" itself would be wrong."""
    ordered = np.sort(asked, axis=1)
    twice: Bools = ((ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] >= 0)).any(axis=1)
    return twice


@dataclass(frozen=True)
class _Race:
    """What b visits are asked for, and against whom it races."""

    rate: Doubles
    """p of what is asked for, (b, W); 0 at padding and for what is not in the shortlist."""
    others: Doubles
    """p T of the shortlist's articles, (b, M); 0 at padding and for what is asked for."""
    end: Doubles
    """T, (b,)."""
    nodes: Ints
    """(b,)"""
    slate_size: int

    @classmethod
    def of(cls, column: Ints, rates: Rates, end: Doubles, nodes: Ints, slate_size: int) -> "_Race":
        rate = np.zeros(column.shape)
        others = rates.listed * end[:, None]
        row, place = np.nonzero(column >= 0)
        rate[row, place] = rates.listed[row, column[row, place]]
        others[row, column[row, place]] = 0.0
        return cls(rate, others, end, nodes, slate_size)

    def integrate(self, place: Ints) -> tuple[Doubles, Doubles]:
        """Chance of standing at ``place`` (W,), and of standing anywhere, (b, W) each."""
        heavy = self.others > light_limit(self.slate_size)
        # Alike with alike: a block counts in as many as its row with most.
        order = np.argsort(np.count_nonzero(heavy, axis=1), kind="stable")
        block = np.cumsum(self.nodes[order]) // max(1, _BLOCK // self.slate_size)
        slot, anywhere = np.empty_like(self.rate), np.empty_like(self.rate)
        for rows in np.split(order, np.flatnonzero(np.diff(block)) + 1):
            if len(rows) == 0:
                continue
            node = make_nodes(self.end[rows], self.slate_size, self.nodes[rows])
            count = self._count_others(rows, node, heavy[rows])
            rate = self.rate[rows]
            left = np.exp(rate.T[:, node.row] * -node.time)
            exactly, fewer = besides_each(count, left, place)
            left *= node.weight
            slot[rows] = rate * np.add.reduceat(exactly * left, node.start, axis=1).T
            anywhere[rows] = rate * np.add.reduceat(fewer * left, node.start, axis=1).T
        return slot, anywhere

    def _count_others(self, rows: Ints, node: Nodes, heavy: Bools) -> Doubles:
        """Of everybody who is not asked for, (K, C)."""
        size, weight = self.slate_size, self.others[rows]
        tau = node.time / self.end[rows][node.row]
        count = light_count(moments(np.where(heavy, 0.0, weight), size), node.row, tau, size)
        row, column = np.nonzero(heavy)
        num_heavy = np.count_nonzero(heavy, axis=1)
        rank = np.arange(len(row)) - (np.cumsum(num_heavy) - num_heavy)[row]
        one_by_one: Doubles = np.zeros((int(num_heavy.max()), len(rows)))
        one_by_one[rank, row] = weight[row, column]
        spare = np.empty((size - 1, len(tau)))
        for rate in one_by_one:
            count_in(count, np.exp(rate[node.row] * -tau), count, spare)
        return count

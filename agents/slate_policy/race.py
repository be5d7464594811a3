"""Plackett-Luce slates as an exponential race, without touching the N live articles (docs/mathematics.md 2.2).

Article ``a`` arrives at time ``E_a / w_a`` with ``E_a`` iid Exp(1); the K earliest, in order of arrival, are
a slate (Efraimidis & Spirakis, Information Processing Letters 2006; the same as Gumbel top-K, Kool et al.,
ICML 2019). The articles outside the shortlist, the tail, share one rate: the times of their earliest arrivals
come from Renyi's representation of exponential order statistics, and which articles they are is uniform,
independent of the times.
Shapes: B visits, M columns of a shortlist (row b uses M_b of them), N live articles, K positions, T tail
articles.
"""

from __future__ import annotations

import itertools

import numpy as np

from feedgym.agents.slate_policy.draw_weights import DrawWeights, columns_in_shortlist, repeats_earlier
from feedgym.agents.slate_policy.luck import Luck, exponentials, integers, of_visits, uniforms
from feedgym.env.arrays import Ints

_SCARCE_TAIL = 4
"""Below this many tail articles per article wanted, rejection would redraw too often: permute instead."""


def run_race(luck: Luck, weights: DrawWeights, shortlist: Ints, slate_size: int) -> Ints:
    """Who arrives first, second, .., K-th in each of B races.

    Args:
        luck: of the B visits.
        weights: of the B visits.
        shortlist: int64 (B, M), whose weights these are.
        slate_size: K.

    Returns:
        int64 (B, K): the column of a shortlist article, M or more for an arrival of the tail, or -1 when
        nobody with a positive weight is left.
    """
    num_rows, num_listed = weights.log_listed.shape
    num_tail = int(min(slate_size, weights.tail_count.max(initial=0))) if (weights.log_tail > -np.inf).any() else 0
    entrants = num_listed + num_tail
    log_arrival = np.empty((num_rows, max(entrants, slate_size)))
    log_arrival[:, entrants:] = np.inf
    # Logs of times: the order is the same, and with epsilon 0 the weights of a peaked softmax underflow.
    with np.errstate(divide="ignore"):
        log_arrival[:, :num_listed] = np.log(exponentials(luck, "arrival", shortlist, num_rows))
        log_arrival[:, :num_listed] -= weights.log_listed
        if num_tail > 0:
            still_racing = weights.tail_count[:, None] - np.arange(num_tail)
            gaps = exponentials(luck, "tail gap", np.arange(num_tail)[None], num_rows) / np.maximum(still_racing, 1)
            log_arrival[:, num_listed:entrants] = np.log(gaps.cumsum(axis=1)) - weights.log_tail[:, None]
            log_arrival[:, num_listed:entrants][still_racing <= 0] = np.inf
    first: Ints = np.argpartition(log_arrival, slate_size - 1, axis=1)[:, :slate_size]
    time = np.take_along_axis(log_arrival, first, axis=1)
    order = np.argsort(time, axis=1)
    time = np.take_along_axis(time, order, axis=1)
    return np.where(time < np.inf, np.take_along_axis(first, order, axis=1), -1)


def draw_tail(luck: Luck, shortlist: Ints, live_ids: Ints, wanted: Ints) -> Ints:
    """Articles of each row's tail (live minus shortlist), uniform without replacement, in random order.

    Args:
        luck: of the B visits.
        shortlist: int64 (B, M), distinct live ids in a row; -1 pads.
        live_ids: int64 (N,), distinct, in any order.
        wanted: int64 (B,), how many, at most N - M_b.

    Returns:
        int64 (B, T) with T = max(wanted); -1 beyond ``wanted``.
    """
    width = int(wanted.max(initial=0))
    tail: Ints = np.full((len(wanted), width), -1, dtype=np.int64)
    num_tail = len(live_ids) - (shortlist >= 0).sum(axis=1)
    # With half of the catalogue listed, a pass over all of it costs no more than reading the shortlist did.
    # By row: how one visit's tail is drawn must not depend on how much of theirs the others want.
    scarce = (num_tail < _SCARCE_TAIL * wanted) | (2 * num_tail < len(live_ids))
    few, many = np.flatnonzero((wanted > 0) & scarce), np.flatnonzero((wanted > 0) & ~scarce)
    if len(few):
        tail[few] = _permute_tail(of_visits(luck, few), shortlist[few], live_ids, width)
    if len(many):
        tail[many] = _reject_listed(of_visits(luck, many), shortlist[many], live_ids, wanted[many], width)
    tail[np.arange(width) >= wanted[:, None]] = -1
    return tail


def _permute_tail(luck: Luck, shortlist: Ints, live_ids: Ints, width: int) -> Ints:
    """The first ``width`` of a random permutation of live minus shortlist, (B, width); O(B N)."""
    key = uniforms(luck, "tail article", live_ids[None], len(shortlist))
    by_id = np.argsort(live_ids)
    row, column = np.nonzero(shortlist >= 0)
    key[row, by_id[np.searchsorted(live_ids, shortlist[row, column], sorter=by_id)]] = np.inf
    first = np.argpartition(key, width - 1, axis=1)[:, :width]
    order = np.argsort(np.take_along_axis(key, first, axis=1), axis=1)
    return live_ids[np.take_along_axis(first, order, axis=1)]


def _reject_listed(luck: Luck, shortlist: Ints, live_ids: Ints, wanted: Ints, width: int) -> Ints:
    """Draw from all live articles, redraw what is listed or repeated, (B, width); -1 past ``wanted``.

    Exact: the rule looks at ids only through equality, so relabelling the tail relabels the result, and the
        only law
    on ordered distinct tuples that no relabelling changes is the uniform one.
    """
    drawn: Ints = np.full((len(wanted), width), -1, dtype=np.int64)
    bad = np.arange(width) < wanted[:, None]
    open_rows = np.arange(len(wanted))
    for attempt in itertools.count():
        if len(open_rows) == 0:
            break
        part = drawn[open_rows]
        part[bad] = live_ids[integers(of_visits(luck, open_rows), f"tail place {attempt}", len(live_ids), bad)]
        drawn[open_rows] = part
        bad = (columns_in_shortlist(part, shortlist[open_rows]) >= 0) | repeats_earlier(part)
        again = bad.any(axis=1)
        open_rows, bad = open_rows[again], bad[again]
    return drawn

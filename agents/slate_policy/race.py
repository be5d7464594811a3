"""Plackett-Luce slates as an exponential race, and uniform ones (docs/mathematics.md 2.2).

Article ``a`` arrives at time ``E_a / p_a`` with ``E_a`` iid Exp(1); the K earliest, in order of arrival, are
a slate (Efraimidis & Spirakis, Information Processing Letters 2006; the same as Gumbel top-K, Kool et al.,
ICML 2019). A uniform slate is drawn from the ids alone, without touching the N live articles.
Shapes: B visits, M columns of a shortlist (row b uses M_b of them), N live articles, K positions.
"""

from __future__ import annotations

import itertools

import numpy as np

from feedgym.agents.slate_policy.luck import Luck, exponentials, integers, of_visits, uniforms
from feedgym.agents.slate_policy.softmax import repeats_earlier
from feedgym.env.arrays import Doubles, Ints

_FEW = 4
"""Below this many live articles per position, rejection would redraw too often: permute instead."""


def run_race(luck: Luck, log_p: Doubles, shortlist: Ints, slate_size: int) -> Ints:
    """Who arrives first, second, .., K-th in each of B races.

    Args:
        luck: of the B visits.
        log_p: log chances of the shortlist's articles to come first, (B, M).
        shortlist: int64 (B, M), whose chances these are.
        slate_size: K.

    Returns:
        int64 (B, K): the column of a shortlist article, or -1 when nobody with a positive chance is left.
    """
    num_rows, num_listed = log_p.shape
    log_arrival = np.full((num_rows, max(num_listed, slate_size)), np.inf)
    # Logs of times: the order is the same, and the chances of a peaked softmax underflow.
    with np.errstate(divide="ignore"):
        np.log(exponentials(luck, "arrival", shortlist, num_rows), out=log_arrival[:, :num_listed])
    log_arrival[:, :num_listed] -= log_p
    first: Ints = np.argpartition(log_arrival, slate_size - 1, axis=1)[:, :slate_size]
    time = np.take_along_axis(log_arrival, first, axis=1)
    order = np.argsort(time, axis=1)
    time = np.take_along_axis(time, order, axis=1)
    return np.where(time < np.inf, np.take_along_axis(first, order, axis=1), -1)


def draw_uniform(luck: Luck, live_ids: Ints, num_visits: int, slate_size: int) -> Ints:
    """Live articles of each visit, uniform without replacement, in random order, int64 (B, K); -1 beyond N.

    Args:
        luck: of the B visits.
        live_ids: int64 (N,), distinct, in any order.
        num_visits: B.
        slate_size: K.
    """
    slates: Ints = np.full((num_visits, slate_size), -1, dtype=np.int64)
    width = min(slate_size, len(live_ids))
    if num_visits and width:
        few = len(live_ids) < _FEW * slate_size
        draw = _permuted if few else _drawn_again
        slates[:, :width] = draw(luck, live_ids, num_visits, width)
    return slates


def _permuted(luck: Luck, live_ids: Ints, num_visits: int, width: int) -> Ints:
    """The first ``width`` of a random permutation, (B, width); O(B N)."""
    key = uniforms(luck, "explored article", live_ids[None], num_visits)
    return live_ids[np.argsort(key, axis=1)[:, :width]]


def _drawn_again(luck: Luck, live_ids: Ints, num_visits: int, width: int) -> Ints:
    """Draw from all live articles, redraw what is repeated, (B, width).

    Exact: the rule looks at ids only through equality, so relabelling the articles relabels the result, and the only
    law on ordered distinct tuples that no relabelling changes is the uniform one.
    """
    drawn: Ints = np.full((num_visits, width), -1, dtype=np.int64)
    bad = np.ones(drawn.shape, dtype=np.bool_)
    open_rows = np.arange(num_visits)
    for attempt in itertools.count():
        if len(open_rows) == 0:
            break
        part = drawn[open_rows]
        part[bad] = live_ids[integers(of_visits(luck, open_rows), f"explored place {attempt}", len(live_ids), bad)]
        drawn[open_rows] = part
        bad = repeats_earlier(part)
        again = bad.any(axis=1)
        open_rows, bad = open_rows[again], bad[again]
    return drawn

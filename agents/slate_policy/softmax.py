"""What a visit draws from: a softmax over the shortlist, and with chance epsilon all live articles alike.

``p`` is the softmax of the logits over the shortlist and 0 outside it (docs/mathematics.md 1). Everything is kept in
float64 logs: with a small temperature most of p is below the smallest double.
Shapes: B visits, M columns of a shortlist (row b uses M_b of them, -1 pads the rest), N live articles, K positions.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from feedgym.agents.slate_policy.draw import Draw, refuse_rows
from feedgym.env.arrays import AnyArray, Bools, Doubles, Ints

_LARGEST_TABLE = 1 << 17
"""Numbers in a table by article id, 1 MB: what still stays in a cache."""


@dataclass(frozen=True)
class Softmax:
    """Both parts of the policy of B visits, in natural logs."""

    log_p: Doubles
    """log p of the shortlist's articles, (B, M); -inf at padding."""
    log_normaliser: Doubles
    """Log of the sum of ``exp(logit)`` over the shortlist, (B,): ``p = exp(logit - log_normaliser)``; -inf of none."""
    log_keep: Doubles
    """log (1 - eps), (B,): of a visit that does not explore; -inf where epsilon is 1."""
    log_explore: Doubles
    """log eps, (B,); -inf where epsilon is 0."""
    num_live: Ints
    """N, (B,)."""


def softmax_of(draw: Draw) -> Softmax:
    """The softmax of B visits, and how often they explore (docs/mathematics.md 1).

    A logit of -inf is allowed and means that the softmax never picks the article: exploration alone can show
    it.

    Raises:
        ValueError: a logit is NaN or +inf, a row lists more articles than are live, or a row has ``epsilon <
            1`` and no finite logit, so that the softmax has nothing to choose from.
    """
    num_live, epsilon = _each(draw.num_live, draw), _each(draw.epsilon, draw)
    logits, shortlist = draw.logits, draw.shortlist
    listed = shortlist >= 0
    refuse_rows(
        num_live < listed.sum(axis=1),
        "shortlist",
        lambda b: f"{listed[b].sum()} articles in row {b}",
        "at most the number of live articles",
        lambda b: f" ({num_live[b]})",
    )
    masked: Doubles = np.where(listed, logits, -np.inf)
    top: Doubles = masked.max(axis=1, initial=-np.inf)
    refuse_rows(
        ~(top < np.inf),  # true for NaN as well, which a maximum hands on
        "logits",
        lambda b: f"{masked[b].max()} in row {b}",
        "numbers below +inf in every column that the shortlist uses",
    )
    refuse_rows(
        (top == -np.inf) & (epsilon < 1),
        "logits",
        lambda b: f"no finite logit in row {b}, where epsilon is {epsilon[b]}",
        "at least one article to choose from, or epsilon = 1",
    )
    masked -= np.where(top == -np.inf, 0.0, top)[:, None]
    with np.errstate(divide="ignore"):  # log 0 = -inf is the meaning of epsilon 0 and 1, and of an empty shortlist
        log_mass = np.log(np.exp(masked).sum(axis=1))
        log_explore: Doubles = np.log(epsilon)
        log_keep: Doubles = np.log1p(-epsilon)
    masked -= np.where(log_mass == -np.inf, 0.0, log_mass)[:, None]
    return Softmax(masked, top + log_mass, log_keep, log_explore, num_live)


def _each(value: AnyArray | float, draw: Draw) -> AnyArray:
    """One value a visit, (B,)."""
    return np.broadcast_to(value, (len(draw),))


def log_rest(log_p: Doubles, taken: Bools) -> Doubles:
    """Log of the part of p that a slate does not show, (B,); -inf if none is left.

    A sum of what is left, never ``1 -`` a sum of what is gone: the latter cancels when the slate holds nearly
    all mass.

    Args:
        log_p: of the shortlists, (B, M).
        taken: bool (B, M), which columns of the shortlist the slate shows.
    """
    left = np.where(taken, -np.inf, log_p)
    top = left.max(axis=1, initial=-np.inf)
    base = np.where(top == -np.inf, 0.0, top)
    with np.errstate(divide="ignore"):
        out: Doubles = np.log(np.exp(left - base[:, None]).sum(axis=1)) + base
    return out


def columns_in_shortlist(articles: Ints, shortlist: Ints) -> Ints:
    """Columns (B, K) of articles (B, K) in their row's shortlist (B, M); -1 if absent or padding.

    Membership is by id: a comparison with the M-th best score would be wrong under approximate search
    (docs/mathematics.md 2.4).
    """
    columns: Ints = np.full(articles.shape, -1, dtype=np.int64)
    if shortlist.shape[1] == 0 or len(articles) == 0:
        return columns
    rows = np.arange(len(articles))
    lowest = int(np.where(shortlist >= 0, shortlist, np.iinfo(np.int64).max).min())
    span = int(shortlist.max()) - lowest + 1
    if 0 < span * len(articles) <= _LARGEST_TABLE:
        # By id, as all are of one time: several times faster for few visits of many positions.
        table: Ints = np.full((len(articles), span + 1), -1, dtype=np.int64)
        listed = np.nonzero(shortlist >= 0)
        table[listed[0], shortlist[listed] - lowest] = listed[1]
        inside = (articles >= lowest) & (articles < lowest + span)
        return np.take_along_axis(table, np.where(inside, articles - lowest, span), axis=1)
    for k in range(
        articles.shape[1]
    ):  # not one (B, K, M) comparison: K = 50, M = 1000 would need 50 MB per 1,000 visits
        hit = articles[:, k, None] == shortlist
        column = hit.argmax(axis=1)
        columns[:, k] = np.where(hit[rows, column] & (articles[:, k] >= 0), column, -1)
    return columns


def repeats_earlier(articles: Ints) -> Bools:
    """Which entries of each row (B, K) repeat one to their left, bool (B, K); padding (-1) never does."""
    repeated: Bools = np.zeros(articles.shape, dtype=np.bool_)
    for k in range(1, articles.shape[1]):
        repeated[:, k] = (articles[:, :k] == articles[:, k, None]).any(axis=1) & (articles[:, k] >= 0)
    return repeated

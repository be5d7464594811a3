"""Draw weights of the slate policy: softmax over the shortlist, mixed with uniform exploration.

``w_a = eps/N + (1 - eps) p_a``, ``p`` the softmax of the logits over the shortlist and zero outside it
(docs/mathematics.md 1). The weights sum to one over the live catalogue, which is never looped over: all articles
outside the shortlist share one weight, so a number and a count stand for them. Everything is kept in float64
logs, because with ``eps = 0`` and a small temperature most weights are below the smallest double.
Shapes: B visits, M columns of a shortlist (row b uses M_b of them, -1 pads the rest), N live articles,
K positions.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from feedgym.agents.slate_policy.draw import Draw, refuse_rows
from feedgym.env.arrays import AnyArray, Bools, Doubles, Ints


@dataclass(frozen=True)
class DrawWeights:
    """The weights of a batch of visits, in natural logs."""

    log_listed: Doubles
    """log w of the shortlist's articles, (B, M); -inf at padding."""
    log_tail: Doubles
    """log eps/N, (B,): the weight of each live article outside the shortlist; -inf where epsilon is 0."""
    tail_count: Ints
    """N - M_b, (B,): how many live articles are outside the shortlist."""


def draw_weights(draw: Draw) -> DrawWeights:
    """The draw weights ``w`` (docs/mathematics.md 1) of B visits.

    A logit of -inf is allowed and means that the softmax never picks the article: exploration alone can show
    it.

    Raises:
        ValueError: a logit is NaN or +inf, a row lists more articles than are live, or a row has ``epsilon <
            1`` and no finite logit, so that the softmax has nothing to choose from.
    """
    num_live, epsilon = _each(draw.num_live, draw), _each(draw.epsilon, draw)
    logits, shortlist = draw.logits, draw.shortlist
    listed = shortlist >= 0
    tail_count: Ints = num_live - listed.sum(axis=1)
    refuse_rows(
        tail_count < 0,
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
    shifted = masked - np.where(top == -np.inf, 0.0, top)[:, None]
    mass = np.exp(shifted).sum(axis=1)
    with np.errstate(divide="ignore"):  # log 0 = -inf is the meaning of epsilon 0 and 1
        log_tail: Doubles = np.log(epsilon) - np.log(num_live)
        log_keep = np.log1p(-epsilon)
    log_softmax = shifted - np.log(np.where(mass > 0, mass, 1.0))[:, None]
    log_listed: Doubles = np.logaddexp(log_tail[:, None], log_keep[:, None] + log_softmax)
    log_listed[~listed] = -np.inf
    return DrawWeights(log_listed, log_tail, tail_count)


def _each(value: AnyArray | float, draw: Draw) -> AnyArray:
    """One value a visit, (B,)."""
    return np.broadcast_to(value, (len(draw),))


def log_rest(weights: DrawWeights, taken: Bools, num_tail_taken: Ints) -> Doubles:
    """Log of the weight of all live articles that a slate does not show, (B,); -inf if none is left.

    A sum of what is left, never ``1 -`` a sum of what is gone: the latter cancels when the slate holds nearly
    all mass.

    Args:
        weights: of the B visits.
        taken: bool (B, M), which columns of the shortlist the slate shows.
        num_tail_taken: int64 (B,), how many distinct articles it shows from outside the shortlist.
    """
    left = np.where(taken, -np.inf, weights.log_listed)
    with np.errstate(divide="ignore"):
        log_tail_left = np.log(weights.tail_count - num_tail_taken) + weights.log_tail
    top = np.maximum(left.max(axis=1, initial=-np.inf), log_tail_left)
    base = np.where(top == -np.inf, 0.0, top)
    total = np.exp(left - base[:, None]).sum(axis=1) + np.exp(log_tail_left - base)
    with np.errstate(divide="ignore"):
        out: Doubles = np.log(total) + base
    return out


def columns_in_shortlist(articles: Ints, shortlist: Ints) -> Ints:
    """Columns (B, K) of articles (B, K) in their row's shortlist (B, M); -1 if absent or padding.

    Membership is by id: a comparison with the M-th best score would be wrong under approximate search
    (docs/mathematics.md 2.4).
    """
    columns: Ints = np.full(articles.shape, -1, dtype=np.int64)
    if shortlist.shape[1] == 0:
        return columns
    rows = np.arange(len(articles))
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

"""Draw weights of the slate policy: softmax over the shortlist, mixed with uniform exploration.

``w_a = eps/N + (1 - eps) p_a``, ``p`` the softmax of the logits over the shortlist and zero outside it
(docs/mathematics.md 1). The weights sum to one over the live catalogue, which is never looped over: all articles
outside the shortlist share one weight, so a number and a count stand for them. Everything is kept in float64
logs, because with ``eps = 0`` and a small temperature most weights are below the smallest double.
Shapes: B visits, M columns of a shortlist (row b uses M_b of them, -1 pads the rest), N live articles,
K positions.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from feedgym.env.checks import require

Doubles = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class DrawWeights:
    """The weights of a batch of visits, in natural logs."""

    log_listed: Doubles
    """log w of the shortlist's articles, (B, M); -inf at padding."""
    log_tail: Doubles
    """log eps/N, (B,): the weight of each live article outside the shortlist; -inf where epsilon is 0."""
    tail_count: Ints
    """N - M_b, (B,): how many live articles are outside the shortlist."""


def draw_weights(logits: Doubles, shortlist: Ints, num_live: Ints, epsilon: Doubles) -> DrawWeights:
    """The draw weights ``w`` (docs/mathematics.md 1) of B visits.

    A logit of -inf is allowed and means that the softmax never picks the article: exploration alone can show
    it.

    Args:
        logits: float64 (B, M), nats, after temperature; ignored where the shortlist is padded.
        shortlist: int64 (B, M), distinct article ids in a row; -1 pads.
        num_live: N, int64 (B,).
        epsilon: share of uniform exploration, float64 (B,).

    Raises:
        ValueError: a logit is NaN or +inf, a row lists more articles than are live, or a row has ``epsilon <
            1`` and no finite logit, so that the softmax has nothing to choose from.
    """
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


def as_shortlist(logits: npt.ArrayLike, shortlist: npt.ArrayLike, *, check: bool) -> tuple[Doubles, Ints]:
    """Bring logits (B, M) and article ids (B, M) to float64 and int64, and refuse what does not fit.

    Args:
        logits: float array; float32 is widened.
        shortlist: integer array; -1 pads, and only -1.
        check: also sort every row to find repeated articles, O(B M log M).
    """
    scores, listed = np.asarray(logits), as_ids(shortlist, "shortlist", 2)
    require(scores.dtype.kind == "f", "logits", scores.dtype, "a float array")
    require(scores.shape == listed.shape, "logits", scores.shape, f"the shortlist's shape {listed.shape}")
    if check and listed.shape[1] > 1:
        ordered = np.sort(listed, axis=1)
        repeated = (ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] >= 0)
        refuse_rows(
            repeated.any(axis=1),
            "shortlist",
            lambda b: f"article {ordered[b, 1:][repeated[b]][0]} twice in row {b}",
            "distinct articles in a row",
        )
    return scores.astype(np.float64, copy=False), listed


def as_ids(ids: npt.ArrayLike, name: str, ndim: int) -> Ints:
    """Bring article ids of ``ndim`` axes to int64; -1 is the only negative one."""
    array = np.asarray(ids)
    require(array.dtype.kind in "iu", name, array.dtype, "an integer array of article ids")
    require(array.ndim == ndim, name, array.shape, f"{ndim} axes")
    lowest = int(array.min(initial=0))
    require(lowest >= -1, name, lowest, "article ids >= 0, or -1 for none")
    return array.astype(np.int64, copy=False)


def as_epsilon(epsilon: npt.ArrayLike, num_rows: int) -> Doubles:
    """Epsilon as float64 (B,), from a scalar or (B,), each within [0, 1]."""
    array = np.asarray(epsilon, dtype=np.float64)
    require(array.shape in ((), (num_rows,)), "epsilon", array.shape, f"a scalar or shape ({num_rows},)")
    outside = ~((array >= 0) & (array <= 1))
    require(not outside.any(), "epsilon", array[outside].tolist()[:1], "0 <= epsilon <= 1")
    return np.broadcast_to(array, (num_rows,))


def as_num_live(num_live: npt.ArrayLike, num_rows: int) -> Ints:
    """The number of live articles as int64 (B,), from a scalar or (B,), each at least 1."""
    array = np.asarray(num_live)
    require(array.dtype.kind in "iu", "num_live", array.dtype, "an integer or integers")
    require(array.shape in ((), (num_rows,)), "num_live", array.shape, f"a scalar or shape ({num_rows},)")
    lowest = int(array.min(initial=1))
    require(lowest >= 1, "num_live", lowest, ">= 1 live article")
    return np.broadcast_to(array.astype(np.int64), (num_rows,))


def refuse_rows(
    bad: Bools | np.bool_,
    name: str,
    seen: Callable[[int], str],
    allowed: str,
    detail: Callable[[int], str] = lambda b: "",
) -> None:
    """Raise ``ValueError`` about the first row of ``bad`` (B,) that is True; the texts are made only then."""
    if bad.any():
        row = int(bad.argmax())
        require(False, name, seen(row), allowed + detail(row))

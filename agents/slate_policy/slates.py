"""The slate policy: epsilon-Plackett-Luce over a shortlist, with the exact propensity of what it serves.

Slot 1 is drawn from the weights ``w`` (draw_weights.py), every later slot from ``w`` restricted to what is
left and renormalised (docs/mathematics.md 2.1). The propensity of slot k is ``q_k = w_k / (w_k + what is left after
slot k)``, and the sum of what is left is built from the end of the slate: positive terms only, so that
nothing cancels at any epsilon or temperature, and O(M + K) a visit instead of O(M K).
A position with nothing left to show is padded with article -1 and propensity 1: when K > N, and with
``epsilon = 0`` also when the shortlist holds fewer than K articles with a finite logit.
Shapes: B visits, M columns of a shortlist (-1 pads), N live articles, K positions of a slate.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from feedgym.agents.slate_policy.draw import Draw, as_ids, as_shortlist, check_slate_size, refuse_rows
from feedgym.agents.slate_policy.draw_weights import columns_in_shortlist, draw_weights, log_rest, repeats_earlier
from feedgym.agents.slate_policy.inclusion import inclusion_probability as inclusion_probability
from feedgym.agents.slate_policy.inclusion import slot_marginal as slot_marginal
from feedgym.agents.slate_policy.luck import Luck
from feedgym.agents.slate_policy.race import draw_tail, run_race
from feedgym.env.arrays import Bools, Doubles, Ints
from feedgym.env.checks import require


@dataclass(frozen=True)
class Slates:
    """Sampled slates of B visits, in display order, with what a log has to keep (docs/mathematics.md 2.3)."""

    article_id: Ints
    """int64 (B, K); -1 where nothing was left to show."""
    slot_propensity: Doubles
    """Chance of each article given the ones above it, ``q_k``, float64 (B, K); 1 at padding."""
    log_propensity: Doubles
    """Natural log of the chance of the whole slate, float64 (B,): the sum of ``log q_k``."""
    in_shortlist: Bools
    """Whether the article is a member of the shortlist, bool (B, K); False at padding."""
    logit: Doubles
    """What the softmax saw, float64 (B, K); NaN for articles from outside the shortlist and for padding."""
    log_weight: Doubles
    """Natural log of the draw weight ``w`` of each article, float64 (B, K); -inf at padding."""


def sample_slates(
    rng: Luck,
    logits: npt.ArrayLike,
    shortlist: npt.ArrayLike,
    live_ids: npt.ArrayLike,
    slate_size: int,
    epsilon: npt.ArrayLike,
    *,
    check: bool = True,
) -> Slates:
    """Sample a slate for each of B visits by an exponential race (docs/mathematics.md 2.2), O(B (M + K)).

    Args:
        rng: a generator, or the noise of these visits (:class:`~feedgym.env.noise.Noise`): then a slate depends on its
            visit alone.
        logits: float (B, M), ``<u, v> / T`` after every adjustment; ignored where the shortlist is padded.
            -inf means that only exploration may show the article. With ``epsilon = 1`` no logits are needed:
            shape (B, 0).
        shortlist: integer (B, M), article ids, distinct within a row and live; -1 pads a row.
        live_ids: integer (N,), the live catalogue, distinct, in any order.
        slate_size: K >= 1.
        epsilon: share of uniform exploration over all N, a scalar or (B,), within [0, 1].
        check: refuse repeated ids and shortlisted articles that are not live. Costs O(B M log M + N log N) a
            call; False is for callers whose index guarantees both. Everything else is always checked.

    Raises:
        ValueError: what does not fit, naming the argument and the first bad row.
    """
    live = as_ids(live_ids, "live_ids", 1)
    require(len(live) > 0, "live_ids", "no article", "at least one live article")
    draw = Draw.of(logits, shortlist, len(live), epsilon, slate_size, check=check)
    if check:
        _check_live(draw.shortlist, live)
    return draw_slates(rng, draw, live)


def draw_slates(luck: Luck, draw: Draw, live_ids: Ints) -> Slates:
    """:func:`sample_slates` of a checked record; ``live_ids`` (N,) are as many as it says."""
    scores, listed = draw.logits, draw.shortlist
    num_columns = listed.shape[1]
    weights = draw_weights(draw)

    winner = run_race(luck, weights, listed, draw.slate_size)  # (B, K)
    in_shortlist: Bools = (winner >= 0) & (winner < num_columns)
    from_tail = winner >= num_columns
    num_tail_taken: Ints = from_tail.sum(axis=1)
    tail = draw_tail(luck, listed, live_ids, num_tail_taken)  # (B, T)

    visit, position = np.nonzero(in_shortlist)
    column = winner[visit, position]
    taken: Bools = np.zeros(listed.shape, dtype=np.bool_)
    taken[visit, column] = True
    article_id: Ints = np.full(winner.shape, -1, dtype=np.int64)
    article_id[visit, position] = listed[visit, column]
    logit: Doubles = np.full(winner.shape, np.nan)
    logit[visit, position] = scores[visit, column]
    log_weight: Doubles = np.where(from_tail, weights.log_tail[:, None], -np.inf)
    log_weight[visit, position] = weights.log_listed[visit, column]
    visit, position = np.nonzero(from_tail)
    rank = from_tail.cumsum(axis=1) - 1  # how many of the tail stand above
    article_id[visit, position] = tail[visit, rank[visit, position]]

    log_slot = _slot_log_propensity(log_weight, log_rest(weights, taken, num_tail_taken), article_id < 0)
    return Slates(article_id, np.exp(log_slot), log_slot.sum(axis=1), in_shortlist, logit, log_weight)


def slate_log_propensity(
    slates: npt.ArrayLike,
    logits: npt.ArrayLike,
    shortlist: npt.ArrayLike,
    num_live: npt.ArrayLike,
    epsilon: npt.ArrayLike,
    *,
    check: bool = True,
) -> tuple[Doubles, Doubles]:
    """The exact chance that a policy serves given slates: its own, or a log's (docs/mathematics.md 2.1 and 2.4).

    Impossible slates get propensity 0 (log -inf), not an error: an article outside the shortlist at ``epsilon
    = 0``, an article shown twice, or padding at a position where the policy still has something to show.

    Args:
        slates: integer (B, K), article ids in display order, live at the time of the visit; -1 pads.
        logits: float (B, M), as in ``sample_slates``.
        shortlist: integer (B, M), as in ``sample_slates``. For a logged slate: what the *new* policy
            retrieves among the articles that were live at the logged time.
        num_live: N at the time of the visit, a scalar or (B,).
        epsilon: share of uniform exploration, a scalar or (B,).
        check: refuse repeated ids within a row of the shortlist, O(B M log M).

    Returns:
        ``log_propensity`` float64 (B,), natural log of the joint propensity, and ``slot`` float64 (B, K), the
        conditional propensities ``q_k`` whose product it is (not their logs).
    """
    shown = as_ids(slates, "slates", 2)
    draw = Draw.of(logits, shortlist, num_live, epsilon, max(shown.shape[1], 1), check=check)
    return slate_chances(shown, draw)


def slate_chances(shown: Ints, draw: Draw) -> tuple[Doubles, Doubles]:
    """:func:`slate_log_propensity` of a checked record, of slates (B, K)."""
    require(len(shown) == len(draw), "slates", shown.shape, f"{len(draw)} rows, as the shortlist has")
    listed, weights = draw.shortlist, draw_weights(draw)

    column = columns_in_shortlist(shown, listed)
    repeated = repeats_earlier(shown)
    from_tail = (shown >= 0) & (column < 0) & ~repeated
    num_tail_taken: Ints = from_tail.sum(axis=1)
    too_many: Bools = num_tail_taken > weights.tail_count
    refuse_rows(
        too_many,
        "slates",
        lambda b: f"{num_tail_taken[b]} articles from outside the shortlist in row {b}",
        "no more than num_live leaves there",
        lambda b: f" ({weights.tail_count[b]})",
    )
    visit, position = np.nonzero(column >= 0)
    taken: Bools = np.zeros(listed.shape, dtype=np.bool_)
    taken[visit, column[visit, position]] = True
    log_weight: Doubles = np.where(from_tail, weights.log_tail[:, None], -np.inf)
    log_weight[visit, position] = weights.log_listed[visit, column[visit, position]]
    log_weight[repeated] = -np.inf
    log_slot = _slot_log_propensity(log_weight, log_rest(weights, taken, num_tail_taken), shown < 0)
    return log_slot.sum(axis=1), np.exp(log_slot)


def greedy_slates(logits: npt.ArrayLike, shortlist: npt.ArrayLike, slate_size: int) -> Ints:
    """The deterministic top K by logit, ties to the smaller id: the limit of ``epsilon = 0, T -> 0``.

    Its log propensity is 0. Like there, an article whose logit is -inf is never shown.

    Args:
        logits: float (B, M), ignored where the shortlist is padded.
        shortlist: integer (B, M), distinct article ids in a row; -1 pads.
        slate_size: K >= 1.

    Returns:
        Article ids, int64 (B, K); -1 where the shortlist has nothing left.
    """
    scores, listed = as_shortlist(logits, shortlist, check=True)
    check_slate_size(slate_size)
    masked = np.where(listed >= 0, scores, -np.inf)
    unordered: Bools = ~(masked < np.inf)
    refuse_rows(
        unordered.any(axis=1),
        "logits",
        lambda b: f"{masked[b].max()} in row {b}",
        "numbers below +inf in every column that the shortlist uses",
    )
    best = np.lexsort((listed, -masked), axis=1)[:, :slate_size]
    slates: Ints = np.full((len(listed), slate_size), -1, dtype=np.int64)
    chosen = np.take_along_axis(listed, best, axis=1)
    slates[:, : best.shape[1]] = np.where(np.take_along_axis(masked, best, axis=1) > -np.inf, chosen, -1)
    return slates


def _slot_log_propensity(log_weight: Doubles, log_unshown: Doubles, padded: Bools) -> Doubles:
    """Log of the conditional propensities ``q_k``, (B, K).

    Args:
        log_weight: log w of what is shown, (B, K); -inf at padding, repeats and impossible articles.
        log_unshown: log of the weight of all live articles that the slate does not show, (B,).
        padded: which positions show nothing, (B, K).
    """
    from_the_end = np.concatenate([log_unshown[:, None], log_weight[:, :0:-1]], axis=1)
    left_after = np.logaddexp.accumulate(from_the_end, axis=1)[:, ::-1]  # (B, K): once slot k is filled
    possible = log_weight > -np.inf
    # -log(1 + left/w), not log w - log(w + left): keeps its digits when q is within 1e-16 of 1.
    ratio = left_after - np.where(possible, log_weight, 0.0)
    log_slot: Doubles = np.where(possible, 0.0 - np.logaddexp(0.0, ratio), -np.inf)
    log_slot[padded & (left_after == -np.inf)] = 0.0
    return log_slot


def _check_live(shortlist: Ints, live_ids: Ints) -> None:
    """Refuse a catalogue that repeats an id or pads, and shortlisted articles that are not in it."""
    ordered = np.sort(live_ids)
    require(ordered[0] >= 0, "live_ids", int(ordered[0]), "article ids >= 0")
    twice = ordered[1:][ordered[1:] == ordered[:-1]]
    require(not len(twice), "live_ids", f"article {twice[:1]} twice", "distinct articles")
    dead = ~np.isin(shortlist, live_ids) & (shortlist >= 0)
    refuse_rows(
        dead.any(axis=1),
        "shortlist",
        lambda b: f"article {shortlist[b][dead[b]][0]} in row {b}, which is not live",
        "articles of live_ids",
    )

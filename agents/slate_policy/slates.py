"""The slate policy: a visit explores with chance epsilon, with the exact propensity of what it serves.

With chance ``1 - eps`` a visit gets a Plackett-Luce slate over its shortlist: slot 1 is drawn from the softmax ``p``,
every later slot from what is left of it; with chance ``eps`` a uniform slate of all live articles
(docs/mathematics.md 2.1). Whether it explored is not part of its chance: with ``PL_k`` and ``U_k`` the chances of the
first k slots under each, that of both is ``F_k = (1 - eps) PL_k + eps U_k``, and the propensity of slot k, given those
above it, is ``q_k = F_k / F_(k-1)``. What is left of p is summed from the end of the slate: positive terms only, so
that nothing cancels at any temperature, and O(M + K) a visit instead of O(M K).
A position with nothing left to show is padded with article -1: when K > N, and in a visit that does not explore also
when its shortlist holds fewer than K articles with a finite logit.
Shapes: B visits, M columns of a shortlist (-1 pads), N live articles, K positions of a slate.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from feedgym.agents.slate_policy.draw import Draw, as_ids, as_shortlist, check_slate_size, refuse_rows
from feedgym.agents.slate_policy.inclusion import inclusion_probability as inclusion_probability
from feedgym.agents.slate_policy.inclusion import slot_marginal as slot_marginal
from feedgym.agents.slate_policy.luck import Luck, of_visits, uniform_once
from feedgym.agents.slate_policy.race import draw_uniform, run_race
from feedgym.agents.slate_policy.softmax import Softmax, columns_in_shortlist, log_rest, repeats_earlier, softmax_of
from feedgym.env.arrays import Bools, Doubles, Ints, taken_at
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
    explored: Bools
    """Whether the slate is a uniform one, bool (B,). For reports: its chance is that of both kinds."""
    in_shortlist: Bools
    """Whether the article is a member of the shortlist, bool (B, K); False at padding."""
    logit: Doubles
    """What the softmax saw, float64 (B, K); NaN for articles from outside the shortlist and for padding."""
    log_normaliser: Doubles
    """Natural log of the softmax's sum, float64 (B,): ``p = exp(logit - log_normaliser)``. NaN: nothing was drawn."""

    @property
    def log_p(self) -> Doubles:
        """Natural log of the softmax of each article, float64 (B, K); -inf outside the shortlist and at padding."""
        log_p: Doubles = np.where(self.in_shortlist, self.logit - self.log_normaliser[:, None], -np.inf)
        return log_p


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
            -inf means that only a visit that explores may show the article. With ``epsilon = 1`` no logits are needed:
            shape (B, 0).
        shortlist: integer (B, M), article ids, distinct within a row and live; -1 pads a row.
        live_ids: integer (N,), the live catalogue, distinct, in any order.
        slate_size: K >= 1.
        epsilon: chance that a visit explores, with a uniform slate of all N; a scalar or (B,), within [0, 1].
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


def explores(luck: Luck, draw: Draw) -> Bools:
    """Which visits explore, bool (B,)."""
    chosen: Bools = uniform_once(luck, "explores", len(draw)) < draw.epsilon
    return chosen


def draw_slates(luck: Luck, draw: Draw, live_ids: Ints) -> Slates:
    """:func:`sample_slates` of a checked record; ``live_ids`` (N,) are as many as it says."""
    softmax, size = softmax_of(draw), draw.slate_size
    explored = explores(luck, draw)
    article_id: Ints = np.full((len(draw), size), -1, dtype=np.int64)
    column: Ints = np.full(article_id.shape, -1, dtype=np.int64)

    rows = np.flatnonzero(~explored)
    listed = draw.shortlist[rows]
    column[rows] = winner = run_race(of_visits(luck, rows), softmax.log_p[rows], listed, size)
    article_id[rows] = taken_at(listed, winner, -1)
    rows = np.flatnonzero(explored)
    article_id[rows] = draw_uniform(of_visits(luck, rows), live_ids, len(rows), size)
    column[rows] = columns_in_shortlist(article_id[rows], draw.shortlist[rows])

    log_slot, log_propensity = slots_of_mixture(*_log_parts(article_id, column, softmax, None))
    logit = taken_at(draw.logits, column, np.nan)
    return Slates(article_id, np.exp(log_slot), log_propensity, explored, column >= 0, logit, softmax.log_normaliser)


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
        epsilon: chance that a visit explores, a scalar or (B,).
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
    log_slot, log_propensity = slots_of_mixture(*_parts_of(shown, draw))
    return log_propensity, np.exp(log_slot)


def kept_share(shown: Ints, draw: Draw) -> Doubles:
    """Chance that a visit does not explore, given what stands above each position of its slate (B, K), float64 (B, K).

    Its next article is then drawn from what is left of the softmax; else from all live articles that are left.
    """
    return _shares(*_parts_of(shown, draw))[0]


def explored_share(shown: Ints, column: Ints, draw: Draw) -> Doubles:
    """Chance that a visit explores, given what stands above each position, float64 (B, K): what ``kept_share`` leaves.

    With all its digits where it is small.

    Args:
        shown: slates of the draw, (B, K).
        column: where the shortlist holds each entry, (B, K); -1: nowhere.
        draw: what they were drawn from.
    """
    return _shares(*_log_parts(shown, column, softmax_of(draw), None))[1]


def prefix_chances(shown: Ints, column: Ints, draw: Draw, epsilon: Doubles) -> tuple[Doubles, Doubles]:
    """Chances of slates that may end early, whatever was left to show; with nothing in the shortlist, too.

    Args:
        shown: articles that ``draw`` may show, (B, K); -1 pads.
        column: where the shortlist holds each, (B, K); -1: nowhere.
        draw: whose epsilon is not looked at.
        epsilon: chance that each explores, (B,).

    Returns:
        Log of the chance of each article given those above it, float64 (B, K), anything at padding; and log of the
        softmax's sum, (B,), -inf where nothing is listed.
    """
    with np.errstate(divide="ignore"):
        own = {"log_keep": np.log1p(-epsilon), "log_explore": np.log(epsilon)}
    # By epsilon 1: of an empty shortlist nothing else is allowed.
    softmax = replace(softmax_of(replace(draw, epsilon=1.0)), **own)
    log_slot, _ = slots_of_mixture(*_log_parts(shown, column, softmax, None))
    return log_slot, softmax.log_normaliser


def _shares(
    log_keep: Doubles, from_softmax: Doubles, log_explore: Doubles, uniform: Doubles
) -> tuple[Doubles, Doubles]:
    """Chances that a visit does not explore, and that it does, given what stands above, float64 (B, K) each."""
    above = np.zeros((2, len(from_softmax), 1))
    kept = log_keep[:, None] + np.concatenate([above[0], from_softmax[:, :-1]], axis=1)
    explored = log_explore[:, None] + np.concatenate([above[1], uniform[:, :-1]], axis=1)
    both = np.logaddexp(kept, explored)
    both = np.where(both > -np.inf, both, 0.0)
    return np.exp(kept - both), np.exp(explored - both)


def _parts_of(shown: Ints, draw: Draw) -> tuple[Doubles, Doubles, Doubles, Doubles]:
    """What :func:`slots_of_mixture` asks for, of slates (B, K) from anywhere."""
    require(len(shown) == len(draw), "slates", shown.shape, f"{len(draw)} rows, as the shortlist has")
    softmax = softmax_of(draw)
    column, repeated = columns_in_shortlist(shown, draw.shortlist), repeats_earlier(shown)
    num_outside: Ints = ((shown >= 0) & (column < 0) & ~repeated).sum(axis=1)
    others: Ints = softmax.num_live - draw.shortlist_size
    refuse_rows(
        num_outside > others,
        "slates",
        lambda b: f"{num_outside[b]} articles from outside the shortlist in row {b}",
        "no more than num_live leaves there",
        lambda b: f" ({others[b]})",
    )
    return _log_parts(shown, column, softmax, repeated)


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


def _log_parts(
    shown: Ints, column: Ints, softmax: Softmax, repeated: Bools | None
) -> tuple[Doubles, Doubles, Doubles, Doubles]:
    """What :func:`slots_of_mixture` asks for.

    Args:
        shown: the slates, (B, K); -1 pads.
        column: where the shortlist holds each, (B, K); -1: nowhere.
        softmax: what they are drawn from.
        repeated: which entries show an article again, (B, K); None: none does.
    """
    visit, position = np.nonzero(column >= 0)
    taken: Bools = np.zeros(softmax.log_p.shape, dtype=np.bool_)
    taken[visit, column[visit, position]] = True
    log_p: Doubles = taken_at(softmax.log_p, column, -np.inf)
    padded = shown < 0
    above: Ints = np.cumsum(~padded, axis=1) - ~padded
    left = softmax.num_live[:, None] - above
    uniform = np.where(padded, np.where(left > 0, -np.inf, 0.0), -np.log(np.maximum(left, 1)))
    if repeated is not None:
        log_p[repeated] = uniform[repeated] = -np.inf
    from_softmax = _plackett_luce(log_p, log_rest(softmax.log_p, taken), padded).cumsum(axis=1)
    return softmax.log_keep, from_softmax, softmax.log_explore, uniform.cumsum(axis=1)


def slots_of_mixture(
    log_keep: Doubles, from_softmax: Doubles, log_explore: Doubles, uniform: Doubles
) -> tuple[Doubles, Doubles]:
    """Logs of ``q_k = F_k / F_(k-1)``, (B, K), and of ``F_K``, (B,) (docs/mathematics.md 2.1).

    Args:
        log_keep: log (1 - eps), (B,).
        from_softmax: log of the chance of the slates down to each slot in a visit that does not explore, (B, K).
        log_explore: log eps, (B,).
        uniform: the same in one that does, (B, K).
    """
    prefix: Doubles = np.logaddexp(log_keep[:, None] + from_softmax, log_explore[:, None] + uniform)
    before = np.concatenate([np.zeros((len(prefix), 1)), prefix[:, :-1]], axis=1)
    possible = prefix > -np.inf
    log_slot = np.where(possible, np.minimum(prefix - np.where(possible, before, 0.0), 0.0), -np.inf)
    return log_slot, prefix[:, -1]


def _plackett_luce(log_p: Doubles, log_unshown: Doubles, padded: Bools) -> Doubles:
    """Log of the chance of each slot given those above it in a visit that does not explore, (B, K).

    Args:
        log_p: of what is shown, (B, K); -inf at padding, repeats and what the softmax never picks.
        log_unshown: log of the part of p that the slate does not show, (B,).
        padded: which positions show nothing, (B, K).
    """
    from_the_end = np.concatenate([log_unshown[:, None], log_p[:, :0:-1]], axis=1)
    left_after = np.logaddexp.accumulate(from_the_end, axis=1)[:, ::-1]  # (B, K): once slot k is filled
    possible = log_p > -np.inf
    # -log(1 + left/p), not log p - log(p + left): keeps its digits when the chance is within 1e-16 of 1.
    ratio = left_after - np.where(possible, log_p, 0.0)
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

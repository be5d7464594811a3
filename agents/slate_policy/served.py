"""Slates with everything that the log keeps of the policy that served them.

Shapes: n visits, K positions.
"""

import dataclasses
import functools
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from feedgym.agents.slate_policy.draw import Draw
from feedgym.agents.slate_policy.inclusion import SlateMarginals, cheap_inclusion, inclusion_time, slate_marginals
from feedgym.agents.slate_policy.slates import Slates
from feedgym.env.arrays import Arrays, Bools, Doubles, Ints
from feedgym.env.feed import visit_ids


class Chances(NamedTuple):
    """Chances that are cheap to know, by which a policy gradient weighs; 1 at padding, and where nothing was drawn."""

    inclusion: Doubles
    """Of each article to stand anywhere on the slate, by t*, float64 (n, K) (docs/mathematics.md 2.5)."""
    first: Doubles
    """Of each article to stand at the first position, float64 (n, K)."""
    time: Doubles
    """``t*``, float64 (n,)."""


def cheap_chances(
    log_p: Doubles, time: Doubles, epsilon: float | Doubles, num_live: int | Ints, shown: Bools
) -> Chances:
    """Chances of slates (n, K) by the softmax and t* of what they were drawn from.

    Args:
        log_p: log of the softmax of what is shown, float64 (n, K); -inf outside the shortlist. NaN: nothing was drawn.
        time: t*, (n,); NaN where nothing was drawn.
        epsilon: chance that a visit explores, of all or (n,).
        num_live: N, of all or (n,).
        shown: where an article stands, bool (n, K).
    """
    live = np.maximum(np.broadcast_to(num_live, (len(log_p),)), 1).astype(np.float64)
    share = np.broadcast_to(epsilon, (len(log_p),))
    inclusion = cheap_inclusion(log_p, time, share, np.minimum(log_p.shape[1] / live, 1.0))
    first = (1.0 - share)[:, None] * np.exp(log_p) + (share / live)[:, None]
    drawn = shown & ~np.isnan(inclusion)
    return Chances(np.where(drawn, inclusion, 1.0), np.where(drawn, first, 1.0), np.where(np.isnan(time), 1.0, time))


@dataclass(frozen=True)
class Ahead:
    """Of pages of lists that were drawn before their visits."""

    drawn: Slates
    """As a log has them: what is served, but under rules that look at whole slates also what has expired since."""
    made_hours: Doubles
    """When the lists were drawn, (n,)."""
    first_visit: Ints
    """Number of the visit at which each reader first gets the list, (n,)."""
    place: Ints
    """Place of each entry of ``drawn`` on its list, (n, K); -1 where there is none."""
    skipped_expired: Ints
    """Places passed over since the page above, as the article has expired since the draw, (n,)."""
    skipped_excluded: Ints
    """As a rule excludes it by now, (n,)."""


@dataclass(frozen=True, kw_only=True)
class Served(Slates):
    """Slates with everything that the log keeps of the policy that served them (docs/mathematics.md 2.3)."""

    draw: Draw
    """What they were drawn from."""
    temperature: float
    """What the logits were divided by: already in ``logit``."""
    policy_version: int
    """Grows with every training."""
    given_marginals: SlateMarginals | None = None
    """Where ``draw`` does not say them. Of slates that somebody else served: as a log has them, NaN where it has none.
    NaN too where editorial rules leave them unknown."""
    given_chances: Chances | None = None
    """Of slates that somebody else served, as far as a log says them."""
    num_unfilled: int = 0
    """Positions that rules, or a shortlist without exploration, left empty though enough articles are live."""
    ahead: Ahead | None = None
    """Where they were drawn before the visits came."""
    unweighted: bool | Bools = False
    """Nobody may weigh by their chances: further pages of a list, whose chances are given the pages above; and pages
    that came short. Of all or (n,)."""

    @property
    def shortlist_size(self) -> Ints:
        """M, articles really returned, (n,)."""
        return self.draw.shortlist_size

    @property
    def num_live(self) -> int | Ints:
        """N, when the slates were drawn."""
        return self.draw.num_live

    @property
    def epsilon(self) -> float | Doubles:
        """Chance that a visit explores, of all or (n,)."""
        return self.draw.epsilon

    @property
    def greedy(self) -> bool | Bools:
        """The K best by logit, deterministically: log propensity 0. Of all or (n,)."""
        return self.draw.greedy

    @property
    def num_explored(self) -> int:
        """Entries of slates that explored."""
        return int(np.count_nonzero(self.article_id[self.explored] >= 0))

    @property
    def as_drawn(self) -> "Served":
        """What a log keeps: the slates as they were drawn, whose propensities these are."""
        return self if self.ahead is None else dataclasses.replace(self, **vars(self.ahead.drawn))

    def log_columns(self, reader_id: Ints) -> Arrays:
        """What the log of visits by ``reader_id`` (n,) has besides, of pages of lists that were drawn ahead."""
        if self.ahead is None:
            return {}
        return {
            "slate_made_hours": self.ahead.made_hours,
            "slate_id": visit_ids(reader_id, self.ahead.first_visit),
            "list_position": self.ahead.place,
            "num_skipped_expired": self.ahead.skipped_expired,
            "num_skipped_excluded": self.ahead.skipped_excluded,
        }

    @functools.cached_property
    def marginals(self) -> SlateMarginals:
        """Worked out when first asked for: who writes no log does not pay. See :func:`marginals_of`."""
        return marginals_of([self]) if self.given_marginals is None else self.given_marginals

    @property
    def slot_marginal(self) -> Doubles:
        """Chance of each article at its position, float64 (n, K); 1 where nothing was drawn, and at padding.

        NaN where nobody may weigh by it.
        """
        return self.marginals.slot_marginal

    @property
    def inclusion(self) -> Doubles:
        """Chance of each article anywhere on the slate, float64 (n, K); 1 where nothing was drawn, and at padding."""
        return self.marginals.inclusion

    @property
    def inclusion_time(self) -> Doubles:
        """``t*`` of docs/mathematics.md 2.5, float64 (n,); NaN where nothing was drawn."""
        return self.marginals.inclusion_time

    @property
    def chances(self) -> Chances:
        """What a policy gradient weighs by; worked out anew at each call."""
        if not np.any(np.asarray(self.num_live) > 0):  # nothing was shown, and there is no softmax
            nothing = np.ones(self.article_id.shape)
            return Chances(nothing, nothing.copy(), np.ones(len(nothing)))
        if self.given_chances is not None:
            return self.given_chances
        return cheap_chances(
            np.where(np.isnan(self.log_normaliser)[:, None], np.nan, self.log_p),
            inclusion_time(self.draw),
            self.epsilon,
            self.num_live,
            self.article_id >= 0,
        )


def unknown_marginals(article_id: Ints, greedy: bool | Bools = False) -> SlateMarginals:
    """Marginals that nobody knows, of slates (n, K): NaN; but 1 at padding and of greedy ones, which were not drawn."""
    drawn = ~np.asarray(greedy)[..., None] & (article_id >= 0)
    chance: Doubles = np.where(drawn, np.nan, 1.0)
    return SlateMarginals(chance, chance.copy(), np.full(len(article_id), np.nan))


def marginals_of(ticks: Sequence[Served]) -> SlateMarginals:
    """Slot marginals, inclusion and ``t*`` of the slates of several ticks, one after the other.

    NaN where nobody may weigh by them. A tick of 20 visits alone takes twice the time that it takes among a thousand.
    """
    total = sum(len(served.article_id) for served in ticks)
    size = max((served.article_id.shape[1] for served in ticks), default=0)
    result = SlateMarginals(np.ones((total, size)), np.ones((total, size)), np.full(total, np.nan))
    where, sampled = _drawn(ticks)
    for served, rows in zip(ticks, _rows(ticks), strict=True):
        if served.given_marginals is not None:
            for into, values in zip(result, served.given_marginals, strict=True):
                into[rows] = values
        elif np.any(served.unweighted):
            unknown = (np.asarray(served.unweighted) & ~np.asarray(served.greedy))[..., None] & (served.article_id >= 0)
            for into in result[:2]:
                into[rows][unknown] = np.nan
    if sampled:
        shown = [served.article_id[rows] for served, rows in sampled]
        found = slate_marginals(np.concatenate(shown), _draws(sampled))
        for into, values in zip(result, found, strict=True):
            into[where] = values
    return result


def times_of(ticks: Sequence[Served]) -> Doubles:
    """``t*`` of the slates of several ticks, one after the other, (n,); NaN where nothing was drawn."""
    times: Doubles = np.full(sum(len(served.article_id) for served in ticks), np.nan)
    where, sampled = _drawn(ticks)
    for served, rows in zip(ticks, _rows(ticks), strict=True):
        if served.given_marginals is not None:
            times[rows] = served.given_marginals.inclusion_time
    if sampled:
        times[where] = inclusion_time(_draws(sampled))
    return times


def _rows(ticks: Sequence[Served]) -> list[slice]:
    """Which rows of all are each tick's."""
    ends = np.cumsum([0, *(len(served.article_id) for served in ticks)])
    return [slice(int(start), int(end)) for start, end in itertools.pairwise(ends)]


def _drawn(ticks: Sequence[Served]) -> tuple[Ints, list[tuple[Served, Ints]]]:
    """Slates that were drawn and whose chances nobody gave: their rows among all, and by tick."""
    where, sampled = [np.zeros(0, dtype=np.int64)], []
    for served, rows in zip(ticks, _rows(ticks), strict=True):
        if served.given_marginals is not None:
            continue
        # A greedy slate among them was not drawn; of an empty catalogue none was.
        drawn = ~np.asarray(served.greedy) & (np.asarray(served.num_live) > 0) & ~np.asarray(served.unweighted)
        found = np.flatnonzero(np.broadcast_to(drawn, rows.stop - rows.start))
        if len(found):
            where.append(rows.start + found)
            sampled.append((served, found))
    return np.concatenate(where), sampled


def _draws(sampled: Sequence[tuple[Served, Ints]]) -> Draw:
    return Draw.joined([served.draw.rows(rows) for served, rows in sampled])

"""Slates with everything that the log keeps of the policy that served them.

Shapes: n visits, K positions.
"""

import dataclasses
import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from feedgym.agents.slate_policy.draw import Draw
from feedgym.agents.slate_policy.inclusion import SlateMarginals, slate_marginals
from feedgym.agents.slate_policy.slates import Slates
from feedgym.env.arrays import Arrays, Bools, Doubles, Ints
from feedgym.env.feed import visit_ids


@dataclass(frozen=True)
class Ahead:
    """Of slates that were drawn before their visits."""

    drawn: Slates
    """As they were drawn. What is served lacks what has expired since."""
    made_hours: Doubles
    """When, (n,)."""
    first_visit: Ints
    """Number of the visit at which each reader first gets the slate, (n,)."""


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
    num_unfilled: int = 0
    """Positions that rules, or a shortlist without exploration, left empty though enough articles are live."""
    ahead: Ahead | None = None
    """Where they were drawn before the visits came."""

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
        """Share of uniform exploration, of all or (n,)."""
        return self.draw.epsilon

    @property
    def greedy(self) -> bool | Bools:
        """The K best by logit, deterministically: log propensity 0. Of all or (n,)."""
        return self.draw.greedy

    @property
    def as_drawn(self) -> "Served":
        """What a log keeps: the slates as they were drawn, whose propensities these are."""
        return self if self.ahead is None else dataclasses.replace(self, **vars(self.ahead.drawn))

    def log_columns(self, reader_id: Ints) -> Arrays:
        """What the log of visits by ``reader_id`` (n,) has besides, of slates that were drawn ahead."""
        if self.ahead is None:
            return {}
        return {
            "slate_made_hours": self.ahead.made_hours,
            "slate_id": visit_ids(reader_id, self.ahead.first_visit),
        }

    @property
    def draw_weight(self) -> Doubles:
        """``w`` of each shown article, float64 (n, K): 0 at padding, NaN where nothing was drawn (greedy).

        As it was drawn from: ``q_k (1 - W_k)`` is the same number, less the digits that ``1 - W_k`` cancels.
        """
        weight: Doubles = np.exp(self.log_weight)
        return weight

    @functools.cached_property
    def marginals(self) -> SlateMarginals:
        """Worked out when first asked for: who writes no log does not pay. See :func:`marginals_of`."""
        return marginals_of([self]) if self.given_marginals is None else self.given_marginals

    @property
    def slot_marginal(self) -> Doubles:
        """Chance of each article at its position, float64 (n, K); 1 where nothing was drawn, and at padding."""
        return self.marginals.slot_marginal

    @property
    def inclusion(self) -> Doubles:
        """Chance of each article anywhere on the slate, float64 (n, K); 1 where nothing was drawn, and at padding."""
        return self.marginals.inclusion

    @property
    def inclusion_time(self) -> Doubles:
        """``t*`` of docs/mathematics.md 2.5, float64 (n,); NaN where nothing was drawn."""
        return self.marginals.inclusion_time


def marginals_of(ticks: Sequence[Served]) -> SlateMarginals:
    """Slot marginals, inclusion and ``t*`` of the slates of several ticks, one after the other.

    A tick of 20 visits alone takes twice the time that it takes among a thousand.
    """
    shapes = [served.article_id.shape for served in ticks]
    total, size = sum(n for n, _ in shapes), max((k for _, k in shapes), default=0)
    result = SlateMarginals(np.ones((total, size)), np.ones((total, size)), np.full(total, np.nan))
    where, drawn, shown, end = [], [], [], 0
    for served, (n, _) in zip(ticks, shapes, strict=True):
        start, end = end, end + n
        if served.given_marginals is not None:
            for into, values in zip(result, served.given_marginals, strict=True):
                into[start:end] = values
            continue
        # A greedy slate among them was not drawn; of an empty catalogue none was.
        sampled = np.flatnonzero(np.broadcast_to(~np.asarray(served.greedy) & (np.asarray(served.num_live) > 0), n))
        if len(sampled):
            where.append(start + sampled)
            drawn.append(served.draw.rows(sampled))
            shown.append(served.article_id[sampled])
    if drawn:
        found = slate_marginals(np.concatenate(shown), Draw.joined(drawn))
        for into, values in zip(result, found, strict=True):
            into[np.concatenate(where)] = values
    return result

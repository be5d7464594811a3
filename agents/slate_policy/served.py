"""Slates with everything that the log keeps of the policy that served them.

Shapes: n visits, K positions.
"""

import dataclasses
import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from feedgym.agents.slate_policy.inclusion import SlateMarginals, slate_marginals
from feedgym.agents.slate_policy.slates import Slates
from feedgym.env.arrays import AnyArray, Arrays, Bools, Doubles, Ints
from feedgym.env.feed import visit_ids


@dataclass(frozen=True, kw_only=True)
class Served:
    """Slates with everything that the log keeps of the policy that served them (docs/mathematics.md 2.3)."""

    slates: Slates
    shortlist_size: Ints
    """M, articles really returned, (n,)."""
    num_live: int
    """N, when the slates were drawn."""
    epsilon: float | Doubles
    """Share of uniform exploration, of all or (n,)."""
    temperature: float
    """What the logits were divided by: already in ``slates.logit``."""
    greedy: bool | Bools
    """The K best by logit, deterministically: log propensity 0. Of all or (n,)."""
    policy_version: int
    """Grows with every training."""
    drawn_from: tuple[Doubles, Ints] | None = None
    """Logits and shortlists, (n, M) each, as ``sample_slates`` got them; None if nothing was drawn (greedy)."""
    logged: SlateMarginals | None = None
    """Of slates that somebody else served: their marginals, as a log has them (NaN where it has none). NaN too where
    editorial rules leave them unknown."""
    num_unfilled: int = 0
    """Positions that rules, or a shortlist without exploration, left empty though enough articles are live."""
    drawn: Slates | None = None
    """Of slates that were drawn ahead: as they were drawn. ``slates`` then lacks what has expired since."""
    made_hours: Doubles | None = None
    """When slates that were drawn ahead were drawn, (n,)."""
    first_visit: Ints | None = None
    """Number of the visit at which each reader first gets the slate that was drawn ahead for her, (n,)."""

    @property
    def as_drawn(self) -> "Served":
        """What a log keeps: the slates as they were drawn, whose propensities these are."""
        return self if self.drawn is None else dataclasses.replace(self, slates=self.drawn, drawn=None)

    def log_columns(self, reader_id: Ints) -> Arrays:
        """What the log of visits by ``reader_id`` (n,) has besides, of slates that were drawn ahead."""
        if self.made_hours is None or self.first_visit is None:
            return {}
        return {"slate_made_hours": self.made_hours, "slate_id": visit_ids(reader_id, self.first_visit)}

    @property
    def article_id(self) -> Ints:
        """Article ids, int64 (n, K)."""
        return self.slates.article_id

    @property
    def slot_propensity(self) -> Doubles:
        """Per position, float64 (n, K)."""
        return self.slates.slot_propensity

    @property
    def log_propensity(self) -> Doubles:
        """Per slate, float64 (n,)."""
        return self.slates.log_propensity

    @property
    def in_shortlist(self) -> Bools:
        """Membership by id, bool (n, K)."""
        return self.slates.in_shortlist

    @property
    def logit(self) -> Doubles:
        """float64 (n, K), NaN outside the shortlist."""
        return self.slates.logit

    @property
    def log_weight(self) -> Doubles:
        """Natural log of ``draw_weight``, float64 (n, K): keeps what underflows where epsilon is 0."""
        return self.slates.log_weight

    @property
    def draw_weight(self) -> Doubles:
        """``w`` of each shown article, float64 (n, K): 0 at padding, NaN where nothing was drawn (greedy).

        As it was drawn from: ``q_k (1 - W_k)`` is the same number, less the digits that ``1 - W_k`` cancels.
        """
        weight: Doubles = np.exp(self.slates.log_weight)
        return weight

    @functools.cached_property
    def marginals(self) -> SlateMarginals:
        """Worked out when first asked for: who writes no log does not pay. See :func:`marginals_of`."""
        return marginals_of([self]) if self.logged is None else self.logged

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
    rows, drawn, width, end = [], [], 0, 0
    for served, (n, _) in zip(ticks, shapes, strict=True):
        start, end = end, end + n
        if served.logged is not None:
            for into, values in zip(result, served.logged, strict=True):
                into[start:end] = values
        elif served.drawn_from is not None and n > 0:
            rows.append(np.arange(start, end))
            drawn.append(served)
            width = max(width, served.drawn_from[1].shape[1])
    if not drawn:
        return result
    where = np.concatenate(rows)
    logits, shortlist = np.zeros((len(where), width)), np.full((len(where), width), -1, dtype=np.int64)
    end = 0
    for served in drawn:
        assert served.drawn_from is not None
        z, listed = served.drawn_from
        start, end = end, end + len(listed)
        logits[start:end, : z.shape[1]], shortlist[start:end, : z.shape[1]] = z, listed
    lengths = [len(served.article_id) for served in drawn]

    def each(values: Sequence[ArrayLike]) -> AnyArray:
        """One value a slate."""
        return np.concatenate([np.broadcast_to(value, n) for value, n in zip(values, lengths, strict=True)])

    # A greedy slate among them was not drawn.
    sampled = ~each([served.greedy for served in drawn])
    where = where[sampled]
    found = slate_marginals(
        np.concatenate([served.article_id for served in drawn])[sampled],
        logits[sampled],
        shortlist[sampled],
        each([served.num_live for served in drawn])[sampled],
        each([served.epsilon for served in drawn])[sampled],
        size,
        check=False,
    )
    for into, values in zip(result, found, strict=True):
        into[where] = values
    return result

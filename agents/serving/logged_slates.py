"""Logged slates as an agent learns from them: what a log says of the policy that served them (docs/mathematics.md 2.3).

Shapes: n visits, K positions, M shortlist.
"""

from dataclasses import dataclass, replace

import numpy as np

from feedgym.agents.serving.acted import Acted
from feedgym.agents.serving.pages import without_expired
from feedgym.agents.slate_policy import Chances, SlateMarginals, cheap_chances, columns_in_shortlist
from feedgym.env.arrays import Bools, Doubles, Ints

_LEAST_LOG = -700.0
"""Least log of what is left after the slots above: below it, float64 has no number for it."""


@dataclass(frozen=True, kw_only=True)
class LoggedTick:
    """Slates of one tick, as somebody else served them. NaN where the log does not say."""

    article_id: Ints
    """(n, K), -1 where nothing was shown."""
    slot_propensity: Doubles
    """Chance of each article given those above it, (n, K); 1 at padding."""
    slot_marginal: Doubles
    """Chance of each article at its position, (n, K)."""
    inclusion: Doubles
    """Chance of each article anywhere on the slate, (n, K)."""
    inclusion_time: Doubles
    """``t*`` of docs/mathematics.md 2.5, (n,)."""
    greedy: Bools
    """Served deterministically, (n,)."""
    epsilon: Doubles
    """Share of uniform exploration, (n,)."""
    explores_by_visits: bool
    """A visit explored with chance epsilon, as FeedGym's do since its log format 2. False: positions did, by weights
    ``eps / N + (1 - eps) p`` that each slot is drawn from anew; so does a site's own log, as far as is known."""
    logit: Doubles
    """What the softmax saw, (n, K); NaN outside the shortlist."""
    log_normaliser: Doubles
    """Log of the softmax's sum, (n,)."""
    num_live: Ints
    """Live articles when the slate was made, (n,); -1 where the log does not say."""
    made_hours: Doubles
    """When that was, (n,)."""
    slate_id: Ints
    """Which slate, (n,); -1 where the log does not say."""
    expired: Bools
    """Entries of slates drawn ahead whose article had expired by the visit, (n, K): nothing was shown there. Pages of
    lists are filled from below, but not under rules that look at whole slates, nor in logs of format 1."""
    further: bool | Bools = False
    """Further pages of lists, of all or (n,): their chances are given the pages above."""
    short: bool | Bools = False
    """Pages of lists with fewer articles than could be shown, of all or (n,): the list was at its end."""

    @property
    def unweighted(self) -> bool | Bools:
        """Pages by whose chances nobody may weigh, of all or (n,)."""
        return self.further | self.short


def log_draw_weights(slot_propensity: Doubles, shown: Bools) -> Doubles:
    """Log of the draw weights ``w`` behind slot propensities, float64 (n, K); -inf where nothing is shown.

    Of a policy that draws every slot from the same weights, restricted to what is left:
    ``w_k = q_k (1 - w_1 - .. - w_(k-1))``, and what is left is the product of ``1 - q_j`` (docs/mathematics.md 2.1):
    no difference of near numbers.

    Args:
        slot_propensity: ``q``, float64 (n, K), in (0, 1]; NaN stays NaN.
        shown: where an article stands, bool (n, K).
    """
    with np.errstate(divide="ignore"):
        kept = np.maximum(np.log1p(-np.minimum(slot_propensity, 1.0)), _LEAST_LOG)
    kept = np.where(shown, kept, 0.0)
    left = np.maximum(np.cumsum(kept, axis=1) - kept, _LEAST_LOG)
    weights: Doubles = np.where(shown, np.log(slot_propensity) + left, -np.inf)
    return weights


def logged_chances(logged: LoggedTick) -> Chances:
    """What a policy gradient weighs by, of logged slates; NaN where the log does not say."""
    shown = logged.article_id >= 0
    if logged.explores_by_visits:
        listed = ~np.isnan(logged.logit)
        log_p = np.where(listed, logged.logit - logged.log_normaliser[:, None], -np.inf)
        log_p[np.isnan(logged.log_normaliser)] = np.nan
        return cheap_chances(log_p, logged.inclusion_time, logged.epsilon, logged.num_live, shown)
    first = np.where(shown, np.exp(log_draw_weights(logged.slot_propensity, shown)), 1.0)
    inclusion = np.where(shown, -np.expm1(-first * logged.inclusion_time[:, None]), 1.0)
    greedy = logged.greedy[:, None]
    # Of a greedy slate nothing was drawn.
    return Chances(np.where(greedy, 1.0, inclusion), np.where(greedy, 1.0, first), logged.inclusion_time)


def served_by_another(acted: Acted, logged: LoggedTick) -> Acted:
    """The tick as an agent acted in it, but with what the log says was served.

    Shortlist, logits and scale are the agent's own of that moment: what its policy would have drawn from. Slates and
    all chances of them are the log's.

    Args:
        acted: the agent's own tick.
        logged: slates of the same visits.
    """
    shown = logged.article_id >= 0
    propensity = logged.slot_propensity
    served = replace(
        acted.served,
        article_id=logged.article_id,
        slot_propensity=propensity,
        log_propensity=np.log(propensity).sum(axis=1),
        # Of the agent's shortlist: what it does not hold is a candidate of its own.
        in_shortlist=shown & (columns_in_shortlist(logged.article_id, acted.served.draw.shortlist) >= 0),
        explored=np.zeros(len(shown), dtype=np.bool_),
        logit=np.full(shown.shape, np.nan),
        log_normaliser=np.full(len(shown), np.nan),
        draw=replace(acted.served.draw, greedy=logged.greedy),
        given_marginals=SlateMarginals(logged.slot_marginal, logged.inclusion, logged.inclusion_time),
        given_chances=logged_chances(logged),
        ahead=None,
        unweighted=logged.unweighted,
    )
    return replace(acted, served=without_expired(served, ~logged.expired))

"""The default policy gradient in closed form: autograd's answer for ``inclusion``, at a third of its cost.

With p the stratified softmax and ``i_k = (1 - eps) (1 - exp(-p_k t*)) + eps K / N``, the surrogate
``sum_k c_k log i_k`` has ``d/dp_k = c_k r_k t*`` for shown articles, ``r_k = (1 - eps) exp(-p_k t*) / i_k``, and moves
t* by ``-(t* exp(-p t*) / slope)`` for each; ``dp_c / dz_b = p_c ([b = c] - P_b)`` with P the shares with their strata's
weights (docs/mathematics.md 2.5, 3.2, 3.3). A test holds it equal to ``policy_gradient``'s autograd.
Shapes: B visits, C candidates (head, then tail draws), K positions. float64.
"""

from dataclasses import dataclass

import numpy as np

from feedgym.agents.learners.gradients.policy_batch import PolicyBatch
from feedgym.agents.slate_policy import Rates, arrival_time, reachable
from feedgym.env.arrays import Bools, Doubles

_TOLERANCE = 1e-5
"""Of t*: the last step squares it. Each step costs an exponential of every candidate, a third of the whole."""


@dataclass(frozen=True)
class PolicyStep:
    """What a batch says to the policy."""

    gradient: Doubles
    """Of ``-surrogate + kl * divergence``, summed over positions, by logits: (B, C)."""
    surrogate: Doubles
    """(B,)"""
    divergence: Doubles
    """``KL(policy || prior)``, (B,)."""
    weight: Doubles
    """Given to the ratios, (B, K); 0 where nothing was shown."""
    shares: Doubles
    """P, the softmax over all live articles by candidate, tail draws with their weights: (B, C)."""


def inclusion_step(batch: PolicyBatch, epsilon: float, kl: float) -> PolicyStep:
    """Gradient of the ``inclusion`` estimator and of the divergence from the prior.

    Args:
        batch: visits.
        epsilon: chance that a visit explores.
        kl: weight of the divergence.
    """
    logits, prior, each, num_live = batch.logits.detach().numpy(), batch.prior, batch.each, batch.num_live
    column, advantage = batch.shown.column.numpy(), batch.shown.advantage.numpy()
    rows, size = np.arange(len(logits))[:, None], column.shape[1]
    used = each > 0
    p, log_z = _softmax(logits, each, used)
    _, log_z0 = _softmax(prior, each, used)
    shares = each * p
    # log p - log p0 of each candidate.
    gained = np.where(used, logits - prior, 0.0) - (log_z - log_z0)[:, None]
    divergence = np.einsum("bc,bc->b", shares, gained)

    rates, target = Rates(p, each), reachable(each.sum(axis=1), size)
    start = target if batch.shown.logged.time is None else np.maximum(batch.shown.logged.time.numpy(), target)
    t = arrival_time(rates, target, start, _TOLERANCE)
    waiting = rates.waiting(t)
    slope = rates.slope(waiting)
    shown = column >= 0
    place = np.maximum(column, 0)
    own_p = p[rows, place]
    own_alive = np.exp(-own_p * t[:, None])
    explored = epsilon * np.minimum(size / num_live, 1.0)
    included = (1.0 - epsilon) * -np.expm1(-own_p * t[:, None]) + explored[:, None]
    weight = np.zeros(column.shape)
    ratio = included[shown] / batch.shown.logged.inclusion.numpy()[shown]
    weight[shown] = batch.shown.weigh(ratio, np.ones_like(ratio), advantage[shown])
    coefficient = weight * np.where(shown, advantage, 0.0)
    log_chance = np.log(np.where(shown, np.maximum(included, 1e-300), 1.0))
    pull = (1.0 - epsilon) * coefficient * own_alive / np.maximum(included, 1e-300)

    by_time = (pull * own_p).sum(axis=1) / slope
    by_p = waiting
    by_p *= (-by_time * t)[:, None]
    # A slate shows no article twice, so no two positions share a cell.
    by_p[rows, place] += np.where(shown, pull * t[:, None], 0.0)
    by_p *= p
    total = by_p.sum(axis=1)
    gradient = shares * (kl * (gained - divergence[:, None]) + total[:, None])
    gradient -= by_p
    return PolicyStep(gradient, (coefficient * log_chance).sum(axis=1), divergence, weight, shares)


def _softmax(logits: Doubles, each: Doubles, used: Bools) -> tuple[Doubles, Doubles]:
    """P of each candidate (0 at padding) and log Z, (B,)."""
    masked = np.where(used, logits, -np.inf)
    # A visit to an empty catalogue has no candidate at all.
    top = np.maximum(masked.max(axis=1), -1e300)
    p = np.exp(masked - top[:, None])
    total = np.maximum(np.einsum("bc,bc->b", each, p), 1e-300)
    p /= total[:, None]
    return p, np.log(total) + top

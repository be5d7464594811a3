"""The default policy gradient in closed form: autograd's answer for ``inclusion``, at a third of its cost.

With p the stratified softmax, ``w = eps/N + (1 - eps) p`` and ``i_k = 1 - exp(-w_k t*)``, the surrogate
``sum_k c_k log i_k`` has ``d/dw_k = c_k r_k t*`` for shown articles, ``r_k = exp(-w_k t*) / i_k``, and moves t* by
``-(t* exp(-w t*) / slope)`` for each; ``dw_c / dz_b = (1 - eps) p_c ([b = c] - P_b)`` with P the shares with their
strata's weights (docs/mathematics.md 2.5, 3.2, 3.3). A test holds it equal to ``policy_gradient``'s autograd.
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
        epsilon: share of uniform exploration.
        kl: weight of the divergence.
    """
    logits, prior, each, num_live = batch.logits.detach().numpy(), batch.prior, batch.each, batch.num_live
    column, advantage = batch.shown.column.numpy(), batch.shown.advantage.numpy()
    log_weight, time = batch.shown.logged.log_weight.numpy(), batch.shown.logged.time.numpy()
    rows, size = np.arange(len(logits))[:, None], column.shape[1]
    used = each > 0
    p, log_z = _softmax(logits, each, used)
    _, log_z0 = _softmax(prior, each, used)
    shares = each * p
    # log p - log p0 of each candidate.
    gained = np.where(used, logits - prior, 0.0) - (log_z - log_z0)[:, None]
    divergence = np.einsum("bc,bc->b", shares, gained)

    w = (1.0 - epsilon) * p
    w += (epsilon / num_live)[:, None]
    rates, target = Rates.stratified(w, each), reachable(each.sum(axis=1), size)
    t = arrival_time(rates, target, np.maximum(time, target), _TOLERANCE)
    waiting = rates.waiting(t)
    slope = rates.slope(t, waiting)
    shown = column >= 0
    place = np.maximum(column, 0)
    own_w = w[rows, place]
    own_alive = np.exp(-own_w * t[:, None])
    included = -np.expm1(-own_w * t[:, None])
    logged = -np.expm1(-np.exp(log_weight) * time[:, None])
    weight = np.zeros(column.shape)
    ratio = included[shown] / logged[shown]
    weight[shown] = batch.shown.weigh(ratio, np.ones_like(ratio), advantage[shown])
    coefficient = weight * np.where(shown, advantage, 0.0)
    log_chance = np.log(np.where(shown, np.maximum(included, 1e-300), 1.0))
    pull = coefficient * own_alive / np.maximum(included, 1e-300)

    by_time = (pull * own_w).sum(axis=1) / slope
    by_weight = waiting
    by_weight *= (-by_time * t)[:, None]
    # A slate shows no article twice, so no two positions share a cell.
    by_weight[rows, place] += np.where(shown, pull * t[:, None], 0.0)
    by_weight *= p
    by_weight *= 1.0 - epsilon
    total = by_weight.sum(axis=1)
    gradient = shares * (kl * (gained - divergence[:, None]) + total[:, None])
    gradient -= by_weight
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

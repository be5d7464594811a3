"""Off-policy value of slates by importance weights (docs/mathematics.md 5.2).

Each estimator is unbiased for one kind of reader: ``sips`` for all, ``rips`` for a cascade (a slot's reward depends
on the slots above it), ``iips`` where article and position decide, ``inclusion_ips`` where the article alone does.
``rho`` are ratios of slot propensities, ``q_k^pi / q_k^beta``: the functions cumulate. Neither a slot's own ``rho``
nor the ratio of draw weights is right by itself for anybody. The variants ``sn*`` divide by mean weights, as Open
Bandit Pipeline does: of a position where weights differ by position.
Positions that nobody could fill (padding) have ratio 1 and reward 0. Shapes: n visits, K positions.
"""

import numpy as np
import numpy.typing as npt

from feedgym.agents.ope.formulas.arrays import of_slots, weights
from feedgym.agents.ope.formulas.terms import Estimate, Terms
from feedgym.env.arrays import Doubles


def sips(rho: npt.ArrayLike, r: npt.ArrayLike) -> Estimate:
    """Standard IPS: the mean of ``rho_{1:K} sum_k r_k``. Unbiased always.

    Args:
        rho: ``q_k^pi / q_k^beta``, float64 (n, K), >= 0.
        r: reward of each position, float64 (n, K).

    Raises:
        ValueError: shapes that differ, NaN, negative ratios.
    """
    ratio = weights(rho, "rho", 2)
    joint = ratio.prod(axis=1)
    return Estimate.of(Terms.mean(joint * of_slots(r, "r", ratio).sum(axis=1), joint))


def snsips(rho: npt.ArrayLike, r: npt.ArrayLike) -> Estimate:
    """:func:`sips`, divided by ``mean rho_{1:K}``."""
    ratio = weights(rho, "rho", 2)
    joint = ratio.prod(axis=1)
    return Estimate.of(Terms.ratio(joint * of_slots(r, "r", ratio).sum(axis=1), joint))


def rips(rho: npt.ArrayLike, r: npt.ArrayLike) -> Estimate:
    """Reward-interaction IPS (McInerney et al., KDD 2020): the mean of ``sum_k rho_{1:k} r_k``. For cascades."""
    ratio = weights(rho, "rho", 2)
    prefix: Doubles = np.multiply.accumulate(ratio, axis=1)
    return Estimate.of(Terms.mean(np.einsum("nk,nk->n", prefix, of_slots(r, "r", ratio)), prefix))


def snrips(rho: npt.ArrayLike, r: npt.ArrayLike) -> Estimate:
    """:func:`rips`, each position divided by its own mean weight."""
    ratio = weights(rho, "rho", 2)
    prefix: Doubles = np.multiply.accumulate(ratio, axis=1)
    return Estimate.of(Terms.ratio(prefix * of_slots(r, "r", ratio), prefix))


def iips(ratio: npt.ArrayLike, r: npt.ArrayLike) -> Estimate:
    """Item-position IPS (Li et al., KDD 2018): the mean of ``sum_k (m_k^pi / m_k^beta)(a_k) r_k``.

    Args:
        ratio: of slot marginals, float64 (n, K), >= 0.
        r: reward of each position, float64 (n, K).
    """
    weight = weights(ratio, "ratio", 2)
    return Estimate.of(Terms.mean(np.einsum("nk,nk->n", weight, of_slots(r, "r", weight)), weight))


def sniips(ratio: npt.ArrayLike, r: npt.ArrayLike) -> Estimate:
    """:func:`iips`, each position divided by its own mean weight."""
    weight = weights(ratio, "ratio", 2)
    return Estimate.of(Terms.ratio(weight * of_slots(r, "r", weight), weight))


def inclusion_ips(ratio: npt.ArrayLike, r: npt.ArrayLike) -> Estimate:
    """The mean of ``sum_k (i_pi / i_beta)(a_k) r_k``, for rewards that depend on the article alone.

    Arguments as :func:`iips`, ``ratio`` being of inclusion probabilities.
    """
    weight = weights(ratio, "ratio", 2)
    return Estimate.of(Terms.mean(np.einsum("nk,nk->n", weight, of_slots(r, "r", weight)), weight, pooled=True))


def iips_dr(ratio: npt.ArrayLike, r: npt.ArrayLike, q: npt.ArrayLike, q_pi: npt.ArrayLike) -> Estimate:
    """:func:`iips` of what a reward model leaves over: the mean of ``sum_k q_pi_k + ratio_k (r_k - q_k)``.

    Unbiased where :func:`iips` is, with any model; with a model of 0 it is :func:`iips`.

    Args:
        ratio: of slot marginals, float64 (n, K), >= 0.
        r: reward of each position, float64 (n, K).
        q: the model's reward of the logged article at its position, float64 (n, K); 0 at padding.
        q_pi: its mean over what the target puts there, float64 (n, K); 0 at padding.
    """
    weight = weights(ratio, "ratio", 2)
    residual = of_slots(r, "r", weight) - of_slots(q, "q", weight)
    base: Doubles = np.einsum("nk,nk->n", weight, residual)
    return Estimate.of(Terms.mean(base + of_slots(q_pi, "q_pi", weight).sum(axis=1), weight))


def sniips_dr(ratio: npt.ArrayLike, r: npt.ArrayLike, q: npt.ArrayLike, q_pi: npt.ArrayLike) -> Estimate:
    """:func:`iips_dr`, the correction at each position divided by that position's own mean weight."""
    weight = weights(ratio, "ratio", 2)
    residual = of_slots(r, "r", weight) - of_slots(q, "q", weight)
    return Estimate.of(Terms.ratio(weight * residual, weight, of_slots(q_pi, "q_pi", weight).sum(axis=1)))

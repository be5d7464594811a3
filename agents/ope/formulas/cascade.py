"""Cascade doubly robust (Kiyohara et al., WSDM 2022): a reward model where readers go from the top down.

``Q_k(a)`` models the reward from slot k to the end, given the articles above and a at slot k, under the target.
Shapes: n visits, K positions.
"""

import numpy as np
import numpy.typing as npt

from feedgym.agents.ope.formulas.arrays import of_slots, weights
from feedgym.agents.ope.formulas.terms import Estimate, Terms
from feedgym.env.arrays import Doubles
from feedgym.env.checks import require


def cascade_dr(rho: npt.ArrayLike, r: npt.ArrayLike, q: npt.ArrayLike, q_pi: npt.ArrayLike) -> Estimate:
    """The mean of ``sum_k rho_{1:k} (r_k - Q_k(a_k)) + rho_{1:k-1} E_{a ~ q_k^pi}[Q_k(a)]``.

    Unbiased for cascade readers with any Q; with Q = 0 it is RIPS.

    Args:
        rho: ``q_k^pi / q_k^beta``, float64 (n, K), >= 0.
        r: reward of each position, float64 (n, K).
        q: ``Q_k(a_k)`` of what was logged, float64 (n, K); 0 at padding.
        q_pi: mean of ``Q_k`` over the target's slot k given the logged articles above, float64 (n, K); 0 at padding.
    """
    ratio = weights(rho, "rho", 2)
    prefix: Doubles = np.multiply.accumulate(ratio, axis=1)
    above = np.concatenate([np.ones((len(ratio), 1)), prefix[:, :-1]], axis=1)
    residual = of_slots(r, "r", ratio) - of_slots(q, "q", ratio)
    base: Doubles = np.einsum("nk,nk->n", prefix, residual)
    base += np.einsum("nk,nk->n", above, of_slots(q_pi, "q_pi", ratio))
    return Estimate.of(Terms.mean(base, prefix))


def slot_expectation(total: npt.ArrayLike, weight: npt.ArrayLike, q_shown: npt.ArrayLike) -> Doubles:
    """``E[Q_k(a)]`` of every slot, O(K^2) a visit: the sum over the live articles less those above.

    Of an article drawn in proportion to weights w from what is left: the target's softmax in a visit that does not
    explore, 1 / N in one that does. :func:`mixed_expectation` is that of both.

    Args:
        total: ``sum over live a of w_a Q_k(a)``, float64 (n, K).
        weight: w of the logged articles, float64 (n, K); 0 at padding.
        q_shown: ``Q_k(a_j)``: the value that the article of slot j would have at slot k, float64 (n, K, K) [k, j].

    Returns:
        float64 (n, K); 0 where the articles above have all weight.
    """
    sums, w = of_slots(total, "total"), of_slots(weight, "weight")
    values = np.asarray(q_shown, dtype=np.float64)
    k = sums.shape[1]
    require(w.shape == sums.shape, "weight", w.shape, f"{sums.shape}, as total")
    require(values.shape == (*sums.shape, k), "q_shown", values.shape, f"{(*sums.shape, k)}: visit, slot, shown")
    above = np.tril(np.ones((k, k)), -1)  # [k, j]: j stands above k
    taken = np.einsum("kj,nj,nkj->nk", above, w, values)
    left = 1.0 - np.einsum("kj,nj->nk", above, w)
    expected: Doubles = np.zeros_like(sums)
    np.divide(sums - taken, left, out=expected, where=left > 1e-12)
    return expected


def mixed_expectation(
    kept: npt.ArrayLike,
    total: npt.ArrayLike,
    weight: npt.ArrayLike,
    total_live: npt.ArrayLike,
    weight_live: npt.ArrayLike,
    q_shown: npt.ArrayLike,
) -> Doubles:
    """``E_{a ~ q_k^pi}[Q_k(a)]`` under a policy of which a visit explores with chance epsilon, float64 (n, K).

    Args:
        kept: chance that the visit does not explore, given the articles above (``kept_share``), float64 (n, K).
        total: ``sum of p_a Q_k(a)``, p the target's softmax, float64 (n, K).
        weight: p of the logged articles, float64 (n, K); 0 at padding.
        total_live: mean of ``Q_k`` over the live articles, float64 (n, K).
        weight_live: 1 / N, float64 (n, K); 0 at padding.
        q_shown: as in :func:`slot_expectation`.
    """
    share = of_slots(kept, "kept")
    from_softmax = slot_expectation(total, weight, q_shown)
    explored = slot_expectation(total_live, weight_live, q_shown)
    mixed: Doubles = share * from_softmax + (1.0 - share) * explored
    return mixed

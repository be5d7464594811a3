"""The pseudo-inverse estimator: slates of which only a reward of the whole is known (Swaminathan et al., NIPS 2017).

Unbiased where that reward is a sum over (position, article) pairs. It needs every pair of pairs: small catalogues
only. Where positions have rewards of their own, ``iips`` makes the same assumption with less variance.
Shapes: n visits, G contexts (a policy's slates are alike within one), S slates, K positions, N articles; a pair
(k, a) stands at k N + a of K N.
"""

import numpy as np
import numpy.typing as npt

from feedgym.agents.ope.formulas.arrays import of_visits
from feedgym.agents.ope.formulas.terms import Estimate, Terms
from feedgym.env.arrays import Doubles, Ints
from feedgym.env.checks import require

MAX_PAIRS = 2000
"""K N at most: the matrix of pairs is 32 MB then, and its pseudo-inverse takes seconds."""
CUT = 1e-10
"""Eigenvalues below this share of the largest count as 0."""


def pair_chances(slates: npt.ArrayLike, chance: npt.ArrayLike, num_articles: int) -> tuple[Doubles, Doubles]:
    """``E[1_S]`` and ``E[1_S 1_S']`` of a policy.

    Args:
        slates: article rows 0..N-1 at each position, integers (S, K): all slates that the policy can serve (or a
            sample of them: the estimator is then only as exact as the sample).
        chance: of each slate, float64 (S,), with sum 1.
        num_articles: N.

    Returns:
        float64 (K N,), and float64 (K N, K N).
    """
    shown = _shown(slates, num_articles)
    p = of_visits(chance, "chance")
    require(len(p) == len(shown), "chance", p.shape, f"({len(shown)},): one for each slate")
    require(abs(float(p.sum()) - 1.0) < 1e-6, "chance", float(p.sum()), "a sum of 1")
    size = shown.shape[1] * num_articles
    pair = shown + num_articles * np.arange(shown.shape[1])  # (S, K)
    each = np.repeat(p, shown.shape[1])
    single = np.asarray(np.bincount(pair.ravel(), each, minlength=size), dtype=np.float64)
    double: Doubles = np.zeros(size * size)
    # K passes over all slates: not (S, K, K) at once.
    for k in range(shown.shape[1]):
        both = pair[:, k, None] * size + pair
        double += np.bincount(both.ravel(), each, minlength=size * size)
    return single, double.reshape(size, size)


def pseudo_inverse_weights(
    slates: npt.ArrayLike,
    target_single: npt.ArrayLike,
    logged_double: npt.ArrayLike,
    num_articles: int,
    context: npt.ArrayLike | None = None,
) -> Doubles:
    """``q_pi' Gamma_beta^+ 1_S`` of each logged slate, float64 (n,); of mean 1, and possibly below 0.

    Args:
        slates: logged article rows, integers (n, K).
        target_single: ``q_pi = E_pi[1_S]``, float64 (K N,), or (G, K N) with ``context``.
        logged_double: ``Gamma_beta = E_beta[1_S 1_S']``, float64 (K N, K N), or (G, K N, K N).
        num_articles: N.
        context: which of the G each visit belongs to, integers (n,); None: all to one.

    Raises:
        ValueError: shapes that do not fit; K N above ``MAX_PAIRS``; article rows outside the N.
    """
    shown = _shown(slates, num_articles)
    size = shown.shape[1] * num_articles
    single = np.atleast_2d(np.asarray(target_single, dtype=np.float64))
    double = np.asarray(logged_double, dtype=np.float64)
    double = double[None] if double.ndim == 2 else double
    require(single.shape[1:] == (size,), "target_single", single.shape, f"(K N,) or (G, K N), K N = {size}")
    wanted = (len(single), size, size)
    require(double.shape == wanted, "logged_double", double.shape, f"{wanted}: a matrix for each context")
    group: Ints = np.zeros(len(shown), dtype=np.int64) if context is None else np.asarray(context, dtype=np.int64)
    require(group.shape == (len(shown),), "context", group.shape, f"({len(shown)},): one for each visit")
    inside = bool(((group >= 0) & (group < len(single))).all())
    require(inside, "context", group[(group < 0) | (group >= len(single))][:1], f"below {len(single)}")
    inverse = np.linalg.pinv(double, rcond=CUT, hermitian=True)
    per_pair = np.einsum("gi,gij->gj", single, inverse)  # (G, K N)
    pair = shown + num_articles * np.arange(shown.shape[1])
    weight: Doubles = per_pair[group[:, None], pair].sum(axis=1)
    return weight


def pseudo_inverse(weight: npt.ArrayLike, slate_reward: npt.ArrayLike) -> Estimate:
    """The mean of ``weight r_S``: weights (n,) of :func:`pseudo_inverse_weights`, rewards of whole slates (n,)."""
    w = of_visits(weight, "weight")
    return Estimate.of(Terms.mean(w * of_visits(slate_reward, "slate_reward", w), w))


def _shown(slates: npt.ArrayLike, num_articles: int) -> Ints:
    shown: Ints = np.asarray(slates, dtype=np.int64)
    require(shown.ndim == 2 and shown.size > 0, "slates", shown.shape, "(n, K), with visits")
    pairs = shown.shape[1] * num_articles
    allowed = f"K N <= {MAX_PAIRS}: with rewards of positions take iips, otherwise sips"
    require(1 <= pairs <= MAX_PAIRS, "slates", f"K = {shown.shape[1]}, N = {num_articles}", allowed)
    inside = (shown >= 0) & (shown < num_articles)
    require(bool(inside.all()), "slates", shown[~inside][:1], f"article rows 0 to {num_articles - 1}, no padding")
    return shown

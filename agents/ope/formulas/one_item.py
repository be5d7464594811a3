"""Off-policy value where a visit shows one article (docs/mathematics.md 5.1).

``w = pi / beta`` of what was logged, ``r`` its reward, ``q`` a reward model's value of it, ``q_pi`` the model's mean
over what the target would show. Shapes: n visits.
"""

import numpy as np
import numpy.typing as npt

from feedgym.agents.ope.formulas.arrays import of_visits, weights
from feedgym.agents.ope.formulas.terms import Estimate, Terms
from feedgym.env.checks import require


def ips(w: npt.ArrayLike, r: npt.ArrayLike, *, cap: float | None = None) -> Estimate:
    """Inverse propensity scoring: the mean of ``w r``.

    Args:
        w: ``pi / beta``, float64 (n,), >= 0.
        r: reward, float64 (n,).
        cap: largest weight, > 0: ``min(w, cap) r``, with less variance and a bias downwards (of rewards >= 0).
            The diagnostics stay those of ``w``.

    Raises:
        ValueError: shapes that differ, NaN, negative weights.
    """
    weight = weights(w, "w", 1)
    reward = of_visits(r, "r", weight)
    require(cap is None or cap > 0, "cap", cap, "None, or > 0")
    capped = weight if cap is None else np.minimum(weight, cap)
    return Estimate.of(Terms.mean(capped * reward, weight))


def snips(w: npt.ArrayLike, r: npt.ArrayLike) -> Estimate:
    """Self-normalised IPS (Swaminathan & Joachims, NeurIPS 2015): ``mean(w r) / mean(w)``. Arguments as :func:`ips`."""
    weight = weights(w, "w", 1)
    return Estimate.of(Terms.ratio(weight * of_visits(r, "r", weight), weight))


def dm(q_pi: npt.ArrayLike) -> Estimate:
    """Direct method: the mean of what a reward model expects of the target, ``q_pi`` float64 (n,). No weights."""
    value = of_visits(q_pi, "q_pi")
    return Estimate.of(Terms.mean(value, np.zeros((len(value), 0))))


def dr(w: npt.ArrayLike, r: npt.ArrayLike, q: npt.ArrayLike, q_pi: npt.ArrayLike) -> Estimate:
    """Doubly robust (Dudik et al., Statistical Science 2014): the mean of ``q_pi + w (r - q)``.

    Args:
        w: ``pi / beta``, float64 (n,), >= 0.
        r: reward, float64 (n,).
        q: the reward model's value of what was logged, float64 (n,).
        q_pi: the model's mean over what the target would show, float64 (n,).
    """
    weight = weights(w, "w", 1)
    residual = of_visits(r, "r", weight) - of_visits(q, "q", weight)
    return Estimate.of(Terms.mean(of_visits(q_pi, "q_pi", weight) + weight * residual, weight))


def sndr(w: npt.ArrayLike, r: npt.ArrayLike, q: npt.ArrayLike, q_pi: npt.ArrayLike) -> Estimate:
    """:func:`dr` whose correction is divided by the mean weight."""
    weight = weights(w, "w", 1)
    residual = of_visits(r, "r", weight) - of_visits(q, "q", weight)
    return Estimate.of(Terms.ratio(weight * residual, weight, of_visits(q_pi, "q_pi", weight)))


def switch_dr(w: npt.ArrayLike, r: npt.ArrayLike, q: npt.ArrayLike, q_pi: npt.ArrayLike, tau: float) -> Estimate:
    """SWITCH-DR (Wang, Agarwal & Dudik, ICML 2017): :func:`dr` without correction where ``w > tau``, tau >= 0."""
    require(tau >= 0, "tau", tau, ">= 0")
    weight = weights(w, "w", 1)
    residual = of_visits(r, "r", weight) - of_visits(q, "q", weight)
    kept = np.where(weight <= tau, weight, 0.0)
    return Estimate.of(Terms.mean(of_visits(q_pi, "q_pi", weight) + kept * residual, weight))


def dros(w: npt.ArrayLike, r: npt.ArrayLike, q: npt.ArrayLike, q_pi: npt.ArrayLike, lam: float) -> Estimate:
    """DR with optimistic shrinkage (Su et al., ICML 2020): :func:`dr` with ``lam w / (w^2 + lam)`` for w.

    ``lam`` >= 0: 0 is the direct method, infinity DR.
    """
    require(lam >= 0, "lam", lam, ">= 0")
    weight = weights(w, "w", 1)
    residual = of_visits(r, "r", weight) - of_visits(q, "q", weight)
    # Divided by lam above and below: infinity is allowed.
    shrunk = weight / (np.square(weight) / lam + 1.0) if lam > 0 else np.zeros_like(weight)
    return Estimate.of(Terms.mean(of_visits(q_pi, "q_pi", weight) + shrunk * residual, weight))

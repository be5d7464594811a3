"""Importance weights: what a logged reward says about another policy (docs/mathematics.md 3.1).

Shapes: any; n weights of a batch. Everything is float64.
"""

from typing import Literal

import numpy as np
import numpy.typing as npt

from feedgym.env.arrays import Doubles
from feedgym.env.checks import require

WeightMethod = Literal["none", "cap", "nis", "clip"]


WEIGHT_METHODS: tuple[WeightMethod, ...] = ("none", "cap", "nis", "clip")


PAPER_CAP = float(np.exp(3.0))
"""Chen et al. (WSDM 2019, 4.4) cap at e^3; e^5 hurt them online."""


def importance_weight(
    pi: npt.ArrayLike,
    beta: npt.ArrayLike,
    method: str = "cap",
    *,
    cap: float = PAPER_CAP,
    delta: float = 0.2,
    advantage: npt.ArrayLike | None = None,
) -> Doubles:
    """Ratios ``omega = pi / beta`` with their variance under control (Chen et al., WSDM 2019, section 4.4).

    Args:
        pi: chance of what was logged under the policy to learn, any shape, >= 0.
        beta: its chance under the policy that logged, the same shape, > 0.
        method: ``none``: omega as it is. ``cap``: ``min(omega, cap)``. ``nis``: ``omega / mean(omega)``. ``clip``:
            0 where ``min(omega A, clip(omega, 1 - delta, 1 + delta) A)`` is flat, omega elsewhere: the coefficient
            of ``A grad log pi`` (Schulman et al. 2017, equation 7, with the ratio to the policy that logged).
        cap: largest weight of ``cap``, > 0.
        delta: half-width of ``clip``, > 0.
        advantage: A of ``clip``, the same shape.

    Returns:
        float64 in the shape of ``pi``.

    Raises:
        ValueError: an unknown method; shapes that differ; ``beta`` not above 0; ``clip`` without ``advantage``.
    """
    require(method in WEIGHT_METHODS, "method", method, f"one of {WEIGHT_METHODS}")
    target, logged = np.asarray(pi, dtype=np.float64), np.asarray(beta, dtype=np.float64)
    require(target.shape == logged.shape, "beta", logged.shape, f"the shape of pi, {target.shape}")
    require(bool((logged > 0).all()), "beta", float(logged.min(initial=1.0)), "> 0: what was logged had a chance")
    require(bool((target >= 0).all()), "pi", float(target.min(initial=0.0)), ">= 0: chances")
    omega: Doubles = target / logged
    if method == "cap":
        require(cap > 0, "cap", cap, "> 0")
        return np.minimum(omega, cap)
    if method == "nis":
        return omega / max(float(omega.mean()) if omega.size else 1.0, 1e-300)
    if method == "clip":
        require(delta > 0, "delta", delta, "> 0")
        require(advantage is not None, "advantage", None, "an array: clipping depends on its sign")
        sign = np.asarray(advantage, dtype=np.float64)
        require(sign.shape == omega.shape, "advantage", sign.shape, f"the shape of pi, {omega.shape}")
        flat = ((sign > 0) & (omega > 1.0 + delta)) | ((sign < 0) & (omega < 1.0 - delta))
        return np.where(flat, 0.0, omega)
    return omega


def top_k_multiplier(pi: npt.ArrayLike, k: int) -> Doubles:
    """``lambda_K = K (1 - pi)^(K - 1)``, Chen et al. (WSDM 2019, equation 7); any shape.

    The derivative by ``pi`` of ``1 - (1 - pi)^K``: the chance to be among K draws with replacement.
    """
    require(k >= 1, "k", k, ">= 1")
    multiplier: Doubles = k * (1.0 - np.asarray(pi, dtype=np.float64)) ** (k - 1)
    return multiplier

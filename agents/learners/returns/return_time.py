"""When a reader comes back: a Weibull regression of the gaps between visits, the open ones included.

A site never sees a reader leave: the last gap of everyone is open, and longer gaps are open more often, so
leaving them out would be biased (docs/mathematics.md 4.3). A gap T has ``log T = x . w + b + G / k``, with G a Gumbel
draw: ``P(T > t) = exp(-(t / s)^k)``, ``s = exp(x . w + b)`` (Kalbfleisch & Prentice, 2002, section 2.2.2).
Shapes: n visits, F features. Time is in hours.
"""

import numpy as np
import torch

from feedgym.env.arrays import Arrays, Bools, Doubles, Floats, copied, put_back
from feedgym.towers.plain_torch import eager

_SHORTEST_HOURS = 1e-3
_RIDGE = 1e-3
_NODES = 24
_FITTED = ("_mean", "_sd", "_weights", "is_fitted")


class ReturnTime:
    """Weibull regression, fitted by maximum likelihood, warm from fit to fit.

    Args:
        num_features: F.
    """

    def __init__(self, num_features: int) -> None:
        self._mean: Doubles = np.zeros(num_features)
        self._sd: Doubles = np.ones(num_features)
        self._weights: Doubles = np.zeros(num_features + 2)
        """w, then b, then log k."""
        self.is_fitted = False

    def fit(self, features: Floats, gap_hours: Doubles, is_open: Bools, max_iterations: int = 15) -> None:
        """Maximise the likelihood; a gap that ``is_open`` has lasted ``gap_hours`` so far.

        Args:
            features: float (n, F), of the visit at the gap's start and of its outcome.
            gap_hours: (n,), >= 0.
            is_open: bool (n,).
            max_iterations: of L-BFGS.
        """
        closed = ~is_open
        if np.count_nonzero(closed) < 10:
            return
        if not self.is_fitted:
            self._mean, self._sd = features.mean(axis=0).astype(np.float64), features.std(axis=0).astype(np.float64)
            self._sd = np.where(self._sd > 1e-6, self._sd, 1.0)
            self._weights[-2] = np.log(np.maximum(gap_hours, _SHORTEST_HOURS)[closed]).mean() + 0.5
            self.is_fitted = True
        x = torch.from_numpy(self._standard(features))
        log_gap = torch.from_numpy(np.log(np.maximum(gap_hours, _SHORTEST_HOURS)))
        event = torch.from_numpy(closed.astype(np.float64))
        weights = torch.from_numpy(self._weights.copy()).requires_grad_()
        optimiser = eager(torch.optim.LBFGS)([weights], max_iter=max_iterations, line_search_fn="strong_wolfe")

        def loss() -> torch.Tensor:
            optimiser.zero_grad()
            shape = weights[-1].exp()
            standard = shape * (log_gap - x @ weights[:-2] - weights[-2])
            likelihood = event * (weights[-1] + standard) - torch.exp(standard.clamp(max=30.0))
            value = -likelihood.mean() + _RIDGE * weights[:-2].square().sum()
            value.backward()  # type: ignore[no-untyped-call]
            return value

        optimiser.step(loss)
        fitted = weights.detach().numpy()
        if np.isfinite(fitted).all():
            self._weights = fitted.copy()

    def expected_discount(self, features: Floats, elapsed_hours: Doubles, discount_per_hour: float) -> Doubles:
        """``E[g^T | T > elapsed]``, (n,): what the value of the next visit is worth at the last one.

        Args:
            features: float (n, F).
            elapsed_hours: hours since that visit, (n,).
            discount_per_hour: g.
        """
        # -(log P) is exponential: beyond `elapsed` it starts anew there. Gauss-Laguerre over it.
        shape = np.exp(self._weights[-1])
        scale = np.exp(self._standard(features) @ self._weights[:-2] + self._weights[-2])
        node, weight = np.polynomial.laguerre.laggauss(_NODES)
        start = (elapsed_hours / scale) ** shape
        gap = scale[:, None] * (start[:, None] + node) ** (1.0 / shape)
        expected: Doubles = (discount_per_hour**gap) @ weight
        return expected

    def _standard(self, features: Floats) -> Doubles:
        standard: Doubles = (features.astype(np.float64) - self._mean) / self._sd
        return np.clip(standard, -6.0, 6.0)

    def snapshot(self) -> Arrays:
        """All parameters."""
        return copied(self, _FITTED)

    def restore(self, snapshot: Arrays) -> None:
        """Become the model of a snapshot."""
        put_back(self, _FITTED, snapshot)

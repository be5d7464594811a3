"""What every age decay can do, and what decays share.

Shapes: B readers, N articles, K positions, E extra columns, P and Q parameters of a reader and of an article,
straight from the towers (any real number). Times are in hours, float64: float32 resolves hours since 1970 to
two minutes only. ``t_ref`` is a reference that articles and readers share; keep it within the live window, or
float32 columns lose digits.
"""

import math
from typing import Protocol

import torch
from torch import Tensor

Hours = float | Tensor


class AgeDecay(Protocol):
    """The decay term: score(age) = user_columns . item_columns + constant, for every moment."""

    @property
    def num_columns(self) -> int:
        """Extra columns E of the augmented vectors."""
        ...

    @property
    def initial_user_params(self) -> tuple[float, ...]:
        """Where the reader's P parameters start."""
        ...

    @property
    def initial_item_params(self) -> tuple[float, ...]:
        """Where the article's Q parameters start."""
        ...

    def item_columns(self, publish_time: Tensor, t_ref: float, item_params: Tensor) -> Tensor:
        """Columns written once: publish_time (N,) in hours, item_params (N, Q) -> float32 (N, E)."""
        ...

    def user_columns(self, user_params: Tensor, now: Hours, t_ref: float) -> Tensor:
        """Columns of a request: user_params (B, P), now in hours, a number or (B,) -> float32 (B, E)."""
        ...

    def score(self, user_params: Tensor, item_params: Tensor, age: Tensor) -> Tensor:
        """The term added to the score, in the shape of ``age`` in hours.

        age (B,): row by row, item_params (B, Q). age (B, K) with item_params (B, K, Q): slates.
        age (B, N) with item_params (N, Q): every reader with every article. user_params is (B, P) always.
        """
        ...

    def constant(self, user_params: Tensor, now: Hours, t_ref: float) -> Tensor:
        """What the product of the columns lacks, the same for all articles of a reader: float32 (B,)."""
        ...


def elapsed(now: Hours, t_ref: float) -> Tensor:
    """Hours since ``t_ref``, float64, () or (B,)."""
    return torch.as_tensor(now, dtype=torch.float64) - t_ref


def per_reader(values: Tensor, age: Tensor) -> Tensor:
    """One value a reader (B,), ready to meet ages (B,), (B, K) or (B, N)."""
    return values if age.ndim == 1 else values[:, None]


def softplus_inverse(value: float) -> float:
    """The parameter whose softplus is ``value`` > 0."""
    # expm1: log(exp(x) - 1) loses the digits of a small rate.
    return math.log(math.expm1(value)) if value < 30 else value

"""How an article's score falls with its age, such that retrieval stays an exact inner product.

An article's columns must not depend on the moment of the request, else all would be rewritten at each tick.
So the decay must be a finite sum of f_k(now) h_k(published), and those are sums of polynomials, exponentials
and sinusoids. Training uses ``score`` with the age at the impression, serving the columns: one set of
parameters for both.

Shapes: B readers, N articles, K positions, E extra columns, P and Q parameters of a reader and of an article,
straight from the towers (any real number). Times are in hours, float64: float32 resolves hours since 1970 to
two minutes only. ``t_ref`` is a reference that articles and readers share; keep it within the live window, or
float32 columns lose digits.
"""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from feedgym.towers.checks import require

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


@dataclass(frozen=True)
class NoDecay:
    """Age does not matter."""

    num_columns: int = 0
    initial_user_params: tuple[float, ...] = ()
    initial_item_params: tuple[float, ...] = ()

    def item_columns(self, publish_time: Tensor, t_ref: float, item_params: Tensor) -> Tensor:
        """No columns, (N, 0)."""
        return torch.empty(len(publish_time), 0)

    def user_columns(self, user_params: Tensor, now: Hours, t_ref: float) -> Tensor:
        """No columns, (B, 0)."""
        return torch.empty(len(user_params), 0)

    def score(self, user_params: Tensor, item_params: Tensor, age: Tensor) -> Tensor:
        """Zeros in the shape of ``age``."""
        return torch.zeros_like(age, dtype=user_params.dtype)

    def constant(self, user_params: Tensor, now: Hours, t_ref: float) -> Tensor:
        """Zeros (B,)."""
        return torch.zeros(len(user_params))


@dataclass(frozen=True)
class LinearDecay:
    """-rate_u * age, with rate_u = softplus of the reader's one parameter. Ranking needs no ``constant``."""

    initial_rate: float = 0.02
    """Loss of score per hour at the start, > 0."""
    num_columns: int = 1
    initial_item_params: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        require(self.initial_rate > 0, "initial_rate", self.initial_rate, "> 0 (per hour)")

    @property
    def initial_user_params(self) -> tuple[float, ...]:
        """Softplus of it is the initial rate."""
        return (float(torch.tensor(self.initial_rate, dtype=torch.float64).expm1().log()),)

    def item_columns(self, publish_time: Tensor, t_ref: float, item_params: Tensor) -> Tensor:
        """t_i - t_ref, (N, 1)."""
        return (publish_time.double() - t_ref).float()[:, None]

    def user_columns(self, user_params: Tensor, now: Hours, t_ref: float) -> Tensor:
        """rate_u, (B, 1): the moment does not matter to the ranking."""
        return F.softplus(user_params).float()

    def score(self, user_params: Tensor, item_params: Tensor, age: Tensor) -> Tensor:
        """-rate_u * age."""
        rate = F.softplus(user_params[:, 0])
        return -age.to(rate.dtype) * (rate if age.ndim == 1 else rate[:, None])

    def constant(self, user_params: Tensor, now: Hours, t_ref: float) -> Tensor:
        """-rate_u (now - t_ref)."""
        return -F.softplus(user_params[:, 0]).float() * _elapsed(now, t_ref).float()


@dataclass(frozen=True)
class ExponentialSum:
    """sum_k c_uk A_ik exp(-age / tau_k), for fixed tau: any smooth decay, to about 1 % with four of them.

    Readers give c (where freshness counts, and how much); articles give A where ``per_item`` (breaking or
    evergreen), else A = 1. Neither has a fixed sign. At the start c = 0 and A = 1.
    """

    taus_hours: tuple[float, ...] = (2.0, 8.0, 32.0)
    """Time scales, spaced by equal factors over the ages that matter. One far shorter than the
    live window needs a ``t_ref`` that moves along: exp((t_i - t_ref) / tau) must stay a float32."""
    per_item: bool = True
    """Whether articles have amplitudes A of their own."""

    # exp(+-80) is 5e34 or its inverse: products with usual scores stay normal float32 numbers.
    _largest_exponent = 80.0

    def __post_init__(self) -> None:
        usable = len(self.taus_hours) > 0 and min(self.taus_hours) > 0
        require(usable, "taus_hours", self.taus_hours, "at least one, all > 0 (hours)")

    @property
    def num_columns(self) -> int:
        """One for each tau."""
        return len(self.taus_hours)

    @property
    def initial_user_params(self) -> tuple[float, ...]:
        """Zeros: age does not matter yet."""
        return (0.0,) * len(self.taus_hours)

    @property
    def initial_item_params(self) -> tuple[float, ...]:
        """Ones, if articles have amplitudes."""
        return (1.0,) * len(self.taus_hours) if self.per_item else ()

    def item_columns(self, publish_time: Tensor, t_ref: float, item_params: Tensor) -> Tensor:
        """A_ik exp((t_i - t_ref) / tau_k), (N, E)."""
        growth = self._powers(publish_time.double() - t_ref)
        return growth * item_params.float() if self.per_item else growth

    def user_columns(self, user_params: Tensor, now: Hours, t_ref: float) -> Tensor:
        """c_uk exp(-(now - t_ref) / tau_k), (B, E)."""
        return user_params.float() * self._powers(-_elapsed(now, t_ref))

    def score(self, user_params: Tensor, item_params: Tensor, age: Tensor) -> Tensor:
        """sum_k c_uk A_ik exp(-age / tau_k)."""
        age = age.to(user_params.dtype)
        total = torch.zeros_like(age)
        for k, tau in enumerate(self.taus_hours):
            c = user_params[:, k] if age.ndim == 1 else user_params[:, k, None]
            fading = torch.exp(age / -tau) * c
            # (B,) with (B,), (B, K) with (B, K), or (B, N) with (N,)
            total = torch.addcmul(total, fading, item_params[..., k]) if self.per_item else total + fading
        return total

    def constant(self, user_params: Tensor, now: Hours, t_ref: float) -> Tensor:
        """Zeros (B,): the value is exact."""
        return torch.zeros(len(user_params))

    def _powers(self, hours: Tensor) -> Tensor:
        """exp(hours / tau_k), float32 (..., E); exponents are formed in float64."""
        exponent = hours[..., None] / torch.tensor(self.taus_hours, dtype=torch.float64)
        far = float(exponent.max()) if exponent.numel() else 0.0
        limit = self._largest_exponent
        require(far <= limit, "t_ref", f"{far:.0f} tau before", f"at most {limit:.0f} tau before all times: rebase")
        # Far below, exp underflows to 0: an article many tau old, whose term is 0 to float32.
        return exponent.exp().float()


def _elapsed(now: Hours, t_ref: float) -> Tensor:
    """Hours since ``t_ref``, float64, () or (B,)."""
    return torch.as_tensor(now, dtype=torch.float64) - t_ref

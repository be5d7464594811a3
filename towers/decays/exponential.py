"""Decay as a sum of exponentials (shapes as in ``protocol``)."""

from dataclasses import dataclass

import torch
from torch import Tensor

from feedgym.towers.checks import require
from feedgym.towers.decays.protocol import Hours, elapsed, per_reader


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
        return user_params.float() * self._powers(-elapsed(now, t_ref))

    def score(self, user_params: Tensor, item_params: Tensor, age: Tensor) -> Tensor:
        """sum_k c_uk A_ik exp(-age / tau_k)."""
        age = age.to(user_params.dtype)
        total = torch.zeros_like(age)
        for k, tau in enumerate(self.taus_hours):
            fading = torch.exp(age / -tau) * per_reader(user_params[:, k], age)
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

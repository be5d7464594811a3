"""The daily cycle of an article's appeal (shapes as in ``protocol``)."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from feedgym.towers.checks import require
from feedgym.towers.decays.protocol import Hours, elapsed, per_reader


@dataclass(frozen=True)
class Harmonic:
    """sum_j A_uj cos(w_j age) + B_uj sin(w_j age), w_j = 2 pi / period_j; readers give A and B, of either sign.

    The morning paper's reader comes back to what was published at this hour yesterday. A cycle does not fade:
    add it to a decay by ``SumDecay``. At the start A = B = 0.
    """

    periods_hours: tuple[float, ...] = (24.0,)
    """Lengths of the cycles: (24,) is the day, (24, 12) the day with its second harmonic, (24, 168) day and week."""

    initial_item_params: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        usable = len(self.periods_hours) > 0 and min(self.periods_hours) > 0
        require(usable, "periods_hours", self.periods_hours, "at least one, all > 0 (hours)")

    @property
    def num_columns(self) -> int:
        """A cosine and a sine for each period."""
        return 2 * len(self.periods_hours)

    @property
    def initial_user_params(self) -> tuple[float, ...]:
        """Zeros, first all A, then all B: age does not matter yet."""
        return (0.0,) * self.num_columns

    def item_columns(self, publish_time: Tensor, t_ref: float, item_params: Tensor) -> Tensor:
        """The cosines of w (t_i - t_ref), then the sines, (N, E)."""
        phase = self._phase(publish_time.double() - t_ref)
        return torch.cat([phase.cos(), phase.sin()], dim=1).float()

    def user_columns(self, user_params: Tensor, now: Hours, t_ref: float) -> Tensor:
        """A cos wt + B sin wt, then A sin wt - B cos wt, for t = now - t_ref, (B, E)."""
        phase = self._phase(elapsed(now, t_ref))
        cos, sin = phase.cos().float(), phase.sin().float()
        a, b = user_params.float().chunk(2, dim=1)
        return torch.cat([a * cos + b * sin, a * sin - b * cos], dim=1)

    def score(self, user_params: Tensor, item_params: Tensor, age: Tensor) -> Tensor:
        """sum_j A_uj cos(w_j age) + B_uj sin(w_j age)."""
        age = age.to(user_params.dtype)
        total = torch.zeros_like(age)
        for a, b, period in zip(*user_params.T.chunk(2), self.periods_hours, strict=True):
            phase = age * (math.tau / period)
            total = total + per_reader(a, age) * phase.cos() + per_reader(b, age) * phase.sin()
        return total

    def constant(self, user_params: Tensor, now: Hours, t_ref: float) -> Tensor:
        """Zeros (B,): the value is exact."""
        return torch.zeros(len(user_params))

    def _phase(self, hours: Tensor) -> Tensor:
        """w_j * hours, float64 (..., J): in float64 the phase is right however far away ``t_ref`` is."""
        return hours[..., None] * (math.tau / torch.tensor(self.periods_hours, dtype=torch.float64))

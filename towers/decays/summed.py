"""Several decays at once (shapes as in ``protocol``)."""

from dataclasses import dataclass
from itertools import accumulate

import torch
from torch import Tensor

from feedgym.towers.checks import require
from feedgym.towers.decays.protocol import AgeDecay, Hours


@dataclass(frozen=True)
class SumDecay:
    """The sum of decays, such as exponentials and a daily cycle: parameters and columns stand side by side."""

    parts: tuple[AgeDecay, ...]
    """What is added, at least one."""

    def __post_init__(self) -> None:
        require(len(self.parts) > 0, "parts", self.parts, "at least one decay")

    @property
    def num_columns(self) -> int:
        """Those of all parts."""
        return sum(part.num_columns for part in self.parts)

    @property
    def initial_user_params(self) -> tuple[float, ...]:
        """Those of all parts, one after the other."""
        return tuple(value for part in self.parts for value in part.initial_user_params)

    @property
    def initial_item_params(self) -> tuple[float, ...]:
        """Those of all parts, one after the other."""
        return tuple(value for part in self.parts for value in part.initial_item_params)

    def item_columns(self, publish_time: Tensor, t_ref: float, item_params: Tensor) -> Tensor:
        """The parts' columns side by side, (N, E)."""
        own = zip(self.parts, self._of_items(item_params), strict=True)
        return torch.cat([part.item_columns(publish_time, t_ref, params) for part, params in own], dim=1)

    def user_columns(self, user_params: Tensor, now: Hours, t_ref: float) -> Tensor:
        """The parts' columns side by side, (B, E)."""
        own = zip(self.parts, self._of_users(user_params), strict=True)
        return torch.cat([part.user_columns(params, now, t_ref) for part, params in own], dim=1)

    def score(self, user_params: Tensor, item_params: Tensor, age: Tensor) -> Tensor:
        """The sum of the parts' terms."""
        own = zip(self.parts, self._of_users(user_params), self._of_items(item_params), strict=True)
        return torch.stack([part.score(user, item, age) for part, user, item in own]).sum(dim=0)

    def constant(self, user_params: Tensor, now: Hours, t_ref: float) -> Tensor:
        """The sum of the parts' constants, (B,)."""
        own = zip(self.parts, self._of_users(user_params), strict=True)
        return torch.stack([part.constant(params, now, t_ref) for part, params in own]).sum(dim=0)

    def _of_users(self, params: Tensor) -> list[Tensor]:
        return _cut(params, [len(part.initial_user_params) for part in self.parts])

    def _of_items(self, params: Tensor) -> list[Tensor]:
        return _cut(params, [len(part.initial_item_params) for part in self.parts])


def _cut(params: Tensor, widths: list[int]) -> list[Tensor]:
    """The parts' own parameters, (..., width) each."""
    ends = list(accumulate(widths))
    return [params[..., end - width : end] for width, end in zip(widths, ends, strict=True)]

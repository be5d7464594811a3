"""Decays at a steady rate: none, the reader's, the reader's times the article's (shapes as in ``protocol``)."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from feedgym.towers.checks import require
from feedgym.towers.decays.protocol import Hours, elapsed, per_reader, softplus_inverse


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
        return (softplus_inverse(self.initial_rate),)

    def item_columns(self, publish_time: Tensor, t_ref: float, item_params: Tensor) -> Tensor:
        """t_i - t_ref, (N, 1)."""
        return (publish_time.double() - t_ref).float()[:, None]

    def user_columns(self, user_params: Tensor, now: Hours, t_ref: float) -> Tensor:
        """rate_u, (B, 1): the moment does not matter to the ranking."""
        return F.softplus(user_params).float()

    def score(self, user_params: Tensor, item_params: Tensor, age: Tensor) -> Tensor:
        """-rate_u * age."""
        rate = F.softplus(user_params[:, 0])
        return -age.to(rate.dtype) * per_reader(rate, age)

    def constant(self, user_params: Tensor, now: Hours, t_ref: float) -> Tensor:
        """-rate_u (now - t_ref)."""
        return -F.softplus(user_params[:, 0]).float() * elapsed(now, t_ref).float()


@dataclass(frozen=True)
class ProductDecay:
    """-rate_u * kappa_i * age: readers who want news, articles that are news (or evergreen, kappa near 0).

    Both factors are the softplus of one parameter. Only their product is identified: a factor moves freely
    from all rates to all kappas.
    """

    initial_rate: float = 0.02
    """Loss of score per hour at the start, > 0; every kappa starts at 1."""
    num_columns: int = 2

    def __post_init__(self) -> None:
        require(self.initial_rate > 0, "initial_rate", self.initial_rate, "> 0 (per hour)")

    @property
    def initial_user_params(self) -> tuple[float, ...]:
        """Softplus of it is the initial rate."""
        return (softplus_inverse(self.initial_rate),)

    @property
    def initial_item_params(self) -> tuple[float, ...]:
        """Softplus of it is 1."""
        return (softplus_inverse(1.0),)

    def item_columns(self, publish_time: Tensor, t_ref: float, item_params: Tensor) -> Tensor:
        """kappa_i (t_i - t_ref) and kappa_i, (N, 2)."""
        kappa = F.softplus(item_params[:, 0]).float()
        return torch.stack([kappa * (publish_time.double() - t_ref).float(), kappa], dim=1)

    def user_columns(self, user_params: Tensor, now: Hours, t_ref: float) -> Tensor:
        """rate_u and -rate_u (now - t_ref), (B, 2): unlike in ``LinearDecay`` the moment enters the ranking."""
        rate = F.softplus(user_params[:, 0]).float()
        return torch.stack([rate, -rate * elapsed(now, t_ref).float()], dim=1)

    def score(self, user_params: Tensor, item_params: Tensor, age: Tensor) -> Tensor:
        """-rate_u * kappa_i * age."""
        rate = F.softplus(user_params[:, 0])
        return -age.to(rate.dtype) * per_reader(rate, age) * F.softplus(item_params[..., 0])

    def constant(self, user_params: Tensor, now: Hours, t_ref: float) -> Tensor:
        """Zeros (B,): the value is exact."""
        return torch.zeros(len(user_params))

"""Models and populations for tests of towers, and all outcomes of draws among a few articles."""

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from feedgym.agents.registry import kind_named
from helpers.draws import seeded

M = TypeVar("M", bound=nn.Module)
P = torch.tensor(
    [
        [0.50, 0.20, 0.10, 0.10, 0.05, 0.05],
        [0.40, 0.05, 0.30, 0.05, 0.10, 0.10],
        [0.45, 0.05, 0.05, 0.35, 0.05, 0.05],
    ],
    dtype=torch.float64,
)
"""What three equally frequent readers click of six articles."""
Q = P.mean(dim=0)
READERS, ARTICLES = P.shape
DEEP_ALONE: dict[str, Any] = {"wide_part": False, "content_channel": False}
"""Settings of an agent whose scores are those of the deep towers, with nothing beside them."""
DEEP_ALONE_WORDS = ",".join(f"{name}={value}" for name, value in DEEP_ALONE.items())
"""The same, as they stand in an agent's name."""


def alone(name: str) -> dict[str, Any]:
    """``DEEP_ALONE`` of an agent, with a loss that does without a wide part where its own asks for one."""
    hurdle = kind_named(name).settings.get("loss") == "hurdle"
    return DEEP_ALONE | ({"loss": "pointwise"} if hurdle else {})


def lively(module: M, seed: int = 8) -> M:
    """The module with its parameters away from their start, where much is zero."""
    generator = seeded(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
    return module


def minimise(loss: Callable[[Tensor], Tensor], shape: Sequence[int] = P.shape, others: Sequence[Tensor] = ()) -> Tensor:
    """What minimises a loss by LBFGS from zero; the others are moved with it, in place."""
    table = torch.zeros(*shape, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS(
        [table, *others],
        max_iter=1000,
        tolerance_grad=1e-11,
        tolerance_change=0,
        history_size=20,
        line_search_fn="strong_wolfe",
    )

    def closure() -> Tensor:
        optimiser.zero_grad()
        value = loss(table)
        value.backward()
        return value

    optimiser.step(closure)
    return table.detach()


Draws = tuple[Tensor, Tensor]
"""Counts (n, A) of each article among the negatives, and the chance of each such outcome (n,)."""


def multinomial(size: int, chance: Tensor) -> Draws:
    """All outcomes of ``size`` independent draws."""
    ids = torch.tensor(list(itertools.combinations_with_replacement(range(len(chance)), size)))
    counts = torch.nn.functional.one_hot(ids, len(chance)).sum(dim=1).double()
    log_ways = math.lgamma(size + 1) - torch.lgamma(counts + 1).sum(dim=1)
    return counts, torch.exp(log_ways) * (chance**counts).prod(dim=1)


def together(one: Draws, other: Draws) -> Draws:
    """Outcomes of two independent sets of draws, thrown together."""
    counts = (one[0][:, None] + other[0]).reshape(-1, one[0].shape[1])
    chance = (one[1][:, None] * other[1]).reshape(-1)
    unique, place = counts.unique(dim=0, return_inverse=True)
    return unique, torch.zeros(len(unique), dtype=chance.dtype).index_add_(0, place, chance)

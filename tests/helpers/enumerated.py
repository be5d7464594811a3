"""All outcomes of draws among a few articles, with their chances."""

import itertools
import math

import torch
from torch import Tensor

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

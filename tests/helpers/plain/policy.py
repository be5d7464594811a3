"""The slate policy by enumeration: a visit explores with chance epsilon, else its slate is Plackett-Luce."""

import itertools
import math
from collections.abc import Sequence

import numpy as np

Chances = dict[tuple[int, ...], float]


def plain_softmax(logits: Sequence[float], shortlist: Sequence[int]) -> dict[int, float]:
    """p of every article of the shortlist; -1 is padding."""
    listed = {a: z for a, z in zip(shortlist, logits, strict=True) if a >= 0}
    top = max(listed.values(), default=0.0)
    total = math.fsum(math.exp(z - top) for z in listed.values())
    return {a: math.exp(z - top) / total if total else 0.0 for a, z in listed.items()}


def plain_prefixes(
    slate: Sequence[int], p: dict[int, float], live: Sequence[int], epsilon: float
) -> tuple[list[float], list[float], list[float]]:
    """``F_k``, ``PL_k`` and ``U_k`` of a slate, k = 1 .. K; -1 pads."""
    left, others = dict(p), set(live)
    by_softmax, uniform = 1.0, 1.0
    found: tuple[list[float], list[float], list[float]] = ([], [], [])
    for article in slate:
        remaining = math.fsum(left.values())
        if article == -1:
            by_softmax *= 1.0 if remaining == 0 else 0.0
            uniform *= 0.0 if others else 1.0
        else:
            own = left.pop(article, 0.0)
            by_softmax *= own / remaining if own > 0 else 0.0
            uniform *= 1.0 / len(others) if article in others else 0.0
            others.discard(article)
        for values, value in zip(
            found, ((1 - epsilon) * by_softmax + epsilon * uniform, by_softmax, uniform), strict=True
        ):
            values.append(value)
    return found


def plain_slots(slate: Sequence[int], p: dict[int, float], live: Sequence[int], epsilon: float) -> list[float]:
    """``q_k``, the chance of each article given those above it; 0 from the first impossible one on."""
    prefix = plain_prefixes(slate, p, live, epsilon)[0]
    return [f / before if f > 0 else 0.0 for f, before in zip(prefix, [1.0, *prefix[:-1]], strict=True)]


def plain_joint(p: dict[int, float], live: Sequence[int], epsilon: float, slate_size: int) -> Chances:
    """Chance of every slate; -1 pads those that are longer than the catalogue, or than the shortlist."""
    joint: Chances = {}
    live = list(live)
    possible = [a for a, weight in p.items() if weight > 0]
    for kind, chosen_from in ((1, possible), (2, live)):
        shown = min(slate_size, len(chosen_from))
        share = (1 - epsilon) if kind == 1 else epsilon
        if share == 0 or (kind == 1 and not possible):
            continue
        for slate in itertools.permutations(chosen_from, shown):
            whole = slate + (-1,) * (slate_size - shown)
            chance = plain_prefixes(whole, p, live, epsilon)[kind][-1]
            joint[whole] = joint.get(whole, 0.0) + share * chance
    return joint


def plain_marginals(p: dict[int, float], live: Sequence[int], epsilon: float, slate_size: int) -> np.ndarray:
    """m_k(a) of articles 0 .. N - 1, (N, K), from all slates."""
    m = np.zeros((len(live), slate_size))
    for slate, chance in plain_joint(p, live, epsilon, slate_size).items():
        for k, article in enumerate(slate):
            if article >= 0:
                m[article, k] += chance
    return m

"""Worlds so small that every slate and every outcome can be counted."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import permutations, product

import numpy as np

from feedgym.agents.ope import (
    Estimate,
    iips,
    inclusion_ips,
    pair_chances,
    pseudo_inverse,
    pseudo_inverse_weights,
    rips,
    sips,
    sniips,
    snrips,
    snsips,
)
from feedgym.env.arrays import Doubles, Ints

EXACT = 1e-8


Outcomes = Callable[[Ints], tuple[Doubles, Doubles]]
"""Of slates (S, K): rewards (2^K, K) and the chance of each given each slate, (S, 2^K)."""


@dataclass
class World:
    """Two Plackett-Luce policies over N articles."""

    beta: Doubles
    pi: Doubles
    k: int

    def __post_init__(self) -> None:
        n = len(self.beta)
        self.slates = np.array(list(permutations(range(n), self.k)))
        self.q = {name: self._slots(w) for name, w in (("beta", self.beta), ("pi", self.pi))}
        self.p = {name: q.prod(axis=1) for name, q in self.q.items()}
        self.marginal = {
            name: np.stack([np.bincount(self.slates[:, k], p, minlength=n) for k in range(self.k)])
            for name, p in self.p.items()
        }
        slot = np.arange(self.k)
        self.rho = self.q["pi"] / self.q["beta"]
        self.m_ratio = self.marginal["pi"][slot, self.slates] / self.marginal["beta"][slot, self.slates]
        self.i_ratio = (self.marginal["pi"].sum(axis=0) / self.marginal["beta"].sum(axis=0))[self.slates]
        single, _ = pair_chances(self.slates, self.p["pi"], n)
        _, double = pair_chances(self.slates, self.p["beta"], n)
        self.pi_weight = pseudo_inverse_weights(self.slates, single, double, n)

    def _slots(self, w: Doubles) -> Doubles:
        shown = w[self.slates]
        return shown / (1.0 - np.cumsum(shown, axis=1) + shown)

    def row(self, slate: tuple[int, ...]) -> int:
        return int(np.flatnonzero((self.slates == slate).all(axis=1))[0])

    def estimates(self, outcomes: Outcomes) -> tuple[dict[str, Estimate], Doubles, Doubles]:
        """Estimates of the enumerated log, the chance of each row (n,), and the true value of both policies."""
        reward, chance = outcomes(self.slates)
        many = len(reward)
        r = np.tile(reward, (len(self.slates), 1))
        rho, m, i = (np.repeat(x, many, axis=0) for x in (self.rho, self.m_ratio, self.i_ratio))
        weight = np.repeat(self.pi_weight, many)
        found = {
            "sips": sips(rho, r),
            "rips": rips(rho, r),
            "iips": iips(m, r),
            "inclusion": inclusion_ips(i, r),
            "pi": pseudo_inverse(weight, r.sum(axis=1)),
            "snsips": snsips(rho, r),
            "snrips": snrips(rho, r),
            "sniips": sniips(m, r),
            "slot": iips(rho, r),  # single slot ratios: wrong for everybody
        }
        value = np.array([self.p[name] @ (chance @ reward.sum(axis=1)) for name in ("pi", "beta")])
        return found, (self.p["beta"][:, None] * chance).ravel(), value


def clicks(k: int) -> Doubles:
    return np.array(list(product((0.0, 1.0), repeat=k)))


def independent(mu: Doubles, examine: Doubles) -> Outcomes:
    def outcomes(slates: Ints) -> tuple[Doubles, Doubles]:
        reward = clicks(slates.shape[1])
        chance = (mu[slates] * examine)[:, None, :]
        return reward, np.where(reward > 0, chance, 1 - chance).prod(axis=2)

    return outcomes


def cascade(mu: Doubles, leave: float = 0.5) -> Outcomes:
    """From the top down; after a click the reader leaves with chance ``leave``."""

    def outcomes(slates: Ints) -> tuple[Doubles, Doubles]:
        reward = clicks(slates.shape[1])
        here, gone = np.ones((len(slates), len(reward))), np.zeros((len(slates), len(reward)))
        for k in range(slates.shape[1]):
            clicked, chance = reward[:, k] > 0, mu[slates[:, k]][:, None]
            gone = np.where(clicked, 0.0, gone) + np.where(clicked, here * chance * leave, 0.0)
            here = np.where(clicked, here * chance * (1 - leave), here * (1 - chance))
        return reward, here + gone

    return outcomes


def looks_ahead(mu: Doubles) -> Outcomes:
    """The last article decides whether the first is clicked: neither cascade nor independent."""

    def outcomes(slates: Ints) -> tuple[Doubles, Doubles]:
        reward = clicks(slates.shape[1])
        chance = mu[slates]
        chance[:, 0] = mu[slates[:, 0]] * (0.2 + 0.8 * (mu[slates[:, -1]] > mu.mean()))
        return reward, np.where(reward > 0, chance[:, None], 1 - chance[:, None]).prod(axis=2)

    return outcomes


def weights(shortlist: list[int], logits: list[float], n: int, epsilon: float) -> Doubles:
    w = np.full(n, epsilon / n)
    z = np.exp(np.array(logits))
    w[shortlist] += (1 - epsilon) * z / z.sum()
    return w


LISTED = [1, 3, 4, 6]

LOGGER, TARGET = [1.0, 0.2, -0.5, 0.7], [0.0, 0.7, 0.5, 0.7]

MU = 0.05 + 0.55 * np.arange(8) / 7

EXAMINE = np.array([1.0, 0.7, 0.5])


READERS = {
    "additive": independent(MU, np.ones(3)),
    "position": independent(MU, EXAMINE),
    "cascade": cascade(MU),
}


TRUTH = {
    "additive": (1.02212298, 0.95155842),
    "position": (0.75450448, 0.69096481),
    "cascade": (0.86418044, 0.82041004),
}


TABLE = {
    "sips": ((1.02212298, 2.081353), (0.75450448, 1.701145), (0.86418044, 1.687211)),
    "rips": ((1.02212298, 1.529586), (0.75450448, 1.233101), (0.86418044, 1.241988)),
    "iips": ((1.02212298, 0.912402), (0.75450448, 0.844336), (0.88789131, 0.780326)),
    "inclusion": ((1.02212298, 0.879746), (0.73340724, 0.789266), (0.87627678, 0.734548)),
    "pi": ((1.02212298, 1.957927), (0.75450448, 1.610080), (0.86419464, 1.589843)),
    "slot": ((1.04605203, None), (0.76781826, None), (0.90005489, None)),
}


def small_world(seed: int, n: int = 5, k: int = 3) -> tuple[World, Doubles]:
    rng = np.random.default_rng(seed)
    beta, pi = rng.dirichlet(np.full(n, 3.0), size=2)
    return World(0.8 * beta + 0.2 / n, pi, k), rng.uniform(0.05, 0.9, size=n)

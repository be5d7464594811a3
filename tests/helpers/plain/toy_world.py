"""Worlds so small that every slate and every outcome can be counted."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product

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
from helpers.plain.mixture import all_slates, plackett_luce_prefixes, uniform_prefixes

EXACT = 1e-9


Outcomes = Callable[[Ints], tuple[Doubles, Doubles]]
"""Of slates (S, K): rewards (2^K, K) and the chance of each given each slate, (S, 2^K)."""


@dataclass(frozen=True)
class Policy:
    """Of which a visit explores, with a uniform slate, or draws from a softmax what is left of it."""

    p: Doubles
    """(N,); 0 outside the shortlist."""
    epsilon: float


@dataclass
class World:
    """Two policies over N articles."""

    beta: Policy
    pi: Policy
    k: int

    def __post_init__(self) -> None:
        n = len(self.beta.p)
        self.slates = all_slates(n, self.k)
        policies = {"beta": self.beta, "pi": self.pi}
        self.pl = {name: plackett_luce_prefixes(policy.p, self.slates) for name, policy in policies.items()}
        explored = uniform_prefixes(n, self.k)
        self.prefix = {
            name: (1.0 - policy.epsilon) * self.pl[name] + policy.epsilon * explored
            for name, policy in policies.items()
        }
        self.p = {name: prefix[:, -1] for name, prefix in self.prefix.items()}
        self.q = {name: _slots(prefix) for name, prefix in self.prefix.items()}
        self.marginal = {
            name: np.stack([np.bincount(self.slates[:, k], p, minlength=n) for k in range(self.k)])
            for name, p in self.p.items()
        }
        slot = np.arange(self.k)
        # 0 where neither policy shows the slate.
        logged = self.q["beta"] > 0
        self.rho = np.divide(self.q["pi"], self.q["beta"], out=np.zeros_like(self.q["pi"]), where=logged)
        m, i = (
            np.divide(chance["pi"], chance["beta"], out=np.zeros_like(chance["pi"]), where=chance["beta"] > 0)
            for chance in (self.marginal, {name: m.sum(axis=0) for name, m in self.marginal.items()})
        )
        self.m_ratio, self.i_ratio = m[slot, self.slates], i[self.slates]
        single, _ = pair_chances(self.slates, self.p["pi"], n)
        _, double = pair_chances(self.slates, self.p["beta"], n)
        self.pi_weight = pseudo_inverse_weights(self.slates, single, double, n)

    def kept_share(self) -> Doubles:
        """Chance that a visit of the target does not explore, given the articles above each position, (S, K)."""
        one = np.ones((len(self.slates), 1))
        pl, both = (np.concatenate([one, prefix[:, :-1]], axis=1) for prefix in (self.pl["pi"], self.prefix["pi"]))
        share: Doubles = (1.0 - self.pi.epsilon) * pl / both
        return share

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


def _slots(prefix: Doubles) -> Doubles:
    """``q_k`` of chances of prefixes, (S, K); 0 where what stands above has no chance."""
    before = np.concatenate([np.ones((len(prefix), 1)), prefix[:, :-1]], axis=1)
    return np.divide(prefix, before, out=np.zeros_like(prefix), where=before > 0)


def policy(shortlist: list[int], logits: list[float], n: int, epsilon: float) -> Policy:
    p = np.zeros(n)
    z = np.exp(np.array(logits))
    p[shortlist] = z / z.sum()
    return Policy(p, epsilon)


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
    "additive": (1.020481012, 0.955167131),
    "position": (0.753686548, 0.693120675),
    "cascade": (0.863732046, 0.823907191),
}


TABLE = {
    "sips": ((1.020481012, 2.253544), (0.753686548, 1.834954), (0.863732046, 1.825894)),
    "rips": ((1.020481012, 1.591284), (0.753686548, 1.272822), (0.863732046, 1.292024)),
    "iips": ((1.020481012, 0.910208), (0.753686548, 0.842476), (0.887189213, 0.778088)),
    "inclusion": ((1.020481012, 0.867748), (0.730565310, 0.778527), (0.874274240, 0.722600)),
    "pi": ((1.020481012, 1.973916), (0.753686548, 1.623712), (0.864276664, 1.605448)),
    "slot": ((1.044786412, None), (0.767087353, None), (0.899289898, None)),
}


def small_world(seed: int, n: int = 5, k: int = 3) -> tuple[World, Doubles]:
    rng = np.random.default_rng(seed)
    beta, pi = rng.dirichlet(np.full(n, 3.0), size=2)
    return World(Policy(beta, 0.2), Policy(pi, 0.05), k), rng.uniform(0.05, 0.9, size=n)

"""The slate policy by enumeration (docs/mathematics.md 2.1 and 3.2), with gradients in the logits: plain and slow.

Shapes: S slates (all of K of N articles, in any order), C articles of the shortlist.
"""

import itertools
import math

import numpy as np
import numpy.typing as npt

from feedgym.env.arrays import Doubles, Ints


def all_slates(num_live: int, slate_size: int) -> Ints:
    """Every slate of different articles, int64 (S, K)."""
    return np.array(list(itertools.permutations(range(num_live), slate_size)))


def uniform_prefixes(num_live: int, slate_size: int) -> Doubles:
    """Chance of the first k articles of a uniform slate, (K,)."""
    return np.cumprod(np.array([1.0 / (num_live - j) for j in range(slate_size)]))


def plackett_luce_prefixes(p: Doubles, slates: Ints) -> Doubles:
    """Chance of the first k articles of each slate (S, K) of a visit that does not explore; p (N,)."""
    found = np.zeros(slates.shape)
    for s, slate in enumerate(slates):
        chance, left = 1.0, dict(enumerate(p))
        for k, article in enumerate(slate):
            total = math.fsum(left.values())
            chance *= left.pop(article) / total if total > 0 else 0.0
            found[s, k] = chance
    return found


class Mixture:
    """Everything of one policy: chances, and their derivatives by the logits of the shortlist, last axis (C,)."""

    def __init__(
        self, logits: npt.ArrayLike, shortlist: npt.ArrayLike, num_live: int, slate_size: int, epsilon: float
    ) -> None:
        z, listed, size = np.asarray(logits, dtype=np.float64), np.asarray(shortlist), slate_size
        self.num_live, self.epsilon, self.shortlist = num_live, epsilon, listed
        self.slates = slates = all_slates(num_live, size)
        p_listed = np.exp(z - z.max()) / np.exp(z - z.max()).sum()
        self.p = np.zeros(num_live)
        self.p[listed] = p_listed
        self.pl = plackett_luce_prefixes(self.p, slates)
        self.d_pl = np.zeros((*slates.shape, len(listed)))
        for s, slate in enumerate(slates):
            slope = np.zeros(len(listed))
            for k, article in enumerate(slate):
                if self.pl[s, k] == 0.0:
                    break
                free = ~np.isin(listed, slate[:k])
                slope = slope + (listed == article) - p_listed * free / p_listed[free].sum()
                self.d_pl[s, k] = self.pl[s, k] * slope
        self.prefix = (1.0 - epsilon) * self.pl + epsilon * uniform_prefixes(num_live, size)
        self.d_log_prefix = (1.0 - epsilon) * self.d_pl / self.prefix[:, :, None]
        before = np.concatenate([np.ones((len(slates), 1)), self.prefix[:, :-1]], axis=1)
        self.q = self.prefix / before
        self.d_log_q = np.diff(self.d_log_prefix, axis=1, prepend=0.0)
        self.joint = self.prefix[:, -1]
        d_joint = self.joint[:, None] * self.d_log_prefix[:, -1]
        self.marginal, self.d_marginal = np.zeros((size, num_live)), np.zeros((size, num_live, len(listed)))
        for k in range(size):
            np.add.at(self.marginal[k], slates[:, k], self.joint)
            np.add.at(self.d_marginal[k], slates[:, k], d_joint)
        self.inclusion, self.d_inclusion = self.marginal.sum(axis=0), self.d_marginal.sum(axis=0)
        self.first, self.d_first = self.marginal[0], self.d_marginal[0]
        self.time = self._time(size)
        alive = np.exp(-self.p * self.time)
        dp = self.p[:, None] * ((np.arange(num_live)[:, None] == listed) - p_listed)
        d_time = -self.time * (alive @ dp) / (alive @ self.p)
        self.by_time = (1.0 - epsilon) * (1.0 - alive) + epsilon * size / num_live
        self.d_by_time = (1.0 - epsilon) * alive[:, None] * (self.time * dp + self.p[:, None] * d_time)

    def _time(self, slate_size: int) -> float:
        """``t*``, by bisection."""
        low, high = 0.0, 1e6
        for _ in range(200):
            middle = (low + high) / 2
            low, high = (middle, high) if (1 - np.exp(-self.p * middle)).sum() < slate_size else (low, middle)
        return low

    def row(self, slate: tuple[int, ...]) -> int:
        """Where a slate stands."""
        return int(np.flatnonzero((self.slates == slate).all(axis=1))[0])


def plain_gradient(estimator: str, pi: Mixture, beta: Mixture, advantage: Doubles) -> Doubles:
    """Gradient that each slate gives, (S, C), with nothing done to the weights (docs/mathematics.md 3.2).

    ``inclusion`` is by t*, as shipped; ``exact inclusion``, ``chen alpha`` and ``slot`` are not offered.
    """
    slates, slot = pi.slates, np.arange(pi.slates.shape[1])
    rho = pi.q / beta.q
    if estimator == "joint":
        return (rho.prod(axis=1) * advantage.sum(axis=1))[:, None] * pi.d_log_prefix[:, -1]
    if estimator == "prefix":
        product = rho.cumprod(axis=1) * advantage
        later = np.stack([product[:, k:].sum(axis=1) for k in slot], axis=1)
        found: Doubles = (later[:, :, None] * pi.d_log_q).sum(axis=1)
        return found
    size = len(slot)
    multiplier = size * (1 - pi.first) ** (size - 1)
    per_slot = {
        "marginal": lambda: pi.d_marginal[slot, slates] / beta.marginal[slot, slates][:, :, None],
        "exact inclusion": lambda: (pi.d_inclusion / beta.inclusion[:, None])[slates],
        "inclusion": lambda: (pi.d_by_time / beta.by_time[:, None])[slates],
        "chen alpha": lambda: (multiplier[:, None] * pi.d_first / beta.inclusion[:, None])[slates],
        "chen": lambda: (multiplier[:, None] * pi.d_first / beta.first[:, None])[slates],
        "none": lambda: pi.d_log_q,
        "slot": lambda: rho[:, :, None] * pi.d_log_q,
    }[estimator]()
    summed: Doubles = (advantage[:, :, None] * per_slot).sum(axis=1)
    return summed

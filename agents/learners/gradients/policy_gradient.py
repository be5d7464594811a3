"""Policy gradients on logged slates: which log-probability is pushed, and how hard (docs/mathematics.md 3.2 and 3.3).

An estimator gives two tensors (B, K), and its surrogate is ``sum(coefficient * log_chance)``: coefficients carry no
gradient. ``ESTIMATORS`` holds those that ship, name -> estimator; a new one is a function and a line there.
Everything is float64. Shapes: B visits, H head articles, m draws from the tail, K positions.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from feedgym.agents.learners.gradients.candidates import NOTHING, LearnedPolicy
from feedgym.agents.slate_policy import last_time, num_nodes, top_k_multiplier
from feedgym.env.arrays import Doubles

Weigh = Callable[[Doubles, Doubles, Doubles], Doubles]
"""(pi, beta, advantage), each (n,), of n shown articles to weights (n,): see ``off_policy.importance_weight``."""
_HEAVY = 24
"""Head articles that ``marginal`` counts one by one; the lighter ones arrive as a Poisson process."""
_FEWER_NODES = 0.55
"""Of those that the exact marginals take: that leaves an error below .001, little beside the Poisson process's, and
takes half the time."""


@dataclass(frozen=True)
class Logged:
    """What is known of B slates under the policy that served them. float64; 1 where nothing was shown."""

    inclusion: Tensor
    """Chance of each article anywhere on the slate, by t* (docs/mathematics.md 2.5), (B, K)."""
    first: Tensor
    """Chance of each article at the first position, (B, K): what Chen et al. call the policy."""
    slot_propensity: Tensor
    """``q_k``, (B, K)."""
    time: Tensor | None = None
    """``t*``, (B,): where to look for that of the policy to learn."""
    slot_marginal: Tensor | None = None
    """``m_k(a_k)``, (B, K): ``marginal`` needs it."""


@dataclass(frozen=True)
class Shown:
    """Logged slates, and what they were worth: what an estimator judges."""

    column: Tensor
    """Where the head holds each shown article, int64 (B, K); -1 where nothing was shown."""
    logged: Logged
    """The log's side of the ratios."""
    advantage: Tensor
    """A_k, float64 (B, K); whatever it is where nothing was shown."""
    weigh: Weigh
    """What becomes of a ratio."""

    @property
    def there(self) -> Tensor:
        """Where something was shown, bool (B, K)."""
        return self.column >= 0

    @property
    def gain(self) -> Tensor:
        """The advantage, 0 where nothing was shown, (B, K)."""
        return torch.where(self.there, self.advantage, 0.0)

    def log_p(self, policy: LearnedPolicy) -> Tensor:
        """Log p of each shown article by the policy to learn, (B, K), with gradient; next to nothing elsewhere."""
        return torch.where(self.there, policy.head.gather(1, self.column.clamp(min=0)), NOTHING)

    def weighed(self, log_pi: Tensor, log_beta: Tensor, gain: Tensor) -> Doubles:
        """Weights of the ratios ``pi / beta``, numpy (B, K); 0 where nothing was shown.

        Args:
            log_pi: log of the policy's chance, (B, K); without gradient.
            log_beta: log of the logging policy's chance of the same, (B, K).
            gain: what the weight will be multiplied by, (B, K).
        """
        real = self.there.numpy()
        weight: Doubles = real.astype(np.float64)
        # Differences of logs: of whole slates the chances themselves are tiny. Only of what was shown: the ratio of
        # padding, 1, would count in a mean over the batch.
        ratio: Doubles = np.exp(np.minimum((log_pi - log_beta).numpy()[real], 600.0))
        weight[real] = self.weigh(ratio, np.ones_like(ratio), gain.numpy()[real])
        return weight


class Terms(NamedTuple):
    """What an estimator says: ascend ``sum(coefficient * log_chance)`` over positions."""

    coefficient: Tensor
    """(B, K), without gradient; 0 where nothing was shown."""
    log_chance: Tensor
    """(B, K), with gradient; 0 where nothing was shown."""
    weight: Doubles
    """Given to the ratios, numpy (B, K); 0 where nothing was shown."""


@dataclass(frozen=True)
class Estimator:
    """One entry of ``ESTIMATORS``."""

    terms: Callable[[LearnedPolicy, Shown], Terms]
    """From the policy to learn, and what was shown."""
    needs: str | None = None
    """Column that a log must have besides propensities: ``inclusion_time`` or ``slot_marginal``."""
    corrects: bool = True
    """Weighs by ratios of chances: a log without propensities will not do, nor slates that were served greedily."""
    whole_slates: bool = False
    """Its chances are of whole slates: one that has lost an entry has none."""


def log_slots(policy: LearnedPolicy, shown: Shown) -> Tensor:
    """``log q_k`` of each position, (B, K), with gradient (docs/mathematics.md 2.1); 0 where nothing was shown."""
    prefix = log_prefixes(policy, shown)
    slot = torch.cat([prefix[:, :1], prefix[:, 1:] - prefix[:, :-1]], dim=1)
    return torch.where(shown.there, slot, 0.0)


def log_slots_of_kinds(own: Tensor, there: Tensor, unshown: Tensor, num_live: Tensor) -> tuple[Tensor, Tensor]:
    """Log of each position's chance given those above it, in a visit that does not explore and in one that does.

    Both (B, K), 0 where nothing was shown, with gradient (docs/mathematics.md 2.1).

    Args:
        own: logits of what stands there, or their log p, float64 (B, K); where nothing does, ``NOTHING`` or any number.
        there: where something does, bool (B, K).
        unshown: log of the sum of ``exp(own)`` over the live articles that are not shown, float64 (B,).
        num_live: N, float64 (B,).
    """
    own = torch.where(there, own, NOTHING)
    # What is left before each position: positive terms only, summed from the end of the slate.
    from_the_end = torch.cat([unshown[:, None], own.flip(1)], dim=1)
    left = torch.logcumsumexp(from_the_end, dim=1)[:, 1:].flip(1)
    above = torch.cumsum(there.double(), dim=1) - there.double()
    one_of = (num_live[:, None] - above).clamp(min=1.0)
    return torch.where(there, own - left, 0.0), torch.where(there, -torch.log(one_of), 0.0)


def log_prefixes(policy: LearnedPolicy, shown: Shown) -> Tensor:
    """``log F_k``, the chance of the slate down to each position, (B, K), with gradient."""
    unshown = policy.log_unshown(shown.column)
    kept, explored = log_slots_of_kinds(shown.log_p(policy), shown.there, unshown, policy.num_live)
    if policy.epsilon == 0:
        return kept.cumsum(dim=1)
    keep = math.log1p(-policy.epsilon) if policy.epsilon < 1 else -math.inf
    # In logs: of whole slates the chances themselves are tiny.
    return torch.logaddexp(keep + kept.cumsum(dim=1), math.log(policy.epsilon) + explored.cumsum(dim=1))


def log_inclusion(policy: LearnedPolicy, log_p: Tensor, time: Tensor, slate_size: int) -> Tensor:
    """Log of the cheap inclusion ``(1 - eps) (1 - exp(-p t*)) + eps K / N`` of articles (B, K)."""
    explored = (slate_size / policy.num_live.clamp(min=1.0)).clamp(max=1.0)[:, None]
    return policy.mixed(-torch.expm1(-log_p.exp() * time[:, None]), explored)


def log_slot_marginal(policy: LearnedPolicy, log_p: Tensor, column: Tensor, nodes: int | None = None) -> Tensor:
    """Log of the chance that each shown article stands at its position, (B, K).

    The integral of docs/mathematics.md 2.5 with the 24 heaviest articles counted one by one, and all others together as
    a Poisson process: their weights are small, so their number by any time is nearly Poisson. That leaves a relative
    error of up to .008 (N = 5000, M = 200, K = 10); where all are counted, that of the nodes.

    Args:
        policy: to learn.
        log_p: of the slate's articles, (B, K).
        column: where the head holds them, int64 (B, K); -1 where nothing was shown: log 1 there.
        nodes: of the quadrature; None takes as many as the most peaked softmax of the batch asks for.
    """
    size = column.shape[1]
    rates, middle = policy.rates(), policy.inclusion_time(size).detach().numpy()
    end = last_time(rates, size, middle)
    count = nodes
    if count is None:
        count = max(math.ceil(_FEWER_NODES * num_nodes(end, size).max(initial=1)), 10 + size // 2)
    point, dx = np.polynomial.legendre.leggauss(count)
    # In log(1 + t / K) the heavy articles of a peaked softmax, which arrive early, have room (race_clock.py).
    length = np.log1p(end / size)[:, None]
    grown = np.expm1(0.5 * (point + 1.0) * length)  # (B, Q)
    time = torch.from_numpy(size * grown)
    dt = torch.from_numpy(size * (grown + 1.0) * 0.5 * dx * length)
    heavy = policy.head.detach().topk(min(_HEAVY, policy.head.shape[1]), dim=1).indices
    heavy_p = policy.head.gather(1, heavy).exp()
    light = policy.head.exp().scatter(1, heavy, 0.0)
    mean = (-torch.expm1(-light[:, :, None] * time[:, None, :])).sum(dim=1)
    tail = (-torch.expm1(-policy.tail.exp()[:, :, None] * time[:, None, :])).sum(dim=1)
    mean = mean + policy.tail_weight[:, None] * tail
    rate = log_p.exp()[:, :, None]
    own = -torch.expm1(-rate * time[:, None, :])  # (B, K, Q)
    is_heavy = column[:, :, None] == heavy[:, None, :]  # (B, K, heavy)
    others_mean = mean[:, None, :] - torch.where(is_heavy.any(dim=2)[:, :, None], 0.0, own)
    others_mean = others_mean.clamp(min=0.0)
    # Counts of the light ones, then each heavy one in turn, the shown article itself left out: (j, B, K, Q).
    chance = [torch.exp(-others_mean)]
    for j in range(1, size):
        chance.append(chance[-1] * others_mean / j)
    for h in range(heavy.shape[1]):
        arrived = -torch.expm1(-heavy_p[:, h, None] * time)
        x = torch.where(is_heavy[:, :, h, None], 0.0, arrived[:, None, :])
        chance = [chance[j] * (1.0 - x) + (chance[j - 1] * x if j else 0.0) for j in range(size)]
    density = rate * torch.exp(-rate * time[:, None, :]) * dt[:, None, :]
    own_slot = torch.stack([(chance[k][:, k] * density[:, k]).sum(dim=1) for k in range(size)], dim=1)
    explored = (1.0 / policy.num_live.clamp(min=1.0))[:, None]
    return torch.where(column >= 0, policy.mixed(own_slot, explored), 0.0)


def inclusion(policy: LearnedPolicy, shown: Shown) -> Terms:
    """``i_pi / i_beta A_k grad log i_pi(a_k)``: the chance that the slate holds the article at all."""
    logged, size = shown.logged, shown.column.shape[1]
    time = policy.inclusion_time(size, logged.time)
    log_chance = log_inclusion(policy, shown.log_p(policy), time, size)
    return _by_position(shown, log_chance, torch.log(logged.inclusion))


def marginal(policy: LearnedPolicy, shown: Shown) -> Terms:
    """``m_pi / m_beta A_k grad log m_k(a_k)``: the chance that the article stands at this position.

    Raises:
        ValueError: the log has no slot marginals.
    """
    beta = shown.logged.slot_marginal
    if beta is None:
        raise ValueError("logged.slot_marginal: got None, needs the logged slot marginals for 'marginal'")
    log_chance = log_slot_marginal(policy, shown.log_p(policy), shown.column)
    return _by_position(shown, log_chance, torch.log(beta))


def chen(policy: LearnedPolicy, shown: Shown) -> Terms:
    """``w_pi / w_beta K (1 - w_pi)^(K-1) A_k grad log w_pi(a_k)`` (Chen et al., WSDM 2019): one draw, not a slate.

    Their policy draws one article: w is the chance at the first position, ``(1 - eps) p + eps / N``.
    """
    explored = (1.0 / policy.num_live.clamp(min=1.0))[:, None]
    log_w, size = policy.mixed(shown.log_p(policy).exp(), explored), shown.column.shape[1]
    terms = _by_position(shown, log_w, torch.log(shown.logged.first))
    multiplier = torch.from_numpy(top_k_multiplier(log_w.detach().exp().numpy(), size))
    return terms._replace(coefficient=terms.coefficient * multiplier)


def none(policy: LearnedPolicy, shown: Shown) -> Terms:
    """``A_k grad log q_k``: reward-weighted likelihood of the slate, which corrects nothing."""
    return Terms(shown.gain, log_slots(policy, shown), shown.there.numpy().astype(np.float64))


def prefix(policy: LearnedPolicy, shown: Shown) -> Terms:
    """``sum_{l >= k} rho_{1:l} A_l grad log q_k``: exact, by ratios of the slate down to each position."""
    log_chance, log_beta = _of_slots(policy, shown)
    a = shown.gain
    weight = shown.weighed(log_chance.detach().cumsum(dim=1), log_beta.cumsum(dim=1), a)
    onwards = (torch.from_numpy(weight) * a).flip(1).cumsum(dim=1).flip(1)
    return Terms(torch.where(shown.there, onwards, 0.0), log_chance, weight)


def joint(policy: LearnedPolicy, shown: Shown) -> Terms:
    """``rho_{1:K} sum_l A_l grad log q_k``: the ratio of the whole slate."""
    log_chance, log_beta = _of_slots(policy, shown)
    a = shown.gain.sum(dim=1, keepdim=True).expand_as(log_chance)
    pi, beta = (log.cumsum(dim=1)[:, -1:].expand_as(log) for log in (log_chance.detach(), log_beta))
    weight = shown.weighed(pi, beta, a)
    return Terms(torch.where(shown.there, torch.from_numpy(weight) * a, 0.0), log_chance, weight)


def _by_position(shown: Shown, log_chance: Tensor, log_beta: Tensor) -> Terms:
    """Each position by the ratio of its own chances; logs (B, K) may be anything where nothing was shown."""
    log_chance = torch.where(shown.there, log_chance, 0.0)
    log_beta, a = torch.where(shown.there, log_beta, 0.0), shown.gain
    weight = shown.weighed(log_chance.detach(), log_beta, a)
    return Terms(torch.where(shown.there, torch.from_numpy(weight) * a, 0.0), log_chance, weight)


def _of_slots(policy: LearnedPolicy, shown: Shown) -> tuple[Tensor, Tensor]:
    """Log of each position's chance given those above it, by the policy and by the log, (B, K); 0 at padding."""
    log_beta = torch.log(shown.logged.slot_propensity)
    return log_slots(policy, shown), torch.where(shown.there, log_beta, 0.0)


ESTIMATORS: dict[str, Estimator] = {
    "inclusion": Estimator(inclusion, needs="inclusion_time"),
    "marginal": Estimator(marginal, needs="slot_marginal"),
    "chen": Estimator(chen),
    "none": Estimator(none, corrects=False),
    "prefix": Estimator(prefix, whole_slates=True),
    "joint": Estimator(joint, whole_slates=True),
}
"""Estimators of the policy gradient by name (docs/mathematics.md 3.2)."""

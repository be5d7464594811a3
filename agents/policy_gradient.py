"""Policy gradients on logged slates: which log-probability is pushed, and how hard (algorithms.md, 3.2 and 3.3).

What is differentiated is the softmax over *all* live articles, mixed with uniform exploration, not the shortlist
that was served: else an article outside the shortlist could never climb into it. The live articles are stratified:
a head of H articles exactly, the rest by uniform draws that each stand for several.
An estimator gives two tensors (B, K), and its surrogate is ``sum(coefficient * log_chance)``: coefficients carry no
gradient. Everything is float64.
Shapes: B visits, H head articles, m draws from the tail, K positions.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from feedgym.agents.off_policy import top_k_multiplier
from feedgym.env.arrays import Doubles

Estimator = Literal["inclusion", "marginal", "chen", "none", "prefix", "joint"]
Weigh = Callable[[Doubles, Doubles, Doubles], Doubles]
"""(pi, beta, advantage), each (B, K), to weights (B, K): see ``off_policy.importance_weight``."""
_NODES = 16
_HEAVY = 24
"""Head articles that ``marginal`` counts one by one; the lighter ones arrive as a Poisson process."""


@dataclass(frozen=True)
class Candidates:
    """Logits of the live articles of B visits, stratified (algorithms.md, 3.3)."""

    head: Tensor
    """float64 (B, H); -inf pads. Holds every article of the logged slate."""
    tail: Tensor
    """float64 (B, m): uniform draws from the live articles outside the head; -inf pads."""
    tail_weight: Tensor
    """(B,): live articles that each draw stands for, ``(N - |H|) / m``; 0 without draws."""
    num_live: Tensor
    """N, (B,)."""

    def log_normaliser(self) -> Tensor:
        """``log Z^``, (B,): exact over the head, estimated over the tail."""
        return torch.logsumexp(self._stratified(self.head, self.tail), dim=1)

    def _stratified(self, head: Tensor, tail: Tensor) -> Tensor:
        return torch.cat([head, tail + torch.log(self.tail_weight)[:, None]], dim=1)

    def log_weights(self, epsilon: float) -> "LogWeights":
        """Draw weights ``w = eps / N + (1 - eps) p`` of all candidates, in logs."""
        log_z = self.log_normaliser()[:, None]
        uniform = math.log(epsilon) if epsilon > 0 else -math.inf
        keep = math.log1p(-epsilon) if epsilon < 1 else -math.inf
        explored = uniform - torch.log(self.num_live)[:, None]

        def mixed(logits: Tensor) -> Tensor:
            return torch.logaddexp(explored.expand_as(logits), keep + logits - log_z)

        # Padding is given a finite logit first: at -inf the gradient of logaddexp would be NaN for epsilon 0.
        padded_head, padded_tail = torch.isneginf(self.head), torch.isneginf(self.tail)
        head = mixed(self.head.masked_fill(padded_head, 0.0)).masked_fill(padded_head, -math.inf)
        tail = mixed(self.tail.masked_fill(padded_tail, 0.0)).masked_fill(padded_tail, -math.inf)
        return LogWeights(head, tail, self.tail_weight)

    def divergence(self, prior: "Candidates") -> Tensor:
        """``KL(softmax || prior's softmax)``, (B,), over all live articles; both hold the same articles."""
        mine = self._stratified(self.head, self.tail)
        other = prior._stratified(prior.head, prior.tail)
        log_p = mine - torch.logsumexp(mine, dim=1, keepdim=True)
        log_p0 = other - torch.logsumexp(other, dim=1, keepdim=True)
        shown = ~torch.isneginf(mine)
        difference = torch.where(shown, log_p - log_p0, 0.0).masked_fill(~shown, 0.0)
        return (log_p.exp() * difference).sum(dim=1)

    def entropy(self) -> Tensor:
        """Entropy of the softmax over all live articles in nats, (B,)."""
        both = self._stratified(self.head, self.tail)
        probability = torch.softmax(both, dim=1)
        logits = torch.cat([self.head, self.tail], dim=1)
        mean = (probability * logits.masked_fill(torch.isneginf(logits), 0.0)).sum(dim=1)
        return torch.logsumexp(both, dim=1) - mean


@dataclass(frozen=True)
class LogWeights:
    """Logs of draw weights w; -inf pads."""

    head: Tensor
    """(B, H)"""
    tail: Tensor
    """(B, m)"""
    tail_weight: Tensor
    """(B,)"""

    def expected_count(self, time: Tensor) -> tuple[Tensor, Tensor]:
        """Articles expected to have arrived by ``time`` (B,) in the race, and the slope of that: (B,) each."""
        count, slope = torch.zeros_like(time), torch.zeros_like(time)
        for log_w, each in ((self.head, 1.0), (self.tail, self.tail_weight)):
            w = log_w.exp()
            alive = torch.exp(-w * time[:, None])
            count = count + each * (1.0 - alive).sum(dim=1)
            slope = slope + each * (w * alive).sum(dim=1)
        return count, slope

    def inclusion_time(self, slate_size: int) -> Tensor:
        """``t*``, (B,): when ``slate_size`` arrivals are expected. Differentiable.

        Newton without gradient, then one step whose base point and slope are detached: the implicit derivative.
        """
        with torch.no_grad():
            possible = (~torch.isneginf(self.head)).sum(dim=1)
            possible = possible + self.tail_weight * (~torch.isneginf(self.tail)).sum(dim=1)
            target = torch.clamp(possible.double() - 0.02, max=float(slate_size))
            time = target.clone()
            for _ in range(60):
                count, slope = self.expected_count(time)
                step = (target - count) / slope
                time = time + step
                if float((step / time).abs().max()) < 1e-12:
                    break
        count, slope = self.expected_count(time)
        return time + (target - count) / slope.detach()


@dataclass(frozen=True)
class Logged:
    """What the log keeps of B slates, under the policy that served them. float64."""

    log_weight: Tensor
    """log w of each shown article, (B, K); 0 where nothing was shown."""
    time: Tensor
    """``t*``, (B,): ``inclusion_time``."""
    slot_propensity: Tensor
    """``q_k``, (B, K); 1 where nothing was shown."""
    slot_marginal: Tensor | None = None
    """``m_k(a_k)``, (B, K): ``marginal`` needs it."""


def log_slot_propensity(log_weight: Tensor) -> Tensor:
    """``log q_k = log w_k - log(1 - W_k)`` of slates (B, K) (algorithms.md, 2.1). Padding: w 0, in log -inf.

    With epsilon > 0 the rest stays above ``eps (N - k + 1) / N``; at 0, and nearly all mass shown, it cancels.
    """
    before = torch.cumsum(log_weight.exp(), dim=1) - log_weight.exp()
    return log_weight - torch.log1p(-torch.clamp(before, max=1.0 - 1e-15))


def log_inclusion(log_weight: Tensor, time: Tensor) -> Tensor:
    """Log of the cheap inclusion ``1 - exp(-w t*)`` of articles (B, K)."""
    return torch.log(-torch.expm1(-log_weight.exp() * time[:, None]))


def log_slot_marginal(weights: LogWeights, shown: Tensor, column: Tensor, nodes: int = _NODES) -> Tensor:
    """Log of the chance that each shown article stands at its position, (B, K).

    The integral of algorithms.md 2.5 with the 24 heaviest articles counted one by one, and all others together as a
    Poisson process: their weights are small, so their number by any time is nearly Poisson.

    Args:
        weights: of all candidates.
        shown: log w of the slate's articles, (B, K).
        column: where the head holds them, int64 (B, K).
        nodes: of the quadrature.
    """
    size = shown.shape[1]
    time_scale = weights.inclusion_time(size).detach()
    point, du = np.polynomial.legendre.leggauss(nodes)
    u = torch.from_numpy(0.5 * (point + 1.0))
    time = -time_scale[:, None] * torch.log1p(-u)  # (B, Q)
    dt = time_scale[:, None] * torch.from_numpy(0.5 * du) / (1.0 - u)
    heavy = weights.head.detach().topk(min(_HEAVY, weights.head.shape[1]), dim=1).indices
    heavy_w = weights.head.gather(1, heavy).exp()
    everyone = weights.head.exp()
    light = everyone.scatter(1, heavy, 0.0)
    mean = (-torch.expm1(-light[:, :, None] * time[:, None, :])).sum(dim=1)
    tail = (-torch.expm1(-weights.tail.exp()[:, :, None] * time[:, None, :])).sum(dim=1)
    mean = mean + weights.tail_weight[:, None] * tail
    rate = shown.exp()[:, :, None]
    own = -torch.expm1(-rate * time[:, None, :])  # (B, K, Q)
    is_heavy = column[:, :, None] == heavy[:, None, :]  # (B, K, heavy)
    others_mean = mean[:, None, :] - torch.where(is_heavy.any(dim=2)[:, :, None], 0.0, own)
    others_mean = others_mean.clamp(min=0.0)
    # Counts of the light ones, then each heavy one in turn, the shown article itself left out: (j, B, K, Q).
    chance = [torch.exp(-others_mean)]
    for j in range(1, size):
        chance.append(chance[-1] * others_mean / j)
    for h in range(heavy.shape[1]):
        arrived = -torch.expm1(-heavy_w[:, h, None] * time)
        x = torch.where(is_heavy[:, :, h, None], 0.0, arrived[:, None, :])
        chance = [chance[j] * (1.0 - x) + (chance[j - 1] * x if j else 0.0) for j in range(size)]
    density = rate * torch.exp(-rate * time[:, None, :]) * dt[:, None, :]
    own_slot = [(chance[k][:, k] * density[:, k]).sum(dim=1) for k in range(size)]
    return torch.log(torch.stack(own_slot, dim=1))


def policy_gradient(
    estimator: Estimator,
    weights: LogWeights,
    column: Tensor,
    logged: Logged,
    advantage: Tensor,
    weigh: Weigh,
) -> tuple[Tensor, Tensor, Doubles]:
    """One of the estimators of algorithms.md 3.2: ascend ``sum(coefficient * log_chance)`` over positions.

    | estimator | coefficient at position k | log chance |
    |---|---|---|
    | ``inclusion`` | ``i_pi / i_beta A_k`` | ``log i_pi(a_k)`` |
    | ``marginal`` | ``m_pi / m_beta A_k`` | ``log m_k(a_k)`` |
    | ``chen`` | ``w_pi / w_beta K (1 - w_pi)^(K-1) A_k`` | ``log w_pi(a_k)`` |
    | ``none`` | ``A_k`` | ``log w_pi(a_k)`` |
    | ``prefix`` | ``sum_{l >= k} rho_{1:l} A_l`` | ``log q_k`` |
    | ``joint`` | ``rho_{1:K} sum_l A_l`` | ``log q_k`` |

    Args:
        estimator: which.
        weights: draw weights of the policy to learn.
        column: where the head holds each shown article, int64 (B, K); -1 where nothing was shown.
        logged: the log's side of the ratios.
        advantage: A_k, float64 (B, K); whatever it is where nothing was shown.
        weigh: what becomes of a ratio.

    Returns:
        Coefficient (B, K), detached; log chance (B, K); and the weights given to the ratios, numpy (B, K), 0 where
        nothing was shown.
    """
    shown = column >= 0
    size = column.shape[1]
    log_w = weights.head.gather(1, column.clamp(min=0))
    log_w = torch.where(shown, log_w, -60.0)
    a = torch.where(shown, advantage, 0.0)
    if estimator == "inclusion":
        log_chance = log_inclusion(log_w, weights.inclusion_time(size))
        log_beta = log_inclusion(logged.log_weight, logged.time)
    elif estimator == "marginal":
        if logged.slot_marginal is None:
            raise ValueError("logged.slot_marginal: got None, needs the logged slot marginals for 'marginal'")
        log_chance = log_slot_marginal(weights, log_w, column)
        log_beta = torch.log(logged.slot_marginal)
    elif estimator in ("chen", "none"):
        log_chance, log_beta = log_w, logged.log_weight
    else:
        log_chance = log_slot_propensity(log_w)
        log_beta = torch.log(logged.slot_propensity)
    log_chance = torch.where(shown, log_chance, 0.0)
    log_beta = torch.where(shown, log_beta, 0.0)
    pi, beta = log_chance.detach(), log_beta.detach()
    if estimator in ("prefix", "joint"):
        pi, beta = pi.cumsum(dim=1), beta.cumsum(dim=1)
        if estimator == "joint":
            pi, beta = pi[:, -1:].expand_as(pi), beta[:, -1:].expand_as(beta)
            a = a.sum(dim=1, keepdim=True).expand_as(a)
    if estimator == "none":
        weight = np.ones(tuple(a.shape))
    else:
        # Differences of logs: of whole slates the chances themselves are tiny.
        ratio = np.exp(np.minimum((pi - beta).numpy(), 600.0))
        weight = weigh(ratio, np.ones_like(ratio), a.numpy())
    coefficient = torch.from_numpy(weight) * a
    if estimator == "chen":
        coefficient = coefficient * torch.from_numpy(top_k_multiplier(log_w.detach().exp().numpy(), size))
    if estimator == "prefix":
        coefficient = coefficient.flip(1).cumsum(dim=1).flip(1)
    weight = np.where(shown.numpy(), weight, 0.0)
    return torch.where(shown, coefficient, 0.0), log_chance, weight

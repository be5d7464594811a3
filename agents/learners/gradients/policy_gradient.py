"""Policy gradients on logged slates: which log-probability is pushed, and how hard (docs/mathematics.md 3.2 and 3.3).

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

from feedgym.agents.slate_policy import top_k_multiplier
from feedgym.env.arrays import Doubles

Estimator = Literal["inclusion", "marginal", "chen", "none", "prefix", "joint"]
Weigh = Callable[[Doubles, Doubles, Doubles], Doubles]
"""(pi, beta, advantage), each (n,), of n shown articles to weights (n,): see ``off_policy.importance_weight``."""
_NODES = 24
_HEAVY = 24
"""Head articles that ``marginal`` counts one by one; the lighter ones arrive as a Poisson process."""


@dataclass(frozen=True)
class Candidates:
    """Logits of the live articles of B visits, stratified (docs/mathematics.md 3.3)."""

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
        return _log_sum(self._stratified(self.head, self.tail))[:, 0]

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
        log_p, log_p0 = mine - _log_sum(mine), other - _log_sum(other)
        shown = ~torch.isneginf(mine)
        difference = torch.where(shown, log_p - log_p0, 0.0).masked_fill(~shown, 0.0)
        return (log_p.exp() * difference).sum(dim=1)

    def entropy(self) -> Tensor:
        """Entropy of the softmax over all live articles in nats, (B,); 0 of none."""
        both = self._stratified(self.head, self.tail)
        log_z = _log_sum(both)
        logits = torch.cat([self.head, self.tail], dim=1)
        mean = ((both - log_z).exp() * logits.masked_fill(torch.isneginf(logits), 0.0)).sum(dim=1)
        return log_z[:, 0] - mean


def _log_sum(logits: Tensor) -> Tensor:
    """Log-sum-exp of rows (B, C), as (B, 1); 0 of a row of padding alone.

    A visit to an empty catalogue is such a row: at -inf its gradient would be NaN, and with it the whole batch's.
    """
    empty = torch.isneginf(logits).all(dim=1, keepdim=True)
    return torch.logsumexp(logits.masked_fill(empty, 0.0), dim=1, keepdim=True).masked_fill(empty, 0.0)


def split_candidates(logits: Tensor, each: Doubles, width: int, num_live: Tensor) -> Candidates:
    """Candidates from logits (B, C), head and then tail, and how many live articles each stands for (B, C).

    Args:
        logits: any value where ``each`` is 0.
        each: 1 in the head, the same for all draws of a visit in the tail, 0 at padding.
        width: H.
        num_live: N, (B,).
    """
    masked = logits.masked_fill(torch.from_numpy(each == 0), -torch.inf)
    tail_weight = torch.from_numpy(each[:, width:].max(axis=1, initial=0.0))
    return Candidates(masked[:, :width], masked[:, width:], tail_weight, num_live)


@dataclass(frozen=True)
class LogWeights:
    """Logs of draw weights w; -inf pads."""

    head: Tensor
    """(B, H)"""
    tail: Tensor
    """(B, m)"""
    tail_weight: Tensor
    """(B,)"""

    def inclusion_time(self, slate_size: int, start: Tensor | None = None) -> Tensor:
        """``t*``, (B,): when ``slate_size`` arrivals are expected. Differentiable. 1 where nobody can arrive.

        Newton without gradient, then one step whose base point and slope are detached: the implicit derivative.

        Args:
            slate_size: K.
            start: where to look first, (B,), such as the ``t*`` of the policy that logged.
        """
        # Each pass over the candidates costs an exponential of each: half of a step's time, until passes were saved.
        w = torch.cat([self.head, self.tail], dim=1).exp()
        each = torch.cat([torch.ones_like(self.head), self.tail_weight[:, None].expand_as(self.tail)], dim=1)
        each = torch.where(w.detach() > 0, each, 0.0)
        with torch.no_grad():
            possible = each.sum(dim=1)
            target = torch.clamp(possible - 0.02, min=0.0, max=float(slate_size))
            time = target.clone() if start is None else torch.maximum(start, target)
            time = torch.where(possible > 0, time, 1.0)
            alive, weighted = torch.empty_like(w), each * w
            for _ in range(60):
                torch.mul(w, -time[:, None], out=alive).exp_()
                missing = target - possible + torch.einsum("bc,bc->b", each, alive)
                # The least slope is that of a row where nobody can arrive: it stays where it is.
                step = missing / torch.einsum("bc,bc->b", weighted, alive).clamp(min=1e-300)
                # From above a step may go too far: the count is concave in time, and t* is never below the target.
                time = torch.maximum(time + step, target)
                if float((step / time).abs().max()) < 1e-7:  # the step below squares that
                    break
            slope = torch.einsum("bc,bc->b", weighted, torch.exp(-w * time[:, None])).clamp(min=1e-300)
        count = (each * -torch.expm1(-w * time[:, None])).sum(dim=1)
        return time + (target - count) / slope


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
    """``log q_k = log w_k - log(1 - W_k)`` of slates (B, K) (docs/mathematics.md 2.1). Padding: w 0, in log -inf.

    With epsilon > 0 the rest stays above ``eps (N - k + 1) / N``; at 0, and nearly all mass shown, it cancels.
    """
    before = torch.cumsum(log_weight.exp(), dim=1) - log_weight.exp()
    return log_weight - torch.log1p(-torch.clamp(before, max=1.0 - 1e-15))


def log_inclusion(log_weight: Tensor, time: Tensor) -> Tensor:
    """Log of the cheap inclusion ``1 - exp(-w t*)`` of articles (B, K)."""
    return torch.log(-torch.expm1(-log_weight.exp() * time[:, None]))


def log_slot_marginal(weights: LogWeights, shown: Tensor, column: Tensor, nodes: int = _NODES) -> Tensor:
    """Log of the chance that each shown article stands at its position, (B, K).

    The integral of docs/mathematics.md 2.5 with the 24 heaviest articles counted one by one, and all others together as
    a Poisson process: their weights are small, so their number by any time is nearly Poisson. That leaves a relative
    error of up to .007 (N = 5000, M = 200, K = 10); where all are counted, that of the nodes, 2e-6 on the toy of 10.2.

    Args:
        weights: of all candidates.
        shown: log w of the slate's articles, (B, K).
        column: where the head holds them, int64 (B, K); -1 where nothing was shown: log 1 there.
        nodes: of the quadrature.
    """
    size = shown.shape[1]
    time_scale = weights.inclusion_time(size).detach()
    point, du = np.polynomial.legendre.leggauss(nodes)
    v, dv = torch.from_numpy(0.5 * (point + 1.0)), torch.from_numpy(0.5 * du)
    # u = v^power: the heavy articles of a peaked softmax arrive hundreds of times before t*, and need nodes there.
    peak = weights.head.detach().exp().amax(dim=1) * time_scale
    power = (1.0 + 0.5 * torch.log(peak / 4.0)).clamp(min=1.0)[:, None]
    u = v**power  # (B, Q)
    time = -time_scale[:, None] * torch.log1p(-u)
    dt = time_scale[:, None] * dv * power * v ** (power - 1.0) / (1.0 - u)
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
    # Nobody stands at a position beyond the catalogue: its log of 0 has no gradient.
    return torch.log(torch.where(column >= 0, torch.stack(own_slot, dim=1), 1.0))


def policy_gradient(
    estimator: Estimator,
    weights: LogWeights,
    column: Tensor,
    logged: Logged,
    advantage: Tensor,
    weigh: Weigh,
) -> tuple[Tensor, Tensor, Doubles]:
    """One of the estimators of docs/mathematics.md 3.2: ascend ``sum(coefficient * log_chance)`` over positions.

    | estimator | coefficient at position k | log chance |
    |---|---|---|
    | ``inclusion`` | ``i_pi / i_beta A_k`` | ``log i_pi(a_k)`` |
    | ``marginal`` | ``m_pi / m_beta A_k`` | ``log m_k(a_k)`` |
    | ``chen`` | ``w_pi / w_beta K (1 - w_pi)^(K-1) A_k`` | ``log w_pi(a_k)`` |
    | ``none`` | ``A_k`` | ``log q_k``: reward-weighted likelihood of the slate |
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
        log_chance = log_inclusion(log_w, weights.inclusion_time(size, logged.time))
        log_beta = log_inclusion(logged.log_weight, logged.time)
    elif estimator == "marginal":
        if logged.slot_marginal is None:
            raise ValueError("logged.slot_marginal: got None, needs the logged slot marginals for 'marginal'")
        log_chance = log_slot_marginal(weights, log_w, column)
        log_beta = torch.log(logged.slot_marginal)
    elif estimator == "chen":
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
    real = shown.numpy()
    weight: Doubles = real.astype(np.float64)
    if estimator != "none":
        # Differences of logs: of whole slates the chances themselves are tiny. Only of what was shown: the ratio of
        # padding, 1, would count in a mean over the batch.
        ratio: Doubles = np.exp(np.minimum((pi - beta).numpy()[real], 600.0))
        weight[real] = weigh(ratio, np.ones_like(ratio), a.numpy()[real])
    coefficient = torch.from_numpy(weight) * a
    if estimator == "chen":
        coefficient = coefficient * torch.from_numpy(top_k_multiplier(log_w.detach().exp().numpy(), size))
    if estimator == "prefix":
        coefficient = coefficient.flip(1).cumsum(dim=1).flip(1)
    return torch.where(shown, coefficient, 0.0), log_chance, weight

"""The live articles of a visit as a policy gradient sees them: logits, and the weights that slates are drawn by.

The softmax is over *all* live articles, mixed with uniform exploration, not over the shortlist that was served: else an
article outside the shortlist could never climb into it. The live articles are stratified (docs/mathematics.md 3.3): a
head of H articles exactly, the rest by uniform draws that each stand for several. Everything is float64.
Shapes: B visits, H head articles, m draws from the tail, C = H + m, K positions.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from feedgym.agents.slate_policy import Rates, arrival_time, reachable
from feedgym.env.arrays import Doubles

_TOLERANCE = 1e-5
"""Of t*: the last two steps square it twice."""


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

        :func:`arrival_time`, then one step whose base point and slope are detached: the implicit derivative.

        Args:
            slate_size: K.
            start: where to look first, (B,), such as the ``t*`` of the policy that logged.
        """
        w = torch.cat([self.head, self.tail], dim=1).exp()
        each = torch.cat([torch.ones_like(self.head), self.tail_weight[:, None].expand_as(self.tail)], dim=1)
        each = torch.where(w.detach() > 0, each, 0.0)
        rates = Rates.stratified(w.detach().numpy(), each.detach().numpy())
        possible = rates.possible()
        wanted = reachable(possible, slate_size)
        first = wanted if start is None else np.maximum(start.detach().numpy(), wanted)
        found = np.where(possible > 0, arrival_time(rates, wanted, first, _TOLERANCE), 1.0)
        slope = torch.from_numpy(rates.slope(found, rates.waiting(found)))
        time, target = torch.from_numpy(found), torch.from_numpy(wanted)
        count = (each * -torch.expm1(-w * time[:, None])).sum(dim=1)
        return time + (target - count) / slope

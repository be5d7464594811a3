"""The live articles of a visit as a policy gradient sees them: logits, and the policy that slates are drawn by.

The softmax is over *all* live articles, not over the shortlist that was served: else an article outside the shortlist
could never climb into it. A visit explores with chance epsilon, as the served ones do. The live articles are
stratified (docs/mathematics.md 3.3): a head of H articles exactly, the rest by uniform draws that each stand for
several. Everything is float64.
Shapes: B visits, H head articles, m draws from the tail, C = H + m, K positions.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from feedgym.agents.slate_policy import Rates, arrival_time, reachable
from feedgym.env.arrays import Doubles

NOTHING = -1e30
"""Log of what is no chance at all, but has a gradient."""
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

    def policy(self, epsilon: float) -> "LearnedPolicy":
        """The slate policy with this softmax, of which a visit explores with chance ``epsilon``."""
        log_z = self.log_normaliser()[:, None]
        return LearnedPolicy(self.head - log_z, self.tail - log_z, self.tail_weight, self.num_live, epsilon)

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
class LearnedPolicy:
    """The slate policy that a gradient is taken of (docs/mathematics.md 2.1), over all live articles."""

    head: Tensor
    """log p of the head, (B, H); -inf pads."""
    tail: Tensor
    """log p of each tail draw, (B, m); -inf pads."""
    tail_weight: Tensor
    """Live articles that each draw stands for, (B,)."""
    num_live: Tensor
    """N, (B,)."""
    epsilon: float
    """Chance that a visit explores."""

    def mixed(self, from_softmax: Tensor, explored: Tensor) -> Tensor:
        """Log of the chance under both kinds of visits, of chances under each, (B, K) and (B, K) or (B, 1)."""
        # Of no chance at all, without exploration and at padding, a number that has no gradient, instead of NaN.
        return torch.log(((1.0 - self.epsilon) * from_softmax + self.epsilon * explored).clamp(min=1e-300))

    def log_unshown(self, column: Tensor) -> Tensor:
        """Log of the part of p that slates do not show, (B,); very low where they show all of it.

        Args:
            column: where the head holds what they show, int64 (B, K); -1 where nothing was shown.
        """
        width = self.head.shape[1]
        spare = torch.cat([self.head, torch.full_like(self.head[:, :1], -torch.inf)], dim=1)
        head = spare.scatter(1, torch.where(column >= 0, column, width), -torch.inf)
        left = torch.cat([head, self.tail + torch.log(self.tail_weight)[:, None]], dim=1)
        # A number: at -inf throughout, a sum of nothing, the gradient would be NaN.
        return torch.logsumexp(left.masked_fill(torch.isneginf(left), NOTHING), dim=1)

    def inclusion_time(self, slate_size: int, start: Tensor | None = None) -> Tensor:
        """``t*``, (B,): when ``slate_size`` arrivals are expected. Differentiable. 1 where nobody can arrive.

        :func:`arrival_time`, then one step whose base point and slope are detached: the implicit derivative.

        Args:
            slate_size: K.
            start: where to look first, (B,), such as the ``t*`` of the policy that logged.
        """
        p = torch.cat([self.head, self.tail], dim=1).exp()
        rates = self.rates()
        assert rates.each is not None
        possible = rates.possible()
        wanted = reachable(possible, slate_size)
        first = wanted if start is None else np.maximum(start.detach().numpy(), wanted)
        found = np.where(possible > 0, arrival_time(rates, wanted, first, _TOLERANCE), 1.0)
        slope = torch.from_numpy(rates.slope(rates.waiting(found)))
        time, target = torch.from_numpy(found), torch.from_numpy(wanted)
        count = (torch.from_numpy(rates.each) * -torch.expm1(-p * time[:, None])).sum(dim=1)
        return time + (target - count) / slope

    def rates(self) -> Rates:
        """The softmax as rates of a race, without gradient; a column for each candidate."""
        p = torch.cat([self.head, self.tail], dim=1).detach().exp()
        each = torch.cat([torch.ones_like(self.head), self.tail_weight[:, None].expand_as(self.tail)], dim=1)
        return Rates(p.numpy(), torch.where(p > 0, each.detach(), 0.0).numpy())

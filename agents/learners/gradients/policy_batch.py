"""One batch of logged visits as a policy gradient sees it.

Shapes: B visits, H head articles, C candidates (head, then tail draws), K positions.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from feedgym.agents.learners.gradients.candidates import Candidates, split_candidates
from feedgym.agents.learners.gradients.policy_gradient import Shown
from feedgym.env.arrays import Doubles


@dataclass(frozen=True)
class PolicyBatch:
    """Visits with their candidates, and what was shown of them."""

    logits: Tensor
    """Of the policy to learn, with gradient, float64 (B, C); any value where ``each`` is 0."""
    prior: Doubles
    """Logits of what the policy is held near, (B, C)."""
    each: Doubles
    """Live articles that a candidate stands for, (B, C): 1 in the head, 0 at padding."""
    head: int
    """H"""
    num_live: Doubles
    """N, at least 1, (B,)."""
    shown: Shown
    """The slates."""

    @property
    def candidates(self) -> Candidates:
        """The policy's softmax, with gradient."""
        return self._split(self.logits)

    def divergence(self, candidates: Candidates) -> Tensor:
        """``KL(policy || prior)`` over all live articles, (B,)."""
        return candidates.divergence(self._split(torch.from_numpy(self.prior)))

    def _split(self, logits: Tensor) -> Candidates:
        return split_candidates(logits, self.each, self.head, torch.from_numpy(self.num_live))

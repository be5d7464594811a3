"""The estimators of the policy gradient as tests ask for them: by name, with the parts of ``Shown`` one by one."""

import numpy as np
import torch
from torch import Tensor

from feedgym.agents.learners.gradients.candidates import Candidates, LearnedPolicy
from feedgym.agents.learners.gradients.policy_gradient import (
    ESTIMATORS,
    Logged,
    Shown,
    Terms,
    Weigh,
    log_inclusion,
    log_slots,
)
from feedgym.agents.slate_policy.importance import importance_weight
from feedgym.env.arrays import Doubles


def policy_gradient(
    estimator: str, policy: LearnedPolicy, column: Tensor, logged: Logged, advantage: Tensor, weigh: Weigh
) -> Terms:
    """One of ``ESTIMATORS`` by name."""
    return ESTIMATORS[estimator].terms(policy, Shown(column, logged, advantage, weigh))


def identity(pi: Doubles, beta: Doubles, advantage: Doubles) -> Doubles:
    """Ratios as they are."""
    return importance_weight(pi, beta, "none")


def all_in_head(logits: Tensor) -> Candidates:
    """A head of all live articles, logits (B, N)."""
    rows, num_live = logits.shape
    nothing = logits.new_zeros(rows)
    return Candidates(logits, logits.new_zeros((rows, 0)), nothing, nothing + num_live)


def slots_of(policy: LearnedPolicy, column: Tensor) -> Tensor:
    """``log q_k`` of slates (B, K) that stand in these columns of the head, with gradient."""
    unused = torch.zeros(column.shape, dtype=policy.head.dtype)
    return log_slots(policy, Shown(column, Logged(unused, unused, unused), unused, identity))


def logged_of(policy: LearnedPolicy, column: Tensor, slot_marginal: Doubles | Tensor | None = None) -> Logged:
    """What a log says of slates (B, K) in these columns, had this policy served them; padding as a log has it."""
    there, size = column >= 0, column.shape[1]
    log_p = policy.head.gather(1, column.clamp(min=0))
    time = policy.inclusion_time(size)
    explored = 1.0 / policy.num_live[:, None]
    marginal = None if slot_marginal is None else torch.as_tensor(np.asarray(slot_marginal))
    return Logged(
        inclusion=torch.where(there, log_inclusion(policy, log_p, time, size).exp(), 1.0).detach(),
        first=torch.where(there, policy.mixed(log_p.exp(), explored).exp(), 1.0).detach(),
        slot_propensity=slots_of(policy, column).exp().detach(),
        time=time.detach(),
        slot_marginal=marginal if marginal is None else torch.where(there, marginal, 1.0),
    )

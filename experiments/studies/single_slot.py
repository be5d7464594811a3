"""The biased policy gradient of the prototype, for comparison in studies only; no agent that ships has it.

It weighs position k by the ratio of its own conditional propensity alone: ``q_k^pi / q_k^beta grad log q_k A_k``. That
leaves out what the positions above do to the chance of standing at k, and is biased as soon as the policy that
logged is not the one that learns: by .55 of the gradient in the toy of docs/mathematics.md 3.2.
"""

from functools import partial

import torch

from feedgym.agents.learners import (
    Estimator,
    FutureConfig,
    LearnedPolicy,
    RegressionConfig,
    ReinforceConfig,
    ReinforceLearner,
    Shown,
    Terms,
    log_slots,
)
from feedgym.agents.registry import KINDS, learned_kind, one_stage


def single_slot(policy: LearnedPolicy, shown: Shown) -> Terms:
    """``q_k^pi / q_k^beta A_k grad log q_k``: the ratio of each position alone."""
    log_q = log_slots(policy, shown)
    log_beta = torch.where(shown.there, torch.log(shown.logged.slot_propensity), 0.0)
    ratio = shown.weighed(log_q.detach(), log_beta, shown.gain)
    return Terms(torch.from_numpy(ratio) * shown.gain, log_q, ratio)


SINGLE_SLOT = Estimator(single_slot)

REINFORCE = learned_kind(
    "REINFORCE with single-slot ratios: biased, for comparison",
    partial(ReinforceLearner, estimator=SINGLE_SLOT),
    *(ReinforceConfig, FutureConfig, RegressionConfig),
    defaults=KINDS["reinforce"].defaults,
    check=one_stage,
)

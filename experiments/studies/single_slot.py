"""The biased policy gradient of the prototype, for comparison in studies only; no agent that ships has it.

It weighs position k by the ratio of its own conditional propensity alone: ``q_k^pi / q_k^beta grad log q_k A_k``. That
leaves out what the positions above do to the chance of standing at k, and is biased as soon as the policy that
logged is not the one that learns: by .55 of the gradient in the toy of docs/mathematics.md 3.2.
"""

import torch
from torch import Tensor

from feedgym.agents.learners import (
    FutureConfig,
    Logged,
    LogWeights,
    RegressionConfig,
    ReinforceConfig,
    ReinforceLearner,
    log_slot_propensity,
)
from feedgym.agents.registry import AgentKind, agent_kinds, learner_builder
from feedgym.agents.slate_policy import importance_weight
from feedgym.env.arrays import Doubles


class SingleSlotLearner(ReinforceLearner):
    """REINFORCE with single-slot ratios."""

    def _terms(
        self, weights: LogWeights, column: Tensor, logged: Logged, advantage: Tensor
    ) -> tuple[Tensor, Tensor, Doubles]:
        shown = column >= 0
        log_w = torch.where(shown, weights.head.gather(1, column.clamp(min=0)), -60.0)
        log_q = torch.where(shown, log_slot_propensity(log_w), 0.0)
        ratio = importance_weight(
            log_q.detach().exp().numpy(), logged.slot_propensity.numpy(), "cap", cap=self.config.weight_cap
        )
        coefficient = torch.where(shown, torch.from_numpy(ratio) * advantage, 0.0)
        return coefficient, log_q, ratio


REINFORCE = AgentKind(
    "REINFORCE with single-slot ratios: biased, for comparison",
    agent_kinds()["reinforce"].settings,
    learner_builder(lambda: SingleSlotLearner, ReinforceConfig, FutureConfig, RegressionConfig),
    learns=True,
)

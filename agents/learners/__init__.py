"""How towers are trained: each learner is a loss on logged visits. Settings and the replay live here too.

May import ``serving``, ``ope``, ``slate_policy``, ``feedgym.towers`` and ``feedgym.env``. Names are looked up late:
learners import torch, their settings do not.
"""

from typing import TYPE_CHECKING

from feedgym.env.late_names import late_names

if TYPE_CHECKING:
    from feedgym.agents.learners.contrastive import ContrastiveLearner
    from feedgym.agents.learners.gradients.direct import DirectLearner
    from feedgym.agents.learners.gradients.policy_gradient import Logged, LogWeights, log_slot_propensity
    from feedgym.agents.learners.gradients.reinforce import ReinforceLearner
    from feedgym.agents.learners.ltv import LtvLearner
    from feedgym.agents.learners.protocol import Learner, Learning
    from feedgym.agents.learners.regression import RegressionLearner
    from feedgym.agents.learners.replay import Replay, VisitBatch
    from feedgym.agents.learners.settings import (
        ContrastiveConfig,
        DirectConfig,
        FutureConfig,
        LtvConfig,
        RegressionConfig,
        ReinforceConfig,
    )

__all__ = [
    "ContrastiveConfig",
    "ContrastiveLearner",
    "DirectConfig",
    "DirectLearner",
    "FutureConfig",
    "Learner",
    "Learning",
    "LogWeights",
    "Logged",
    "LtvConfig",
    "LtvLearner",
    "RegressionConfig",
    "RegressionLearner",
    "ReinforceConfig",
    "ReinforceLearner",
    "Replay",
    "VisitBatch",
    "log_slot_propensity",
]

__getattr__ = late_names(
    __name__,
    {
        "ContrastiveLearner": "contrastive",
        "DirectLearner": "gradients.direct",
        "LogWeights": "gradients.policy_gradient",
        "Logged": "gradients.policy_gradient",
        "log_slot_propensity": "gradients.policy_gradient",
        "ReinforceLearner": "gradients.reinforce",
        "LtvLearner": "ltv",
        "Learner": "protocol",
        "Learning": "protocol",
        "RegressionLearner": "regression",
        "Replay": "replay",
        "VisitBatch": "replay",
        "ContrastiveConfig": "settings",
        "DirectConfig": "settings",
        "FutureConfig": "settings",
        "LtvConfig": "settings",
        "RegressionConfig": "settings",
        "ReinforceConfig": "settings",
    },
)

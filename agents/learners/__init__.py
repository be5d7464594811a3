"""How towers are trained: each learner is a loss on logged visits."""

from feedgym.agents.acted import Acted
from feedgym.agents.learners.contrastive import ContrastiveLearner
from feedgym.agents.learners.direct import DirectLearner
from feedgym.agents.learners.ltv import LtvLearner
from feedgym.agents.learners.protocol import Learner, Learning
from feedgym.agents.learners.regression import RegressionLearner
from feedgym.agents.learners.reinforce import ReinforceLearner
from feedgym.agents.settings import (
    ContrastiveConfig,
    DirectConfig,
    FutureConfig,
    LtvConfig,
    RegressionConfig,
    ReinforceConfig,
)

__all__ = [
    "Acted",
    "ContrastiveConfig",
    "ContrastiveLearner",
    "DirectConfig",
    "DirectLearner",
    "FutureConfig",
    "Learner",
    "Learning",
    "LtvConfig",
    "LtvLearner",
    "RegressionConfig",
    "RegressionLearner",
    "ReinforceConfig",
    "ReinforceLearner",
]

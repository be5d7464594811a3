"""How towers are trained: each learner is a loss on logged visits."""

from feedgym.agents.learners.contrastive import ContrastiveLearner
from feedgym.agents.learners.protocol import Learner, Learning
from feedgym.agents.learners.regression import RegressionLearner
from feedgym.agents.settings import ContrastiveConfig, RegressionConfig

__all__ = [
    "ContrastiveConfig",
    "ContrastiveLearner",
    "Learner",
    "Learning",
    "RegressionConfig",
    "RegressionLearner",
]

"""The estimators of the policy gradient as tests ask for them: by name, with the parts of ``Shown`` one by one."""

from torch import Tensor

from feedgym.agents.learners.gradients.candidates import LogWeights
from feedgym.agents.learners.gradients.policy_gradient import ESTIMATORS, Logged, Shown, Terms, Weigh


def policy_gradient(
    estimator: str, weights: LogWeights, column: Tensor, logged: Logged, advantage: Tensor, weigh: Weigh
) -> Terms:
    """One of ``ESTIMATORS`` by name."""
    return ESTIMATORS[estimator].terms(weights, Shown(column, logged, advantage, weigh))

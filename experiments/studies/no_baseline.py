"""REINFORCE without a baseline, as Chen et al. (WSDM 2019) write it; for comparison in studies only.

A position's own reward is its whole advantage: never below 0 where minutes are paid. Uncorrected, the best such
policy is ``beta * reward`` (docs/mathematics.md 3.1), a copy of the logger's interests. The learner that ships takes a
baseline off, and so pushes down what the logger showed much and nobody read.
"""

from functools import partial

from feedgym.agents.learners import Earned, FutureConfig, RegressionConfig, ReinforceConfig, ReinforceLearner
from feedgym.agents.registry import AgentKind, agent_kinds, learner_builder
from feedgym.env.arrays import Doubles


def bare_reward(earned: Earned) -> Doubles:
    """Immediate rewards as they are, (B, K)."""
    return earned.reward


REINFORCE = AgentKind(
    "REINFORCE on immediate rewards without a baseline: for comparison",
    {**agent_kinds()["reinforce"].settings, "use_future": False},
    learner_builder(
        lambda: partial(ReinforceLearner, advantage=bare_reward), ReinforceConfig, FutureConfig, RegressionConfig
    ),
    learns=True,
)

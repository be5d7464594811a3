"""REINFORCE without a baseline, as Chen et al. (WSDM 2019) write it; for comparison in studies only.

A position's own reward is its whole advantage: never below 0 where minutes are paid. Uncorrected, the best such
policy is ``beta * reward`` (docs/mathematics.md 3.1), a copy of the logger's interests. The learner that ships takes a
baseline off, and so pushes down what the logger showed much and nobody read.
"""

from functools import partial

from feedgym.agents.learners import Earned, FutureConfig, RegressionConfig, ReinforceConfig, ReinforceLearner
from feedgym.agents.registry import KINDS, learned_kind, one_stage
from feedgym.env.arrays import Doubles


def bare_reward(earned: Earned) -> Doubles:
    """Immediate rewards as they are, (B, K)."""
    return earned.reward


REINFORCE = learned_kind(
    "REINFORCE on immediate rewards without a baseline: for comparison",
    partial(ReinforceLearner, advantage=bare_reward),
    *(ReinforceConfig, FutureConfig, RegressionConfig),
    defaults={**KINDS["reinforce"].defaults, "use_future": False},
    check=one_stage,
)

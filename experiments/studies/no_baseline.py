"""REINFORCE without a baseline, as Chen et al. (WSDM 2019) write it; for comparison in studies only.

A position's own reward is its whole advantage: never below 0 where minutes are paid. Uncorrected, the best such
policy is ``beta * reward`` (docs/mathematics.md 3.1), a copy of the logger's interests. The learner that ships takes a
baseline off, and so pushes down what the logger showed much and nobody read.
"""

import numpy as np

from feedgym.agents.learners import FutureConfig, RegressionConfig, ReinforceConfig, ReinforceLearner
from feedgym.agents.registry import AgentKind, agent_kinds, learner_builder
from feedgym.env.arrays import Arrays, Doubles, Ints


class NoBaselineLearner(ReinforceLearner):
    """REINFORCE on immediate rewards as they are."""

    def _advantage(self, batch: Arrays, slots: Ints, value: Doubles) -> Doubles:
        own: Doubles = batch["slot_reward"].astype(np.float64)
        return own


REINFORCE = AgentKind(
    "REINFORCE on immediate rewards without a baseline: for comparison",
    {**agent_kinds()["reinforce"].settings, "use_future": False},
    learner_builder(lambda: NoBaselineLearner, ReinforceConfig, FutureConfig, RegressionConfig),
    learns=True,
)

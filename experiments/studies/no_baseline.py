"""REINFORCE without a baseline, as Chen et al. (WSDM 2019) write it; for comparison in studies only.

A position's own reward is its whole advantage: never below 0 where minutes are paid. Uncorrected, the best such
policy is ``beta * reward`` (algorithms.md, 3.1), a copy of the logger's interests. The learner that ships takes a
baseline off, and so pushes down what the logger showed much and nobody read.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from feedgym.agents.agent import Agent, Site
from feedgym.agents.learners import FutureConfig, RegressionConfig, ReinforceConfig, ReinforceLearner
from feedgym.agents.policy import PolicyConfig
from feedgym.agents.registry import AgentKind, agent_kinds, make_config
from feedgym.agents.settings import TwoTowerAgentConfig
from feedgym.agents.two_tower_agent import TwoTowerAgent
from feedgym.env.arrays import Arrays, Doubles, Ints
from feedgym.env.feed import Feed


class NoBaselineLearner(ReinforceLearner):
    """REINFORCE on immediate rewards as they are."""

    def _advantage(self, batch: Arrays, slots: Ints, value: Doubles) -> Doubles:
        own: Doubles = batch["slot_reward"].astype(np.float64)
        return own


def _build(site: Site, feed: Feed, settings: Mapping[str, Any]) -> Agent:
    configs = (make_config(c, settings) for c in (ReinforceConfig, FutureConfig, RegressionConfig))
    agent = make_config(TwoTowerAgentConfig, settings, policy=make_config(PolicyConfig, settings))
    return TwoTowerAgent(site, agent, NoBaselineLearner(*configs))


REINFORCE = AgentKind(
    "REINFORCE on immediate rewards without a baseline: for comparison",
    {**agent_kinds()["reinforce"].settings, "use_future": False},
    _build,
    learns=True,
)

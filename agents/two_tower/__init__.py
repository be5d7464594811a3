"""The learned agent: two towers, a learner, a slate policy and serving, composed.

May import ``learners``, ``serving`` and what is below them. Names are looked up late: torch.
"""

from typing import TYPE_CHECKING

from feedgym.env.late_names import late_names

if TYPE_CHECKING:
    from feedgym.agents.two_tower.agent import TwoTowerAgent
    from feedgym.agents.two_tower.ranking import check_second_stage
    from feedgym.agents.two_tower.settings import (
        ID_KINDS,
        FeaturesConfig,
        OptimiserConfig,
        SecondStageConfig,
        ServingConfig,
        TwoTowerAgentConfig,
    )
    from feedgym.agents.two_tower.vectors import Embedding, Vectors

__all__ = [
    "ID_KINDS",
    "Embedding",
    "FeaturesConfig",
    "OptimiserConfig",
    "SecondStageConfig",
    "ServingConfig",
    "TwoTowerAgent",
    "TwoTowerAgentConfig",
    "Vectors",
    "check_second_stage",
]

__getattr__ = late_names(
    __name__,
    {
        "TwoTowerAgent": "agent",
        "ID_KINDS": "settings",
        "FeaturesConfig": "settings",
        "OptimiserConfig": "settings",
        "SecondStageConfig": "settings",
        "ServingConfig": "settings",
        "TwoTowerAgentConfig": "settings",
        "Embedding": "vectors",
        "Vectors": "vectors",
        "check_second_stage": "ranking",
    },
)

"""The learned agent: two towers, a learner, a slate policy and serving, composed.

May import ``learners``, ``serving`` and what is below them. Names are looked up late: torch.
"""

from typing import TYPE_CHECKING

from feedgym.env.late_names import late_names

if TYPE_CHECKING:
    from feedgym.agents.two_tower.agent import TwoTowerAgent
    from feedgym.agents.two_tower.settings import TwoTowerAgentConfig
    from feedgym.agents.two_tower.vectors import Embedding, Vectors

__all__ = ["Embedding", "TwoTowerAgent", "TwoTowerAgentConfig", "Vectors"]

__getattr__ = late_names(
    __name__,
    {"TwoTowerAgent": "agent", "TwoTowerAgentConfig": "settings", "Embedding": "vectors", "Vectors": "vectors"},
)

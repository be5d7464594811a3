"""Settings of the learned agents, apart from their code: reading them imports no torch. Time is in hours."""

from dataclasses import dataclass, field
from typing import Literal

from feedgym.agents.policy import PolicyConfig
from feedgym.env.checks import require


@dataclass(frozen=True, kw_only=True)
class TwoTowerAgentConfig:
    """Sizes, clocks and optimisation of a learned agent."""

    policy: PolicyConfig = field(default_factory=PolicyConfig)
    """How slates are drawn."""
    widths: tuple[int, ...] = (32,)
    """Hidden layers of each tower; (1024, 512, 256) is the published shape."""
    dim: int = 16
    """Dimensions of the inner product."""
    age_decay: Literal["none", "linear", "exponential"] = "exponential"
    """How age enters the score. A click's log-odds fade linearly, minutes exponentially."""
    train_every_hours: float = 6.0
    """Simulated hours between trainings; item vectors are refreshed after each."""
    passes: float = 10.0
    """Each training takes as many steps as would see the visits since the last one this many times."""
    max_steps: int = 400
    """Most steps of one training."""
    learning_rate: float = 2e-3
    """Of Adam."""
    weight_decay: float = 1.0
    """Decoupled (AdamW). Strong: a day of one site's log is little, and its noise is what overfits."""
    replay_visits: int = 50_000
    """Latest visits that are learned from."""
    index: str = "exact"
    """Kind of index, see ``make_index``."""

    def __post_init__(self) -> None:
        """Check once."""
        require(self.train_every_hours > 0, "train_every_hours", self.train_every_hours, "> 0 (hours)")
        require(self.passes > 0, "passes", self.passes, "> 0")
        require(self.max_steps >= 1, "max_steps", self.max_steps, ">= 1")
        require(self.learning_rate > 0, "learning_rate", self.learning_rate, "> 0")
        require(self.weight_decay >= 0, "weight_decay", self.weight_decay, ">= 0")
        require(self.replay_visits >= 1, "replay_visits", self.replay_visits, ">= 1")

"""Settings of the learned agents, apart from their code: reading them imports no torch. Time is in hours."""

from dataclasses import dataclass, field
from typing import Literal

from feedgym.agents.policy import PolicyConfig
from feedgym.env.checks import require

Target = Literal["click", "dwell"]


@dataclass(frozen=True, kw_only=True)
class TwoTowerAgentConfig:
    """Sizes, clocks and optimisation of a learned agent."""

    policy: PolicyConfig = field(default_factory=PolicyConfig)
    """How slates are drawn."""
    widths: tuple[int, ...] = (64,)
    """Hidden layers of each tower; (1024, 512, 256) is the published shape."""
    dim: int = 16
    """Dimensions of the inner product."""
    age_decay: Literal["none", "linear", "exponential"] = "exponential"
    """How age enters the score. A click's log-odds fade linearly, minutes exponentially."""
    train_every_hours: float = 6.0
    """Simulated hours between trainings; item vectors are refreshed after each."""
    passes: float = 10.0
    """Each training takes as many steps as would see the visits since the last one this many times, at 256 a step."""
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


@dataclass(frozen=True, kw_only=True)
class RegressionConfig:
    """What is predicted, and on how much."""

    target: Target = "dwell"
    """``click``: BCE on clicks. ``dwell``: MSE on minutes, 0 where nothing was clicked."""
    batch_visits: int = 256
    """Visits in a batch: every impression of each is a row."""
    examination: float | None = None
    """Chance that position k is seen, as ``examination ** k``, if the site knows it; None ignores positions."""

    def __post_init__(self) -> None:
        """Check once."""
        require(self.target in ("click", "dwell"), "target", self.target, "'click' or 'dwell'")
        require(self.batch_visits >= 1, "batch_visits", self.batch_visits, ">= 1")
        known = self.examination is None or 0.0 < self.examination <= 1.0
        require(known, "examination", self.examination, "None, or a chance in (0, 1]")


@dataclass(frozen=True, kw_only=True)
class ContrastiveConfig:
    """How clicks are contrasted."""

    batch_clicks: int = 256
    """Clicks in a batch, consecutive in time."""
    uniform_negatives: int = 0
    """Negatives drawn uniformly from the articles that were live then; 0 leaves the in-batch ones alone."""
    softmax_temperature: float = 1.0
    """Divides the scores in the loss, before the logQ correction; ``temperature`` is that of the slates."""
    frequency_rate: float = 0.01
    """Weight of the newest tick's clicks in the running frequency of articles."""
    dwell_weight: bool = False
    """Weigh each click by the minutes read."""
    propensity_cap: float | None = None
    """Weigh each click by ``min(1 / slot propensity, cap)``: without the cap, exposure would cancel exactly, and
    the softmax learn who clicks rather than who was shown (towers.md, 2.6). None: clicks count as they come."""

    def __post_init__(self) -> None:
        """Check once."""
        require(self.batch_clicks >= 2, "batch_clicks", self.batch_clicks, ">= 2: a row needs a negative")
        require(self.uniform_negatives >= 0, "uniform_negatives", self.uniform_negatives, ">= 0")
        require(self.softmax_temperature > 0, "softmax_temperature", self.softmax_temperature, "> 0")
        require(0 < self.frequency_rate < 1, "frequency_rate", self.frequency_rate, "in (0, 1)")
        capped = self.propensity_cap is None or self.propensity_cap >= 1
        require(capped, "propensity_cap", self.propensity_cap, "None, or >= 1")

"""Settings of the learned agents, apart from their code: reading them imports no torch. Time is in hours."""

from dataclasses import dataclass, field
from typing import Literal

from feedgym.agents.off_policy import WEIGHT_METHODS, WeightMethod
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


@dataclass(frozen=True, kw_only=True)
class FutureConfig:
    """What later visits count for."""

    discount_per_hour: float = 0.98
    """g: what a minute an hour later is worth now."""
    trace: float = 0.7
    """lambda of the returns: 1 is Monte Carlo, 0 one step ahead of the value head."""
    use_future: bool = True
    """False: only a visit's own reward counts (a control: what is left of the gain without the future)."""
    value_learning_rate: float = 5e-3
    """Of the value head."""

    def __post_init__(self) -> None:
        """Check once."""
        require(0 < self.discount_per_hour <= 1, "discount_per_hour", self.discount_per_hour, "in (0, 1]")
        require(0 <= self.trace <= 1, "trace", self.trace, "between 0 and 1")
        require(self.value_learning_rate > 0, "value_learning_rate", self.value_learning_rate, "> 0")


@dataclass(frozen=True, kw_only=True)
class ReinforceConfig:
    """Off-policy-corrected REINFORCE (algorithms.md, 3; world.md, 3)."""

    mode: Literal["residual", "plain"] = "residual"
    """``residual``: a dwell regression that keeps training is the prior, a correction on top is what is learned.
    ``plain``: the towers themselves are the policy; their scores are the logits."""
    estimator: Literal["inclusion", "marginal", "chen", "none", "prefix", "joint"] = "inclusion"
    """Which policy gradient, see ``policy_gradient``; ``none`` corrects nothing."""
    weights: WeightMethod = "cap"
    """What keeps importance weights in bounds, see ``importance_weight``."""
    weight_cap: float = 3.0
    """Largest weight of ``cap``."""
    clip_delta: float = 0.2
    """Half-width of ``clip``."""
    credit: Literal["clicked", "item", "slate"] = "clicked"
    """Who is credited with the future. ``clicked``: each opened article, with what it exceeds the value head by (an
    unopened one did not change the reader; biased by design, since it conditions on the outcome). ``item``: opened
    articles in equal shares, against the whole value. ``slate``: all alike, by the estimator ``joint``."""
    correction: Literal["linear", "mlp"] = "linear"
    """What ``residual`` learns: a weight for each article feature, or two small towers."""
    correction_widths: tuple[int, ...] = (32,)
    """Hidden layers of ``mlp``."""
    correction_dim: int = 8
    """Columns of ``mlp``."""
    kl: float = 0.3
    """Weight of the divergence from the prior (``plain``: from uniform), in units of the mean reward of a visit."""
    policy_learning_rate: float = 0.02
    """Of the correction; ``plain`` trains its towers at ``learning_rate``."""
    policy_visits: int = 20_000
    """Latest visits that the policy learns from."""
    policy_batch: int = 256
    """Visits in a batch."""
    tail_draws: int = 64
    """Live articles drawn uniformly for the normaliser, beside the shortlist; a tick's visits share them."""
    normalise_advantage: bool = False
    """Divide advantages by their deviation in the batch: only rescales the step."""

    def __post_init__(self) -> None:
        """Check once."""
        require(self.mode in ("residual", "plain"), "mode", self.mode, "'residual' or 'plain'")
        estimators = ("inclusion", "marginal", "chen", "none", "prefix", "joint")
        require(self.estimator in estimators, "estimator", self.estimator, f"one of {estimators}")
        require(self.weights in WEIGHT_METHODS, "weights", self.weights, f"one of {WEIGHT_METHODS}")
        require(self.credit in ("clicked", "item", "slate"), "credit", self.credit, "'clicked', 'item' or 'slate'")
        joint = self.credit != "slate" or self.estimator in ("joint", "inclusion")
        require(joint, "estimator", self.estimator, "'joint' with credit='slate': no other estimator has it")
        require(self.correction in ("linear", "mlp"), "correction", self.correction, "'linear' or 'mlp'")
        for name in ("weight_cap", "clip_delta", "policy_learning_rate"):
            require(getattr(self, name) > 0, name, getattr(self, name), "> 0")
        require(self.kl >= 0, "kl", self.kl, ">= 0")
        for name in ("policy_visits", "policy_batch", "tail_draws", "correction_dim"):
            require(getattr(self, name) >= 1, name, getattr(self, name), ">= 1")

    @property
    def used_estimator(self) -> Literal["inclusion", "marginal", "chen", "none", "prefix", "joint"]:
        """``credit="slate"`` goes with the joint estimator."""
        return "joint" if self.credit == "slate" else self.estimator


@dataclass(frozen=True, kw_only=True)
class LtvConfig:
    """Long-term-value regression (world.md, 3)."""

    future_weight: float = 1.0
    """What a minute of future advantage counts against one read now, in the second model's target."""
    batch_visits: int = 256
    """Visits in a batch."""

    def __post_init__(self) -> None:
        """Check once."""
        require(self.future_weight >= 0, "future_weight", self.future_weight, ">= 0")
        require(self.batch_visits >= 1, "batch_visits", self.batch_visits, ">= 1")

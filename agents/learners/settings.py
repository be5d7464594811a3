"""Settings of the learned agents, apart from their code: reading them imports no torch. Time is in hours."""

import math
from dataclasses import dataclass
from typing import Literal

from feedgym.agents.learners.tasks import CLICK_TASKS, parse_tasks
from feedgym.agents.slate_policy import WEIGHT_METHODS, WeightMethod
from feedgym.env.checks import require
from feedgym.towers.config import one_of, require_known


@dataclass(frozen=True, kw_only=True)
class RegressionConfig:
    """What is predicted, and on how much."""

    target: str = "dwell"
    """``click``: BCE on clicks. ``dwell``: MSE on minutes, 0 where nothing was clicked. ``subscription``: BCE, of what
    was opened at the visit that ended in one. ``next``: BCE, of the article that the reader clicks next. ``completed``:
    BCE, of what was read for ``completed_minutes``. Or a weighted sum, such as ``click+0.5*dwell``: one score, read on
    a scale of its own for each further task."""
    loss: str = one_of("pointwise", "feedgym.agents.learners.regressions:REGRESSIONS")
    """``pointwise``: as ``target`` says. ``ips``: clicks weighed by 1 / examination. ``slate_softmax``, ``slate_bpr``:
    what was clicked against what else stood on the slate (of ``dwell``, weighed by minutes). ``huber``: minutes,
    where an error counts squared up to a minute and no more than in proportion beyond."""
    batch_visits: int = 256
    """Visits in a batch: every impression of each is a row."""
    examination: float | str | None = None
    """Chance that position k is seen, as ``examination ** k``, if the site knows it; ``learned``: with the clicks; None
    ignores positions."""
    negative_keep_rate: float = 1.0
    """Share of the impressions without a click that are learned from; the loss takes the rest into account."""
    ips_clip: float | None = 10.0
    """Largest 1 / examination of ``ips``; None: no limit."""
    slate_negatives: int | None = None
    """``slate_softmax``: how many non-clicks of its own slate each click is set against, drawn anew each time (NRMS has
    4); None: all of them."""
    completed_minutes: float = 1.0
    """``completed``: minutes from which an opened article counts as read."""

    def __post_init__(self) -> None:
        """Check once."""
        from feedgym.agents.learners.regressions import REGRESSIONS  # late: losses import torch

        tasks = [task for task, _ in parse_tasks(self.target)]
        require_known(self)
        loss, name = REGRESSIONS[self.loss], f"with loss={self.loss}"
        misfits = [task for task in tasks if task not in loss.tasks]
        require(not misfits, "target", self.target, f"{' or '.join(loss.tasks)} {name}, not {', '.join(misfits)}")
        require(self.batch_visits >= 1, "batch_visits", self.batch_visits, ">= 1")
        chance = self.examination
        known = chance in (None, "learned") or (not isinstance(chance, str) and 0.0 < float(chance or 0.0) <= 1.0)
        require(known, "examination", chance, "None, 'learned', or a chance in (0, 1]")
        require(chance is None or loss.examination is not False, "examination", chance, f"None {name}")
        require(chance is not None or not loss.examination, "examination", None, f"a chance, or 'learned', {name}")
        only = chance != "learned" or any(task in CLICK_TASKS for task in tasks)
        require(only, "target", self.target, "a task of clicks beside examination='learned'")
        rate = self.negative_keep_rate
        require(0 < rate <= 1, "negative_keep_rate", rate, "a share in (0, 1]")
        corrected = " or ".join(f"loss={name}" for name, each in REGRESSIONS.items() if each.thinned)
        whole = rate == 1 or all(task in loss.thinned for task in tasks)
        require(whole, "negative_keep_rate", rate, f"1, but with a loss that corrects for it: of clicks, {corrected}")
        require(self.ips_clip is None or self.ips_clip >= 1, "ips_clip", self.ips_clip, "None, or >= 1")
        require(self.completed_minutes > 0, "completed_minutes", self.completed_minutes, "> 0 (minutes)")
        drawn = self.slate_negatives
        require(drawn is None or drawn >= 1, "slate_negatives", drawn, "None, or >= 1")
        drawing = " or ".join(f"loss={name}" for name, each in REGRESSIONS.items() if each.draws)
        require(drawn is None or loss.draws, "slate_negatives", drawn, f"None, but with {drawing}")


@dataclass(frozen=True, kw_only=True)
class ContrastiveConfig:
    """How clicks are contrasted."""

    task: str = "click"
    """``click``, ``dwell`` (clicks weighed by minutes), ``completed`` (those read for ``completed_minutes``),
    ``subscription`` (clicks of visits that ended in one), ``next`` (a visit's first click, foretold from the reader's
    visit before), or a weighted sum such as ``click+0.5*next``."""
    completed_minutes: float = 1.0
    """``completed``: minutes from which a click counts."""
    loss: str = one_of("softmax", "feedgym.agents.learners.contrasts:CONTRASTS")
    """How a click is contrasted."""
    negatives: str = one_of("in_batch", "feedgym.towers.negatives:NEGATIVES")
    """What a click is contrasted with."""
    negatives_live: bool = True
    """A click is compared only with articles that were live at its own moment, and log q is that of these. False, as in
    the textbook: with all that the batch holds, be it published later or expired before."""
    num_negatives: int = 256
    """Drawn for a batch; of ``hard``, uniform ones beside the hard; of ``memory``, 16 times as many are remembered."""
    hard_negatives: int = 8
    """Drawn from each row's shortlist by ``hard``."""
    row_negatives: int = 1
    """Drawn for each click by ``own``, and by ``sequence_loss=bce``: SASRec has 1."""
    popularity_alpha: float = 0.75
    """``popularity``: negatives are drawn in proportion to click frequency to this power."""
    correction: Literal["nce", "full", "none"] = "nce"
    """How the softmax corrects for what is drawn how often (docs/mathematics.md 6.2)."""
    gbce_t: float = 0.75
    """``gbce``: 0 is plain sampled BCE, 1 calibrates to the whole catalogue."""
    ccl_margin: float = 0.3
    """``ccl``: cosine above which a negative is pushed away."""
    ccl_negative_weight: float = 1.0
    """``ccl``: weight of the negatives."""
    sequence_weight: float = 1.0
    """Weight of the loss over all clicks of the histories, for encoders that can be trained so (gru, sasrec,
    bert4rec); 0: only the latest click is foretold."""
    sequence_loss: str = one_of("softmax", "feedgym.agents.learners.clicks.sequence:SEQUENCE_LOSSES")
    """How each click of a history is foretold. ``softmax``: against the others of the batch, with logQ. ``bce``:
    against ``row_negatives`` articles that the reader has not clicked (SASRec). ``full_softmax``: against all live
    articles and the batch's (BERT4Rec)."""
    sequence_clicks: int = 256
    """Clicks of histories in a batch of that loss."""
    mask_rate: float = 0.2
    """Share of a history that ``bert4rec`` has to guess."""
    batch_clicks: int = 256
    """Clicks in a batch, consecutive in time."""
    clicks_per_reader: int | None = None
    """Examples of each reader, her newest clicks: with as many of each, those who click a lot do not outweigh the rest
    (YouTube 2016, 3.4). None: all clicks kept."""
    examination: float | None = None
    """Chance that position k is seen, as ``examination ** k``: weighs each click by its inverse. None: not at all."""
    softmax_temperature: float = 1.0
    """Divides the scores in the loss, before the logQ correction; ``temperature`` is that of the slates."""
    frequency_rate: float = 0.01
    """Weight of the newest tick's clicks in the running frequency of articles."""
    dwell_weight: bool = False
    """Weigh each click by the minutes read."""
    rerank_minutes: bool = False
    """Weigh the clicks of the second stage by the minutes read, whatever the first is trained on: the odds of what it
    predicts are then expected minutes (YouTube 2016, 4.2). So it is anyhow with ``task=dwell`` or ``dwell_weight``."""
    propensity_cap: float | None = None
    """Weigh each click by ``min(1 / inclusion, cap)``, of the chance that its article stands anywhere on the slate:
    without the cap, exposure would cancel exactly, and the softmax learn who clicks rather than who was shown
    (docs/mathematics.md 6.6). At most N / (epsilon K) anyhow. None: all clicks count alike."""
    organic_weight: float = 1.0
    """Weight of an open from elsewhere, which has no slate and so no chance to be on one. 1: as a click on an article
    that was sure to be shown. 0: learns from slates alone. Where nobody comes from elsewhere it changes nothing."""

    def __post_init__(self) -> None:
        """Check once."""
        require_known(self)
        parse_tasks(self.task)
        require(self.batch_clicks >= 2, "batch_clicks", self.batch_clicks, ">= 2: a row needs a negative")
        require(self.num_negatives >= 1, "num_negatives", self.num_negatives, ">= 1")
        require(self.row_negatives >= 1, "row_negatives", self.row_negatives, ">= 1")
        require(self.completed_minutes > 0, "completed_minutes", self.completed_minutes, "> 0 (minutes)")
        most = self.clicks_per_reader
        require(most is None or most >= 1, "clicks_per_reader", most, "None, or >= 1")
        require(self.hard_negatives >= 1, "hard_negatives", self.hard_negatives, ">= 1")
        require(self.popularity_alpha >= 0, "popularity_alpha", self.popularity_alpha, ">= 0")
        corrections = ("nce", "full", "none")
        require(self.correction in corrections, "correction", self.correction, f"one of {', '.join(corrections)}")
        require(0 <= self.gbce_t <= 1, "gbce_t", self.gbce_t, "between 0 and 1")
        require(-1 <= self.ccl_margin < 1, "ccl_margin", self.ccl_margin, "a cosine in [-1, 1)")
        require(self.ccl_negative_weight > 0, "ccl_negative_weight", self.ccl_negative_weight, "> 0")
        require(self.sequence_weight >= 0, "sequence_weight", self.sequence_weight, ">= 0")
        require(self.sequence_clicks >= 2, "sequence_clicks", self.sequence_clicks, ">= 2")
        require(0 < self.mask_rate < 1, "mask_rate", self.mask_rate, "in (0, 1)")
        seen = self.examination is None or 0 < self.examination <= 1
        require(seen, "examination", self.examination, "None, or a chance in (0, 1]")
        require(self.softmax_temperature > 0, "softmax_temperature", self.softmax_temperature, "> 0")
        require(0 < self.frequency_rate < 1, "frequency_rate", self.frequency_rate, "in (0, 1)")
        capped = self.propensity_cap is None or self.propensity_cap >= 1
        require(capped, "propensity_cap", self.propensity_cap, "None, or >= 1")
        weighs = 0 <= self.organic_weight < math.inf
        require(weighs, "organic_weight", self.organic_weight, "a finite weight >= 0")


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
class CorrectionConfig:
    """What is learned on top of a regression, how fast and on what: of both agents that correct one."""

    correction: Literal["linear", "mlp"] = "linear"
    """What is learned: a weight for each article feature, or two small towers."""
    correction_widths: tuple[int, ...] = (32,)
    """Hidden layers of ``mlp``."""
    correction_dim: int = 8
    """Columns of ``mlp``."""
    kl: float = 0.3
    """Weight of the divergence from the regression's softmax (``mode=plain``: from uniform), in units of the mean
    reward of a visit."""
    policy_learning_rate: float = 0.02
    """Of the correction; ``mode=plain`` trains its towers at ``learning_rate``."""
    policy_visits: int = 20_000
    """Latest visits that the policy learns from."""
    policy_batch: int = 256
    """Visits in a batch."""
    tail_draws: int = 64
    """Live articles drawn uniformly for the normaliser, beside the shortlist; a tick's visits share them."""

    def __post_init__(self) -> None:
        """Check once."""
        require(self.correction in ("linear", "mlp"), "correction", self.correction, "'linear' or 'mlp'")
        require(self.kl >= 0, "kl", self.kl, ">= 0")
        require(self.policy_learning_rate > 0, "policy_learning_rate", self.policy_learning_rate, "> 0")
        for name in ("policy_visits", "policy_batch", "tail_draws", "correction_dim"):
            require(getattr(self, name) >= 1, name, getattr(self, name), ">= 1")


@dataclass(frozen=True, kw_only=True)
class ReinforceConfig(CorrectionConfig):
    """Off-policy-corrected REINFORCE (docs/mathematics.md 3)."""

    mode: Literal["residual", "plain"] = "residual"
    """``residual``: a dwell regression that keeps training is the prior, a correction on top is what is learned.
    ``plain``: the towers themselves are the policy; their scores are the logits."""
    estimator: str = one_of("inclusion", "feedgym.agents.learners.gradients.policy_gradient:ESTIMATORS")
    """Which policy gradient; ``none`` corrects nothing."""
    weights: WeightMethod = "cap"
    """What keeps importance weights in bounds, see ``importance_weight``."""
    weight_cap: float = 3.0
    """Largest weight of ``cap``."""
    clip_delta: float = 0.2
    """Half-width of ``clip``."""
    credit: str = one_of("clicked", "feedgym.agents.learners.gradients.advantages:ADVANTAGES")
    """Who is credited with the future. ``clicked``: each opened article, with what it exceeds the value head by (an
    unopened one did not change the reader; biased by design, since it conditions on the outcome). ``item``: opened
    articles in equal shares, against the whole value. ``slate``: all alike, by the estimator ``joint``."""
    normalise_advantage: bool = False
    """Divide advantages by their deviation in the batch: only rescales the step."""
    behaviour: Literal["logged", "estimated"] = "logged"
    """Chances below the line of a ratio: those of the log, or those of a second softmax, trained on all that was shown,
    that no tower learns from: for logs without propensities, with the estimators ``inclusion`` and ``chen``."""

    def __post_init__(self) -> None:
        """Check once."""
        require_known(self)
        require(self.mode in ("residual", "plain"), "mode", self.mode, "'residual' or 'plain'")
        require(self.weights in WEIGHT_METHODS, "weights", self.weights, f"one of {WEIGHT_METHODS}")
        joint = self.credit != "slate" or self.estimator in ("joint", "inclusion")
        require(joint, "estimator", self.estimator, "'joint' with credit='slate': no other estimator has it")
        known = self.behaviour in ("logged", "estimated")
        require(known, "behaviour", self.behaviour, "'logged' or 'estimated'")
        without_order = self.behaviour == "logged" or self.used_estimator in ("inclusion", "chen")
        require(without_order, "behaviour", self.behaviour, "'logged' but for the estimators inclusion and chen")
        for name in ("weight_cap", "clip_delta"):
            require(getattr(self, name) > 0, name, getattr(self, name), "> 0")
        super().__post_init__()

    @property
    def used_estimator(self) -> str:
        """``credit="slate"`` goes with the joint estimator."""
        return "joint" if self.credit == "slate" else self.estimator


@dataclass(frozen=True, kw_only=True)
class DirectConfig(CorrectionConfig):
    """Covariance gradient with a reward model (docs/mathematics.md 3.4)."""

    @property
    def as_reinforce(self) -> ReinforceConfig:
        """The same correction; the estimator is not used."""
        return ReinforceConfig(mode="residual", estimator="none", **vars(self))


@dataclass(frozen=True, kw_only=True)
class LtvConfig:
    """Long-term-value regression (docs/mathematics.md 3.6)."""

    future_weight: float = 1.0
    """What a minute of future advantage counts against one read now, in the second model's target."""
    batch_visits: int = 256
    """Visits in a batch."""

    def __post_init__(self) -> None:
        """Check once."""
        require(self.future_weight >= 0, "future_weight", self.future_weight, ">= 0")
        require(self.batch_visits >= 1, "batch_visits", self.batch_visits, ">= 1")


@dataclass(frozen=True, kw_only=True)
class ReturnConfig:
    """What an opened article is worth later, by a model of the gaps between sessions (docs/mathematics.md 3.7)."""

    proxies: tuple[str, ...] = ("quality_proxy", "clickbait_proxy")
    """Numbers of articles that may tell how readers come back, by their names in the catalogue; those that a site does
    not have are left out."""
    guard: bool = True
    """Scale worth down by how far the effects found exceed noise: no effect found, no worth."""
    discount_per_hour: float = 1.0
    """g: what a minute an hour later is worth now; 1: as much."""
    ridge: float = 4.0
    """Precision of the effects' normal prior around 0, with articles' numbers in standard deviations."""
    steps: int = 25
    """Most Newton steps of a fit; the next fit goes on from there."""

    def __post_init__(self) -> None:
        """Check once."""
        require(0 < self.discount_per_hour <= 1, "discount_per_hour", self.discount_per_hour, "in (0, 1]")
        require(self.ridge > 0, "ridge", self.ridge, "> 0")
        require(self.steps >= 1, "steps", self.steps, ">= 1")

"""Regression: what an impression brings (docs/mathematics.md 6.1 and 6.6).

Every impression of a visit is a row: clicked or not, read how long. Pointwise losses predict its value; the losses of
a slate only which of its articles wins. Shapes: B visits of a batch, K positions.
"""

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from feedgym.agents.agent import Site
from feedgym.agents.learners.calibration import centre_clicks
from feedgym.agents.learners.learner import Parts, Trained
from feedgym.agents.learners.learning import Learning, crosses_of
from feedgym.agents.learners.regressions import REGRESSIONS, Impressions
from feedgym.agents.learners.replay import VisitBatch
from feedgym.agents.learners.returns.planning import Planning
from feedgym.agents.learners.settings import RegressionConfig
from feedgym.agents.learners.tasks import Task, next_clicks, parse_tasks, targets
from feedgym.agents.learners.wide.fitter import WideFitter
from feedgym.agents.slate_policy import PolicyConfig
from feedgym.env.arrays import Arrays, Doubles, Floats, Ints, nest, unnest
from feedgym.env.checks import require
from feedgym.towers.arrays import arrays_of, load_arrays
from feedgym.towers.config import TwoTowerConfig
from feedgym.towers.interface import Towers
from feedgym.towers.losses.examination import LearnedExamination
from feedgym.towers.two_tower import TwoTower

_HEAD_LEARNING_RATE = 0.01


class TaskHeads(nn.Module):
    """One score for several tasks: each task beyond the first reads it on a scale of its own.

    prediction = softplus(slope) * score + offset. A rising line: the tasks must agree on the order of the articles,
    since one score is what they are served by.
    """

    def __init__(self, num_tasks: int) -> None:
        super().__init__()
        self.slope = nn.Parameter(torch.full((num_tasks - 1,), 0.5413))  # softplus of it is 1
        self.offset = nn.Parameter(torch.zeros(num_tasks - 1))

    def forward(self, score: Tensor, task: int) -> Tensor:
        """The prediction of task number ``task``, in the shape of ``score``."""
        if task == 0:
            return score
        return F.softplus(self.slope[task - 1]) * score + self.offset[task - 1]


class RegressionLearner:
    """Impressions as rows of one or several tasks; trains the second stage with the first, where there is one.

    Args:
        config: what is predicted.
        planning: adds to the minutes of an opened article what it is worth later; for the loss ``hurdle``.
    """

    def __init__(self, config: RegressionConfig, planning: Planning | None = None) -> None:
        fits = planning is None or REGRESSIONS[config.loss].hurdle
        require(fits, "loss", config.loss, "'hurdle' for a learner that plans: worth is that of an opened article")
        self.config, self._planning = config, planning
        self.tasks = parse_tasks(config.target)
        self._heads = TaskHeads(len(self.tasks))
        self._examination: LearnedExamination | None = None
        self._next: Ints = np.zeros(0, dtype=np.int64)
        self._wide: WideFitter | None = None

    def start(self, site: Site, towers: TwoTowerConfig, policy: PolicyConfig, generator: torch.Generator) -> Parts:
        """The towers; positions, if their effect is to be learned; scales of further tasks."""
        model = TwoTower(towers, generator)
        loss = REGRESSIONS[self.config.loss]
        require(towers.wide_part or not loss.hurdle, "wide_part", False, f"True with loss={self.config.loss}")
        crosses = 0 if model.two_stages else towers.num_crosses
        if model.wide is not None and loss.link is not None:
            link, effects = loss.link(self.tasks[0][0]), towers.article_effects
            self._wide = WideFitter(link, hurdle=loss.hurdle, effects=effects, num_crosses=crosses)
            self._wide.freeze(model)
        told = "0: without prediction=logistic or mlp a wide part fits them, which loss and wide_part have to bring"
        require(not crosses or self._wide is not None, "crosses", crosses, told)
        if self._planning is not None:
            self._planning.start(site)
        if self.config.examination == "learned":
            self._examination = LearnedExamination(site.slate_size)
        modules: list[nn.Module] = []
        if len(self.tasks) > 1:
            modules.append(self._heads)
        if self._examination is not None:
            modules.append(self._examination)
        return Parts(model=model, modules=tuple(Trained(module, _HEAD_LEARNING_RATE) for module in modules))

    def hand_over(self, model: Towers) -> None:
        """Let somebody else train the model, its wide part included: nothing is fitted."""
        self._wide = None
        WideFitter.release(model)

    def prepare(self, learning: Learning[Towers]) -> None:
        """Start the global bias at the base rate, or the mean: else many steps only learn that."""
        replay, model = learning.replay, learning.model
        if self._wide is not None:
            return  # the wide part has a level of its own
        shown = np.maximum(np.count_nonzero(replay.column("article_id") >= 0), 1)
        task = self.tasks[0][0]
        if task == "dwell":
            model.start_at_mean(float(replay.column("dwell_minutes").sum() / shown))
            return
        clicks = replay.column("clicks")
        if task == "subscription":
            clicks = clicks & replay.column("subscribed")[:, None]
        if task == "completed":
            clicks = clicks & (replay.column("dwell_minutes") >= self.config.completed_minutes)
        model.start_at_rate(float((np.count_nonzero(clicks) + 0.5) / (shown + 1.0)))

    def begin(self, learning: Learning[Towers], now: float) -> None:
        """What each reader clicked next, as far as it is known now."""
        if any(task == "next" for task, _ in self.tasks):
            self._next = next_clicks(learning.replay)
        if self._wide is not None:
            task = self.tasks[0][0]
            value = targets(task, learning.replay.whole(), self._next, self.config.completed_minutes)
            # A loss in the logarithm takes what positions do off, one of what was examined is meant for the top; the
            # others know of no position.
            average = not self.logarithmic and self.config.examination is None
            later = None
            if self._planning is not None:
                model = learning.model.models[0]
                assert isinstance(model, TwoTower)
                later = self._planning.later(learning, model, now)
            self._wide.fit(learning, value, average_position=average, later=later)

    def loss(self, learning: Learning[Towers], rng: np.random.Generator) -> Tensor | None:
        """Loss over the impressions of a batch of visits; entries that showed nothing weigh nothing."""
        c, replay = self.config, learning.replay
        if len(replay) == 0:
            return None
        slots = rng.integers(0, len(replay), c.batch_visits)
        batch = replay.take(slots)
        slates = learning.slates(batch)
        if slates is None:
            return None
        model, shown = learning.model, slates.shown
        score = model.score(slates.user, slates.item, slates.bias, slates.age)
        stages = [score]
        if model.two_stages:
            # Both stages learn the same; the second is told the position, which serving holds at the top.
            position, crosses = torch.arange(shown.shape[1]), crosses_of(batch)
            stages.append(model.rerank(score, slates.user, slates.item, slates.age, position, crosses))
        elif (weights := self.cross_weights) is not None and batch.crosses is not None:
            # The towers learn what the crosses leave; of these they know the sum alone, as of positions.
            stages = [score + torch.from_numpy(batch.crosses @ weights)]
        rate = c.negative_keep_rate
        chosen = None if rate == 1.0 else rng.random(shown.shape) < rate
        luck = None if c.slate_negatives is None else rng.random((*shown.shape, shown.shape[1]), dtype=np.float32)
        parts = []
        for number, (task, weight) in enumerate(self.tasks):
            value = targets(task, batch, self._next[slots] if task == "next" else None, c.completed_minutes)
            # Of each task its own positives stay: a click without a subscription is a negative like any other.
            kept = torch.from_numpy(shown if chosen is None else shown & (chosen | (value > 0)))
            target = torch.from_numpy(value)
            for stage, prediction in enumerate(stages):
                part = self._task_loss(self._heads(prediction, number), task, target, kept, stage, batch, luck)
                if part is not None:
                    parts.append(weight * part)
        return torch.stack(parts).sum() if parts else None

    def _task_loss(
        self,
        score: Tensor,
        task: Task,
        target: Tensor,
        shown: Tensor,
        stage: int,
        batch: VisitBatch,
        luck: Floats | None,
    ) -> Tensor | None:
        """Loss of one task on slates (B, K); None where none of them has anything to say."""
        if not bool(shown.any()):
            return None
        loss, wide = REGRESSIONS[self.config.loss], self._wide
        worth = effect = None
        if wide is not None:
            worth = torch.from_numpy(wide.worth(batch.article_id)) if loss.hurdle else None
            # The second stage is told the position.
            effect = None if wide.effect is None or stage > 0 else torch.from_numpy(wide.effect)
        impressions = Impressions(
            task=task,
            score=score,
            target=target,
            shown=shown,
            log_examination=self._log_examination(target.shape[1]) if stage == 0 else None,
            negative_keep_rate=self.config.negative_keep_rate,
            ips_clip=self.config.ips_clip,
            clicked=torch.from_numpy(batch.clicks),
            effect=effect,
            worth=worth,
            luck=None if luck is None else torch.from_numpy(luck),
            negatives=self.config.slate_negatives or 0,
        )
        return loss.loss(impressions)

    def _log_examination(self, num_positions: int) -> Tensor | None:
        """Log theta of each position, (K,); None where positions are ignored."""
        if self._examination is not None:
            log_theta: Tensor = self._examination()
            return log_theta
        if self.config.examination is None:
            return None
        return float(np.log(float(self.config.examination))) * torch.arange(num_positions)

    @property
    def foretells(self) -> str | None:
        """The target, unless the loss says that its scores do not predict."""
        return self.config.target if REGRESSIONS[self.config.loss].predicts else None

    @property
    def logarithmic(self) -> bool:
        """Whether the loss is one of a logarithm."""
        link = REGRESSIONS[self.config.loss].link
        return link is not None and link(self.tasks[0][0]) == "log"

    @property
    def cross_weights(self) -> Floats | None:
        """What crosses add to a score, as the latest fit has it, (X,)."""
        return None if self._wide is None else self._wide.crosses

    def click_examination(self, num_positions: int) -> Doubles | None:
        """Chance that each position is examined, (K,); None unless clicks are the first task."""
        if self.tasks[0][0] != "click" or self.foretells is None or self.logarithmic:
            return None
        log_theta = self._log_examination(num_positions)
        return np.ones(num_positions) if log_theta is None else log_theta.detach().double().exp().numpy()

    def finish(self, learning: Learning[Towers]) -> None:
        """Set the intercept anew: predicted clicks are right on average again."""
        theta = self.click_examination(learning.replay.column("clicks").shape[1])
        if theta is not None:
            centre_clicks(learning, theta, self.cross_weights)

    def metrics(self) -> dict[str, float]:
        """What the towers may count beside a wide part, and what the planning has found since the last call."""
        trust = {} if self._wide is None else self._wide.metrics()
        return trust if self._planning is None else trust | self._planning.metrics()

    def snapshot(self) -> Arrays:
        """Scales of the tasks, the examination, and the fits of the wide part."""
        own = {name: value for part, module in self._parts() for name, value in nest(part, arrays_of(module)).items()}
        if self._planning is not None:
            own |= nest("planning", self._planning.snapshot())
        return own if self._wide is None else own | nest("wide", self._wide.snapshot())

    def restore(self, snapshot: Arrays) -> None:
        """Go on from a snapshot."""
        for part, module in self._parts():
            load_arrays(module, unnest(part, snapshot))
        if self._planning is not None:
            self._planning.restore(unnest("planning", snapshot))
        if self._wide is not None:
            self._wide.restore(unnest("wide", snapshot))

    def _parts(self) -> list[tuple[str, nn.Module]]:
        parts: list[tuple[str, nn.Module]] = [("heads", self._heads)]
        if self._examination is not None:
            parts.append(("examination", self._examination))
        return parts

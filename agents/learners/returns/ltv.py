"""Long-term-value regression: minutes now, plus what an opened article changes later (docs/mathematics.md 3.6).

Two models whose scores are added: the first regresses the minutes of an impression, the second
``clicked * (g^gap G' - F(s))``, the discounted return from the reader's next visit on less what the reader's state
let expect: an article that was not opened changed nothing. No propensities: a strong and simple baseline.
Shapes: B visits of a batch, K positions.
"""

import numpy as np
import torch
from torch import Tensor

from feedgym.agents.agent import Site
from feedgym.agents.learners.averages import Averages
from feedgym.agents.learners.learner import Parts, Trained, require_one_stage, require_unnamed_readers
from feedgym.agents.learners.learning import Learning
from feedgym.agents.learners.returns.future import Future, Visited, slot_rewards
from feedgym.agents.learners.settings import FutureConfig, LtvConfig
from feedgym.agents.learners.wide.fitter import WideFitter
from feedgym.agents.slate_policy import PolicyConfig
from feedgym.env.arrays import Arrays, Doubles, nest, unnest
from feedgym.towers.config import TwoTowerConfig
from feedgym.towers.losses import mse_loss
from feedgym.towers.summed_towers import SummedTowers


class LtvLearner:
    """Every impression is a row of two regressions."""

    def __init__(self, config: LtvConfig, future: FutureConfig) -> None:
        self.config, self._future_config = config, future
        self._averages = Averages()
        self._wide: tuple[WideFitter, ...] = ()

    def start(self, site: Site, towers: TwoTowerConfig, policy: PolicyConfig, generator: torch.Generator) -> Parts:
        """Two models, and the value head."""
        require_one_stage(towers, type(self).__name__)
        require_unnamed_readers(towers, type(self).__name__)
        model = SummedTowers(towers, generator)
        c, self._reward = self._future_config, site.reward
        self._wide = tuple(
            WideFitter("identity", number, effects=towers.article_effects and number == 0)
            for number in range(len(model.wides))
        )
        for wide, part in zip(self._wide, (model.first, model.second), strict=False):
            wide.freeze(part)
        self._future = Future(towers.reader_numeric, c.discount_per_hour, c.trace, generator)
        return Parts(model=model, modules=(Trained(self._future, c.value_learning_rate),))

    def prepare(self, learning: Learning[SummedTowers]) -> None:
        """Start the first model's bias at the mean; the second's target has mean 0, or nearly."""
        if self._wide:
            return  # the wide parts have levels of their own
        shown = max(int(np.count_nonzero(learning.replay.column("article_id") >= 0)), 1)
        total = float(learning.replay.column("dwell_minutes").sum())
        learning.model.start_at_mean(total / shown)

    def begin(self, learning: Learning[SummedTowers], now: float) -> None:
        """Returns of all visits kept, as they look now."""
        replay = learning.replay
        clicks = replay.column("clicks")
        self._slot_reward = slot_rewards(
            self._reward, clicks, replay.column("dwell_minutes"), replay.column("subscribed")
        )
        visited = Visited(
            now=replay.column("now"),
            row=replay.column("row"),
            reader=replay.column("reader"),
            clicks=clicks,
            slot_reward=self._slot_reward,
        )
        self._future.follow(visited, now)
        if self._wide:
            every = np.arange(len(replay))
            later = self._target(clicks, every, self._future.predict(self._future.state))
            self._wide[0].fit(learning, self._slot_reward, average_position=True)
            self._wide[1].fit(learning, later, average_position=True)

    def loss(self, learning: Learning[SummedTowers], rng: np.random.Generator) -> Tensor | None:
        """Both regressions and the value head on one batch of visits."""
        replay, model, c = learning.replay, learning.model, self.config
        if len(replay) == 0:
            return None
        slots = rng.integers(0, len(replay), c.batch_visits)
        batch = replay.take(slots)
        slates = learning.slates(batch)
        if slates is None:
            return None
        now, later = model.scores(slates.user, slates.item, slates.bias, slates.age)
        value_loss, value = self._future.loss(slots)
        weight = torch.from_numpy(slates.shown.astype(np.float32))
        minutes = mse_loss(now, torch.from_numpy(self._slot_reward[slots]), weight=weight)
        target = torch.from_numpy(self._target(batch.clicks, slots, value).astype(np.float32))
        advantage = mse_loss(later, target, weight=weight)
        for name, part in (("value_loss", value_loss), ("future_loss", advantage)):
            self._averages.note(name, float(part.detach()))
        total: Tensor = minutes + advantage + value_loss
        return total

    def _target(self, clicks: np.ndarray, slots: np.ndarray, value: Doubles) -> Doubles:
        """``clicked * (future - F)``, (B, K)."""
        if not self._future_config.use_future:
            return np.zeros(clicks.shape)
        ahead = self._future.future[slots] - value[:, 1]
        target: Doubles = self.config.future_weight * clicks * ahead[:, None]
        return target

    def metrics(self) -> dict[str, float]:
        """Means over the steps since the last call, and what the towers of both models may count."""
        metrics = self._averages.take()
        for wide, name in zip(self._wide, ("towers/trust", "towers/trust_later"), strict=False):
            metrics |= wide.metrics(name)
        return metrics

    def snapshot(self) -> Arrays:
        """The value head, the fits of the wide parts, and what the curves have not seen yet."""
        arrays = nest("future", self._future.to_arrays()) | nest("seen", self._averages.snapshot())
        for number, wide in enumerate(self._wide):
            arrays |= nest(f"wide{number}", wide.snapshot())
        return arrays

    def restore(self, snapshot: Arrays) -> None:
        """Go on from a snapshot."""
        self._future.from_arrays(unnest("future", snapshot))
        self._averages.restore(unnest("seen", snapshot))
        for number, wide in enumerate(self._wide):
            wide.restore(unnest(f"wide{number}", snapshot))

"""Regression: what an impression brings. Click by binary cross-entropy, dwell by squared error (towers.md, 2.1)."""

import numpy as np
import torch
from torch import Tensor

from feedgym.agents.learners.protocol import Learner, Learning
from feedgym.agents.settings import RegressionConfig
from feedgym.towers.losses import bce_loss, mse_loss
from feedgym.towers.two_tower import TwoTower


class RegressionLearner(Learner):
    """Every impression is a row: clicked or not, read how long."""

    def __init__(self, config: RegressionConfig) -> None:
        self.config = config

    def prepare(self, learning: Learning) -> None:
        """Start the global bias at the base rate, or the mean: else many steps only learn that."""
        shown = np.maximum(np.count_nonzero(learning.replay.column("article_id") >= 0), 1)
        model = learning.model
        assert isinstance(model, TwoTower)
        prediction = model.prediction
        if self.config.target == "click":
            clicks = np.count_nonzero(learning.replay.column("clicks"))
            prediction.start_at_rate(float((clicks + 0.5) / (shown + 1.0)))
        else:
            prediction.start_at_mean(float(learning.replay.column("dwell_minutes").sum() / shown))

    def loss(self, learning: Learning, rng: np.random.Generator) -> Tensor | None:
        """Loss over the impressions of a batch of visits; entries that showed nothing weigh nothing."""
        c, replay = self.config, learning.replay
        if len(replay) == 0:
            return None
        batch = replay.take(rng.integers(0, len(replay), c.batch_visits))
        shown = batch.article_id >= 0
        if not shown.any():
            return None
        article_id = np.where(shown, batch.article_id, batch.article_id.max())
        vector, bias = learning.items(article_id.ravel())
        score = learning.model.score(
            learning.users(batch),
            vector.reshape(*article_id.shape, -1),
            bias.reshape(article_id.shape),
            learning.ages(batch.article_id, batch.now),
        )
        weight = torch.from_numpy(shown.astype(np.float32))
        theta = None if c.examination is None else c.examination ** torch.arange(shown.shape[1])
        if c.target == "click":
            clicked = torch.from_numpy(batch.clicks.astype(np.float32))
            log_theta = None if theta is None else theta.log()
            return bce_loss(score, clicked, weight=weight, log_examination=log_theta)
        minutes = torch.from_numpy(batch.dwell_minutes)
        return mse_loss(score if theta is None else score * theta, minutes, weight=weight)

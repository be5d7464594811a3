"""A linear model alone: the wide part of a model whose towers say nothing (docs/mathematics.md 6.11).

Opened or not and minutes once opened are two Poisson regressions of some 55 weights. What two towers earn beyond them
is what towers are good for.
"""

import numpy as np
import torch
from torch import Tensor

from feedgym.agents.agent import Site
from feedgym.agents.learners.learner import Parts, require_one_stage
from feedgym.agents.learners.learning import Learning
from feedgym.agents.learners.regression import RegressionLearner
from feedgym.agents.learners.regressions import REGRESSIONS
from feedgym.agents.learners.settings import RegressionConfig
from feedgym.agents.slate_policy import PolicyConfig
from feedgym.env.checks import require
from feedgym.towers.config import TwoTowerConfig
from feedgym.towers.interface import Towers
from feedgym.towers.two_tower import TwoTower


class LinearLearner(RegressionLearner):
    """Fits the wide part at each training, and takes no step."""

    def __init__(self, config: RegressionConfig) -> None:
        fitted = [name for name, loss in REGRESSIONS.items() if loss.link is not None]
        allowed = f"one of {', '.join(fitted)}: a linear model is fitted to it"
        require(config.loss in fitted, "loss", config.loss, allowed)
        super().__init__(config)

    def start(self, site: Site, towers: TwoTowerConfig, policy: PolicyConfig, generator: torch.Generator) -> Parts:
        """Towers whose outputs are nought for good."""
        require_one_stage(towers, type(self).__name__)
        parts = super().start(site, towers, policy, generator)
        model = parts.model
        assert isinstance(model, TwoTower)
        with torch.no_grad():
            for tower in (model.item_tower, model.user_tower):
                for parameter in tower.last.parameters():
                    parameter.zero_()
        return parts

    def loss(self, learning: Learning[Towers], rng: np.random.Generator) -> Tensor | None:
        """Nothing is learned by steps."""
        return None

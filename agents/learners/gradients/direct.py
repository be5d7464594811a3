"""Direct: the covariance gradient of what a reward model expects, without importance weights (docs/mathematics.md 3.4).

FOPO (Sakhi, Rohde & Gilotte, AAAI 2023) with the stratified draws of docs/mathematics.md 3.3 in place of its mixture:
the shortlist exactly, uniform draws from the rest. The policy is that of ``reinforce`` in residual mode: a regression's
logits as they were served, plus a correction that starts at zero. Nothing of a log's propensities enters.
The reward model is the regression's prediction of an impression now, and a linear model, of the article's features, of
what opening it changes in the reader's later visits.
Shapes: B visits of a batch, K positions, H head, m tail draws, C = H + m.
"""

from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from feedgym.agents.agent import Site
from feedgym.agents.learners.gradients.candidate_ring import candidate_ring, shown_columns
from feedgym.agents.learners.gradients.correction import LinearCorrection
from feedgym.agents.learners.gradients.estimated import unique_ids
from feedgym.agents.learners.gradients.policy_gradient import Candidates, split_candidates
from feedgym.agents.learners.gradients.reinforce import ReinforceLearner
from feedgym.agents.learners.protocol import Learning
from feedgym.agents.learners.settings import DirectConfig, FutureConfig, RegressionConfig
from feedgym.agents.learners.tasks import parse_tasks
from feedgym.agents.serving import needs_minutes
from feedgym.agents.slate_policy import PolicyConfig
from feedgym.env.arrays import Arrays, Doubles, Ints, nest, unnest
from feedgym.env.checks import require
from feedgym.towers.config import TwoTowerConfig
from feedgym.towers.two_tower import TwoTower, arrays_of, load_arrays

_LATER_LEARNING_RATE = 0.01


def set_reward(candidates: Candidates, reward: Tensor, slate_size: int) -> Tensor:
    """Expected reward of the distinct articles among K draws, ``sum_a r_a (1 - (1 - pi_a)^K)``, float64 (B,).

    With v the shares of the candidates and ``psi = K (1 - pi)^(K - 1) r``, its gradient by the logits is
    ``v (psi - sum v psi)``: FOPO's covariance. pi is the softmax over all live articles, without exploration.

    Args:
        candidates: logits of the policy.
        reward: r, float64 (B, C), head and then tail; any finite value at padding.
        slate_size: K.
    """
    logits = torch.cat([candidates.head, candidates.tail], dim=1)
    each = torch.cat(
        [torch.ones_like(candidates.head), candidates.tail_weight[:, None].expand_as(candidates.tail)], dim=1
    )
    chance = torch.exp(logits - candidates.log_normaliser()[:, None])  # 0 at padding, and there the gradient too
    total: Tensor = (each * reward * (1.0 - (1.0 - chance) ** slate_size)).sum(dim=1)
    return total


class DirectLearner(ReinforceLearner):
    """A correction that climbs the expected reward of a model, beside the regression that is most of that model."""

    def __init__(self, config: DirectConfig, future: FutureConfig, regression: RegressionConfig) -> None:
        super().__init__(config.as_reinforce, future, regression)
        tasks = parse_tasks(regression.target)
        one = len(tasks) == 1 and tasks[0][0] in ("dwell", "click")
        require(one, "target", regression.target, "'dwell' or 'click': what the reward model predicts")
        pointwise = regression.loss not in ("slate_softmax", "slate_bpr")
        require(pointwise, "loss", regression.loss, "a loss of single impressions: orders alone are no rewards")
        self._task = tasks[0][0]

    def start(self, site: Site, towers: TwoTowerConfig, policy: PolicyConfig, generator: torch.Generator) -> None:
        """As ``reinforce``, with histories in the ring, which the reward model reads."""
        super().start(site, towers, policy, generator)
        told = needs_minutes(towers)
        require(not told, "history_columns, author_buckets", "set", "neither: direct keeps no minutes of clicks")
        weights = site.reward
        self._worth = weights.dwell_minutes if self._task == "dwell" else weights.click
        require(self._worth > 0, "target", self._task, f"a task that the site's reward pays for: {weights}")
        c = self.config
        self._ring = candidate_ring(
            c.policy_visits,
            self._shortlist_size,
            site.slate_size,
            c.tail_draws,
            towers.reader_numeric,
            towers.history_length,
        )
        self._later = LinearCorrection(towers.item) if self._future_config.use_future else None

    def modules(self) -> Iterable[tuple[nn.Module, float, float]]:
        """Those of ``reinforce``, and the model of later rewards."""
        yield from super().modules()
        if self._later is not None:
            yield self._later, _LATER_LEARNING_RATE, 0.0

    def prepare(self, learning: Learning) -> None:
        """Normalisations."""
        super().prepare(learning)
        model = learning.model
        assert isinstance(model, TwoTower)
        if self._later is not None:
            self._later.start(model.item_features.numeric, model.reader_features)

    def _advantage(self, batch: Arrays, slots: Ints, value: Doubles) -> Doubles:
        """What each article changed later, in deviations of such returns, (B, K): the target of the later model."""
        later = self._future.future[slots][:, None] - value[:, 1:]
        changed: Doubles = batch["clicks"] * later / float(self._future.sd[1])
        return changed

    def _policy_loss(self, learning: Learning, batch: Arrays, advantage: Doubles) -> Tensor:
        """Less what the model expects of the policy, plus divergence; and the error of the later model."""
        logits, prior, each = self._candidates(learning, batch)
        column = shown_columns(batch["article_id"].astype(np.int64), batch["head_id"].astype(np.int64))
        reward, fit = self._rewards(learning, batch, column, advantage)
        width = batch["head_id"].shape[1]
        num_live = torch.from_numpy(np.maximum(batch["num_live"], 1).astype(np.float64))
        candidates = split_candidates(logits, each, width, num_live)
        divergence = candidates.divergence(split_candidates(torch.from_numpy(prior), each, width, num_live))
        expected = set_reward(candidates, reward, column.shape[1])
        loss = (self.config.kl * self._mean_reward * divergence - expected).mean()
        seen, kl = logits.detach().numpy(), float(divergence.detach().mean())
        log_z = candidates.log_normaliser().detach().numpy()[:, None]
        shares = each * np.exp(np.where(each > 0, seen - log_z, 0.0))
        self._note(shares, seen, (column >= 0).astype(np.float64), column, kl, float(loss.detach()))
        self._averages.note("model_reward", float(expected.detach().mean()))
        return loss + fit

    def _rewards(
        self, learning: Learning, batch: Arrays, column: Ints, changed: Doubles
    ) -> tuple[Tensor, Tensor | float]:
        """Rewards of all candidates, float64 (B, C), without gradient; and the later model's squared error.

        Args:
            learning: the towers are the regression.
            batch: of the ring.
            column: where the head holds each shown article, (B, K); -1 where nothing was.
            changed: the later model's target, (B, K).
        """
        ids = np.concatenate([batch["head_id"], batch["tail_id"]], axis=1).astype(np.int64)
        model, training = learning.model, learning.model.training
        # Predictions, not training: no layer is to drop out.
        model.eval()
        with torch.no_grad():
            score = self._scores(learning, ids, batch).double()
        model.train(training)
        reward = self._worth * (torch.sigmoid(score) if self._task == "click" else score)
        if self._later is None:
            return reward, 0.0
        unique, place = unique_ids(np.maximum(ids, 0))
        later = self._later.articles(*learning.features(unique))[:, 0][torch.from_numpy(place)]
        shown = torch.from_numpy(column >= 0)
        predicted = later.gather(1, torch.from_numpy(np.maximum(column, 0)))
        error = F.mse_loss(predicted, torch.from_numpy(changed).float(), reduction="none")
        fit = torch.where(shown, error, 0.0).sum() / shown.sum().clamp(min=1)
        self._averages.note("later_loss", float(fit.detach()))
        return reward + self._future.sd[1].double() * later.detach().double(), fit

    def snapshot(self) -> Arrays:
        """That of ``reinforce``, and the later model."""
        arrays = super().snapshot()
        if self._later is not None:
            arrays |= nest("later", arrays_of(self._later))
        return arrays

    def restore(self, snapshot: Arrays) -> None:
        """Go on from a snapshot."""
        super().restore(snapshot)
        if self._later is not None:
            load_arrays(self._later, unnest("later", snapshot))

"""Direct: the covariance gradient of what a reward model expects, without importance weights (docs/mathematics.md 3.4).

FOPO (Sakhi, Rohde & Gilotte, AAAI 2023) with the stratified draws of docs/mathematics.md 3.3 in place of its mixture:
the shortlist exactly, uniform draws from the rest. The policy is that of ``reinforce`` in residual mode: a regression's
logits as they were served, plus a correction that starts at zero. Nothing of a log's propensities enters.
The reward model is the regression's prediction of an impression now, and a linear model, of the article's features, of
what opening it changes in the reader's later visits.
Shapes: B visits of a batch, K positions, H head, m tail draws, C = H + m.
"""

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from feedgym.agents.agent import Site
from feedgym.agents.learners.gradients.advantages import Earned
from feedgym.agents.learners.gradients.candidates import Candidates
from feedgym.agents.learners.gradients.correction import LinearCorrection
from feedgym.agents.learners.gradients.estimated import unique_ids
from feedgym.agents.learners.gradients.replayed_policy import ReplayedPolicy, candidate_ids
from feedgym.agents.learners.learner import Parts, Trained, require_one_stage, require_unnamed_readers
from feedgym.agents.learners.learning import Learning
from feedgym.agents.learners.regression import RegressionLearner
from feedgym.agents.learners.regressions import LARGEST_LOG, REGRESSIONS
from feedgym.agents.learners.settings import DirectConfig, FutureConfig, RegressionConfig
from feedgym.agents.learners.tasks import parse_tasks
from feedgym.agents.serving import Acted
from feedgym.agents.slate_policy import PolicyConfig
from feedgym.env.arrays import Arrays, Doubles, nest, unnest
from feedgym.env.checks import require
from feedgym.env.readers import Outcome
from feedgym.towers.arrays import arrays_of, load_arrays
from feedgym.towers.config import TwoTowerConfig
from feedgym.towers.interface import Towers

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


class DirectLearner:
    """A correction that climbs the expected reward of a model, beside the regression that is most of that model.

    Args:
        config: settings of the policy.
        future: of the returns.
        regression: of the prior, which predicts what an impression pays now.

    Raises:
        ValueError: a regression that predicts neither minutes nor clicks.
    """

    def __init__(self, config: DirectConfig, future: FutureConfig, regression: RegressionConfig) -> None:
        tasks = parse_tasks(regression.target)
        one = len(tasks) == 1 and tasks[0][0] in ("dwell", "click")
        require(one, "target", regression.target, "'dwell' or 'click': what the reward model predicts")
        predicts = REGRESSIONS[regression.loss].predicts
        require(predicts, "loss", regression.loss, "a loss of single impressions: orders alone are no rewards")
        self.config = config
        self.policy = ReplayedPolicy(config.as_reinforce, future)
        """Logits, and the visits to learn for."""
        self._task, self._use_future = tasks[0][0], future.use_future
        self._regression = RegressionLearner(regression)

    def start(self, site: Site, towers: TwoTowerConfig, policy: PolicyConfig, generator: torch.Generator) -> Parts:
        """Towers, policy with histories in its ring, which the reward model reads, and the model of later rewards."""
        require_one_stage(towers, type(self).__name__)
        require_unnamed_readers(towers, type(self).__name__)
        # Its ring keeps no minutes: the content channel counts clicks.
        towers = replace(towers, click_minutes=False)
        told = towers.needs_minutes
        require(not told, "history_columns, author_buckets", "set", "neither: direct keeps no minutes of clicks")
        weights = site.reward
        self._worth = weights.dwell_minutes if self._task == "dwell" else weights.click
        require(self._worth > 0, "target", self._task, f"a task that the site's reward pays for: {weights}")
        regression = self._regression.start(site, towers, policy, generator)
        self.policy.start(site, towers, policy, generator, with_histories=True)
        self._later = LinearCorrection(towers.item) if self._use_future else None
        later = () if self._later is None else (Trained(self._later, _LATER_LEARNING_RATE),)
        modules = (*self.policy.trained, *regression.modules, *later)
        return Parts(model=regression.model, modules=modules, columns=self.policy.correction)

    def observe(self, acted: Acted, outcome: Outcome, learning: Learning[Towers], rng: np.random.Generator) -> None:
        """Keep the tick's candidates: of all slates, since none is judged by its chance."""
        self.policy.observe(acted, outcome, learning, rng, greedy_too=True, with_marginals=False)

    def prepare(self, learning: Learning[Towers]) -> None:
        """Normalisations, and the regression's bias."""
        self._regression.prepare(learning)
        self.policy.prepare(learning.model)
        if self._later is not None:
            self._later.start(*learning.model.normalisations)

    def begin(self, learning: Learning[Towers], now: float) -> None:
        """Returns of all visits kept, as they look now."""
        self._regression.begin(learning, now)
        self.policy.begin(now)

    def loss(self, learning: Learning[Towers], rng: np.random.Generator) -> Tensor | None:
        """Policy, value, later model and regression; their parameters are disjoint."""
        total = self._regression.loss(learning, rng)
        if total is None or len(self.policy.ring) == 0:
            return total
        sample = self.policy.sample(rng)
        changed = self.changed(sample.earned)
        return total + sample.value_loss + self.policy_loss(learning, sample.rows, changed).float()

    def changed(self, earned: Earned) -> Doubles:
        """What each article changed later, in deviations of such returns, (B, K): the target of the later model."""
        changed: Doubles = earned.clicked * earned.beyond[:, None] / float(self.policy.future.sd[1])
        return changed

    def policy_loss(self, learning: Learning[Towers], rows: Arrays, changed: Doubles) -> Tensor:
        """Less what the model expects of the policy, plus divergence; and the error of the later model.

        Args:
            learning: towers and store.
            rows: columns of the ring, (B, ...).
            changed: the later model's target, (B, K).
        """
        batch = self.policy.batch(learning, rows, changed, _unweighed)
        reward, fit = self.rewards(learning, rows, batch.shown.column, changed)
        candidates, column = batch.candidates, batch.shown.column.numpy()
        divergence = batch.divergence(candidates)
        expected = set_reward(candidates, reward, column.shape[1])
        loss = (self.config.kl * self.policy.mean_reward * divergence - expected).mean()
        seen, kl = batch.logits.detach().numpy(), float(divergence.detach().mean())
        log_z = candidates.log_normaliser().detach().numpy()[:, None]
        shares = batch.each * np.exp(np.where(batch.each > 0, seen - log_z, 0.0))
        self.policy.look(shares, seen, (column >= 0).astype(np.float64), column, kl, float(loss.detach()))
        self.policy.averages.note("model_reward", float(expected.detach().mean()))
        return loss + fit

    def rewards(
        self, learning: Learning[Towers], rows: Arrays, column: Tensor, changed: Doubles
    ) -> tuple[Tensor, Tensor | float]:
        """Rewards of all candidates, float64 (B, C), without gradient; and the later model's squared error.

        Args:
            learning: the towers are the regression.
            rows: columns of the ring, (B, ...).
            column: where the head holds each shown article, (B, K); -1 where nothing was.
            changed: the later model's target, (B, K).
        """
        model, training = learning.model, learning.model.training
        # Predictions, not training: no layer is to drop out.
        model.eval()
        with torch.no_grad():
            score = self.policy.scores(learning, rows).double()
        model.train(training)
        if self._regression.logarithmic:
            score = score.clamp(max=LARGEST_LOG).exp()
        elif self._task == "click":
            score = torch.sigmoid(score)
        reward = self._worth * score
        if self._later is None:
            return reward, 0.0
        unique, place = unique_ids(np.maximum(candidate_ids(rows), 0))
        later = self._later.articles(*learning.features(unique))[:, 0][torch.from_numpy(place)]
        shown = column >= 0
        predicted = later.gather(1, column.clamp(min=0))
        error = F.mse_loss(predicted, torch.from_numpy(changed).float(), reduction="none")
        fit = torch.where(shown, error, 0.0).sum() / shown.sum().clamp(min=1)
        self.policy.averages.note("later_loss", float(fit.detach()))
        return reward + self.policy.future.sd[1].double() * later.detach().double(), fit

    def after_backward(self) -> None:
        """Norm of the policy's gradient."""
        self.policy.after_backward()

    def metrics(self) -> dict[str, float]:
        """Means over the steps since the last call, and what the regression has to tell."""
        return self.policy.averages.take() | self._regression.metrics()

    def snapshot(self) -> Arrays:
        """Policy, the regression's own parts, and the later model."""
        arrays = self.policy.snapshot() | nest("regression", self._regression.snapshot())
        if self._later is not None:
            arrays |= nest("later", arrays_of(self._later))
        return arrays

    def restore(self, snapshot: Arrays) -> None:
        """Go on from a snapshot."""
        self.policy.restore(snapshot)
        self._regression.restore(unnest("regression", snapshot))
        if self._later is not None:
            load_arrays(self._later, unnest("later", snapshot))


def _unweighed(pi: Doubles, beta: Doubles, advantage: Doubles) -> Doubles:
    """Nothing is weighed by a ratio here."""
    return np.ones_like(pi)

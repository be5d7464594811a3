"""REINFORCE on logged slates, off-policy corrected, over the full softmax (docs/mathematics.md 3).

What is learned of which slates is up to two functions: an estimator of the gradient (``ESTIMATORS``), and what each
shown article is given credit for (``ADVANTAGES``). Settings name them; code may hand in others.
``residual``: a correction learns from returns, beside a dwell regression that keeps training. ``plain``: the towers are
the policy, and learn from nothing else.
Shapes: B visits of a batch, C candidates, K positions.
"""

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from feedgym.agents.agent import Site
from feedgym.agents.learners.gradients.advantages import ADVANTAGES, Advantage, own
from feedgym.agents.learners.gradients.behaviour import EstimatedBehaviour
from feedgym.agents.learners.gradients.estimated import with_estimates
from feedgym.agents.learners.gradients.fused_inclusion import inclusion_step
from feedgym.agents.learners.gradients.policy_batch import PolicyBatch
from feedgym.agents.learners.gradients.policy_gradient import ESTIMATORS, Estimator
from feedgym.agents.learners.gradients.replayed_policy import ReplayedPolicy
from feedgym.agents.learners.learner import Parts, Trained, require_one_stage, require_unnamed_readers
from feedgym.agents.learners.learning import Learning
from feedgym.agents.learners.regression import RegressionLearner
from feedgym.agents.learners.settings import FutureConfig, RegressionConfig, ReinforceConfig
from feedgym.agents.serving import Acted
from feedgym.agents.slate_policy import PolicyConfig, importance_weight
from feedgym.env.arrays import Arrays, Doubles, nest, unnest
from feedgym.env.checks import require
from feedgym.env.readers import Outcome
from feedgym.towers.arrays import arrays_of, load_arrays
from feedgym.towers.config import TwoTowerConfig
from feedgym.towers.interface import Towers

_BEHAVIOUR_LEARNING_RATE = 0.003
"""At .02 the estimate of a log of 700 slates swings by a third of its error from step to step."""


class ReinforceLearner:
    """A policy gradient on the replayed slates; in residual mode beside a regression.

    Args:
        config: settings of the policy.
        future: of the returns.
        regression: of the prior, in residual mode.
        estimator: of the gradient; None takes the one that ``config`` names.
        advantage: A_k; None takes the one that ``config`` and ``future`` name.

    Raises:
        ValueError: there is no estimator or advantage of that name.
    """

    def __init__(
        self,
        config: ReinforceConfig,
        future: FutureConfig,
        regression: RegressionConfig,
        *,
        estimator: Estimator | None = None,
        advantage: Advantage | None = None,
    ) -> None:
        name = config.used_estimator
        require(estimator is not None or name in ESTIMATORS, "estimator", name, f"one of {', '.join(ESTIMATORS)}")
        require(config.credit in ADVANTAGES, "credit", config.credit, f"one of {', '.join(ADVANTAGES)}")
        self.config = config
        self.estimator = estimator or ESTIMATORS[name]
        """Which log-probability is pushed, and how hard."""
        self.advantage = advantage or (ADVANTAGES[config.credit] if future.use_future else own)
        """What each shown article is given credit for."""
        self.policy = ReplayedPolicy(config, future)
        """Logits, and the slates to learn from."""
        self._regression = RegressionLearner(regression)
        self._behaviour: EstimatedBehaviour | None = None

    def start(self, site: Site, towers: TwoTowerConfig, policy: PolicyConfig, generator: torch.Generator) -> Parts:
        """Towers, correction, value head, ring, and the estimate of the behaviour."""
        require_one_stage(towers, type(self).__name__)
        require_unnamed_readers(towers, type(self).__name__)
        plain = self.config.mode == "plain"
        if plain:
            # Its ring keeps no minutes: the content channel counts clicks.
            towers = replace(towers, click_minutes=False)
        told = plain and towers.needs_minutes
        require(not told, "history_columns, author_buckets", "set", "mode='residual': plain keeps no minutes of clicks")
        regression = self._regression.start(site, towers, policy, generator)
        if plain:
            # Nothing is regressed: what else is linear in the towers learns by the policy's gradient, too.
            self._regression.hand_over(regression.model)
        self.policy.start(site, towers, policy, generator, with_histories=plain)
        modules = [*self.policy.trained, *([] if plain else regression.modules)]
        if self.config.behaviour == "estimated":
            # The reader state that the policy itself works on: in plain mode the user tower's.
            width = regression.model.vector_dim if plain else towers.reader_numeric
            self._behaviour = EstimatedBehaviour(towers.item, width)
            modules.append(Trained(self._behaviour, _BEHAVIOUR_LEARNING_RATE))
        return Parts(
            model=regression.model,
            modules=modules,
            columns=self.policy.correction,
            raw_logits=plain,
            whole_slates=self.estimator.whole_slates,
        )

    def observe(self, acted: Acted, outcome: Outcome, learning: Learning[Towers], rng: np.random.Generator) -> None:
        """Keep the tick's candidates with what their slates earned."""
        marginals = self.estimator.needs == "slot_marginal"
        greedy_too = not self.estimator.corrects
        self.policy.observe(acted, outcome, learning, rng, greedy_too=greedy_too, with_marginals=marginals)

    def prepare(self, learning: Learning[Towers]) -> None:
        """Normalisations of the correction, and the regression's bias."""
        if self.config.mode == "residual":
            self._regression.prepare(learning)
        self.policy.prepare(learning.model)
        if self._behaviour is not None:
            self._behaviour.numeric.load_state_dict(learning.model.normalisations.items.state_dict())

    def begin(self, learning: Learning[Towers], now: float) -> None:
        """Returns of all visits kept, as they look now."""
        if self.config.mode == "residual":
            self._regression.begin(learning, now)
        self.policy.begin(now)

    def loss(self, learning: Learning[Towers], rng: np.random.Generator) -> Tensor | None:
        """Policy, value and (in residual mode) regression; their parameters are disjoint."""
        residual = self.config.mode == "residual"
        total = self._regression.loss(learning, rng) if residual else torch.zeros(())
        if total is None:
            return None
        if len(self.policy.ring) == 0:
            return total if residual else None
        sample = self.policy.sample(rng)
        advantage = self.advantage(sample.earned)
        if self.config.normalise_advantage:
            advantage = advantage / max(float(advantage.std()), 1e-12)
        return total + sample.value_loss + self.policy_loss(learning, sample.rows, advantage).float()

    def policy_loss(self, learning: Learning[Towers], rows: Arrays, advantage: Doubles) -> Tensor:
        """Of visits of the ring: a tensor whose gradient by the logits is right, and whose value is the loss's.

        Args:
            learning: towers and store.
            rows: columns of the ring, (B, ...).
            advantage: A_k, (B, K).
        """
        batch = self.policy.batch(learning, rows, advantage, self.weigh)
        if self._behaviour is None:
            return self._gradient(batch)
        plain = self.config.mode == "plain"
        batch, error = with_estimates(self._behaviour, learning, rows, batch, from_towers=plain)
        self.policy.averages.note("behaviour_loss", float(error.detach()))
        return error + self._gradient(batch)

    def weigh(self, pi: Doubles, beta: Doubles, advantage: Doubles) -> Doubles:
        """What becomes of a ratio, see ``importance_weight``."""
        c = self.config
        return importance_weight(pi, beta, c.weights, cap=c.weight_cap, delta=c.clip_delta, advantage=advantage)

    def _gradient(self, batch: PolicyBatch) -> Tensor:
        kl = self.config.kl * self.policy.mean_reward
        # The default in closed form: a third of autograd's cost.
        if self.estimator is ESTIMATORS["inclusion"]:
            return self._closed_form(batch, kl)
        return self._by_autograd(batch, kl)

    def _closed_form(self, batch: PolicyBatch, kl: float) -> Tensor:
        """Of the estimator ``inclusion``."""
        step = inclusion_step(batch, self.policy.policy.epsilon, kl)
        logits, column = batch.logits.detach().numpy(), batch.shown.column.numpy()
        loss = float((kl * step.divergence - step.surrogate).mean())
        self.policy.look(step.shares, logits, step.weight, column, float(step.divergence.mean()), loss)
        gradient = torch.from_numpy(step.gradient / len(logits))
        surrogate = (gradient * batch.logits.masked_fill(torch.from_numpy(batch.each == 0), 0.0)).sum()
        return surrogate - surrogate.detach() + loss

    def _by_autograd(self, batch: PolicyBatch, kl: float) -> Tensor:
        """Of any estimator."""
        candidates = batch.candidates
        divergence = batch.divergence(candidates)
        terms = self.estimator.terms(candidates.policy(self.policy.policy.epsilon), batch.shown)
        loss = (kl * divergence - (terms.coefficient * terms.log_chance).sum(dim=1)).mean()
        seen, column = batch.logits.detach(), batch.shown.column.numpy()
        log_each = torch.from_numpy(np.log(np.maximum(batch.each, 1e-300)))
        there = torch.from_numpy(batch.each > 0)
        # A visit to an empty catalogue has no candidate: no share, instead of NaN.
        shares = torch.softmax(torch.where(there, seen + log_each, -torch.inf), dim=1).nan_to_num().numpy()
        mean, value = float(divergence.detach().mean()), float(loss.detach())
        self.policy.look(shares, seen.numpy(), terms.weight, column, mean, value)
        return loss

    def after_backward(self) -> None:
        """Norm of the policy's gradient."""
        self.policy.after_backward()

    def metrics(self) -> dict[str, float]:
        """Means over the steps since the last call, and what the regression has to tell."""
        return self.policy.averages.take() | self._regression.metrics()

    def snapshot(self) -> Arrays:
        """Ring, value head, correction, the regression's own parts, and what the curves have not seen yet."""
        arrays = self.policy.snapshot() | nest("regression", self._regression.snapshot())
        if self._behaviour is not None:
            arrays |= nest("behaviour", arrays_of(self._behaviour))
        return arrays

    def restore(self, snapshot: Arrays) -> None:
        """Go on from a snapshot."""
        self.policy.restore(snapshot)
        self._regression.restore(unnest("regression", snapshot))
        if self._behaviour is not None:
            load_arrays(self._behaviour, unnest("behaviour", snapshot))

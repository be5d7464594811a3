"""REINFORCE on logged slates, off-policy corrected, over the full softmax (docs/mathematics.md 3).

``residual``: logits = sharpness * z-score of a dwell regression that keeps training + a correction that starts at
zero. Only the correction learns from returns: the regression's part of a logit is taken as it was served, a part of
the state. ``plain``: the towers are the policy, and learn from nothing else.
Shapes: B visits of a batch, K positions, H head, m tail draws.
"""

from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor, nn

from feedgym.agents.agent import Site
from feedgym.agents.learners.averages import Averages
from feedgym.agents.learners.gradients.behaviour import EstimatedBehaviour
from feedgym.agents.learners.gradients.candidate_ring import candidate_ring, candidates_of, shown_columns
from feedgym.agents.learners.gradients.correction import LinearCorrection, MlpCorrection
from feedgym.agents.learners.gradients.estimated import unique_ids, with_estimates
from feedgym.agents.learners.gradients.fused_inclusion import inclusion_step
from feedgym.agents.learners.gradients.policy_gradient import Logged, LogWeights, policy_gradient, split_candidates
from feedgym.agents.learners.protocol import Learner, Learning
from feedgym.agents.learners.regression import RegressionLearner
from feedgym.agents.learners.returns.future import Future, Visited, slot_rewards
from feedgym.agents.learners.settings import FutureConfig, RegressionConfig, ReinforceConfig
from feedgym.agents.ope import effective_sample_size
from feedgym.agents.serving import Acted, needs_minutes
from feedgym.agents.slate_policy import PolicyConfig, importance_weight
from feedgym.env.arrays import Arrays, Doubles, Floats, Ints, nest, unnest
from feedgym.env.checks import require
from feedgym.env.readers import Outcome
from feedgym.towers.config import TwoTowerConfig
from feedgym.towers.two_tower import TwoTower, arrays_of, load_arrays

_BEHAVIOUR_LEARNING_RATE = 0.003
"""At .02 the estimate of a log of 700 slates swings by a third of its error from step to step."""
_NOTE_EVERY = 8
"""Steps between two looks at entropy, weights and divergence: a look costs a tenth of a step."""


class ReinforceLearner(Learner):
    """A policy gradient on the replayed slates; in residual mode beside a regression."""

    def __init__(self, config: ReinforceConfig, future: FutureConfig, regression: RegressionConfig) -> None:
        self.config, self._future_config = config, future
        self.raw_logits = config.mode == "plain"
        self.whole_slates = config.used_estimator in ("joint", "prefix")
        self._regression = RegressionLearner(regression)
        if config.mode == "residual":
            self.num_columns = 1 if config.correction == "linear" else config.correction_dim + 1
        self._averages = Averages()

    def start(self, site: Site, towers: TwoTowerConfig, policy: PolicyConfig, generator: torch.Generator) -> None:
        """Correction, value head and ring."""
        require(not policy.greedy, "greedy", policy.greedy, "False: a policy gradient needs propensities")
        ruled = policy.editorial.reshapes
        require(not ruled, "rules", policy.rules, "exclude only: caps, pins and shares leave inclusion chances unknown")
        require(policy.epsilon < 1, "epsilon", policy.epsilon, "< 1: else nothing depends on the logits")
        c, self._policy, self._reward = self.config, policy, site.reward
        told = c.mode == "plain" and needs_minutes(towers)
        require(not told, "history_columns, author_buckets", "set", "mode='residual': plain keeps no minutes of clicks")
        num_reader = towers.reader_numeric
        self._shortlist_size = max(policy.shortlist_size, site.slate_size)
        history = towers.history_length if c.mode == "plain" else 0
        self._ring = candidate_ring(
            c.policy_visits, self._shortlist_size, site.slate_size, c.tail_draws, num_reader, history
        )
        self._future = Future(num_reader, self._future_config.discount_per_hour, self._future_config.trace, generator)
        self._correction: LinearCorrection | MlpCorrection | None = None
        if c.mode == "residual" and c.correction == "linear":
            self._correction = LinearCorrection(towers.item)
        elif c.mode == "residual":
            self._correction = MlpCorrection(towers.item, num_reader, c.correction_widths, c.correction_dim, generator)
        self._behaviour: EstimatedBehaviour | None = None
        if c.behaviour == "estimated":
            # The reader state that the policy itself works on: in plain mode the user tower's.
            self._behaviour = EstimatedBehaviour(towers.item, towers.dim if c.mode == "plain" else num_reader)

    def modules(self) -> Iterable[tuple[nn.Module, float, float]]:
        """The correction, the value head, and the estimate of the behaviour."""
        yield self._future, self._future_config.value_learning_rate, 0.0
        if self._correction is not None:
            yield self._correction, self.config.policy_learning_rate, 0.0
        if self._behaviour is not None:
            yield self._behaviour, _BEHAVIOUR_LEARNING_RATE, 0.0

    def article_columns(self, numeric: Tensor, categorical: Tensor) -> Tensor:
        """The correction's side of articles."""
        assert self._correction is not None
        return self._correction.articles(numeric, categorical)

    def reader_columns(self, reader: Tensor) -> Tensor:
        """The correction's side of readers."""
        assert self._correction is not None
        return self._correction.readers(reader)

    def observe(self, acted: Acted, outcome: Outcome, learning: Learning, rng: np.random.Generator) -> None:
        """Keep the tick's candidates with what their slates earned."""
        sampled = ~np.broadcast_to(acted.served.greedy, len(acted.row))
        if self.config.used_estimator != "none" and not sampled.all():
            # What is served to unknown readers out of a nightly job has no chance to learn from.
            acted = acted.take(sampled)
            outcome = Outcome(
                clicks=outcome.clicks[sampled],
                dwell_minutes=outcome.dwell_minutes[sampled],
                subscribed=outcome.subscribed[sampled],
            )
        if len(acted.row) == 0:
            return
        c = self.config
        columns = candidates_of(
            acted,
            learning.store.augmented,
            self.num_columns,
            self._shortlist_size,
            c.tail_draws,
            rng,
            with_marginals=c.used_estimator == "marginal",
        )
        columns["history_id"] = columns["history_id"][:, : self._ring.columns["history_id"].shape[1]]
        columns["clicks"] = outcome.clicks
        columns["slot_reward"] = slot_rewards(self._reward, outcome.clicks, outcome.dwell_minutes, outcome.subscribed)
        self._ring.append(columns)

    def prepare(self, learning: Learning) -> None:
        """Normalisations of the correction, and the regression's bias."""
        model = learning.model
        assert isinstance(model, TwoTower)
        if self._correction is not None:
            self._regression.prepare(learning)
            self._correction.start(model.item_features.numeric, model.reader_features)
        if self._behaviour is not None:
            self._behaviour.numeric.load_state_dict(model.item_features.numeric.state_dict())

    def begin(self, learning: Learning, now: float) -> None:
        """Returns of all visits kept, as they look now."""
        self._steps, ring = 0, self._ring
        if len(ring) == 0:  # a nightly job's first day: greedy slates only
            return
        visited = Visited(
            now=ring.column("now"),
            row=ring.column("row"),
            reader=ring.column("reader"),
            clicks=ring.column("clicks"),
            slot_reward=ring.column("slot_reward"),
        )
        self._future.follow(visited, now)
        self._mean_reward = max(float(self._future.reward.mean()), 1e-6)

    def loss(self, learning: Learning, rng: np.random.Generator) -> Tensor | None:
        """Policy, value and (in residual mode) regression; their parameters are disjoint."""
        ring, c = self._ring, self.config
        total = self._regression.loss(learning, rng) if c.mode == "residual" else torch.zeros(())
        if total is None:
            return None
        if len(ring) == 0:
            return total if c.mode == "residual" else None
        slots = rng.integers(0, len(ring), c.policy_batch)
        value_loss, value = self._future.loss(slots)
        self._averages.note("value_loss", float(value_loss.detach()))
        batch = ring.take(slots)
        advantage = self._advantage(batch, slots, value)
        if c.normalise_advantage:
            advantage = advantage / max(float(advantage.std()), 1e-12)
        return total + value_loss + self._policy_loss(learning, batch, advantage).float()

    def _policy_loss(self, learning: Learning, batch: Arrays, advantage: Doubles) -> Tensor:
        """In closed form: a tensor whose gradient by the logits is right, and whose value is the loss's."""
        logits, prior, each = self._candidates(learning, batch)
        column = shown_columns(batch["article_id"].astype(np.int64), batch["head_id"].astype(np.int64))
        c = self.config
        kl = c.kl * self._mean_reward
        if self._behaviour is not None:
            batch, error = with_estimates(
                self._behaviour,
                learning,
                batch,
                prior,
                each,
                column,
                c.mode == "plain",
                c.used_estimator == "inclusion",
            )
            self._averages.note("behaviour_loss", float(error.detach()))
            return error + self._gradient(logits, prior, each, column, batch, advantage, kl)
        return self._gradient(logits, prior, each, column, batch, advantage, kl)

    def _gradient(
        self,
        logits: Tensor,
        prior: Doubles,
        each: Doubles,
        column: Ints,
        batch: Arrays,
        advantage: Doubles,
        kl: float,
    ) -> Tensor:
        if self.config.used_estimator != "inclusion" or type(self)._terms is not ReinforceLearner._terms:
            return self._autograd_loss(logits, prior, each, column, batch, advantage, kl)
        seen = logits.detach().numpy()
        step = inclusion_step(
            seen,
            prior,
            each,
            np.maximum(batch["num_live"], 1).astype(np.float64),
            self._policy.epsilon,
            column,
            batch["log_weight"],
            batch["time"],
            advantage,
            self._weigh,
            kl,
        )
        loss = float((kl * step.divergence - step.surrogate).mean())
        self._note(step.shares, seen, step.weight, column, float(step.divergence.mean()), loss)
        gradient = torch.from_numpy(step.gradient / len(seen))
        surrogate = (gradient * logits.masked_fill(torch.from_numpy(each == 0), 0.0)).sum()
        return surrogate - surrogate.detach() + loss

    def _autograd_loss(
        self,
        logits: Tensor,
        prior: Doubles,
        each: Doubles,
        column: Ints,
        batch: Arrays,
        advantage: Doubles,
        kl: float,
    ) -> Tensor:
        """Of any estimator."""
        width = batch["head_id"].shape[1]
        num_live = torch.from_numpy(np.maximum(batch["num_live"], 1).astype(np.float64))
        candidates = split_candidates(logits, each, width, num_live)
        divergence = candidates.divergence(split_candidates(torch.from_numpy(prior), each, width, num_live))
        coefficient, log_chance, ratio = self._terms(
            candidates.log_weights(self._policy.epsilon),
            torch.from_numpy(column),
            _logged(batch),
            torch.from_numpy(advantage),
        )
        loss = (kl * divergence - (coefficient * log_chance).sum(dim=1)).mean()
        seen = logits.detach()
        log_each = torch.from_numpy(np.log(np.maximum(each, 1e-300)))
        # A visit to an empty catalogue has no candidate: no share, instead of NaN.
        shares = torch.softmax(torch.where(torch.from_numpy(each > 0), seen + log_each, -torch.inf), dim=1).nan_to_num()
        self._note(shares.numpy(), seen.numpy(), ratio, column, float(divergence.detach().mean()), float(loss.detach()))
        return loss

    def _terms(
        self, weights: LogWeights, column: Tensor, logged: Logged, advantage: Tensor
    ) -> tuple[Tensor, Tensor, Doubles]:
        return policy_gradient(self.config.used_estimator, weights, column, logged, advantage, self._weigh)

    def _weigh(self, pi: Doubles, beta: Doubles, advantage: Doubles) -> Doubles:
        c = self.config
        return importance_weight(pi, beta, c.weights, cap=c.weight_cap, delta=c.clip_delta, advantage=advantage)

    def _candidates(self, learning: Learning, batch: Arrays) -> tuple[Tensor, Doubles, Doubles]:
        """Logits of the policy, logits of its prior, and live articles that each candidate stands for: (B, C) each.

        Head and then tail; 0 stands for padding.
        """
        head_id, tail_id = batch["head_id"].astype(np.int64), batch["tail_id"].astype(np.int64)
        ids = np.concatenate([head_id, tail_id], axis=1)
        kept = np.concatenate([batch["head_prior"], batch["tail_prior"]], axis=1).astype(np.float64)
        if self._correction is not None:
            prior = kept
            logits = torch.from_numpy(prior) + self._corrections(learning, ids, batch["reader"]).double()
        else:
            prior = np.zeros(ids.shape)
            logits = self._scores(learning, ids, batch).double() / self._policy.temperature
        in_head = np.count_nonzero(head_id >= 0, axis=1)
        in_tail = np.count_nonzero(tail_id >= 0, axis=1)
        of_tail = np.where(in_tail > 0, (batch["num_live"] - in_head) / np.maximum(in_tail, 1), 0.0)
        each = (ids >= 0).astype(np.float64)
        each[:, head_id.shape[1] :] *= of_tail[:, None]
        return logits, prior, each

    def _corrections(self, learning: Learning, ids: Ints, reader: Floats) -> Tensor:
        """Corrections of articles (B, C), whatever where the id is -1."""
        correction = self._correction
        assert correction is not None
        unique, place = unique_ids(np.maximum(ids, 0))
        columns = correction.articles(*learning.features(unique))
        rows = torch.from_numpy(place)
        if self.num_columns == 1:
            return columns[:, 0][rows]
        readers = correction.readers(torch.from_numpy(reader))
        return torch.einsum("bx,bcx->bc", readers, columns[rows])

    def _scores(self, learning: Learning, ids: Ints, batch: Arrays) -> Tensor:
        """Scores of the towers, (B, C)."""
        safe = np.maximum(ids, 0)
        now = batch["now"]
        vector, bias = learning.items(safe.ravel(), np.repeat(now, ids.shape[1]))
        users = learning.users_at(batch["history_id"].astype(np.int64), batch["reader"], now)
        age = learning.ages(ids, batch["now"])
        return learning.model.score(users, vector.reshape(*ids.shape, -1), bias.reshape(ids.shape), age)

    def _advantage(self, batch: Arrays, slots: Ints, value: Doubles) -> Doubles:
        """A_k of each position, (B, K); ``value`` (B, 2) are the head's reward and future (docs/mathematics.md 3.5)."""
        c, future = self.config, self._future
        reward, clicked = batch["slot_reward"].astype(np.float64), batch["clicks"]
        own = reward - value[:, :1] * future.share
        later, expected = future.future[slots][:, None], value[:, 1:]
        if not self._future_config.use_future:
            return own
        if c.credit == "clicked":
            return own + clicked * (later - expected)
        size = reward.shape[1]
        if c.credit == "item":
            part = clicked / np.maximum(clicked.sum(axis=1, keepdims=True), 1)
            shared: Doubles = reward + part * later - value.sum(axis=1, keepdims=True) / size
            return shared
        whole = reward.sum(axis=1, keepdims=True) + later - value.sum(axis=1, keepdims=True)
        return np.broadcast_to(whole / size, reward.shape).copy()

    def _note(
        self, shares: Doubles, logits: Doubles, weight: Doubles, column: Ints, divergence: float, loss: float
    ) -> None:
        """Keep what a step looked like, for the curves."""
        self._steps += 1
        if (self._steps - 1) % _NOTE_EVERY:
            return
        shown = weight[column >= 0]
        some = shares > 0
        # Of all live articles: a tail draw's share is spread over those it stands for, as is its entropy.
        best = np.argmax(shares[:, : self._shortlist_size], axis=1)[:, None]  # each stands for itself there
        peak = np.take_along_axis(shares, best, axis=1)[:, 0]
        top = np.take_along_axis(logits, best, axis=1)
        mean = np.where(some, shares * (logits - top), 0.0).sum(axis=1)
        capped = self.config.weights == "cap"
        seen = {
            "entropy": float((-np.log(np.maximum(peak, 1e-300)) - mean).mean()),
            "effective_sample_share": effective_sample_size(shown) / max(len(shown), 1),
            "share_capped": float(np.mean(shown >= self.config.weight_cap)) if capped and len(shown) else 0.0,
            "kl_to_prior": divergence,
            "shortlist_mass": float(shares[:, : self._shortlist_size].sum(axis=1).mean()),
            "policy_loss": loss,
        }
        for name, value in seen.items():
            self._averages.note(name, value)

    def after_backward(self) -> None:
        """Norm of the policy's gradient."""
        if self._correction is None:
            return
        squares = [float(p.grad.square().sum()) for p in self._correction.parameters() if p.grad is not None]
        self._averages.note("gradient_norm", float(np.sqrt(sum(squares))))

    def metrics(self) -> dict[str, float]:
        """Means over the steps since the last call."""
        return self._averages.take()

    def snapshot(self) -> Arrays:
        """Ring, value head, correction, and what the curves have not seen yet."""
        arrays = nest("ring", self._ring.snapshot()) | nest("future", self._future.to_arrays())
        if self._correction is not None:
            arrays |= nest("correction", arrays_of(self._correction))
        if self._behaviour is not None:
            arrays |= nest("behaviour", self._behaviour.to_arrays())
        return arrays | nest("seen", self._averages.snapshot())

    def restore(self, snapshot: Arrays) -> None:
        """Go on from a snapshot."""
        self._ring.restore(unnest("ring", snapshot))
        self._future.from_arrays(unnest("future", snapshot))
        if self._correction is not None:
            load_arrays(self._correction, unnest("correction", snapshot))
        if self._behaviour is not None:
            load_arrays(self._behaviour, unnest("behaviour", snapshot))
        self._averages.restore(unnest("seen", snapshot))


def _logged(batch: Arrays) -> Logged:
    return Logged(
        log_weight=torch.from_numpy(batch["log_weight"]),
        time=torch.from_numpy(batch["time"]),
        slot_propensity=torch.from_numpy(batch["slot_propensity"]),
        slot_marginal=torch.from_numpy(batch["slot_marginal"]),
    )

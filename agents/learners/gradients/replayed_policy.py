"""A policy and the slates that it learns from: what the learners of policies have in common.

``residual``: logits = sharpness * z-score of a regression that keeps training + a correction that starts at zero. The
regression's part of a logit is taken as it was served, a part of the state. ``plain``: the scores of the towers.
Shapes: B visits of a batch, K positions, H head, m tail draws, C = H + m.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from feedgym.agents.agent import Site
from feedgym.agents.learners.averages import Averages
from feedgym.agents.learners.gradients.advantages import Earned
from feedgym.agents.learners.gradients.candidate_ring import candidate_ring, candidates_of, shown_columns
from feedgym.agents.learners.gradients.correction import LinearCorrection, MlpCorrection
from feedgym.agents.learners.gradients.estimated import unique_ids
from feedgym.agents.learners.gradients.policy_batch import PolicyBatch
from feedgym.agents.learners.gradients.policy_gradient import Logged, Shown, Weigh
from feedgym.agents.learners.learner import Trained
from feedgym.agents.learners.learning import Learning
from feedgym.agents.learners.returns.future import Future, Visited, slot_rewards
from feedgym.agents.learners.settings import FutureConfig, ReinforceConfig
from feedgym.agents.ope import effective_sample_size
from feedgym.agents.serving import Acted
from feedgym.agents.slate_policy import PolicyConfig
from feedgym.env.arrays import Arrays, Bools, Doubles, Floats, Ints, nest, rows_of, unnest
from feedgym.env.checks import require
from feedgym.env.readers import Outcome
from feedgym.towers.arrays import arrays_of, load_arrays
from feedgym.towers.config import TwoTowerConfig
from feedgym.towers.interface import Towers

_NOTE_EVERY = 8
"""Steps between two looks at entropy, weights and divergence: a look costs a tenth of a step."""


@dataclass(frozen=True)
class Sample:
    """Visits drawn from the ring."""

    rows: Arrays
    """Columns of the ring, (B, ...)."""
    earned: Earned
    """What became of them."""
    value_loss: Tensor
    """Error of the value head on them, a scalar."""


class ReplayedPolicy:
    """Candidates of the latest visits, their returns with a value head, and logits anew.

    Args:
        config: of the policy and of what is kept.
        future: of the returns.
    """

    def __init__(self, config: ReinforceConfig, future: FutureConfig) -> None:
        self.config, self.future_config = config, future
        self.averages = Averages()
        """For the curves."""

    def start(
        self,
        site: Site,
        towers: TwoTowerConfig,
        policy: PolicyConfig,
        generator: torch.Generator,
        *,
        with_histories: bool,
    ) -> None:
        """Ring, value head and correction; ``with_histories`` of clicks, where logits or rewards need them.

        Raises:
            ValueError: a policy without propensities of this kind, or exploration alone.
        """
        require(not policy.greedy, "greedy", policy.greedy, "False: a policy gradient needs propensities")
        ruled = policy.editorial.reshapes
        require(not ruled, "rules", policy.rules, "exclude only: caps, pins and shares leave inclusion chances unknown")
        require(policy.epsilon < 1, "epsilon", policy.epsilon, "< 1: else nothing depends on the logits")
        c, self.policy, self._reward = self.config, policy, site.reward
        num_reader = towers.reader_numeric
        self.shortlist_size = max(policy.shortlist_size, site.slate_size)
        history = towers.history_length if with_histories else 0
        self.ring = candidate_ring(
            c.policy_visits, self.shortlist_size, site.slate_size, c.tail_draws, num_reader, history
        )
        self.future = Future(num_reader, self.future_config.discount_per_hour, self.future_config.trace, generator)
        self.correction: LinearCorrection | MlpCorrection | None = None
        if c.mode == "residual" and c.correction == "linear":
            self.correction = LinearCorrection(towers.item)
        elif c.mode == "residual":
            self.correction = MlpCorrection(towers.item, num_reader, c.correction_widths, c.correction_dim, generator)

    @property
    def trained(self) -> tuple[Trained, ...]:
        """The value head, and the correction."""
        head = Trained(self.future, self.future_config.value_learning_rate)
        if self.correction is None:
            return (head,)
        return head, Trained(self.correction, self.config.policy_learning_rate)

    def prepare(self, model: Towers) -> None:
        """Normalisations of the correction."""
        if self.correction is not None:
            self.correction.start(*model.normalisations)

    def observe(
        self,
        acted: Acted,
        outcome: Outcome,
        learning: Learning[Towers],
        rng: np.random.Generator,
        *,
        greedy_too: bool,
        with_marginals: bool,
    ) -> None:
        """Keep a tick's candidates with what their slates earned.

        Args:
            acted: the tick's visits.
            outcome: what a site saw of it.
            learning: whose store holds v'.
            rng: the agent's stream.
            greedy_too: also slates that were not drawn: what is served to unknown readers out of a nightly job. And
                pages whose chances are not to be weighed by.
            with_marginals: the exact slot marginals as well.
        """
        sampled: Bools = ~np.broadcast_to(acted.served.greedy, len(acted.row))
        if not greedy_too and not sampled.all():
            acted = acted.take(sampled)
            outcome = rows_of(outcome, sampled)
        if len(acted.row) == 0:
            return
        columns = candidates_of(
            acted,
            learning.store.augmented,
            0 if self.correction is None else self.correction.num_columns,
            self.shortlist_size,
            self.config.tail_draws,
            rng,
            with_marginals=with_marginals,
        )
        if not greedy_too:
            # Returns know of these visits; no gradient comes of what they showed.
            hidden = np.broadcast_to(acted.served.unweighted, len(acted.row))[:, None]
            columns["article_id"] = np.where(hidden, -1, columns["article_id"])
            for name in ("inclusion", "first", "slot_propensity", "slot_marginal"):
                columns[name] = np.where(hidden, 1.0, columns[name])
        columns["history_id"] = columns["history_id"][:, : self.ring.columns["history_id"].shape[1]]
        columns["clicks"] = outcome.clicks
        columns["slot_reward"] = slot_rewards(self._reward, outcome.clicks, outcome.dwell_minutes, outcome.subscribed)
        self.ring.append(columns)

    def begin(self, now: float) -> None:
        """Returns of all visits kept, as they look now."""
        self._steps, ring = 0, self.ring
        if len(ring) == 0:  # a nightly job's first day: greedy slates only
            return
        visited = Visited(
            now=ring.column("now"),
            row=ring.column("row"),
            reader=ring.column("reader"),
            clicks=ring.column("clicks"),
            slot_reward=ring.column("slot_reward"),
        )
        self.future.follow(visited, now)
        self.mean_reward = max(float(self.future.reward.mean()), 1e-6)

    def sample(self, rng: np.random.Generator) -> Sample:
        """A batch of the ring, which is not empty."""
        slots = rng.integers(0, len(self.ring), self.config.policy_batch)
        value_loss, value = self.future.loss(slots)
        self.averages.note("value_loss", float(value_loss.detach()))
        rows = self.ring.take(slots)
        return Sample(rows, self.earned(rows, slots, value), value_loss)

    def earned(self, rows: Arrays, slots: Ints, value: Doubles) -> Earned:
        """What became of the ring's visits ``slots`` (B,), where the value head expected ``value`` (B, 2)."""
        return Earned(
            reward=rows["slot_reward"].astype(np.float64),
            clicked=rows["clicks"],
            later=self.future.future[slots],
            expected_reward=value[:, 0],
            expected_later=value[:, 1],
            share=self.future.share,
        )

    def batch(self, learning: Learning[Towers], rows: Arrays, advantage: Doubles, weigh: Weigh) -> PolicyBatch:
        """Visits of the ring with logits as they are now."""
        logits, prior, each = self._candidates(learning, rows)
        column = shown_columns(rows["article_id"].astype(np.int64), rows["head_id"].astype(np.int64))
        logged = Logged(
            inclusion=torch.from_numpy(rows["inclusion"]),
            first=torch.from_numpy(rows["first"]),
            time=torch.from_numpy(rows["time"]),
            slot_propensity=torch.from_numpy(rows["slot_propensity"]),
            slot_marginal=torch.from_numpy(rows["slot_marginal"]),
        )
        return PolicyBatch(
            logits=logits,
            prior=prior,
            each=each,
            head=rows["head_id"].shape[1],
            num_live=np.maximum(rows["num_live"], 1).astype(np.float64),
            shown=Shown(torch.from_numpy(column), logged, torch.from_numpy(advantage), weigh),
        )

    def _candidates(self, learning: Learning[Towers], rows: Arrays) -> tuple[Tensor, Doubles, Doubles]:
        """Logits of the policy, logits of its prior, and live articles that each candidate stands for: (B, C) each."""
        head_id, tail_id, ids = rows["head_id"], rows["tail_id"], candidate_ids(rows)
        kept = np.concatenate([rows["head_prior"], rows["tail_prior"]], axis=1).astype(np.float64)
        if self.correction is not None:
            prior = kept
            logits = (
                torch.from_numpy(prior) + self._corrections(self.correction, learning, ids, rows["reader"]).double()
            )
        else:
            prior = np.zeros(ids.shape)
            logits = self.scores(learning, rows).double() / self.policy.temperature
        in_head = np.count_nonzero(head_id >= 0, axis=1)
        in_tail = np.count_nonzero(tail_id >= 0, axis=1)
        of_tail = np.where(in_tail > 0, (rows["num_live"] - in_head) / np.maximum(in_tail, 1), 0.0)
        each = (ids >= 0).astype(np.float64)
        each[:, head_id.shape[1] :] *= of_tail[:, None]
        return logits, prior, each

    def _corrections(
        self, correction: LinearCorrection | MlpCorrection, learning: Learning[Towers], ids: Ints, reader: Floats
    ) -> Tensor:
        """Corrections of articles (B, C), whatever where the id is -1."""
        unique, place = unique_ids(np.maximum(ids, 0))
        columns = correction.articles(*learning.features(unique))
        rows = torch.from_numpy(place)
        if correction.num_columns == 1:
            return columns[:, 0][rows]
        readers = correction.readers(torch.from_numpy(reader))
        return torch.einsum("bx,bcx->bc", readers, columns[rows])

    def scores(self, learning: Learning[Towers], rows: Arrays) -> Tensor:
        """Scores of the towers of all candidates, float32 (B, C); needs the ring's histories."""
        ids, now = candidate_ids(rows), rows["now"]
        vector, bias = learning.items(np.maximum(ids, 0).ravel(), np.repeat(now, ids.shape[1]))
        users = learning.users_at(rows["history_id"].astype(np.int64), rows["reader"], now)
        age = learning.ages(ids, now)
        return learning.model.score(users, vector.reshape(*ids.shape, -1), bias.reshape(ids.shape), age)

    # For the curves

    def look(
        self, shares: Doubles, logits: Doubles, weight: Doubles, column: Ints, divergence: float, loss: float
    ) -> None:
        """Keep what a step looked like, at every eighth of a training.

        Args:
            shares: the softmax over all live articles by candidate, tail draws with their weights, (B, C).
            logits: of the policy, (B, C).
            weight: given to the ratios, (B, K).
            column: where something was shown, (B, K); -1 elsewhere.
            divergence: from the prior, mean.
            loss: of the policy.
        """
        self._steps += 1
        if (self._steps - 1) % _NOTE_EVERY:
            return
        shown = weight[column >= 0]
        some = shares > 0
        # Of all live articles: a tail draw's share is spread over those it stands for, as is its entropy.
        best = np.argmax(shares[:, : self.shortlist_size], axis=1)[:, None]  # each stands for itself there
        peak = np.take_along_axis(shares, best, axis=1)[:, 0]
        top = np.take_along_axis(logits, best, axis=1)
        mean = np.where(some, shares * (logits - top), 0.0).sum(axis=1)
        capped = self.config.weights == "cap"
        seen = {
            "entropy": float((-np.log(np.maximum(peak, 1e-300)) - mean).mean()),
            "effective_sample_share": effective_sample_size(shown) / max(len(shown), 1),
            "share_capped": float(np.mean(shown >= self.config.weight_cap)) if capped and len(shown) else 0.0,
            "kl_to_prior": divergence,
            "shortlist_mass": float(shares[:, : self.shortlist_size].sum(axis=1).mean()),
            "policy_loss": loss,
        }
        for name, value in seen.items():
            self.averages.note(name, value)

    def after_backward(self) -> None:
        """Norm of the correction's gradient."""
        if self.correction is None:
            return
        squares = [float(p.grad.square().sum()) for p in self.correction.parameters() if p.grad is not None]
        self.averages.note("gradient_norm", float(np.sqrt(sum(squares))))

    def snapshot(self) -> Arrays:
        """Ring, value head, correction, and what the curves have not seen yet."""
        arrays = nest("ring", self.ring.snapshot()) | nest("future", self.future.to_arrays())
        if self.correction is not None:
            arrays |= nest("correction", arrays_of(self.correction))
        return arrays | nest("seen", self.averages.snapshot())

    def restore(self, snapshot: Arrays) -> None:
        """Go on from a snapshot."""
        self.ring.restore(unnest("ring", snapshot))
        self.future.from_arrays(unnest("future", snapshot))
        if self.correction is not None:
            load_arrays(self.correction, unnest("correction", snapshot))
        self.averages.restore(unnest("seen", snapshot))


def candidate_ids(rows: Arrays) -> Ints:
    """Articles of the ring's visits, head and then tail, int64 (B, C); -1 pads."""
    ids: Ints = np.concatenate([rows["head_id"], rows["tail_id"]], axis=1).astype(np.int64)
    return ids

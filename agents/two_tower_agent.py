"""The learned agents: TwoTower x Learner x slate policy x serving, one composition for all of them (design.md, 8).

Serving is in real time: readers are embedded at request, articles when they appear and when the model changes.
Shapes: n visits, M shortlist, K positions, L clicks of history, E columns of v'. Time is in hours.
"""

import math

import numpy as np
import torch

from feedgym.agents.acted import Acted
from feedgym.agents.agent import Served, Site, agent_stream, generator_state, restore_generator
from feedgym.agents.histories import embed_readers, needs_minutes
from feedgym.agents.item_store import NUM_COUNTERS, ItemStore
from feedgym.agents.learners.protocol import Learner, Learning
from feedgym.agents.logged_slates import LoggedTick, served_by_another
from feedgym.agents.optimiser import optimiser_arrays, restore_optimiser
from feedgym.agents.policy import boosts, eligible, only_eligible, serve
from feedgym.agents.replay import Replay, VisitBatch
from feedgym.agents.settings import TwoTowerAgentConfig
from feedgym.agents.towers_of import OWN_READER_COLUMNS, towers_of
from feedgym.agents.vectors import Vectors, article_vectors, latest_visits
from feedgym.env.arrays import Arrays, Doubles, Floats, Ints, nest, unnest
from feedgym.env.catalogue import Catalogue
from feedgym.env.checks import require
from feedgym.env.readers.protocol import Outcome
from feedgym.env.visits import Visits
from feedgym.towers.summed_towers import SummedTowers
from feedgym.towers.two_tower import TwoTower, UserOutput


class TwoTowerAgent:
    """Acts by retrieval over the live articles, and trains its towers on what its readers did.

    Until the first training the towers are as they were drawn: their small random scores beside the age
    decay's make the agent favour what is new.
    """

    is_oracle = False

    def __init__(self, site: Site, config: TwoTowerAgentConfig, learner: Learner) -> None:
        self._site = site
        self.config = config
        self._learner = learner
        self._rng = agent_stream(site.seed)
        generator = torch.Generator().manual_seed(int(self._rng.integers(2**62)))
        towers = towers_of(site, config)
        num_reader = towers.reader_numeric
        self.model = (TwoTower if learner.num_models == 1 else SummedTowers)(towers, generator)
        two_stages = isinstance(self.model, TwoTower) and self.model.reranker is not None
        allowed = not two_stages or learner.reranks
        require(allowed, "prediction", config.prediction, f"'dot' or 'cosine' for {type(learner).__name__}: one stage")
        learner.start(site, towers, config.policy, generator)
        self.store = ItemStore(
            self.model,
            config.index,
            extra=learner.article_columns,
            num_extra=learner.num_columns,
            num_counters=NUM_COUNTERS * config.site_counters,
        )
        self._shortlist_size = max(config.policy.shortlist_size, site.slate_size)
        self._replay = Replay(
            config.replay_visits,
            site.slate_size,
            site.history_length,
            num_reader,
            with_minutes=needs_minutes(towers),
            shortlist_size=self._shortlist_size if learner.uses_shortlists else 0,
        )
        self._learning = Learning(self.model, self.store, self._replay)
        if config.example_age:
            self._learning.example_age = num_reader - 1
        trained = ((self.model, config.learning_rate, config.weight_decay), *learner.modules())
        self._optimiser = torch.optim.AdamW(
            [{"params": list(m.parameters()), "lr": rate, "weight_decay": decay} for m, rate, decay in trained],
            foreach=True,
        )
        self.policy_version = 0
        self._next_training = config.train_every_hours
        self._visits_trained = 0
        self._acted: Acted | None = None
        self._losses: list[float] = []

    # Acting

    def act(self, visits: Visits, catalogue: Catalogue) -> Served:
        """Shortlists by exact inner product, logits on the common scale, slates with their propensities."""
        self._follow(catalogue)
        if visits.now >= self._next_training:
            self._train(visits.now)
        n, policy = len(visits), self.config.policy
        reader, history_id = self._reader_columns(visits), visits.history_id
        kept = eligible(policy, catalogue)
        live = catalogue.article_id if kept is None else catalogue.article_id[kept]
        if n == 0 or len(live) == 0:
            nothing: Ints = np.full((n, 1), -1, dtype=np.int64)
            shortlist, logits = nothing, np.zeros((n, 1))
            users, offset = np.zeros((n, self.store.augmented.shape[1]), dtype=np.float32), np.zeros(n)
        else:
            user, users = self._embed_users(reader, visits)
            # As many more as are excluded: what is left is what a search among the others would have found.
            size = min(self._shortlist_size + len(catalogue) - len(live), len(catalogue))
            factor, mean = self._scale(users)
            if self._learner.num_columns:
                # One inner product for both parts of the logit: the query carries the factor.
                users = np.hstack([users * factor[:, None].astype(np.float32), self._own_columns(reader)])
                shortlist, scores = self.store.index.search(users, size)
                offset = mean * factor
                logits = scores.astype(np.float64) - offset[:, None]
            else:
                shortlist, scores = self.store.index.search(users, size)
                scores = self._rerank(user, shortlist, scores, visits.now)
                logits = (scores.astype(np.float64) - mean[:, None]) * factor[:, None]
                users, offset = users * factor[:, None].astype(np.float32), mean * factor
            if kept is not None:
                shortlist, logits = only_eligible(shortlist, logits, live, self._shortlist_size)
            logits = logits + boosts(policy, catalogue, shortlist)
        served = serve(
            self._rng, policy, logits, shortlist, live, self._site.slate_size, self.policy_version, catalogue
        )
        self._acted = Acted(
            now=visits.now,
            row=visits.rows,
            reader=reader,
            history_id=history_id,
            history_minutes=visits.history_dwell.copy() if needs_minutes(self.model.config) else None,
            queries=users,
            offset=offset,
            shortlist=shortlist,
            logits=logits,
            # The catalogue's own array changes with the next tick.
            live=live.copy(),
            served=served,
        )
        return served

    def _scale(self, users: Floats) -> tuple[Doubles, Doubles]:
        """Factor and mean that turn each reader's scores into logits, (n,) each."""
        policy = self.config.policy
        if self._learner.raw_logits:
            return np.full(len(users), 1.0 / policy.temperature), np.zeros(len(users))
        mean, sd = self.store.scale.mean_and_sd(users)
        return (policy.sharpness / policy.temperature) / sd, mean

    @torch.no_grad()
    def _own_columns(self, reader: Floats) -> Floats:
        columns: Floats = self._learner.reader_columns(torch.from_numpy(reader)).numpy()
        return columns

    def _follow(self, catalogue: Catalogue) -> None:
        if len(self.store) == 0 and len(catalogue.arrived) and self.policy_version == 0:
            # The articles at hour 0 fix the normalisation of article features, once.
            numeric = catalogue.features_of(catalogue.arrived)
            if self.config.site_counters:
                # Nothing is counted yet: columns of zeros stay as they are.
                numeric = np.hstack([numeric, np.zeros((len(numeric), NUM_COUNTERS), dtype=np.float32)])
            self.model.fit_items(torch.from_numpy(numeric))
        self.store.follow(catalogue)
        self._learner.follow(catalogue)

    @torch.no_grad()
    def _embed_users(self, reader: Floats, visits: Visits) -> tuple[UserOutput, Floats]:
        """Readers as the towers see them, and u' (n, E)."""
        now = np.full(len(reader), visits.now)
        user = embed_readers(self.model, self.store, visits.history_id, visits.history_dwell, reader, now)
        users: Floats = self.model.augment_users(user, visits.now, self.store.t_ref).numpy()
        return user, users

    @torch.no_grad()
    def _rerank(self, user: UserOutput, shortlist: Ints, scores: Floats, now: float) -> Floats:
        """The second stage's logits of shortlists (n, M), on the scale of retrieval's; those themselves without one."""
        model = self.model
        if not isinstance(model, TwoTower) or model.reranker is None:
            return scores
        known = np.where(shortlist >= 0, shortlist, 0)
        age = self._learning.ages(shortlist, np.full(len(shortlist), now))
        items = torch.from_numpy(self.store.vector[known])
        # What retrieval's product leaves out of the score is left out here too: the mean is of such products.
        constant = model.constant(user, now, self.store.t_ref)[:, None]
        full = torch.from_numpy(np.where(shortlist >= 0, scores, 0.0).astype(np.float32)) + constant
        logits: Floats = (model.rerank(full, user, items, age) - constant).numpy()
        return np.where(shortlist >= 0, logits, scores)

    def _reader_columns(self, visits: Visits) -> Floats:
        """What the user tower sees besides the history, (n, R)."""
        own, extra = OWN_READER_COLUMNS, visits.features.shape[1]
        # What stays 0 is the age of the example: of what is served now.
        columns = np.zeros((len(visits), own + extra + self.config.example_age), dtype=np.float32)
        known = visits.history_id >= 0
        count = np.count_nonzero(known, axis=1)
        angle = 2.0 * math.pi * (visits.now % 24.0) / 24.0
        columns[:, 0] = np.log1p(visits.gap_hours)
        columns[:, 1] = np.log1p(visits.visit)
        columns[:, 2] = math.sin(angle)
        columns[:, 3] = math.cos(angle)
        columns[:, 4] = np.log1p(count)
        columns[:, 5] = np.log1p(visits.history_dwell).sum(axis=1) / np.maximum(count, 1)
        columns[:, own : own + extra] = visits.features
        return columns

    # Looked at from outside: nothing changes

    def score_all(self, visits: Visits, catalogue: Catalogue) -> Doubles:
        """What retrieval searches by, float64 (n, N), columns as ``catalogue.article_id``; after ``act``."""
        reader = self._reader_columns(visits)
        _, users = self._embed_users(reader, visits)
        if self._learner.num_columns:
            factor, _ = self._scale(users)
            users = np.hstack([users * factor[:, None].astype(np.float32), self._own_columns(reader)])
        live = self.store.augmented[catalogue.article_id]
        # No BLAS: its sums depend on the number of threads, and reports are compared byte for byte.
        scores: Doubles = np.einsum("ne,me->nm", users.astype(np.float64), live.astype(np.float64))
        return scores

    @torch.no_grad()
    def served_click_chance(self) -> Doubles | None:
        """Predicted chance of a click on what was served, float64 (n, K); None unless clicks are what is learned."""
        theta, acted = self._learner.click_examination(self._site.slate_size), self._acted
        if theta is None or acted is None or self.policy_version == 0:
            return None
        ids = acted.served.article_id
        shown = ids >= 0
        known = np.where(shown, ids, 0)
        now = np.full(len(ids), acted.now)
        user = embed_readers(self.model, self.store, acted.history_id, acted.history_minutes, acted.reader, now)
        items, age = torch.from_numpy(self.store.vector[known]), self._learning.ages(ids, now)
        score = self.model.score(user, items, torch.from_numpy(self.store.bias[known]), age)
        if isinstance(self.model, TwoTower) and self.model.reranker is not None:
            # The second stage is told the position: examination is in its prediction.
            score, theta = self.model.rerank(score, user, items, age, torch.arange(ids.shape[1])), np.ones(len(theta))
        chance: Doubles = torch.sigmoid(score.double()).numpy() * theta
        return np.where(shown, chance, np.nan)

    @torch.no_grad()
    def vectors(self) -> Vectors:
        """What the towers say of articles and readers, see :class:`Vectors`."""
        batch = latest_visits(self._replay)
        user = embed_readers(self.model, self.store, batch.history_id, batch.history_minutes, batch.reader, batch.now)
        ids, article, bias = article_vectors(self.model, self.store, float(batch.now.max(initial=0.0)))
        return Vectors(
            article_id=ids, article=article, bias=bias, row=batch.row, hours=batch.now, reader=user.vector.numpy()
        )

    # Learning

    @property
    def learner(self) -> Learner:
        """How the towers are trained."""
        return self._learner

    def served_instead(self, logged: LoggedTick) -> None:
        """Before ``learn``: the outcome is that of these slates, which somebody else served to the same visits."""
        if self._acted is None:
            raise RuntimeError("served_instead: no slates are waiting for an outcome; needs act() first")
        self._acted = served_by_another(self._acted, logged)

    def adopt(self, trained: "TwoTowerAgent") -> None:
        """Before the first tick: serve by what another agent with the same settings has learned, and learn no more."""
        require(trained.policy_version > 0, "policy_version", trained.policy_version, "> 0: an agent that has trained")
        require(len(self.store) == 0, "adopt", "an agent that has served", "a new one")
        self.model.from_arrays(trained.model.to_arrays())
        self._learner.restore(trained._learner.snapshot())
        self.policy_version, self._next_training = trained.policy_version, math.inf

    def learn(self, outcome: Outcome) -> None:
        """Keep the tick's visits for the next training."""
        if self._acted is None:
            raise RuntimeError("learn: no slates are waiting for an outcome; needs act() first")
        acted, self._acted = self._acted, None
        self._learner.observe(acted, outcome, self._learning, self._rng)
        self._replay.append(
            VisitBatch(
                now=np.full(len(acted.row), acted.now),
                row=acted.row,
                reader=acted.reader,
                history_id=acted.history_id,
                article_id=acted.served.article_id,
                clicks=outcome.clicks,
                dwell_minutes=outcome.dwell_minutes,
                subscribed=outcome.subscribed,
                slot_propensity=acted.served.slot_propensity.astype(np.float32),
                history_minutes=acted.history_minutes,
                shortlist=_padded(acted.shortlist, self._shortlist_size) if self._learner.uses_shortlists else None,
            )
        )

    def _train(self, now: float) -> None:
        """Steps in proportion to what is new, then all vectors anew."""
        while self._next_training <= now:
            self._next_training += self.config.train_every_hours
        new = self._replay.total - self._visits_trained
        if new == 0:
            return
        if self.policy_version == 0:
            self.model.fit_readers(torch.from_numpy(self._replay.column("reader").copy()))
            self._learner.prepare(self._learning)
        self._learner.begin(self._learning, now)
        self._learning.now = now
        self._visits_trained = self._replay.total
        self.model.train()
        steps = min(self.config.max_steps, math.ceil(self.config.passes * new / 256))
        for _ in range(steps):
            value = self.step()
            if value is None:
                break
            # Here, with its cause at hand: else retrieval would refuse the NaN vectors that follow.
            require(math.isfinite(value), "loss", value, "a finite number: try a smaller learning_rate")
            self._losses.append(value)
        self.model.eval()
        self.policy_version += 1
        self.store.refresh(now)
        self._learner.finish(self._learning)

    def step(self) -> float | None:
        """One step of the optimiser on a batch of the replay: its loss; None where there is nothing to learn from."""
        loss = self._learner.loss(self._learning, self._rng)
        if loss is None:
            return None
        self._optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self._learner.after_backward()
        self._optimiser.step()
        return float(loss.detach())

    def metrics(self) -> dict[str, float]:
        """Mean training loss since the last call, what the learner has to tell, recall where search is not exact."""
        losses, self._losses = self._losses, []
        metrics = ({"loss": float(np.mean(losses))} if losses else {}) | self._learner.metrics()
        if not self.store.index.exact and math.isfinite(recall := self.store.index.recall()):
            metrics["recall_at_k"] = recall
        return metrics

    def snapshot(self) -> Arrays:
        """Towers, optimiser, store, replay, learner, stream and clocks."""
        arrays: Arrays = {
            "rng": generator_state(self._rng),
            "policy_version": np.asarray(self.policy_version),
            "next_training": np.asarray(self._next_training),
            "visits_trained": np.asarray(self._visits_trained),
            "losses": np.asarray(self._losses, dtype=np.float64),
        }
        parts = {
            "model": self.model.to_arrays(),
            "optimiser": optimiser_arrays(self._optimiser),
            "store": self.store.snapshot(),
            "replay": self._replay.snapshot(),
            "learner": self._learner.snapshot(),
        }
        for name, part in parts.items():
            arrays |= nest(name, part)
        return arrays

    def restore(self, snapshot: Arrays) -> None:
        """Go on from a snapshot of an agent with the same settings."""
        self._acted = None
        restore_generator(self._rng, snapshot["rng"])
        self.policy_version = int(snapshot["policy_version"])
        self._next_training = float(snapshot["next_training"])
        self._visits_trained = int(snapshot["visits_trained"])
        self._losses = snapshot["losses"].tolist()
        self.model.from_arrays(unnest("model", snapshot))
        restore_optimiser(self._optimiser, unnest("optimiser", snapshot))
        self.store.restore(unnest("store", snapshot))
        self._replay.restore(unnest("replay", snapshot))
        self._learner.restore(unnest("learner", snapshot))


def _padded(shortlist: Ints, size: int) -> Ints:
    """Shortlists (n, M) with ``size`` columns, -1 where there were fewer."""
    rows: Ints = np.full((len(shortlist), size), -1, dtype=np.int64)
    rows[:, : shortlist.shape[1]] = shortlist
    return rows

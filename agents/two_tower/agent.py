"""The learned agents: TwoTower x Learner x slate policy x serving, one composition for all of them.

What is fresh when is up to the clocks of ``Serving``. In real time readers are embedded at request, articles when they
appear and when the model changes.
Shapes: n visits, M shortlist, K positions, L clicks of history, E columns of v'. Time is in hours.
"""

import math
import time
from dataclasses import replace

import numpy as np
import torch

from feedgym.agents.agent import Site, agent_stream, generator_state, restore_generator
from feedgym.agents.learners import (
    Beginning,
    Crossing,
    Finishing,
    Following,
    Gathering,
    Inspecting,
    Learner,
    Learning,
    Observing,
    Preparing,
    Reporting,
    VisitBatch,
    new_rows,
)
from feedgym.agents.serving import NUM_COUNTERS, Acted, ItemStore, ListsAhead, LoggedTick, served_by_another
from feedgym.agents.slate_policy import Served, eligible
from feedgym.agents.two_tower import ranking
from feedgym.agents.two_tower.crowd import renew_crowd
from feedgym.agents.two_tower.drawing import Drawer
from feedgym.agents.two_tower.expired_ids import fade_expired_ids
from feedgym.agents.two_tower.optimiser import clip_gradients, make_optimiser, optimiser_arrays, restore_optimiser
from feedgym.agents.two_tower.rows import opened_rows, replay_for, visited_rows
from feedgym.agents.two_tower.settings import TwoTowerAgentConfig
from feedgym.agents.two_tower.through_link import click_chances, through_link
from feedgym.agents.two_tower.towers_of import serving_of, towers_of
from feedgym.agents.two_tower.vectors import Vectors, vectors_of
from feedgym.env.arrays import Arrays, Bools, Doubles, Floats, Ints, copied, nest, put_back, unnest
from feedgym.env.checks import require
from feedgym.env.feed import Catalogue, ReaderRecords, Visits
from feedgym.env.readers import Outcome
from feedgym.towers.interface import Towers

_NUMBERS = ("policy_version", "_next_training", "_visits_trained", "_rows_trained")


class TwoTowerAgent:
    """Acts by retrieval over the live articles, and trains its towers on what its readers did.

    Before it has learned anything it favours what is new: so do an age decay, and the wide part, as they start.
    """

    is_oracle = False

    def __init__(self, site: Site, config: TwoTowerAgentConfig, learner: Learner) -> None:
        ranking.check_second_stage(config, learner)
        self._site = site
        self.config = config
        self._learner = learner
        self._rng = agent_stream(site.seed)
        generator = torch.Generator().manual_seed(int(self._rng.integers(2**62)))
        towers, clocks = towers_of(site, config), config.serving.clocks
        num_reader = towers.reader_numeric
        pages = config.serving.list_depth if clocks.slates_ahead else 1
        # A list is drawn from a shortlist that holds as many, where as many are live.
        policy = replace(config.policy, shortlist_size=max(config.policy.shortlist_size, pages * site.slate_size))
        parts = learner.start(site, towers, policy, generator)
        self.model: Towers = parts.model
        self.store = ItemStore(
            self.model,
            config.serving.index,
            extra=parts.columns,
            num_counters=NUM_COUNTERS * config.features.site_counters,
            # What was drawn ahead goes with the articles' vectors of that moment: until the next draw they stay.
            holds_back=clocks.item_refresh_hours > 0 or clocks.slates_ahead,
            keeps_queries=clocks.slates_ahead,
        )
        self.serving = serving_of(site, config, towers)
        whole = not (clocks.slates_ahead and parts.whole_slates)
        mode, not_ahead = config.serving.serving, "not 'batch' with estimator 'joint' or 'prefix': lists run out"
        require(whole, "serving", mode, not_ahead)
        kept = (policy.shortlist_size + config.second_stage.more_candidates) * parts.shortlists
        self._shortlist_size, self._keeps_inclusions = kept, parts.inclusions
        self._replay = replay_for(site, config, self.model, learner, parts, self._shortlist_size)
        sources = ranking.sources_of(config)
        self._pairs, self._trees = ranking.pairs_of(site, config, sources), ranking.trees_of(config)
        self._second = {k: part for k, part in (("pairs", self._pairs), ("trees", self._trees)) if part is not None}
        self._learning = Learning(self.model, self.store, self._replay)
        self.drawer = Drawer(
            self._learning,
            parts.columns,
            parts.raw_logits,
            self.serving,
            policy,
            site.slate_size,
            pages,
            site.seed,
            self._pairs,
            self._cross_weights,
            self._trees,
            sources,
        )
        if config.features.example_age:
            self._learning.example_age = num_reader - 1 - (towers.reader_id is not None)
        self._optimiser = make_optimiser(self.model, config.optimiser, parts.modules)
        self.policy_version = self._visits_trained = self._rows_trained = 0
        self._next_training = clocks.train_every_hours
        self._acted: Acted | None = None
        self._opened: VisitBatch | None = None
        self._losses: list[float] = []

    # Acting

    def act(self, visits: Visits, catalogue: Catalogue) -> Served:
        """Shortlists by inner product, logits on the common scale, slates with their propensities.

        All of it for the visits of this tick, or, where slates are drawn ahead, at the readers' clock.
        """
        self.serving.catch_up(visits)
        if self._pairs is not None and self._acted is not None and self._acted.now < visits.now:
            ranking.note_outcome(self._pairs, self._acted)  # a frozen agent is told of no outcome
        self._follow(catalogue)
        self._hear_of(visits)
        ahead = self.serving.clocks.slates_ahead
        due = not ahead or self.serving.slates_due(visits.now)
        if ahead and due:
            self.store.rebase(visits.now)
        if due and self.serving.items_due(visits.now):
            self._refresh_items(visits.now)
        if ahead and due:
            self._draw_ahead(visits.records, visits.now, catalogue)
        if ahead:
            acted = self._drawn_ahead(visits, catalogue)
        else:
            acted = self.drawer.draw(self.serving.requests(visits), catalogue, self.policy_version)
        self.serving.asked(visits)
        self._acted = acted
        return acted.served

    def _hear_of(self, visits: Visits) -> None:
        """What readers have opened from elsewhere since the last tick: to be learned from with this tick's outcome."""
        opens = visits.opens
        if not self.serving.opened(opens) or opens is None:
            return
        if self._replay.keeps_opens:
            readers = self.serving.requests(opens.readers())
            self._opened = opened_rows(opens, readers, self._site.slate_size, self._shortlist_size, self._pairs)
        if self._pairs is not None:
            self._pairs.note_opens(opens.rows, opens.article_id, opens.dwell_minutes, opens.now)

    def _refresh_items(self, now: float) -> None:
        """Let new articles be found, and train, where it is time to."""
        self.store.release(now)
        if self._training_due(now):
            start = time.process_time()
            self._train(now)
            self.serving.cost.training_seconds += time.process_time() - start

    def _draw_ahead(self, records: ReaderRecords, now: float, catalogue: Catalogue) -> None:
        """Lists for all known readers, and last the one for everybody else."""
        version, ruled = self.policy_version, self.config.policy.editorial.reshapes
        drawn = [self.drawer.draw(known, catalogue, version) for known in self.serving.known_readers(records, now)]
        drawn.append(self.drawer.draw(self.serving.unknown_reader(now), catalogue, version, greedy=True))
        self.serving.ahead = ListsAhead(drawn, self._site.slate_size, self.serving.num_visits, now, ruled=ruled)

    def _drawn_ahead(self, visits: Visits, catalogue: Catalogue) -> Acted:
        """The next pages of what was drawn for these readers."""
        assert self.serving.ahead is not None
        kept = eligible(self.config.policy, catalogue)

        def is_allowed(ids: Ints) -> Bools:
            return ids >= 0 if kept is None else np.isin(ids, catalogue.article_id[kept])

        acted = self.serving.ahead.pages(visits, len(catalogue), self.store.are_live, is_allowed)
        self.serving.cost.served_ahead(acted.served, visits.now, len(catalogue))
        return acted

    def _follow(self, catalogue: Catalogue) -> None:
        if len(self.store) == 0 and len(catalogue.arrived) and self.policy_version == 0:
            # The articles at hour 0 fix the normalisation of article features, once.
            numeric = catalogue.features_of(catalogue.arrived)
            if self.config.features.site_counters:
                # Nothing is counted yet: columns of zeros stay as they are.
                numeric = np.hstack([numeric, np.zeros((len(numeric), NUM_COUNTERS), dtype=np.float32)])
            self.model.fit_items(torch.from_numpy(numeric))
        self.store.follow(catalogue)
        if self._pairs is not None:
            self._pairs.follow(catalogue)
        if isinstance(self._learner, Following):
            self._learner.follow(catalogue)

    # Looked at from outside: nothing changes

    def score_all(self, visits: Visits, catalogue: Catalogue) -> Doubles:
        """What retrieval searches by, float64 (n, N), columns as ``catalogue.article_id``; after ``act``.

        Articles that no search finds yet score -inf.
        """
        if self.serving.ahead is not None:
            users = self.serving.ahead.queries(visits.rows)
        else:
            users = self.drawer.queries(self.serving.requests(visits))
        hidden = np.isin(catalogue.article_id, self.store.held)
        live = self.store.augmented[catalogue.article_id]
        # No BLAS: its sums depend on the number of threads, and reports are compared byte for byte.
        scores: Doubles = np.einsum("ne,me->nm", users.astype(np.float64), live.astype(np.float64))
        if hidden.any():
            scores[:, hidden] = -np.inf
        return scores

    def linked(self, score: Doubles) -> Doubles:
        """Scores as what they foretell, any shape: chances of a click where clicks are what is learned."""
        return through_link(score, self._learner, self.model, self._site.slate_size)

    def served_click_chance(self) -> Doubles | None:
        """Predicted chance of a click on what was served, float64 (n, K); None unless clicks are what is learned."""
        if self._acted is None or self.policy_version == 0:
            return None
        return click_chances(self._acted, self._learner, self._learning, self._pairs, self._site.slate_size)

    @torch.no_grad()
    def vectors(self) -> Vectors:
        """What the towers say of articles and readers, see :class:`Vectors`."""
        return vectors_of(self.model, self.store, self._replay)

    # Learning

    def _cross_weights(self) -> Floats | None:
        return self._learner.cross_weights if isinstance(self._learner, Crossing) else None

    @property
    def second_stage(self) -> bool:
        """Whether shortlists are ranked by anything but what retrieval searches by."""
        return self.model.two_stages or self._pairs is not None or self._trees is not None

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
        # Books of a catalogue are of the articles of another site, and serve training alone.
        if not isinstance(self._learner, Following):
            self._learner.restore(trained._learner.snapshot())
        self.policy_version, self._next_training = trained.policy_version, math.inf

    def learn(self, outcome: Outcome) -> None:
        """Keep the tick's visits for the next training."""
        if self._acted is None:
            raise RuntimeError("learn: no slates are waiting for an outcome; needs act() first")
        acted, self._acted = self._acted, None
        self.serving.told(outcome.clicks.sum(axis=1))
        if self._opened is not None and isinstance(self._learner, Gathering):
            self._learner.opened(self._opened.article_id[:, 0])
            self._replay.append(self._opened)
            self._opened = None
        if isinstance(self._learner, Observing):
            self._learner.observe(acted, outcome, self._learning, self._rng)
        self._replay.append(
            visited_rows(
                acted,
                outcome,
                shortlist_size=self._shortlist_size,
                with_inclusions=self._keeps_inclusions,
                pairs=self._pairs,
                scored_by=None if self._trees is None else self._learning,
            )
        )
        if self._pairs is not None:
            # After the visits are written: what they are told of is what was known when they were served.
            ranking.note_outcome(self._pairs, acted, outcome)

    def _training_due(self, now: float) -> bool:
        # A tick may miss the hours that it stands for by a rounding: in a nightly job that would cost a day.
        return now >= self._next_training - 1e-6

    def _train(self, now: float) -> None:
        """Steps in proportion to what is new, then all vectors anew."""
        while self._training_due(now):
            self._next_training += self.serving.clocks.train_every_hours
        if self._replay.total == self._visits_trained:
            return
        new, size = new_rows(self._learner, self._replay, self._rows_trained)
        self.begin_training(now)
        steps = min(self.config.optimiser.max_steps, math.ceil(self.config.optimiser.passes * new / size))
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
        if isinstance(self._learner, Finishing):
            self._learner.finish(self._learning)
        if self._trees is not None:
            ranking.fit_trees(self._trees, self._learning)

    def begin_training(self, now: float) -> None:
        """Make ready for the steps of a training at ``now`` in hours, on the visits kept.

        The first one ever also learns the spread of readers' columns.
        """
        if self.policy_version == 0:
            self.model.fit_readers(torch.from_numpy(self._replay.column("reader").copy()))
            if isinstance(self._learner, Preparing):
                self._learner.prepare(self._learning)
        renew_crowd(self.model, self.store, self._replay)
        fade_expired_ids(self.model, self.store, self.serving.clocks.train_every_hours)
        if isinstance(self._learner, Beginning):
            self._learner.begin(self._learning, now)
        self._learning.now = now
        self._visits_trained = self._replay.total
        self._rows_trained += new_rows(self._learner, self._replay, self._rows_trained)[0]
        self.model.train()

    def step(self) -> float | None:
        """One step of the optimiser on a batch of the replay: its loss; None where there is nothing to learn from."""
        loss = self._learner.loss(self._learning, self._rng)
        if loss is None:
            return None
        self._optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        clip_gradients(self._optimiser, self.config.optimiser.gradient_clip)
        if isinstance(self._learner, Inspecting):
            self._learner.after_backward()
        self._optimiser.step()
        return float(loss.detach())

    def metrics(self) -> dict[str, float]:
        """Mean training loss since the last call, what the learner has to tell, recall where search is not exact."""
        losses, self._losses = self._losses, []
        metrics = {"loss": float(np.mean(losses))} if losses else {}
        if isinstance(self._learner, Reporting):
            metrics |= self._learner.metrics()
        if not self.store.index.exact and math.isfinite(recall := self.store.index.recall()):
            metrics["retrieval/recall_at_k"] = recall
        self._count_items()
        return metrics | self.serving.metrics()

    def serving_counts(self) -> dict[str, int]:
        """What serving has cost so far, see :class:`ServingCost`."""
        self._count_items()
        return self.serving.cost.counts

    def _count_items(self) -> None:
        cost = self.serving.cost
        cost.item_embeddings, cost.index_writes = self.store.num_embedded, self.store.num_written

    def snapshot(self) -> Arrays:
        """Towers, optimiser, store, replay, learner, stream and clocks."""
        arrays: Arrays = {
            "rng": generator_state(self._rng),
            "losses": np.asarray(self._losses, dtype=np.float64),
            **copied(self, _NUMBERS),
        }
        parts = {
            "model": self.model.to_arrays(),
            "optimiser": optimiser_arrays(self._optimiser),
            "store": self.store.snapshot(),
            "replay": self._replay.snapshot(),
            "learner": self._learner.snapshot(),
            "serving": self.serving.snapshot(),
        }
        parts |= {name: part.snapshot() for name, part in self._second.items()}
        for name, part in parts.items():
            arrays |= nest(name, part)
        return arrays

    def restore(self, snapshot: Arrays) -> None:
        """Go on from a snapshot of an agent with the same settings."""
        self._acted = self._opened = None
        restore_generator(self._rng, snapshot["rng"])
        put_back(self, _NUMBERS, snapshot)
        self._losses = snapshot["losses"].tolist()
        self.model.from_arrays(unnest("model", snapshot))
        restore_optimiser(self._optimiser, unnest("optimiser", snapshot))
        self.store.restore(unnest("store", snapshot))
        self._replay.restore(unnest("replay", snapshot))
        self._learner.restore(unnest("learner", snapshot))
        self.serving.restore(unnest("serving", snapshot))
        for name, part in self._second.items():
            part.restore(unnest(name, snapshot))

"""Contrastive learning: which article a click went to, among others (docs/mathematics.md 6.2 to 6.7).

By default the in-batch softmax with the logQ correction (Yi et al., RecSys 2019); ``contrasts`` has the other losses,
``towers.negatives`` the other negatives. Batches are consecutive clicks, as in streaming training, and the log
frequency of each article is the one recorded when it was clicked. A batch may yet span days, so each click is compared
only with what was live at its own moment (``negatives_live``).
Shapes: B clicks of a batch, S shared negatives, R of each row, E columns of v'.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from feedgym.agents.agent import Site
from feedgym.agents.learners.clicks.examples import newest_of_each_reader, shares_of
from feedgym.agents.learners.clicks.sequence import sequence_loss
from feedgym.agents.learners.contrasts import Contrast, check_contrast, contrast_loss
from feedgym.agents.learners.learner import Parts
from feedgym.agents.learners.learning import Learning, crosses_of
from feedgym.agents.learners.replay import Replay, VisitBatch
from feedgym.agents.learners.settings import ContrastiveConfig
from feedgym.agents.learners.tasks import parse_tasks, previous_visits
from feedgym.agents.serving import Acted
from feedgym.agents.slate_policy import PolicyConfig
from feedgym.env.arrays import Arrays, Bools, Doubles, Ints, copied, lengthened, nest, put_back, unnest
from feedgym.env.checks import require
from feedgym.env.feed import Catalogue
from feedgym.env.readers import Outcome
from feedgym.towers.config import TwoTowerConfig
from feedgym.towers.losses import bce_loss
from feedgym.towers.negatives import (
    Impressed,
    InBatch,
    NegativeContext,
    NegativeSampler,
    Remembering,
    check_combination,
    make_negatives,
    while_live,
)
from feedgym.towers.negatives.frequency import FrequencyEstimator
from feedgym.towers.two_tower import TwoTower

MAX_SPAN_HOURS = 120.0
"""Longest time between the clicks of a batch: a site with few readers has few clicks, and an article that is
compared across weeks was never on offer together (nor do the age columns stay within float32)."""


@dataclass(frozen=True)
class _Clicks:
    """A stretch of clicks in the replay."""

    slots: Ints
    """Visits, (B,)."""
    positions: Ints
    """(B,)"""
    log_q: Doubles
    """As recorded at each click, (B,)."""
    near: slice
    """Clicks around that time, of all in the replay: nine batches, gathered only for negatives that are drawn."""


class ContrastiveLearner:
    """Every click is a row, contrasted with negatives."""

    def __init__(self, config: ContrastiveConfig) -> None:
        check_contrast(config)
        self.config = config
        self.tasks = parse_tasks(config.task)
        self._sampler = _sampler(config)
        # Other rows' positives and the slate's own need no catalogue: a pass over it would cost as much as the step.
        self._alone = isinstance(self._sampler, InBatch | Impressed) and config.loss != "full_softmax"
        self.uses_shortlists = "shortlist_ids" in self._sampler.needs
        """Of each click's own visit: negatives are drawn from them."""
        check_combination(self._sampler, config.loss)
        self._before = self._none = self._examples = np.zeros(0, dtype=np.int64)
        self._has_before: Bools = np.zeros(0, dtype=np.bool_)
        self._frequency = FrequencyEstimator(config.frequency_rate)
        self._log_q: Doubles = np.zeros(1024)
        # -inf: never live. Ids may be skipped: an article that lives less than a tick never arrives.
        self._departed: Doubles = np.full(1024, -np.inf)

    def start(self, site: Site, towers: TwoTowerConfig, policy: PolicyConfig, generator: torch.Generator) -> Parts:
        """The towers.

        Raises:
            ValueError: a loss of cosines where serving goes by something else.
        """
        fits = self.config.loss != "ccl" or towers.prediction == "cosine"
        require(fits, "prediction", towers.prediction, "'cosine' with loss=ccl, which trains cosines alone")
        weighs = self.config.propensity_cap is not None
        unknown = weighs and policy.editorial.reshapes
        allowed = "exclude only with propensity_cap: caps, pins and shares leave inclusion chances unknown; or its None"
        require(not unknown, "rules", policy.rules, allowed)
        return Parts(model=TwoTower(towers, generator), shortlists=self.uses_shortlists, inclusions=weighs)

    def follow(self, catalogue: Catalogue) -> None:
        """Let newcomers into the frequencies, and drop what expired."""
        arrived, departed = catalogue.arrived, catalogue.departed
        self._departed[departed] = catalogue.now
        self._frequency.remove(departed)
        if len(arrived):
            size = int(arrived[-1]) + 1
            if size > len(self._departed):
                self._departed = lengthened(self._departed, size, -np.inf)
            self._departed[arrived] = np.inf
            self._frequency.add(arrived)

    def observe(self, acted: Acted, outcome: Outcome, learning: Learning[TwoTower], rng: np.random.Generator) -> None:
        """Count this tick's clicks, each with its log frequency as it is now.

        A click keeps its log q: replayed weeks later, its article's frequency of that hour is what counts.
        """
        self.count(acted.served.article_id[outcome.clicks])

    def opened(self, article_id: Ints) -> None:
        """Count what was opened from elsewhere, as clicks like those on slates."""
        self.count(article_id)

    def count(self, clicked: Ints) -> None:
        """Clicked articles (c,) of one tick."""
        if len(clicked) == 0:
            return
        end = self._num_clicks + len(clicked)
        if end > len(self._log_q):
            self._log_q = lengthened(self._log_q, end)
        # Before they are counted: else a rare article's own click would make it look frequent.
        self._log_q[self._num_clicks : end] = self._frequency.log_q(clicked)
        self._frequency.update(clicked)
        self._num_clicks = end

    _num_clicks = 0

    @property
    def num_rows(self) -> int:
        """Clicks so far: what ``passes`` counts."""
        return self._num_clicks

    @property
    def batch_rows(self) -> int:
        """Clicks in a batch."""
        return self.config.batch_clicks

    def begin(self, learning: Learning[TwoTower], now: float) -> None:
        """Whose visit came before which, for the task that foretells the next one; which clicks are examples."""
        replay, most = learning.replay, self.config.clicks_per_reader
        if most is not None:
            kept = newest_of_each_reader(replay.column("row")[replay.clicked()[0]], most)
            self._examples = np.flatnonzero(kept)
        if any(task == "next" for task, _ in self.tasks):
            self._before, self._has_before = previous_visits(learning.replay)

    def loss(self, learning: Learning[TwoTower], rng: np.random.Generator) -> Tensor | None:
        """Losses of the tasks over a stretch of consecutive clicks, and of the clicks in their readers' histories."""
        c, replay = self.config, learning.replay
        clicks = self._stretch(replay, rng)
        if clicks is None:
            return None
        parts = []
        for task, weight in self.tasks:
            part = self._task_loss(learning, task, clicks, rng)
            if part is not None:
                parts.append(weight * part)
        model = learning.model
        if c.sequence_weight > 0 and model.history.trains_on != "none":
            part = sequence_loss(
                learning,
                replay.take(np.unique(clicks.slots)),
                self._frequency,
                rng,
                num_clicks=c.sequence_clicks,
                mask_rate=c.mask_rate,
                temperature=c.softmax_temperature,
                loss=c.sequence_loss,
                row_negatives=c.row_negatives,
                live=lambda: self._live(learning, learning.now, self._none),
            )
            if part is not None:
                parts.append(c.sequence_weight * part)
        if model.two_stages:
            part = self._rerank_loss(learning, rng)
            if part is not None:
                parts.append(part)
        return torch.stack(parts).sum() if parts else None

    def _stretch(self, replay: Replay, rng: np.random.Generator) -> "_Clicks | None":
        """Consecutive clicks, from a uniformly drawn start; None where there are too few."""
        slots, positions = replay.clicked()
        # The ring keeps the latest clicks, in the order in which their log q were recorded.
        log_q = self._log_q[self._num_clicks - len(slots) : self._num_clicks]
        if self.config.clicks_per_reader is not None:
            slots, positions, log_q = slots[self._examples], positions[self._examples], log_q[self._examples]
        if len(slots) < 2:
            return None
        size = min(self.config.batch_clicks, len(slots))
        start = int(rng.integers(0, len(slots) - size + 1))
        times = replay.column("now")[slots[start : start + size]]
        too_old = int(np.searchsorted(times, times[-1] - MAX_SPAN_HOURS))
        start, size = start + too_old, size - too_old
        if size < 2:
            return None
        stretch, near = slice(start, start + size), slice(max(0, start - 4 * size), start + 5 * size)
        if self.config.clicks_per_reader is not None:
            # Of all clicks that far around: what an article's share is does not depend on whose clicks are examples.
            all_near = self._examples[near]
            near = slice(int(all_near[0]), int(all_near[-1]) + 1)
        return _Clicks(slots=slots[stretch], positions=positions[stretch], log_q=log_q[stretch], near=near)

    def _task_loss(
        self, learning: Learning[TwoTower], task: str, clicks: "_Clicks", rng: np.random.Generator
    ) -> Tensor | None:
        c, model, replay = self.config, learning.model, learning.replay
        slots, positions, log_q = clicks.slots, clicks.positions, clicks.log_q
        seen_from = slots
        if task == "next":
            # The first click of each visit, as it could be foretold at the reader's visit before. The stretch may
            # begin amid the clicks of a visit.
            first = (positions == replay.column("clicks")[slots].argmax(axis=1)) & self._has_before[slots]
            slots, positions, log_q = slots[first], positions[first], log_q[first]
            seen_from = self._before[slots]
        if len(slots) < 2:
            return None
        batch = replay.take(slots)
        row = np.arange(len(slots))
        article_id = batch.article_id[row, positions]
        weight = self._weight(task, batch, positions)
        if weight is not None and not bool((weight > 0).any()):
            return None
        # The age columns are referred to the batch's own time: replayed clicks may be weeks old.
        t_ref = float(batch.now[-1])
        seen = batch if task != "next" else replay.take(seen_from)
        reader, now = learning.users(seen), torch.from_numpy(batch.now)
        users = model.augment_users(reader, now, t_ref)
        context = self._context(learning, batch, article_id, log_q, clicks.near)
        live, negatives = context.live_ids, while_live(context, self._sampler.draw(context, rng))
        own = negatives.row_ids
        safe = np.where(own >= 0, own, article_id[:, None])
        ids = np.concatenate([article_id, negatives.shared_ids, safe.ravel()])
        at = np.concatenate([batch.now, np.full(len(negatives.shared_ids), t_ref), np.repeat(batch.now, own.shape[1])])
        items = self._items(learning, ids, at, t_ref)
        size, shared = len(article_id), len(negatives.shared_ids)

        def catalogue() -> tuple[Tensor, Tensor]:
            place = torch.from_numpy(np.searchsorted(live, article_id))
            return self._items(learning, live, np.full(len(live), t_ref), t_ref), place

        contrast = Contrast(
            config=c,
            user=users,
            item=items[:size],
            item_ids=torch.from_numpy(article_id),
            shared=items[size : size + shared],
            row=items[size + shared :].view(size, own.shape[1], items.shape[1]),
            negatives=negatives,
            weight=weight,
            catalogue=catalogue,
            num_live=len(live),
            constant=model.constant(reader, now, t_ref),
            dim=model.config.dim,
            offered=lambda: torch.from_numpy(context.at_rows(live)) if c.negatives_live else None,
        )
        return contrast_loss(contrast)

    def _context(
        self, learning: Learning[TwoTower], batch: VisitBatch, article_id: Ints, log_q: Doubles, near: slice
    ) -> NegativeContext:
        """What negatives of the clicks on ``article_id`` (B,) are drawn from: what was live at any row's time.

        In the textbook's way: what was live at the last one's.
        """
        times, by_row = batch.now, self.config.negatives_live
        impressed = np.where(batch.clicks, -1, batch.article_id)
        if self._alone:
            slates = impressed[impressed >= 0] if "impressed_ids" in self._sampler.needs else article_id[:0]
            live = np.unique(np.concatenate([article_id, slates]))
        else:
            live = self._live(learning, times[-1], article_id, since=times[0] if by_row else times[-1])
        life = (learning.store.published_hours[live], self._departed[live]) if by_row else None
        if self._alone:
            share = np.zeros(len(live))
        else:
            slots, positions = (each[near] for each in learning.replay.clicked())
            around = learning.replay.column("article_id")[slots, positions]
            hours = learning.replay.column("now")[slots] if by_row else None
            share = shares_of(live, around, hours, life)
        since, until = life or (None, None)
        return NegativeContext(
            positive_ids=article_id,
            positive_log_q=log_q,
            live_ids=live,
            live_share=share,
            row_hours=times if by_row else None,
            live_since=since,
            live_until=until,
            shortlist_ids=batch.shortlist,
            impressed_ids=impressed,
            seen_ids=batch.history_id if "seen_ids" in self._sampler.needs else None,
        )

    def _weight(self, task: str, batch: VisitBatch, position: Ints) -> Tensor | None:
        """Weight of each row's click, (B,)."""
        c, row = self.config, np.arange(len(position))
        weight = np.ones(len(position), dtype=np.float32)
        if task == "dwell" or c.dwell_weight:
            weight *= batch.dwell_minutes[row, position]
        if task == "subscription":
            weight *= batch.subscribed
        if task == "completed":
            weight *= batch.dwell_minutes[row, position] >= c.completed_minutes
        if c.propensity_cap is not None:
            # Not the chance given the articles above: after the likeliest, what only exploration shows has hardly any.
            assert batch.inclusion is not None
            inverse = np.minimum(1.0 / batch.inclusion[row, position], np.float32(c.propensity_cap))
            # Further pages of lists have no chance of their own: they teach nothing here.
            weight *= np.where(np.isnan(inverse), np.float32(0.0), inverse)
        if c.examination is not None:
            weight /= np.float32(c.examination) ** position.astype(np.float32)
        if batch.organic is not None and c.organic_weight != 1.0:
            weight[batch.organic] *= np.float32(c.organic_weight)
        return None if bool((weight == 1.0).all()) else torch.from_numpy(weight)

    def _rerank_loss(self, learning: Learning[TwoTower], rng: np.random.Generator) -> Tensor | None:
        """Cross-entropy of clicks on slates that showed any, by the second stage with positions (YouTube 2016, 4)."""
        model, replay = learning.model, learning.replay
        batch = replay.take(rng.integers(0, len(replay), self.config.batch_clicks))
        slates = learning.slates(batch)
        if slates is None:
            return None
        score = model.score(slates.user, slates.item, slates.bias, slates.age)
        position, crosses = torch.arange(score.shape[1]), crosses_of(batch)
        logits = model.rerank(score, slates.user, slates.item, slates.age, position, crosses)
        weight = slates.shown.astype(np.float32)
        if self.config.rerank_minutes or self.config.dwell_weight or any(task == "dwell" for task, _ in self.tasks):
            # Weighted logistic regression: the odds are expected minutes.
            weight = np.where(batch.clicks, batch.dwell_minutes, weight).astype(np.float32)
        if batch.organic is not None:
            weight[batch.organic] = 0.0  # no slate: nothing was there that was not clicked
        if not weight.any():
            return None
        return bce_loss(logits, torch.from_numpy(batch.clicks), weight=torch.from_numpy(weight))

    def _items(self, learning: Learning[TwoTower], article_id: Ints, now: Doubles, t_ref: float) -> Tensor:
        vector, bias = learning.items(article_id, now)
        published = torch.from_numpy(learning.store.published_hours[article_id])
        return learning.model.augment_items(vector, bias, published, t_ref)

    def _live(self, learning: Learning[TwoTower], now: float, clicked: Ints, since: float | None = None) -> Ints:
        """Articles live at ``now``, or at any time from ``since`` on, and those of ``clicked``; sorted."""
        published = learning.store.published_hours[: len(learning.store)]
        live = (published <= now) & (self._departed[: len(published)] > (now if since is None else since))
        live[clicked] = True
        return np.flatnonzero(live)

    def snapshot(self) -> Arrays:
        """Frequencies, recorded log q, departures."""
        arrays = copied(self, ("_log_q",), self._num_clicks) | copied(self, ("_departed",))
        if isinstance(self._sampler, Remembering):
            arrays |= nest("memory", self._sampler.snapshot())
        return arrays | nest("frequency", self._frequency.snapshot())

    def restore(self, snapshot: Arrays) -> None:
        """Go on from a snapshot."""
        self._num_clicks = len(snapshot["log_q"])
        put_back(self, ("_log_q",), snapshot, room=max(1024, self._num_clicks))
        put_back(self, ("_departed",), snapshot)
        self._frequency.restore(unnest("frequency", snapshot))
        if isinstance(self._sampler, Remembering):
            self._sampler.restore(unnest("memory", snapshot))


def _sampler(config: ContrastiveConfig) -> NegativeSampler:
    """The sampler that the settings name, with those of them that are its own."""
    count = config.num_negatives
    settings: dict[str, dict[str, object]] = {
        "uniform": {"count": count},
        "mixed": {"count": count},
        "popularity": {"count": count, "alpha": config.popularity_alpha},
        "own": {"count": config.row_negatives},
        "hard": {"count": config.hard_negatives, "uniform_count": count},
        "memory": {"capacity": max(16 * count, config.batch_clicks)},
    }
    return make_negatives(config.negatives, **settings.get(config.negatives, {}))

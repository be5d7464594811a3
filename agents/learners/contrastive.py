"""Contrastive learning: which article a click went to, among the others of its batch (towers.md, 2.2 to 2.4).

In-batch softmax with the logQ correction (Yi et al., RecSys 2019), optionally with uniform negatives mixed in
(Yang et al., WWW 2020). Batches are consecutive clicks, as in streaming training: all articles of a batch then
were live at about the same time, and the log frequency of each is the one recorded when it was clicked.
Shapes: B clicks of a batch, M uniform negatives.
"""

import numpy as np
import torch
from torch import Tensor

from feedgym.agents.acted import Acted
from feedgym.agents.learners.protocol import Learner, Learning
from feedgym.agents.replay import VisitBatch
from feedgym.agents.settings import ContrastiveConfig
from feedgym.env.arrays import Arrays, Doubles, Ints, nest, unnest
from feedgym.env.catalogue import Catalogue
from feedgym.env.readers.protocol import Outcome
from feedgym.towers.frequency import FrequencyEstimator
from feedgym.towers.losses import in_batch_softmax_loss

MAX_SPAN_HOURS = 120.0
"""Longest time between the clicks of a batch: a site with few readers has few clicks, and an article that is
compared across weeks was never on offer together (nor do the age columns stay within float32)."""


def shares_of(article_id: Ints, clicked: Ints) -> Doubles:
    """Share of ``clicked`` (c,) that each of ``article_id`` (m,) takes, float64 (m,); 0 if none.

    A uniform negative may never have been clicked, so no log q was recorded for it at that time: it is counted
    among the clicks around the batch. Its frequency of today would be wrong by .4 on average, at most 4.6.
    """
    names, counts = np.unique(clicked, return_counts=True)
    place = np.minimum(np.searchsorted(names, article_id), len(names) - 1)
    share: Doubles = np.where(names[place] == article_id, counts[place], 0) / len(clicked)
    return share


class ContrastiveLearner(Learner):
    """Every click is a row; the other rows' articles are its negatives."""

    def __init__(self, config: ContrastiveConfig) -> None:
        self.config = config
        self._frequency = FrequencyEstimator(config.frequency_rate)
        self._log_q: Doubles = np.zeros(1024)
        # -inf: never live. Ids may be skipped: an article that lives less than a tick never arrives.
        self._departed: Doubles = np.full(1024, -np.inf)

    def follow(self, catalogue: Catalogue) -> None:
        """Let newcomers into the frequencies, and drop what expired."""
        arrived, departed = catalogue.arrived, catalogue.departed
        self._departed[departed] = catalogue.now
        self._frequency.remove(departed)
        if len(arrived):
            size = int(arrived[-1]) + 1
            if size > len(self._departed):
                grown = np.full(max(size, 2 * len(self._departed)), -np.inf)
                grown[: len(self._departed)] = self._departed
                self._departed = grown
            self._departed[arrived] = np.inf
            self._frequency.add(arrived)

    def observe(self, acted: Acted, outcome: Outcome, learning: Learning, rng: np.random.Generator) -> None:
        """Count this tick's clicks, and record each one's log frequency as it is now.

        A click keeps its log q: replayed weeks later, its article's frequency of that hour is what counts.
        """
        self.count(acted.served.article_id[outcome.clicks])

    def count(self, clicked: Ints) -> None:
        """Clicked articles (c,) of one tick."""
        if len(clicked) == 0:
            return
        end = self._num_clicks + len(clicked)
        if end > len(self._log_q):
            grown = np.zeros(max(end, 2 * len(self._log_q)))
            grown[: len(self._log_q)] = self._log_q
            self._log_q = grown
        # Before they are counted: else a rare article's own click would make it look frequent.
        self._log_q[self._num_clicks : end] = self._frequency.log_q(clicked)
        self._frequency.update(clicked)
        self._num_clicks = end

    _num_clicks = 0

    def loss(self, learning: Learning, rng: np.random.Generator) -> Tensor | None:
        """Softmax loss over a stretch of consecutive clicks, from a uniformly drawn start."""
        c, replay, model = self.config, learning.replay, learning.model
        slots, positions = replay.clicked()
        if len(slots) < 2:
            return None
        size = min(c.batch_clicks, len(slots))
        start = int(rng.integers(0, len(slots) - size + 1))
        times = replay.column("now")[slots[start : start + size]]
        too_old = int(np.searchsorted(times, times[-1] - MAX_SPAN_HOURS))
        start, size = start + too_old, size - too_old
        if size < 2:
            return None
        stretch = slice(start, start + size)
        batch = replay.take(slots[stretch])
        row = np.arange(size)
        article_id = batch.article_id[row, positions[stretch]]
        # The ring keeps the latest clicks, in the order in which their log q were recorded.
        first = self._num_clicks - len(slots)
        log_q = self._log_q[first + start : first + start + size]

        # The age columns are referred to the batch's own time: replayed clicks may be weeks old.
        t_ref = float(batch.now[-1])
        users = model.augment_users(learning.users(batch), torch.from_numpy(batch.now), t_ref)
        weight = self._weight(batch, positions[stretch])
        if c.uniform_negatives == 0:
            items = self._items(learning, article_id, t_ref)
            return in_batch_softmax_loss(
                users,
                items,
                torch.from_numpy(article_id),
                torch.from_numpy(log_q.astype(np.float32)),
                temperature=c.softmax_temperature,
                weight=weight,
            )
        extra, num_live = self._uniform(learning, t_ref, rng)
        items = self._items(learning, np.concatenate([article_id, extra]), t_ref)
        share = len(extra) / num_live
        # Expected count of an article among the negatives: in-batch, plus uniform (towers.md, 2.4).
        expected = np.log((size - 1) * np.exp(log_q) + share)
        around = slice(max(0, start - 4 * size), start + 5 * size)
        clicked = replay.column("article_id")[slots[around], positions[around]]
        expected_extra = np.log((size - 1) * shares_of(extra, clicked) + share)
        return in_batch_softmax_loss(
            users,
            items[:size],
            torch.from_numpy(article_id),
            torch.from_numpy(expected.astype(np.float32)),
            temperature=c.softmax_temperature,
            weight=weight,
            extra_item=items[size:],
            extra_ids=torch.from_numpy(extra),
            extra_log_q=torch.from_numpy(expected_extra.astype(np.float32)),
        )

    def _weight(self, batch: VisitBatch, position: Ints) -> Tensor | None:
        """Weight of each row's click, (B,)."""
        row, weight = np.arange(len(position)), np.ones(len(position), dtype=np.float32)
        if self.config.dwell_weight:
            weight *= batch.dwell_minutes[row, position]
        if self.config.propensity_cap is not None:
            weight *= np.minimum(1.0 / batch.slot_propensity[row, position], np.float32(self.config.propensity_cap))
        plain = not self.config.dwell_weight and self.config.propensity_cap is None
        return None if plain else torch.from_numpy(weight)

    def _items(self, learning: Learning, article_id: Ints, t_ref: float) -> Tensor:
        vector, bias = learning.items(article_id)
        published = torch.from_numpy(learning.store.published_hours[article_id])
        return learning.model.augment_items(vector, bias, published, t_ref)

    def _uniform(self, learning: Learning, now: float, rng: np.random.Generator) -> tuple[Ints, int]:
        """Articles drawn uniformly, with replacement, from those live at ``now``; and how many were live."""
        published = learning.store.published_hours[: len(learning.store)]
        live = np.flatnonzero((published <= now) & (self._departed[: len(published)] > now))
        return live[rng.integers(0, len(live), self.config.uniform_negatives)], len(live)

    def snapshot(self) -> Arrays:
        """Frequencies, recorded log q, departures."""
        arrays: Arrays = {
            "log_q": self._log_q[: self._num_clicks].copy(),
            "departed": self._departed.copy(),
        }
        return arrays | nest("frequency", self._frequency.snapshot())

    def restore(self, snapshot: Arrays) -> None:
        """Go on from a snapshot."""
        self._num_clicks = len(snapshot["log_q"])
        self._log_q = np.zeros(max(1024, self._num_clicks))
        self._log_q[: self._num_clicks] = snapshot["log_q"]
        self._departed = snapshot["departed"].copy()
        self._frequency.restore(unnest("frequency", snapshot))

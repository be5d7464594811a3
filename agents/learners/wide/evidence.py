"""What each visit's reader had clicked, as sums of the content channel's columns: of every visit in the replay.

A history is summed once, when its visit is new; what the crowd clicks is taken off when it is known, at each training.
Shapes: n visits in the replay, R impressions, L clicks of history, W columns of the channel.
"""

import numpy as np
import torch

from feedgym.agents.learners.replay import Replay
from feedgym.agents.serving import ItemStore
from feedgym.env.arrays import Doubles, Floats, Ints
from feedgym.towers.columns.content_channel import EVIDENCE, ContentChannel

_VISITS_AT_ONCE = 2048


class Evidence:
    """Sums of what was clicked, a row per slot of the replay. They are no state: made anew they are the same bytes."""

    def __init__(self) -> None:
        self._sums: Floats = np.zeros((0, 0), dtype=np.float32)
        self._total: Floats = np.zeros(0, dtype=np.float32)
        self._known = 0

    def follow(self, replay: Replay, store: ItemStore, channel: ContentChannel) -> None:
        """Sum the histories of what is new in the replay."""
        if self._sums.shape != (replay.capacity, channel.width):
            self._sums = np.zeros((replay.capacity, channel.width), dtype=np.float32)
            self._total = np.zeros(replay.capacity, dtype=np.float32)
            self._known = 0
        first = max(self._known, replay.total - len(replay))
        for start in range(first, replay.total, _VISITS_AT_ONCE):
            slots = np.arange(start, min(start + _VISITS_AT_ONCE, replay.total)) % replay.capacity
            self._sum(slots, replay, store, channel)
        self._known = replay.total

    @torch.no_grad()
    def _sum(self, slots: Ints, replay: Replay, store: ItemStore, channel: ContentChannel) -> None:
        history = replay.column("history_id")[slots].astype(np.int64)
        mask = history >= 0
        if not mask.any():
            self._sums[slots], self._total[slots] = 0.0, 0.0
            return
        minutes = None
        if channel.by_minutes:
            minutes = torch.from_numpy(np.log1p(replay.column("history_minutes")[slots].astype(np.float32)))
        weight = channel.weights(torch.from_numpy(mask), minutes).numpy()
        clicked, place = np.unique(np.where(mask, history, history.max()), return_inverse=True)
        columns = channel.articles(*store.features(clicked)).numpy()
        # No BLAS: a reader's sums must not depend on whose histories are summed with hers.
        self._sums[slots] = np.einsum("nl,nlw->nw", weight, columns[place.reshape(history.shape)])
        self._total[slots] = weight.sum(axis=1)

    @torch.no_grad()
    def match(self, slots: Ints, article_id: Ints, store: ItemStore, channel: ContentChannel) -> Doubles:
        """How well articles match what their visit's reader has clicked, in text and in topic: float64 (2, R).

        The inner products that the channel's two scales weigh.

        Args:
            slots: of the replay, (R,).
            article_id: (R,).
            store: features of articles.
            channel: its crowd is what all readers click.
        """
        total = self._total[:, None]
        reader = (self._sums - total * channel.crowd.numpy()) / (1.0 + total / EVIDENCE)
        unique, place = np.unique(article_id, return_inverse=True)
        columns = channel.articles(*store.features(unique)).numpy()
        text = channel.widths[0]
        result = np.zeros((2, len(slots)))
        for start in range(0, len(slots), 65_536):
            rows = slice(start, start + 65_536)
            mine, theirs = reader[slots[rows]], columns[place[rows]]
            result[0, rows] = np.einsum("rw,rw->r", mine[:, :text], theirs[:, :text])
            result[1, rows] = np.einsum("rw,rw->r", mine[:, text:], theirs[:, text:])
        return result

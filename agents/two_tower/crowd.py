"""What all readers click: the mean that a content channel measures each reader against (docs/mathematics.md 6.10)."""

import numpy as np
import torch

from feedgym.agents.learners import Replay
from feedgym.agents.serving import ItemStore
from feedgym.towers.interface import Towers


@torch.no_grad()
def renew_crowd(model: Towers, store: ItemStore, replay: Replay) -> None:
    """Set each channel's ``crowd`` to the mean of its columns over all clicks kept, weighed as the channel weighs them.

    Once a training: between two of them every vector is measured against the same mean. Without clicks it stays.
    """
    if not model.channels:
        return
    slots, positions = replay.clicked()
    if len(slots) == 0:
        return
    article_id = replay.column("article_id")[slots, positions]
    # As histories are told of them: rounded as the site rounds.
    minutes = replay.column("dwell_minutes")[slots, positions].astype(np.float16).astype(np.float32)
    known = torch.ones(1, len(slots), dtype=torch.bool)
    for channel in model.channels:
        weight = channel.weights(known, torch.from_numpy(np.log1p(minutes))[None])[0].double().numpy()
        total = np.bincount(article_id, weights=weight)
        clicked = np.flatnonzero(total)
        columns = channel.articles(*store.features(clicked)).double().numpy()
        # No BLAS: its sums depend on the number of threads.
        mean = np.einsum("m,mw->w", total[clicked], columns) / total.sum()
        channel.crowd.copy_(torch.from_numpy(mean))

"""A batch of ``reinforce`` with estimated chances in place of logged ones (docs/mathematics.md 3.1, ``estimated``).

Shapes: B visits of a batch, K positions, C candidates (head, then tail draws).
"""

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from feedgym.agents.learners.gradients.behaviour import EstimatedBehaviour, cross_entropy, estimated_inclusion
from feedgym.agents.learners.gradients.policy_batch import PolicyBatch
from feedgym.agents.learners.learning import Learning
from feedgym.env.arrays import Arrays, Ints
from feedgym.towers.interface import Towers


def with_estimates(
    behaviour: EstimatedBehaviour,
    learning: Learning[Towers],
    rows: Arrays,
    batch: PolicyBatch,
    *,
    from_towers: bool,
) -> tuple[PolicyBatch, Tensor]:
    """The batch with what the behaviour estimates as the log's chances, and the estimate's cross-entropy.

    Args:
        behaviour: learns from that cross-entropy; nothing else does.
        learning: what the towers see.
        rows: the batch's columns of the ring, (B, ...).
        batch: its own logged chances are not looked at, and may be NaN.
        from_towers: the reader state is the user tower's, not the columns of the reader.
    """
    ids = np.concatenate([rows["head_id"], rows["tail_id"]], axis=1).astype(np.int64)
    unique, place = unique_ids(np.maximum(ids, 0))
    model, now, each, column = learning.model, rows["now"], batch.each, batch.shown.column
    with torch.no_grad():
        article = behaviour.articles(*learning.features(unique))[torch.from_numpy(place)]
        if from_towers:
            reader = learning.users_at(rows["history_id"].astype(np.int64), rows["reader"], now).vector
        else:
            reader = model.normalisations.readers(torch.from_numpy(rows["reader"]))
    used = torch.from_numpy(np.where(each > 0, batch.prior, 0.0))
    log_chance = behaviour(reader, article, learning.ages(ids, now), used, torch.from_numpy(each))
    shown = column.numpy() >= 0
    own = log_chance.detach().gather(1, column.clamp(min=0)).numpy()
    # Of Chen et al. the chance is that of a random position. The log's t* may be unknown, and is no part of it.
    logged = replace(
        batch.shown.logged,
        inclusion=torch.from_numpy(estimated_inclusion(own, shown)),
        first=torch.from_numpy(np.where(shown, np.exp(own), 1.0)),
        time=None,
    )
    return replace(batch, shown=replace(batch.shown, logged=logged)), cross_entropy(log_chance, column)


def unique_ids(ids: Ints) -> tuple[Ints, Ints]:
    """Distinct ids, rising, and where each of ``ids`` (B, C) stands among them: ``np.unique`` without its sort."""
    present = np.zeros(int(ids.max(initial=0)) + 1, dtype=np.bool_)
    present[ids] = True
    place = np.cumsum(present) - 1
    return np.flatnonzero(present), place[ids]

"""A batch of ``reinforce`` with estimated chances in place of logged ones (docs/mathematics.md 3.1, ``estimated``).

Shapes: B visits of a batch, K positions, C candidates (head, then tail draws).
"""

import numpy as np
import torch
from torch import Tensor

from feedgym.agents.learners.gradients.behaviour import EstimatedBehaviour, cross_entropy, estimated_log_weight
from feedgym.agents.learners.protocol import Learning
from feedgym.env.arrays import Arrays, Doubles, Ints
from feedgym.towers.two_tower import TwoTower


def with_estimates(
    behaviour: EstimatedBehaviour,
    learning: Learning,
    batch: Arrays,
    prior: Doubles,
    each: Doubles,
    column: Ints,
    from_towers: bool,
    inclusion: bool,
) -> tuple[Arrays, Tensor]:
    """The batch with what the behaviour estimates as ``log_weight`` and ``time``, and the estimate's cross-entropy.

    Args:
        behaviour: learns from that cross-entropy; nothing else does.
        learning: what the towers see.
        batch: of the ring; its own chances are not looked at, and may be NaN.
        prior: logits of the agent's prior when the slate was made, (B, C).
        each: live articles that a candidate stands for, (B, C); 0 at padding.
        column: where each shown article stands among the candidates, (B, K); -1 where nothing was shown.
        from_towers: the reader state is the user tower's, not the columns of the reader.
        inclusion: weights are such that ``1 - exp(-w t*)`` is the estimated inclusion; else they are the estimated
            chances at a random position, as Chen et al. have them.
    """
    ids = np.concatenate([batch["head_id"], batch["tail_id"]], axis=1).astype(np.int64)
    unique, place = unique_ids(np.maximum(ids, 0))
    model, now = learning.model, batch["now"]
    assert isinstance(model, TwoTower)
    with torch.no_grad():
        article = behaviour.articles(*learning.features(unique))[torch.from_numpy(place)]
        if from_towers:
            reader = learning.users_at(batch["history_id"].astype(np.int64), batch["reader"], now).vector
        else:
            reader = model.reader_features(torch.from_numpy(batch["reader"]))
    used = torch.from_numpy(np.where(each > 0, prior, 0.0))
    log_chance = behaviour(reader, article, learning.ages(ids, now), used, torch.from_numpy(each))
    shown = column >= 0
    own = log_chance.detach().gather(1, torch.from_numpy(np.maximum(column, 0))).numpy()
    # Not the log's t*, which may be unknown too: a ratio needs only its product with the weight.
    time = np.full(len(column), float(column.shape[1]))
    weight = estimated_log_weight(own, shown, time) if inclusion else np.where(shown, own, 0.0)
    return {**batch, "log_weight": weight, "time": time}, cross_entropy(log_chance, torch.from_numpy(column))


def unique_ids(ids: Ints) -> tuple[Ints, Ints]:
    """Distinct ids, rising, and where each of ``ids`` (B, C) stands among them: ``np.unique`` without its sort."""
    present = np.zeros(int(ids.max(initial=0)) + 1, dtype=np.bool_)
    present[ids] = True
    place = np.cumsum(present) - 1
    return np.flatnonzero(present), place[ids]

"""Keeping predicted clicks true on average: the intercept is set anew after each training.

At an optimum of BCE the mean prediction is the click rate (docs/mathematics.md 6.1), but a training never stands at it:
its last steps follow their own batches, by some 5 per cent of the rate at 256 visits a batch, and articles embedded
anew give readers other histories than those that were trained on. One number, added to all log-odds, takes both back
and changes no order of articles.
Shapes: B visits, K positions, X crosses.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from feedgym.agents.serving import embed_readers
from feedgym.env.arrays import Bools, Doubles, Floats
from feedgym.env.checks import require
from feedgym.towers.interface import Towers

if TYPE_CHECKING:
    from feedgym.agents.learners.learning import Learning

LATEST_VISITS = 4096
"""The newest visits count: with a click rate of 0.14 and ten positions the rate is known to 1.3 per cent. Twice as
many would take an eighth of a demo run's time."""
_STEPS = 20


def intercept_shift(logit: Doubles, clicked: Bools, examination: Doubles | float = 1.0) -> float:
    """What to add to log-odds so that the mean of ``examination * sigmoid`` is the click rate.

    Args:
        logit: predicted log-odds once examined, float64, any shape, at least one.
        clicked: what happened, in the same shape. Half a click is added: without any the shift would be infinite.
        examination: chance that each was seen, in (0, 1], a number or an array that broadcasts.

    Returns:
        The shift, within [-20, 20], found by Newton steps kept inside a bracket.
    """
    require(logit.size > 0 and logit.shape == clicked.shape, "clicked", clicked.shape, f"{logit.shape}, not empty")
    wanted = (np.count_nonzero(clicked) + 0.5) / (logit.size + 1.0)
    low, high, shift = -20.0, 20.0, 0.0
    for _ in range(_STEPS):
        chance = 1.0 / (1.0 + np.exp(-np.clip(logit + shift, -60.0, 60.0)))
        excess = float((examination * chance).mean()) - wanted
        slope = float((examination * chance * (1.0 - chance)).mean())
        low, high = (low, shift) if excess > 0 else (shift, high)
        step = shift - excess / slope if slope > 0 else low
        if abs(step - shift) < 1e-9:
            break
        shift = step if low < step < high else 0.5 * (low + high)
    return shift


@torch.no_grad()
def centre_clicks(learning: Learning[Towers], examination: Doubles, cross_weights: Floats | None = None) -> None:
    """Shift the global bias so that the newest visits' predictions are right on average.

    Models with a second stage are left as they are: their click rate is not the first stage's.

    Args:
        learning: after a training, articles embedded anew.
        examination: chance that each position is seen, (K,).
        cross_weights: what crosses add to log-odds, (X,); None: there are none.
    """
    model, replay = learning.model, learning.replay
    if model.two_stages:
        return
    newest = (replay.total - 1 - np.arange(min(len(replay), LATEST_VISITS))) % max(len(replay), 1)
    batch = replay.take(newest)
    shown = batch.article_id >= 0
    if not shown.any():
        return
    store, known = learning.store, np.where(shown, batch.article_id, 0)
    # As they were served: the age of an example, where the model has such a column, is 0.
    user = embed_readers(model, store, batch.history_id, batch.history_minutes, batch.reader, batch.now)
    if model.config.age_in_item_tower:
        # The store's vectors are of today's ages.
        vector, bias = learning.items(known.ravel(), np.repeat(batch.now, known.shape[1]))
        vector, bias = vector.view(*known.shape, -1), bias.view(known.shape)
    else:
        vector, bias = torch.from_numpy(store.vector[known]), torch.from_numpy(store.bias[known])
    score = model.score(user, vector, bias, learning.ages(batch.article_id, batch.now))
    logit = score.double().numpy()
    if cross_weights is not None and batch.crosses is not None:
        logit = logit + batch.crosses @ cross_weights
    theta = np.broadcast_to(examination, shown.shape)[shown]
    shift = intercept_shift(logit[shown], batch.clicks[shown], theta)
    model.shift(shift)

"""Training on all clicks of a history: each is foretold from the older ones, or guessed behind a mask.

SASRec (Kang & McAuley, ICDM 2018) and GRU4Rec foretell each click from those before it, BERT4Rec (Sun et al., CIKM
2019) guesses masked ones from both sides. The user tower turns each state into u, as it does when serving; the moments
of past clicks are not logged, so age is left out. Shapes: B visits, L clicks of history, Q foretold clicks.
"""

import numpy as np
import torch
from torch import Tensor

from feedgym.agents.learners.learning import Learning
from feedgym.agents.learners.replay import VisitBatch
from feedgym.agents.serving import click_columns, click_vectors
from feedgym.env.arrays import Bools, Ints
from feedgym.towers.encoders import BERT4Rec, CausalEncoder
from feedgym.towers.frequency import FrequencyEstimator
from feedgym.towers.losses import in_batch_softmax_loss
from feedgym.towers.two_tower import TwoTower


def sequence_loss(
    learning: Learning[TwoTower],
    batch: VisitBatch,
    frequency: FrequencyEstimator,
    rng: np.random.Generator,
    *,
    num_clicks: int,
    mask_rate: float,
    temperature: float = 1.0,
) -> Tensor | None:
    """In-batch softmax over clicks of the histories of a batch; None where the encoder is not trained so.

    Args:
        learning: towers and store.
        batch: visits.
        frequency: how often articles are clicked, for log q: of today, since the moments of past clicks are not kept.
        rng: which clicks.
        num_clicks: most foretold clicks, Q.
        mask_rate: share of a history that is masked, for encoders that guess.
        temperature: divides the scores.
    """
    model = learning.model
    encoder, ids = model.history, batch.history_id
    if not isinstance(encoder, CausalEncoder | BERT4Rec):
        return None
    known = ids >= 0
    if isinstance(encoder, BERT4Rec):
        hidden = known & (rng.random(ids.shape) < mask_rate)
    else:
        # A history that fills all places was cut: what its oldest click followed is not known, least of all nothing.
        hidden = known.copy()
        hidden[:, -1:] = False
    row, place = _some(hidden, num_clicks, rng)
    if len(np.unique(ids[row, place])) < 2:
        return None
    minutes = batch.history_minutes
    columns = None
    if model.config.needs_minutes:
        assert minutes is not None
        columns = click_columns(learning.store, ids, minutes, batch.now)
    mask = torch.from_numpy(known)
    vectors = model.encoder_input(click_vectors(model, learning.store, ids, learn=True), mask, columns)
    if isinstance(encoder, BERT4Rec):
        states = encoder.masked_states(vectors, mask, torch.from_numpy(hidden))
    else:
        states = encoder.next_states(vectors, mask)
    at = torch.from_numpy(row), torch.from_numpy(place)
    reader = torch.from_numpy(learning.with_example_age(batch.reader, batch.now)[row])
    # Bags would hold the very click that is to be foretold.
    bags = None if model.id_bags is None else torch.zeros(len(row), model.id_bags.out_dim)
    user = model.users_of_state(states[at], reader, bags)
    clicked = ids[row, place]
    item, bias = learning.items(clicked)
    dim = model.config.dim
    one = torch.ones(len(row), 1)
    return in_batch_softmax_loss(
        torch.cat([model.prediction.users(user.vector), one], dim=1),
        torch.cat([model.prediction.items(item[:, :dim]), bias[:, None]], dim=1),
        torch.from_numpy(clicked),
        torch.from_numpy(frequency.log_q(clicked).astype(np.float32)),
        temperature=temperature,
    )


def _some(hidden: Bools, most: int, rng: np.random.Generator) -> tuple[Ints, Ints]:
    """Rows and places of at most so many of the marked clicks, (Q,) each."""
    row, place = np.nonzero(hidden)
    if len(row) > most:
        # Sorted, so that a fixed seed gives fixed sums whatever the draw's order.
        chosen = np.sort(rng.choice(len(row), most, replace=False))
        row, place = row[chosen], place[chosen]
    return row, place

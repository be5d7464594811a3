"""Training on all clicks of a history: each is foretold from the older ones, or guessed behind a mask.

SASRec (Kang & McAuley, ICDM 2018) and GRU4Rec foretell each click from those before it, BERT4Rec (Sun et al., CIKM
2019) guesses masked ones from both sides. The user tower turns each state into u, as it does when serving; the moments
of past clicks are not logged, so age is left out. Shapes: B visits, L clicks of history, Q foretold clicks.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from feedgym.agents.learners.learning import Learning
from feedgym.agents.learners.replay import VisitBatch
from feedgym.agents.serving import click_columns, click_vectors
from feedgym.env.arrays import Bools, Doubles, Ints
from feedgym.towers.encoders import BERT4Rec, CausalEncoder
from feedgym.towers.losses import full_softmax_loss, in_batch_softmax_loss, sampled_bce_loss
from feedgym.towers.negatives.frequency import FrequencyEstimator
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
    loss: str = "softmax",
    row_negatives: int = 1,
    live: Callable[[], Ints] | None = None,
) -> Tensor | None:
    """Loss over clicks of the histories of a batch; None where the encoder is not trained so.

    Args:
        learning: towers and store.
        batch: visits.
        frequency: how often articles are clicked, for log q: of today, since the moments of past clicks are not kept.
        rng: which clicks.
        num_clicks: most foretold clicks, Q.
        mask_rate: share of a history that is masked, for encoders that guess.
        temperature: divides the scores of a softmax.
        loss: an entry of ``SEQUENCE_LOSSES``.
        row_negatives: of each click, for ``bce``.
        live: gives articles that negatives are drawn from, or all are compared with, (N,); not for ``softmax``.
    """
    model = learning.model
    # One more than the encoder looks at: each click is foretold from as many older ones as when serving, at most.
    encoder, ids = model.history, batch.history_id[:, : model.config.history_length + 1]
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
    columns = None
    if model.config.needs_minutes:
        assert batch.history_minutes is not None
        minutes = batch.history_minutes[:, : ids.shape[1]]
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
    foretold = Foretold(
        user=torch.cat([model.prediction.users(user.vector[:, : model.config.dim]), torch.ones(len(row), 1)], dim=1),
        clicked=ids[row, place],
        known=ids[row],
        items=lambda articles: _columns(learning, articles),
        log_q=lambda: frequency.log_q(ids[row, place]),
        live=live,
        level=model.level,
        temperature=temperature,
        negatives=row_negatives,
        rng=rng,
    )
    return SEQUENCE_LOSSES[loss](foretold)


@dataclass(frozen=True, kw_only=True)
class Foretold:
    """Clicks of histories, each with the reader as she is seen from what it may be foretold from."""

    user: Tensor
    """[u, 1], (Q, d + 1)."""
    clicked: Ints
    """(Q,)"""
    known: Ints
    """All that the click's reader has clicked, -1 where none, (Q, L)."""
    items: Callable[[Ints], Tensor]
    """[v, b] of articles (m,), (m, d + 1)."""
    log_q: Callable[[], Doubles]
    """Of each click's article, (Q,)."""
    live: Callable[[], Ints] | None
    """See :func:`sequence_loss`."""
    level: Tensor
    """What all scores have in common: no softmax sees it."""
    temperature: float
    negatives: int
    rng: np.random.Generator


def _columns(learning: Learning[TwoTower], articles: Ints) -> Tensor:
    model, (item, bias) = learning.model, learning.items(articles)
    return torch.cat([model.prediction.items(item[:, : model.config.dim]), bias[:, None]], dim=1)


def _softmax(f: Foretold) -> Tensor:
    """Against the other clicks of the batch, with logQ (docs/mathematics.md 6.2)."""
    item, ids = f.items(f.clicked), torch.from_numpy(f.clicked)
    log_q = torch.from_numpy(f.log_q().astype(np.float32))
    return in_batch_softmax_loss(f.user, item, ids, log_q, temperature=f.temperature)


def _bce(f: Foretold) -> Tensor | None:
    """Each click against some articles that its reader has not clicked (Kang & McAuley, ICDM 2018, III-D)."""
    assert f.live is not None
    live = f.live()
    if len(live) == 0:
        return None
    drawn = live[f.rng.integers(len(live), size=(len(f.clicked), f.negatives))]
    # What hits a click of the reader is left out, not drawn anew: one in a hundred, where a thousand are live.
    apart = (drawn[:, :, None] != f.known[:, None, :]).all(axis=2)
    items = f.items(np.concatenate([f.clicked, drawn.ravel()]))
    negatives = items[len(f.clicked) :].view(*drawn.shape, -1)
    positive = (f.user * items[: len(f.clicked)]).sum(dim=1) + f.level
    negative = torch.einsum("qe,qme->qm", f.user, negatives) + f.level
    return sampled_bce_loss(positive, negative, mask=torch.from_numpy(apart))


def _full_softmax(f: Foretold) -> Tensor:
    """Against all live articles, and all that was foretold (Sun et al., CIKM 2019, 3.6)."""
    assert f.live is not None
    catalogue = np.union1d(f.live(), f.clicked)
    place = torch.from_numpy(np.searchsorted(catalogue, f.clicked))
    return full_softmax_loss(f.user, f.items(catalogue), place, temperature=f.temperature)


SEQUENCE_LOSSES: dict[str, Callable[[Foretold], Tensor | None]] = {
    "softmax": _softmax,
    "bce": _bce,
    "full_softmax": _full_softmax,
}
"""How clicks of histories are foretold, by name."""


def _some(hidden: Bools, most: int, rng: np.random.Generator) -> tuple[Ints, Ints]:
    """Rows and places of at most so many of the marked clicks, (Q,) each."""
    row, place = np.nonzero(hidden)
    if len(row) > most:
        # Sorted, so that a fixed seed gives fixed sums whatever the draw's order.
        chosen = np.sort(rng.choice(len(row), most, replace=False))
        row, place = row[chosen], place[chosen]
    return row, place

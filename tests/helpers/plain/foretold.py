"""Readers as a foretold click of their history may see them, one at a time."""

from typing import Any

import numpy as np
import torch

from feedgym.agents.learners.replay import VisitBatch
from feedgym.towers.encoders import BERT4Rec, GRU4Rec


def clicks_from(agent: Any, ids: np.ndarray) -> torch.Tensor:
    """Vectors of the clicks (1, L) of a history, article by article."""
    store, vectors = agent.store, []
    for article in np.maximum(ids, 0).tolist():
        features = torch.from_numpy(store.numeric[[article]]), torch.from_numpy(store.categorical[[article]])
        if agent.model.config.share == "item_encoder":
            vectors.append(torch.from_numpy(store.vector[[article]]))
        else:
            vectors.append(agent.model.embed_history(*features))
    return torch.stack(vectors, dim=1)


def plain_user(agent: Any, batch: VisitBatch, row: int, place: int, hidden: np.ndarray) -> torch.Tensor:
    """u of the reader as seen by what the target may see, a reader at a time."""
    model, store = agent.model, agent.store
    ids, reader = batch.history_id[row].copy(), torch.from_numpy(batch.reader[[row]])
    columns = None
    if model.config.history_columns:
        assert batch.history_minutes is not None
        age = np.where(ids >= 0, np.log1p(batch.now[row] - store.published_hours[ids]), 0.0)
        minutes = np.where(ids >= 0, np.log1p(batch.history_minutes[row]), 0.0)
        columns = torch.from_numpy(np.stack([age, minutes], axis=1)[None].astype(np.float32))
    if not isinstance(model.history, GRU4Rec):
        # What the target may not see could be anything.
        masked = isinstance(model.history, BERT4Rec)
        ids[hidden[row] if masked else np.arange(len(ids)) <= place] = 0
        mask = torch.from_numpy(ids[None] >= 0)
        vectors = model.encoder_input(clicks_from(agent, ids), mask, columns)
        hide = (torch.from_numpy(hidden[[row]]),) if masked else ()
        states = (model.history.masked_states if masked else model.history.next_states)(vectors, mask, *hide)
        user: torch.Tensor = model.users_of_state(states[:, place], reader, None).vector
        return user
    # No positions: the reader as she was before that click, as when serving.
    older = ids[place + 1 :]
    known = torch.from_numpy(older[None] >= 0)
    vectors = clicks_from(agent, older) if len(older) else torch.zeros(1, 0, model.history_dim)
    served: torch.Tensor = model.embed_users(vectors, known, reader).vector
    return served

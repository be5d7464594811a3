"""What the user tower is told of a reader's clicks, the same in serving and in training.

Shapes: B readers, L clicks of history newest first, R columns of a reader, h dimensions of a click's vector.
"""

import numpy as np
import torch
from torch import Tensor

from feedgym.agents.serving.item_store import ItemStore
from feedgym.env.arrays import Doubles, Floats, Ints
from feedgym.towers.config import HISTORY_COLUMNS
from feedgym.towers.interface import Towers, UserOutput


def click_vectors(model: Towers, store: ItemStore, history_id: Ints, *, learn: bool) -> Tensor:
    """Vectors of clicked articles (B, L, h); those of -1 are some article's.

    With ``learn``, and where the model trains them, each article of the batch is embedded once, with gradients; else
    they are the store's.
    """
    safe = np.where(history_id >= 0, history_id, 0)
    if len(store) == 0:
        return torch.zeros(*safe.shape, model.history_dim)
    if not (learn and model.config.trains_history):
        return torch.from_numpy(store.click_vector.take(safe, axis=0))
    unique, place = np.unique(safe, return_inverse=True)
    rows = torch.from_numpy(place.ravel())
    return model.embed_history(*store.features(unique)).index_select(0, rows).view(*safe.shape, -1)


def click_columns(
    store: ItemStore, history_id: Ints, minutes: Floats, now: Doubles, *, with_ages: bool = True
) -> Tensor:
    """``HISTORY_COLUMNS`` of each click, float32 (B, L, 2), 0 where there is none; ``now`` (B,) in hours.

    Without ages their column is 0: where nobody looks at it, it would take most of the time.
    """
    known = history_id >= 0
    columns = np.zeros((*known.shape, HISTORY_COLUMNS), dtype=np.float32)
    if not known.any():
        return torch.from_numpy(columns)
    if with_ages:
        age = now[:, None] - store.published_hours[np.where(known, history_id, 0)]
        # At a reader's visit all of her clicks are past: an age below 0 is that of an id that stands for none.
        columns[..., 0] = np.log1p(np.maximum(age, 0.0))
    columns[..., 1] = np.log1p(minutes)
    columns[~known] = 0.0
    return torch.from_numpy(columns)


def embed_readers(
    model: Towers,
    store: ItemStore,
    history_id: Ints,
    minutes: Floats | None,
    reader: Floats,
    now: Doubles,
    *,
    learn: bool = False,
) -> UserOutput:
    """The user tower on readers with these histories.

    Args:
        model: the towers.
        store: vectors and features of articles.
        history_id: (B, L), newest first, -1 where none.
        minutes: read of each click, (B, L); may be None where ``config.needs_minutes`` is False.
        reader: columns of the readers, (B, R).
        now: hours of each visit, (B,).
        learn: let gradients flow into the clicks' vectors, where the model trains them.
    """
    config = model.config
    columns = ids = None
    if config.needs_minutes:
        assert minutes is not None
        columns = click_columns(store, history_id, minutes, now, with_ages=config.history_columns)
    if config.id_features:
        places = [config.item.column(name) for name in config.id_features]
        known = history_id >= 0
        ids = torch.zeros((*known.shape, len(places)), dtype=torch.int64)
        if known.any():
            ids = torch.from_numpy(store.categorical[np.where(known, history_id, 0)[..., None], places])
    return model.embed_users(
        click_vectors(model, store, history_id, learn=learn),
        torch.from_numpy(history_id >= 0),
        torch.from_numpy(reader),
        history_columns=columns,
        history_ids=ids,
    )

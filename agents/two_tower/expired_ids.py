"""Ids that expire: the rows of a table of article ids make room for those that come."""

import numpy as np
import torch
from torch import nn

from feedgym.agents.serving import ItemStore
from feedgym.towers.features import rows_of
from feedgym.towers.interface import Towers
from feedgym.towers.two_tower import TwoTower


@torch.no_grad()
def fade_expired_ids(model: Towers, store: ItemStore, hours: float) -> None:
    """Let rows that no live article uses halve by the half-life of their table.

    Else a newcomer would start as what was learned of an article of last week that happens to share its row. Articles
    of histories fade with the rest: of what a reader clicked long ago, text, topic and author stay.

    Args:
        model: the towers.
        store: which articles are live.
        hours: since the last time.
    """
    for one in model.models:
        assert isinstance(one, TwoTower)
        fading = [each for each in one.config.item.categories if each.half_life_hours is not None]
        for category in fading:
            column, live = one.config.item.column(category.name), np.flatnonzero(store.is_live)
            used = rows_of(torch.from_numpy(store.categorical[live, column]), category)
            kept = torch.full((category.size, 1), 0.5 ** (hours / float(category.half_life_hours or 1.0)))
            kept[used] = 1.0
            for table in _tables(one, category.name):
                table.mul_(kept)


def _tables(model: TwoTower, name: str) -> list[nn.Parameter]:
    """Every table of a category, each once."""
    tables = [model.item_features.table_of(name)]
    if model.history_features is not None:
        tables.append(model.history_features.table_of(name))
    if model.id_bags is not None and name in model.id_bags:
        tables += list(model.id_bags[name].parameters())
    return tables

"""What makes an article's vector of its features, by the setting ``item_encoder``."""

import torch
from torch import Tensor

from feedgym.towers.config import TwoTowerConfig
from feedgym.towers.encoders.feed_forward import FeedForward
from feedgym.towers.encoders.fields import FieldAttention
from feedgym.towers.features import AGE_COLUMNS, age_columns

ItemTower = FeedForward | FieldAttention


def make_item_tower(c: TwoTowerConfig, out_dim: int, generator: torch.Generator, gain: float) -> ItemTower:
    """Layers over all features side by side, or attention over them as fields."""
    age = AGE_COLUMNS if c.age_in_item_tower else 0
    if c.item_encoder == "fields":
        dims = (*c.item.field_dims, age) if age else c.item.field_dims
        return FieldAttention(dims, out_dim, c.heads, c.dim, generator, gain)
    return FeedForward(
        c.item.out_dim + age,
        c.widths,
        out_dim,
        generator,
        gain,
        dropout=c.dropout,
        layer_norm=c.layer_norm,
        residual=c.residual,
    )


def item_outputs(tower: ItemTower, features: Tensor, age_hours: Tensor | None, *, with_age: bool) -> Tensor:
    """What the tower makes of features (N, F), and of ages (N,) where it sees them: (N, ``out_dim``)."""
    if with_age:
        features = torch.cat([features, age_columns(age_hours, len(features))], dim=1)
    if isinstance(tower, FieldAttention):
        output: Tensor = tower(list(torch.split(features, list(tower.field_dims), dim=1)))
    else:
        output = tower(features)
    return output

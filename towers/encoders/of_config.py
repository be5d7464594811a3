"""What is inside the two towers, made as a config says."""

import torch
from torch import Tensor

from feedgym.towers.config import TwoTowerConfig
from feedgym.towers.encoders import make_history_encoder
from feedgym.towers.encoders.feed_forward import FeedForward
from feedgym.towers.encoders.fields import FieldAttention
from feedgym.towers.encoders.history import HistoryEncoder
from feedgym.towers.features import AGE_COLUMNS, age_columns

ItemTower = FeedForward | FieldAttention


def make_item_tower(c: TwoTowerConfig, out_dim: int, generator: torch.Generator, gain: float) -> ItemTower:
    """What makes an article's vector: layers over all features side by side, or attention over them as fields."""
    age = AGE_COLUMNS if c.age_in_item_tower else 0
    if c.item_encoder == "fields":
        dims = (*c.item.field_dims, age) if age else c.item.field_dims
        return FieldAttention(dims, out_dim, c.heads, c.dim, generator, gain)
    return _layers(c, c.item.out_dim + age, out_dim, generator, gain)


def make_encoder(c: TwoTowerConfig, in_dim: int, generator: torch.Generator) -> HistoryEncoder:
    """What makes one vector of clicks whose vectors and columns have ``in_dim``."""
    return make_history_encoder(
        c.encoder,
        in_dim,
        c.dim,
        generator=generator,
        heads=c.heads,
        layers=c.layers,
        max_length=c.history_length,
        dropout=c.dropout,
    )


def make_user_tower(
    c: TwoTowerConfig, in_dim: int, out_dim: int, generator: torch.Generator, gain: float
) -> FeedForward:
    """What makes a reader's vector of her history's, her columns and her ids."""
    return _layers(c, in_dim, out_dim, generator, gain)


def _layers(c: TwoTowerConfig, in_dim: int, out_dim: int, generator: torch.Generator, gain: float) -> FeedForward:
    return FeedForward(
        in_dim, c.widths, out_dim, generator, gain, dropout=c.dropout, layer_norm=c.layer_norm, residual=c.residual
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

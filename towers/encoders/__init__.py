"""What is inside the towers: one encoder a file. A new history encoder is a file, and a line in the table."""

from collections.abc import Callable

import torch

from feedgym.towers.checks import require
from feedgym.towers.encoders.attention import AttentionPooling
from feedgym.towers.encoders.bert4rec import BERT4Rec
from feedgym.towers.encoders.dropout import Dropout
from feedgym.towers.encoders.feed_forward import FeedForward
from feedgym.towers.encoders.fields import FieldAttention
from feedgym.towers.encoders.gru import GRU4Rec
from feedgym.towers.encoders.history import CausalEncoder, HistoryConfig, HistoryEncoder
from feedgym.towers.encoders.mean import HistoryMean
from feedgym.towers.encoders.nrms import NRMS
from feedgym.towers.encoders.sasrec import SASRec

HISTORY_ENCODERS: dict[str, Callable[[HistoryConfig, torch.Generator], HistoryEncoder]] = {
    "mean": lambda config, _: HistoryMean(config.in_dim, config.max_length),
    "attention": AttentionPooling,
    "nrms": NRMS,
    "gru": GRU4Rec,
    "sasrec": SASRec,
    "bert4rec": BERT4Rec,
}
"""History encoders by name: each is made from its settings and a generator for its weights."""


def make_history_encoder(
    name: str,
    in_dim: int,
    out_dim: int,
    *,
    generator: torch.Generator,
    heads: int = 2,
    layers: int = 2,
    max_length: int = 50,
    dropout: float = 0.0,
) -> HistoryEncoder:
    """A history encoder by name.

    Args:
        name: one of ``HISTORY_ENCODERS``.
        in_dim: width of what stands for a click.
        out_dim: width asked for. ``mean`` has no weights and keeps ``in_dim``: read the encoder's ``out_dim``.
        generator: all initial weights are drawn from it, and from nothing else.
        heads: see :class:`HistoryConfig`, as the rest; each encoder takes what it has a use for.
        layers: blocks or layers, of ``gru``, ``sasrec`` and ``bert4rec``.
        max_length: clicks that are looked at, the newest ones.
        dropout: share of values zeroed in training; ``mean`` has none.

    Raises:
        ValueError: on an unknown name, or sizes that cannot be.
    """
    require(name in HISTORY_ENCODERS, "history encoder", name, f"one of {', '.join(HISTORY_ENCODERS)}")
    config = HistoryConfig(
        in_dim=in_dim, out_dim=out_dim, heads=heads, layers=layers, max_length=max_length, dropout=dropout
    )
    return HISTORY_ENCODERS[name](config, generator)


__all__ = [
    "HISTORY_ENCODERS",
    "NRMS",
    "AttentionPooling",
    "BERT4Rec",
    "CausalEncoder",
    "Dropout",
    "FeedForward",
    "FieldAttention",
    "GRU4Rec",
    "HistoryConfig",
    "HistoryEncoder",
    "HistoryMean",
    "SASRec",
    "make_history_encoder",
]

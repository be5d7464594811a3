"""Additive attention over a reader's history (the user encoder of NAML, Wu et al., IJCAI 2019, section 3.2)."""

import torch
from torch import Tensor, nn

from feedgym.towers.encoders.dropout import Dropout
from feedgym.towers.encoders.history import HistoryConfig, HistoryEncoder
from feedgym.towers.encoders.pooling import AdditivePooling
from feedgym.towers.features import linear


class AttentionPooling(HistoryEncoder):
    """Clicks weighed by how telling each is of a reader, whatever the others are; their order does not matter.

    A linear map follows where the widths differ (the paper has none: its widths are equal).

    Args:
        config: sizes.
        generator: where the initial weights are drawn from.
    """

    def __init__(self, config: HistoryConfig, generator: torch.Generator) -> None:
        super().__init__(config.in_dim, config.out_dim, config.max_length)
        same = config.in_dim == config.out_dim
        self.dropout = Dropout(config.dropout, generator)
        self.pool = AdditivePooling(config.in_dim, config.out_dim, generator)
        self.out = nn.Identity() if same else linear(config.in_dim, config.out_dim, 1.0, generator)

    def encode(self, vectors: Tensor, mask: Tensor) -> Tensor:
        """Pool the clicks: (B, L, in_dim) to (B, out_dim)."""
        encoded: Tensor = self.out(self.pool(self.dropout(vectors), mask))
        return encoded

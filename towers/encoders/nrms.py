"""Neural news recommendation with multi-head self-attention (NRMS; Wu et al., EMNLP 2019, section 2.2)."""

import torch
from torch import Tensor

from feedgym.towers.encoders.dropout import Dropout
from feedgym.towers.encoders.history import HistoryConfig, HistoryEncoder
from feedgym.towers.encoders.pooling import AdditivePooling
from feedgym.towers.encoders.self_attention import SelfAttention


class NRMS(HistoryEncoder):
    """Clicks see each other by self-attention, then additive attention pools them; their order does not matter.

    Nothing depends on the article to be scored, so a reader has one vector. As in the paper there is neither a
    skip connection nor an output map. Queries and keys are maps of their own with the usual scale; the paper
    has their product, one matrix a head.

    Args:
        config: sizes; ``heads`` divides ``out_dim``.
        generator: where the initial weights are drawn from.
    """

    def __init__(self, config: HistoryConfig, generator: torch.Generator) -> None:
        super().__init__(config.in_dim, config.out_dim, config.max_length)
        self.dropout_in = Dropout(config.dropout, generator)
        self.attend = SelfAttention(config.in_dim, config.out_dim, config.heads, generator)
        self.dropout_out = Dropout(config.dropout, generator)
        self.pool = AdditivePooling(config.out_dim, config.out_dim, generator)

    def encode(self, vectors: Tensor, mask: Tensor) -> Tensor:
        """Attend, then pool: (B, L, in_dim) to (B, out_dim)."""
        # A reader without a click would look at nothing, which is nan in some kernels: all zeros there, not used.
        allowed = mask | ~mask.any(dim=1, keepdim=True)
        tokens = self.dropout_out(self.attend(self.dropout_in(vectors), allowed[:, None, :]))
        pooled: Tensor = self.pool(tokens, mask)
        return pooled

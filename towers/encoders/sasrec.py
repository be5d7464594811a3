"""Self-attentive sequential recommendation (SASRec; Kang & McAuley, ICDM 2018)."""

import torch
from torch import Tensor

from feedgym.towers.encoders.history import CausalEncoder, HistoryConfig
from feedgym.towers.encoders.transformer import Transformer
from feedgym.towers.features import linear


class SASRec(CausalEncoder):
    """A causal transformer: each click looks at itself and at older ones; the newest one's state is the reader.

    Positions count from the newest click. As in the paper the feed-forward part is as wide as the state, with
    ReLU; unlike there clicks are mapped to that width first, since they are article vectors, not a table.

    Args:
        config: sizes; ``heads`` divides ``out_dim``.
        generator: where the initial weights are drawn from.
    """

    def __init__(self, config: HistoryConfig, generator: torch.Generator) -> None:
        super().__init__(config.in_dim, config.out_dim, config.max_length)
        dim = config.out_dim
        self.project = linear(config.in_dim, dim, 1.0, generator)
        self.transformer = Transformer(
            dim, config.max_length, config.layers, config.heads, dim, "relu", config.dropout, generator
        )

    def states(self, vectors: Tensor, mask: Tensor, rows: int | None = None) -> Tensor:
        """State after each click, see :meth:`CausalEncoder.states`: (B, L, in_dim) to (B, rows, out_dim)."""
        length = mask.shape[1]
        square = torch.ones(length, length, dtype=torch.bool, device=mask.device)
        # Newest first: older is to the right. Padding looks at itself, for something must be looked at.
        allowed = (square.triu() & mask[:, None, :]) | torch.eye(length, dtype=torch.bool, device=mask.device)
        states: Tensor = self.transformer(self.project(vectors), allowed, rows)
        return states

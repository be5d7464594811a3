"""A recurrent network over the clicks in their order (GRU4Rec; Hidasi et al., ICLR 2016)."""

import math

import torch
from torch import Tensor, nn

from feedgym.towers.encoders.dropout import Dropout
from feedgym.towers.encoders.history import CausalEncoder, HistoryConfig
from feedgym.towers.plain_torch import allocated


class GRU4Rec(CausalEncoder):
    """Gated recurrent units from the oldest click to the newest; the last state is the reader.

    The paper found one layer to be best. Dropout is on what goes into the network and on its states.

    Args:
        config: sizes; ``out_dim`` is the width of the state.
        generator: where the initial weights are drawn from.
    """

    def __init__(self, config: HistoryConfig, generator: torch.Generator) -> None:
        super().__init__(config.in_dim, config.out_dim, config.max_length)
        self.gru = allocated(nn.GRU(config.in_dim, config.out_dim, config.layers, batch_first=True, device="meta"))
        bound = 1 / math.sqrt(config.out_dim)
        with torch.no_grad():
            for weight in self.gru.parameters():
                weight.uniform_(-bound, bound, generator=generator)
        self.dropout_in = Dropout(config.dropout, generator)
        self.dropout_out = Dropout(config.dropout, generator)

    def states(self, vectors: Tensor, mask: Tensor, rows: int | None = None) -> Tensor:
        """State after each click, see :meth:`CausalEncoder.states`: (B, L, in_dim) to (B, rows, out_dim)."""
        place = torch.arange(mask.shape[1], device=mask.device)
        # Oldest first and the padding still at the end, where no state of a click can see it: no packing.
        # The map is its own inverse on the clicks.
        order = (mask.sum(dim=1, keepdim=True) - 1 - place).clamp(min=0)[:, :, None]
        in_time = vectors.gather(1, order.expand(-1, -1, self.in_dim))
        states, _ = self.gru(self.dropout_in(in_time))
        newest: Tensor = self.dropout_out(states.gather(1, order[:, :rows].expand(-1, -1, self.out_dim)))
        return newest

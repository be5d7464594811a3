"""A transformer that looks both ways, trained to fill in hidden clicks (BERT4Rec; Sun et al., CIKM 2019)."""

from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from feedgym.towers.checks import require, require_shape
from feedgym.towers.encoders.history import HistoryConfig, HistoryEncoder
from feedgym.towers.encoders.transformer import Transformer
from feedgym.towers.features import linear


class BERT4Rec(HistoryEncoder):
    """Every click looks at every other; a mask token before the newest click stands for the next one.

    Its state is the reader; for an empty history it stands alone, which makes a learned vector. The paper's
    output layer (a linear map with GELU) is left to the user tower.

    Args:
        config: sizes; ``heads`` divides ``out_dim``.
        generator: where the initial weights are drawn from.
    """

    trains_on: ClassVar[Literal["none", "next", "masked"]] = "masked"

    def __init__(self, config: HistoryConfig, generator: torch.Generator) -> None:
        super().__init__(config.in_dim, config.out_dim, config.max_length)
        del self.empty  # the mask token alone is that vector
        dim, places = config.out_dim, config.max_length + 1
        self.project = linear(config.in_dim, dim, 1.0, generator)
        self.token = nn.Parameter(torch.randn(dim, generator=generator))
        self.transformer = Transformer(
            dim, places, config.layers, config.heads, 4 * dim, "gelu", config.dropout, generator
        )

    def forward(self, vectors: Tensor, mask: Tensor) -> Tensor:
        """Encode histories, see :meth:`HistoryEncoder.forward`: (B, L, in_dim) to (B, out_dim)."""
        vectors, mask = self.newest(vectors, mask)
        token = self.token.expand(len(mask), 1, -1)
        allowed = nn.functional.pad(mask, (1, 0), value=True)
        states = self.transformer(torch.cat([token, self.project(vectors)], dim=1), allowed[:, None, :], rows=1)
        encoded: Tensor = states[:, 0]
        return encoded

    def masked_states(self, vectors: Tensor, mask: Tensor, hidden: Tensor) -> Tensor:
        """States from which hidden clicks are predicted, from all that are not hidden.

        With the newest click alone hidden, its state equals ``forward`` of the history without it.

        Args:
            vectors: clicks, newest first, float (B, L, ``in_dim``), L <= ``max_length`` + 1.
            mask: bool (B, L).
            hidden: bool (B, L), the clicks to replace by the mask token; padding stays padding.

        Returns:
            float (B, L, ``out_dim``), of use at hidden clicks; zeros at padded places.
        """
        self.check(vectors, mask)
        self.check_targets(mask)
        require_shape(hidden, tuple(mask.shape), "hidden")
        require(hidden.dtype == torch.bool, "hidden", hidden.dtype, "bool")
        if mask.shape[1] == 0:
            return vectors.new_zeros(len(mask), 0, self.out_dim)
        clean = vectors.masked_fill(~mask[:, :, None], 0.0)
        tokens = torch.where(hidden[:, :, None], self.token, self.project(clean))
        # A reader without a click would look at nothing, which is nan in some kernels.
        allowed = mask | ~mask.any(dim=1, keepdim=True)
        states: Tensor = self.transformer(tokens, allowed[:, None, :])
        return states.masked_fill(~mask[:, :, None], 0.0)

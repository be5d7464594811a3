"""Multi-head self-attention (Vaswani et al., NeurIPS 2017, section 3.2).

Shapes: B rows, L tokens, R <= L tokens that ask, H heads.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from feedgym.towers.checks import require
from feedgym.towers.features import linear


class SelfAttention(nn.Module):
    """Each token becomes a mean of all tokens' values, weighed by how its query meets their keys.

    There is no dropout of the weights: torch's fused kernel draws it from the global random state.

    Args:
        in_dim: width of the tokens.
        dim: width of the result, the heads' values side by side.
        heads: H, divides ``dim``.
        generator: where the initial weights are drawn from.
    """

    def __init__(self, in_dim: int, dim: int, heads: int, generator: torch.Generator) -> None:
        super().__init__()
        require(heads >= 1 and dim % heads == 0, "heads", heads, f"a divisor of the width {dim}")
        self.heads = heads
        self.query = linear(in_dim, dim, 1.0, generator)
        self.key_value = linear(in_dim, 2 * dim, 1.0, generator)

    def forward(self, tokens: Tensor, allowed: Tensor | None = None, rows: int | None = None) -> Tensor:
        """Attend.

        Args:
            tokens: float (B, L, in_dim).
            allowed: bool (B, L or 1, L): which token (last axis) each may look at, at least one each; None: all.
            rows: R, how many tokens ask, from the first; None for all L.

        Returns:
            float (B, R, dim).
        """
        query = self.query(tokens[:, :rows])
        key, value = self.key_value(tokens).chunk(2, dim=-1)
        mask = None if allowed is None else allowed[:, None, :rows]
        mixed = F.scaled_dot_product_attention(self._split(query), self._split(key), self._split(value), mask)
        return mixed.transpose(1, 2).flatten(2)  # (B, H, R, dim / H) -> (B, R, dim)

    def _split(self, values: Tensor) -> Tensor:
        """(B, L, dim) -> (B, H, L, dim / H)."""
        return values.view(*values.shape[:2], self.heads, values.shape[2] // self.heads).transpose(1, 2)

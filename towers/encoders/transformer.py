"""Transformer blocks (Vaswani et al., NeurIPS 2017) with the norm before each part (Xiong et al., ICML 2020).

Shapes: B rows, L tokens, R <= L tokens whose results are wanted, d = ``dim``.
"""

import math
from typing import Literal

import torch
from torch import Tensor, nn

from feedgym.towers.encoders.dropout import Dropout
from feedgym.towers.encoders.self_attention import SelfAttention
from feedgym.towers.features import linear


class TransformerBlock(nn.Module):
    """x + attention(norm(x)), then x + feed-forward(norm(x)).

    Args:
        dim: d.
        heads: attention heads, a divisor of d.
        inner_dim: hidden width of the feed-forward part.
        activation: between its two layers.
        out_gain: root mean square at the start of what each part adds to x.
        dropout: share of what each part adds that is zeroed in training.
        generator: where the initial weights are drawn from.
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        inner_dim: int,
        activation: Literal["relu", "gelu"],
        out_gain: float,
        dropout: float,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.norm_attend = nn.LayerNorm(dim)
        self.attend = SelfAttention(dim, dim, heads, generator)
        self.attend_out = linear(dim, dim, out_gain, generator)
        self.norm_feed = nn.LayerNorm(dim)
        self.feed = nn.Sequential(
            linear(dim, inner_dim, math.sqrt(2.0), generator),
            nn.ReLU() if activation == "relu" else nn.GELU(),
            linear(inner_dim, dim, out_gain, generator),
        )
        self.dropout_attend = Dropout(dropout, generator)
        self.dropout_feed = Dropout(dropout, generator)

    def forward(self, tokens: Tensor, allowed: Tensor, rows: int | None = None) -> Tensor:
        """Float (B, L, d) to (B, R, d); ``allowed`` and ``rows`` as in :meth:`SelfAttention.forward`."""
        added = self.attend_out(self.attend(self.norm_attend(tokens), allowed, rows))
        tokens = tokens[:, :rows] + self.dropout_attend(added)
        result: Tensor = tokens + self.dropout_feed(self.feed(self.norm_feed(tokens)))
        return result


class Transformer(nn.Module):
    """Learned positions, blocks, and a norm at the end.

    Args:
        dim: d.
        places: number of positions.
        layers: number of blocks.
        heads: attention heads, a divisor of d.
        inner_dim: hidden width of the blocks' feed-forward part.
        activation: in that part.
        dropout: share zeroed in training, of the tokens with their positions and of what each part adds.
        generator: where the initial weights are drawn from.
    """

    def __init__(
        self,
        dim: int,
        places: int,
        layers: int,
        heads: int,
        inner_dim: int,
        activation: Literal["relu", "gelu"],
        dropout: float,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.positions = nn.Parameter(_POSITION_SPREAD * torch.randn(places, dim, generator=generator))
        self.dropout = Dropout(dropout, generator)
        # All the parts together add about as much as the tokens are.
        gain = 1 / math.sqrt(2 * layers)
        self.blocks = nn.ModuleList(
            TransformerBlock(dim, heads, inner_dim, activation, gain, dropout, generator) for _ in range(layers)
        )
        self.norm = nn.LayerNorm(dim)

    def forward(self, tokens: Tensor, allowed: Tensor, rows: int | None = None) -> Tensor:
        """Run all blocks.

        Args:
            tokens: float (B, L, d), of mean square about 1 at the start; token l is at position l.
            allowed: bool (B, L or 1, L): which token (last axis) each may look at, at least one each.
            rows: R, how many results are wanted, from the first; None for all L. The last block saves the rest.

        Returns:
            float (B, R, d).
        """
        tokens = self.dropout(tokens + self.positions[: tokens.shape[1]])
        for number, block in enumerate(self.blocks, start=1):
            tokens = block(tokens, allowed, rows if number == len(self.blocks) else None)
        result: Tensor = self.norm(tokens)
        return result


# Tokens have 1. Far less, and training must first find that there is an order at all.
_POSITION_SPREAD = 0.5

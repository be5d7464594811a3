"""What all history encoders share: settings, cutting, padding, and readers without a history.

Shapes: B readers, L articles of history, newest first. Index 0 is the latest click, and padding is at the end.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from feedgym.towers.checks import require, require_shape


@dataclass(frozen=True, kw_only=True)
class HistoryConfig:
    """Sizes of a history encoder; each encoder takes what it needs of it."""

    in_dim: int
    """Width of what stands for a click: the article's vector, and any columns joined to it."""
    out_dim: int
    """Width of the encoded history."""
    heads: int = 2
    """Attention heads; they divide ``out_dim``."""
    layers: int = 2
    """Transformer blocks, or layers of the GRU."""
    max_length: int = 50
    """Clicks that are looked at, the newest ones."""
    dropout: float = 0.0
    """Share of values zeroed in training."""

    def __post_init__(self) -> None:
        for name in ("in_dim", "out_dim", "heads", "layers"):
            require(getattr(self, name) >= 1, name, getattr(self, name), ">= 1")
        require(self.max_length >= 0, "max_length", self.max_length, ">= 0")
        require(0 <= self.dropout < 1, "dropout", self.dropout, "0 <= dropout < 1")


class HistoryEncoder(nn.Module):
    """A reader's last clicks to one vector; a learned vector for a reader without any.

    An encoder says in ``encode`` what it does with clean histories; checks, cutting and padding are here.
    """

    trains_on: ClassVar[Literal["none", "next", "masked"]] = "none"
    """Whether every click of a history can be a training target: by ``next_states``, or ``masked_states``."""

    def __init__(self, in_dim: int, out_dim: int, max_length: int | None) -> None:
        super().__init__()
        self.in_dim = in_dim
        self.out_dim = out_dim
        self.max_length = max_length
        self.empty = nn.Parameter(torch.zeros(out_dim))

    def forward(self, vectors: Tensor, mask: Tensor) -> Tensor:
        """Encode histories.

        Args:
            vectors: clicks, newest first, float (B, L, ``in_dim``). Of more than ``max_length`` the newest are
                used. What stands at padded places is ignored, if finite.
            mask: bool (B, L), True where there is a click. L = 0 is allowed.

        Returns:
            float (B, ``out_dim``).

        Raises:
            ValueError: on wrong shapes or types, and from encoders that read an order, on a gap in a history.
        """
        vectors, mask = self.newest(vectors, mask)
        if mask.shape[1] == 0:
            return self.empty.expand(len(mask), -1)
        return torch.where(mask.any(dim=1, keepdim=True), self.encode(vectors, mask), self.empty)

    def encode(self, vectors: Tensor, mask: Tensor) -> Tensor:
        """Clean histories, L >= 1, to (B, ``out_dim``); rows without a click are finite and not used."""
        raise NotImplementedError

    def check(self, vectors: Tensor, mask: Tensor) -> None:
        """Raise ``ValueError`` unless these are histories of this encoder's width."""
        shape = tuple(vectors.shape)
        require(vectors.ndim == 3 and shape[2] == self.in_dim, "history_vectors", shape, f"(B, L, {self.in_dim})")
        require_shape(mask, shape[:2], "history_mask")
        require(mask.dtype == torch.bool, "history_mask", mask.dtype, "bool")
        if self.trains_on != "none":
            gaps = int((mask[:, 1:] & ~mask[:, :-1]).any(dim=1).sum())
            require(gaps == 0, "history_mask", f"{gaps} rows with a gap", "newest first, padding at the end only")

    def newest(self, vectors: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """The newest ``max_length`` clicks, without the places that no row uses; zeros where there is none."""
        self.check(vectors, mask)
        used = mask[:, : self.max_length].any(dim=0).nonzero()
        length = int(used[-1]) + 1 if len(used) else 0
        mask = mask[:, :length]
        # Not left to the attention's zero weights: 0 times an overflow is nan.
        return vectors[:, :length].masked_fill(~mask[:, :, None], 0.0), mask

    def check_targets(self, mask: Tensor) -> None:
        """Raise ``ValueError`` if a target would have older clicks beyond ``max_length`` only."""
        longest = None if self.max_length is None else self.max_length + 1
        ok = longest is None or mask.shape[1] <= longest
        require(ok, "history_mask", f"length {mask.shape[1]}", f"<= max_length + 1 = {longest}: cut the oldest")


class CausalEncoder(HistoryEncoder):
    """An encoder whose state at a click has seen that click and older ones only."""

    trains_on: ClassVar[Literal["none", "next", "masked"]] = "next"

    def states(self, vectors: Tensor, mask: Tensor, rows: int | None = None) -> Tensor:
        """State after each click, of clean histories, L >= 1.

        Args:
            vectors: (B, L, ``in_dim``).
            mask: bool (B, L).
            rows: how many of the newest states are wanted, None for all L.

        Returns:
            (B, ``rows``, ``out_dim``); finite, but without meaning at padded places.
        """
        raise NotImplementedError

    def encode(self, vectors: Tensor, mask: Tensor) -> Tensor:
        """The state after the newest click."""
        return self.states(vectors, mask, rows=1)[:, 0]

    def next_states(self, vectors: Tensor, mask: Tensor) -> Tensor:
        """The states from which each click of a history is predicted, from strictly older clicks.

        The state at place 0 equals ``forward`` of the history without its newest click. Where nothing is older
        it is the vector of the empty history; callers who cut a longer history leave its oldest click out.

        Args:
            vectors: clicks, newest first, float (B, L, ``in_dim``), L <= ``max_length`` + 1.
            mask: bool (B, L).

        Returns:
            float (B, L, ``out_dim``).
        """
        self.check(vectors, mask)
        self.check_targets(mask)
        older, known = self.newest(vectors[:, 1:], mask[:, 1:])
        length = known.shape[1]
        rest = self.empty.expand(len(mask), mask.shape[1] - length, -1)
        if length == 0:
            return rest
        return torch.cat([torch.where(known[:, :, None], self.states(older, known), self.empty), rest], dim=1)

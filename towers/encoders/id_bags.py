"""A reader as bags of ids: whom she clicked, whom she read for long, whom she clicked last.

Ids are of high cardinality (authors, series, shops): their tables are most of a model. With a table for each feature
and each tower a model has five of them: of articles, of clicked articles, and of each bag. Where all share one (Uber,
2023), a fifth is left, and what an id means is learned from both sides.
Shapes: B readers, L clicks, d columns of the table.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from feedgym.towers.checks import require_shape
from feedgym.towers.features import CategoryConfig, ItemFeatures, ItemFeaturesConfig, new_table, rows_of

BAGS = ("clicked", "read", "latest")
LONG_MINUTES = 1.0
"""Minutes from which a click counts as read."""


class IdBags(nn.Module):
    """Means of the embeddings of the ids in each bag; 0 where a bag is empty.

    Args:
        category: the table's size and width.
        table: the other tower's table, to share; None: a table for each bag, drawn from ``generator``.
        generator: of tables of its own.
    """

    def __init__(self, category: CategoryConfig, table: nn.Parameter | None, generator: torch.Generator) -> None:
        super().__init__()
        self.category = category
        # A plain list: a shared table belongs to the item features, and is counted and saved there.
        self._shared = [table] if table is not None else []
        own = () if table is not None else BAGS
        self.tables = nn.ParameterList(new_table(category, generator) for _ in own)

    @classmethod
    def of_feature(
        cls, name: str, config: ItemFeaturesConfig, shared: ItemFeatures | None, generator: torch.Generator
    ) -> "IdBags":
        """Bags of the category ``name``, with the table of ``shared`` features where there are such."""
        return cls(config.category(name), None if shared is None else shared.table_of(name), generator)

    @property
    def out_dim(self) -> int:
        """Width of the output."""
        return len(BAGS) * self.category.dim

    def forward(self, ids: Tensor, mask: Tensor, minutes: Tensor) -> Tensor:
        """Bags of histories.

        Args:
            ids: int64 (B, L), newest first.
            mask: bool (B, L).
            minutes: float (B, L), read of each click.

        Returns:
            float32 (B, ``out_dim``).
        """
        require_shape(ids, tuple(mask.shape), "history_ids")
        require_shape(minutes, tuple(mask.shape), "history_minutes")
        if ids.shape[1] == 0:
            return torch.zeros(len(ids), self.out_dim)
        rows = rows_of(torch.where(mask, ids, 0).ravel(), self.category).view(ids.shape)
        latest = torch.zeros_like(mask)
        latest[:, 0] = mask[:, 0]
        members = (mask, mask & (minutes >= LONG_MINUTES), latest)
        tables = self._shared * len(BAGS) if self._shared else list(self.tables)
        return torch.cat(
            [self._mean(rows, member, table) for member, table in zip(members, tables, strict=True)], dim=1
        )

    @staticmethod
    def _mean(rows: Tensor, member: Tensor, table: Tensor) -> Tensor:
        weight = member.to(table.dtype) / member.sum(dim=1, keepdim=True).clamp(min=1)
        return torch.bmm(weight[:, None, :], nn.functional.embedding(rows, table))[:, 0]


class Bags(nn.ModuleDict):
    """Bags of several kinds of ids, side by side: name of the category -> its bags."""

    @classmethod
    def of_features(
        cls, names: Sequence[str], config: ItemFeaturesConfig, shared: ItemFeatures | None, generator: torch.Generator
    ) -> "Bags | None":
        """Those of the categories ``names``, in this order; None of none."""
        each = {name: IdBags.of_feature(name, config, shared, generator) for name in names}
        return cls(each) if each else None

    @property
    def out_dim(self) -> int:
        """Width of the output."""
        return sum(bags.out_dim for bags in self._each())

    def forward(self, ids: Tensor, mask: Tensor, minutes: Tensor) -> Tensor:
        """Bags of histories, see :meth:`IdBags.forward`: ids (B, L, I) of I kinds to (B, ``out_dim``)."""
        require_shape(ids, (*mask.shape, len(self)), "history_ids")
        parts = [bags(ids[..., kind], mask, minutes) for kind, bags in enumerate(self._each())]
        return torch.cat(parts, dim=1)

    def _each(self) -> list[IdBags]:
        return [bags for bags in self.values() if isinstance(bags, IdBags)]

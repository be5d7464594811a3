"""What the user tower sees of a reader besides the clicks: numbers, and the row of her id in a table.

An id travels as the row that it is hashed to, so that it fits beside the other columns: whatever keeps, lags or resumes
readers' columns keeps it, too. Shapes: B readers, F numeric columns.
"""

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from feedgym.towers.features import CategoryConfig, ItemFeatures, Standardise, new_table, rows_of

LARGEST_TABLE = 2**24 - 1
"""Rows whose number float32 holds exactly, beside 0, which is nobody's."""


def reader_rows(reader_id: npt.NDArray[np.int64], category: CategoryConfig) -> npt.NDArray[np.float32]:
    """The last column of readers whose ids are a feature: 1 + the row of each id (n,), float32. 0 is for nobody."""
    rows: npt.NDArray[np.int64] = rows_of(torch.from_numpy(reader_id.astype(np.int64)), category).numpy()
    return (1 + rows).astype(np.float32)


class ReaderFeatures(Standardise):
    """Numeric columns standardised; after them the embedding of the reader's id, where there is such a feature.

    A reader of whom nobody has an id (such as the one for whom a list for the unknown is drawn) has the embedding 0,
    and so has, at the start, everybody else: an id says nothing before something was learned of it.

    Args:
        num_columns: what is handed in, the row of the id included.
        category: of the ids; None: all columns are numbers.
        shared: features of articles, whose table is shared where the category names one; None: a table of its own.
        generator: where a table of its own is drawn from.
    """

    def __init__(
        self,
        num_columns: int,
        category: CategoryConfig | None,
        shared: ItemFeatures | None,
        generator: torch.Generator,
    ) -> None:
        super().__init__(num_columns - (category is not None))
        self.category = category
        # A plain list: a shared table belongs to the item features, and is counted and saved there.
        self._shared: list[nn.Parameter] = []
        self.table: nn.Parameter | None = None
        if category is not None and category.table is not None and shared is not None:
            self._shared.append(shared.table_named(category.table))
        elif category is not None:
            self.table = new_table(category, generator)

    @property
    def out_dim(self) -> int:
        """Width of the output."""
        return len(self.mean) + (0 if self.category is None else self.category.dim)

    def fit_normalisation(self, numeric: Tensor) -> None:
        """Learn mean and spread of the numbers from logged rows, id column included: (N, F) or (N, F + 1)."""
        super().fit_normalisation(numeric if self.category is None else numeric[:, :-1])

    def forward(self, numeric: Tensor) -> Tensor:
        """Columns as handed in, float32 (B, F) or (B, F + 1) with ids, to float32 (B, ``out_dim``)."""
        if self.category is None:
            return super().forward(numeric)
        place = numeric[:, -1].long()
        table = self._shared[0] if self.table is None else self.table
        known = (place > 0).to(table.dtype)[:, None]
        return torch.cat(
            [super().forward(numeric[:, :-1]), known * nn.functional.embedding((place - 1).clamp(min=0), table)], dim=1
        )

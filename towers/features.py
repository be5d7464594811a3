"""From the columns that a site can see to the input vectors of the towers.

Shapes: N articles (or B readers), F numeric columns, C categorical columns.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from feedgym.towers.checks import require, require_shape


@dataclass(frozen=True, kw_only=True)
class CategoryConfig:
    """One categorical column of an article: topic, publisher, author."""

    name: str
    """What the column holds; for error messages and parameter counts."""
    size: int
    """Rows of the embedding table: ids are 0 .. size - 1, or the number of buckets where ``hashed``."""
    dim: int = 8
    """Width of the embedding."""
    hashed: bool = False
    """Take any int64 and hash it into ``size`` buckets: for ids of high cardinality, such as authors."""

    def __post_init__(self) -> None:
        require(self.size >= 1, f"{self.name}.size", self.size, ">= 1")
        require(self.dim >= 1, f"{self.name}.dim", self.dim, ">= 1")


TOPIC = CategoryConfig(name="topic", size=32)
PUBLISHER = CategoryConfig(name="publisher", size=64)
HASHED_AUTHOR = CategoryConfig(name="author", size=256, hashed=True)
"""Off by default: append it to ``ItemFeaturesConfig.categories`` and author ids to the categorical
columns."""


@dataclass(frozen=True, kw_only=True)
class ItemFeaturesConfig:
    """What the item tower sees of an article. Age is not here: see ``age_decay``."""

    num_numeric: int = 16
    """Number of numeric columns F (text-like vector, headline proxies, flags)."""
    categories: tuple[CategoryConfig, ...] = (TOPIC, PUBLISHER)
    """Categorical columns, in the order in which they are handed in."""
    text_columns: int = 0
    """How many of the numeric columns, the first ones, are the text-like vector: a field of its own."""
    counter_columns: int = 0
    """How many of the numeric columns, the last ones, are counters that change with time."""

    def __post_init__(self) -> None:
        require(self.num_numeric >= 0, "num_numeric", self.num_numeric, ">= 0")
        inside = 0 <= self.text_columns <= self.num_numeric
        require(inside, "text_columns", self.text_columns, f"between 0 and num_numeric, {self.num_numeric}")
        after = 0 <= self.counter_columns <= self.num_numeric - self.text_columns
        allowed = f"between 0 and the {self.num_numeric - self.text_columns} columns after the text"
        require(after, "counter_columns", self.counter_columns, allowed)
        require(self.out_dim >= 1, "item features", self.out_dim, "at least one column")

    @property
    def out_dim(self) -> int:
        """Width of the item tower's input vector."""
        return self.num_numeric + sum(category.dim for category in self.categories)

    @property
    def field_dims(self) -> tuple[int, ...]:
        """Widths of the parts of that vector: text-like vector, other numbers, each category; none is 0."""
        parts = (self.text_columns, self.num_numeric - self.text_columns, *(c.dim for c in self.categories))
        return tuple(width for width in parts if width)


class Standardise(nn.Module):
    """Numeric columns to mean 0 and deviation 1, as seen in a log; the identity until ``fit_normalisation``.

    Results are held within +-10 standard deviations, so that one wild value cannot blow up a tower.
    """

    limit = 10.0

    def __init__(self, num_columns: int) -> None:
        super().__init__()
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", torch.zeros(num_columns))
        self.register_buffer("std", torch.ones(num_columns))

    @torch.no_grad()
    def fit_normalisation(self, numeric: Tensor) -> None:
        """Learn mean and spread from logged rows (N, F), N >= 1. A constant column is only centred.

        Raises:
            ValueError: on a wrong number of columns, no row, or values that are not finite.
        """
        require(numeric.ndim == 2 and len(numeric) > 0, "numeric", tuple(numeric.shape), "rows, shape (N, F)")
        require_shape(numeric, (len(numeric), len(self.mean)), "numeric")
        require(bool(numeric.isfinite().all()), "numeric", "nan or inf", "finite values")
        # float64: counters with a large mean and a small spread lose their variance in float32.
        std, mean = torch.std_mean(numeric.double(), dim=0, correction=0)
        self.mean.copy_(mean)
        self.std.copy_(torch.where(std > 1e-6 * mean.abs() + 1e-12, std, 1.0))

    def forward(self, numeric: Tensor) -> Tensor:
        """Standardised columns, float32 (N, F)."""
        require_shape(numeric, (len(numeric), len(self.mean)), "numeric")
        return ((numeric - self.mean) / self.std).clamp(-self.limit, self.limit)


class ItemFeatures(nn.Module):
    """Numeric columns standardised, categories embedded, side by side in one vector."""

    def __init__(self, config: ItemFeaturesConfig, generator: torch.Generator) -> None:
        super().__init__()
        self.config = config
        self.numeric = Standardise(config.num_numeric)
        self.tables = nn.ParameterList(
            # Unit variance, as the standardised columns have.
            nn.Parameter(torch.randn(category.size, category.dim, generator=generator))
            for category in config.categories
        )

    def forward(self, numeric: Tensor, categorical: Tensor) -> Tensor:
        """Input vectors of the item tower.

        Args:
            numeric: float32 (N, F).
            categorical: int64 (N, C), a column for each of ``config.categories``.

        Returns:
            float32 (N, ``config.out_dim``).

        Raises:
            ValueError: on wrong shapes, or an id outside its table.
        """
        categories = self.config.categories
        require_shape(categorical, (len(numeric), len(categories)), "categorical")
        parts = [self.numeric(numeric)]
        for column, (category, table) in enumerate(zip(categories, self.tables, strict=True)):
            parts.append(nn.functional.embedding(rows_of(categorical[:, column], category), table))
        return torch.cat(parts, dim=1)


def rows_of(ids: Tensor, category: CategoryConfig) -> Tensor:
    """Table rows of category ids (N,)."""
    if category.hashed:
        # Fibonacci hashing: the product wraps in 64 bits, and its upper half mixes all bits of the id.
        return ((ids * -7046029254386353131) >> 33).remainder(category.size)
    if len(ids):
        low, high = (int(end) for end in ids.aminmax())
        require(low >= 0 and high < category.size, category.name, (low, high), f"ids in 0 .. {category.size - 1}")
    return ids


AGE_COLUMNS = 4
"""Of :func:`age_columns`."""


def age_columns(age_hours: Tensor | None, count: int) -> Tensor:
    """log(1 + age) and three exponentials, (N, ``AGE_COLUMNS``), for the ablation ``age_in_item_tower``."""
    age = torch.zeros(count) if age_hours is None else age_hours
    require_shape(age, (count,), "age_hours")
    fading = [torch.exp(-age / tau) for tau in (2.0, 8.0, 32.0)]
    return torch.stack([torch.log1p(age.clamp(min=0)), *fading], dim=1)


@torch.no_grad()
def start_outputs(layer: nn.Linear, start: tuple[float, ...]) -> None:
    """Let the last outputs of ``layer`` begin as these constants, for every input."""
    if start:
        layer.weight[-len(start) :].zero_()
        layer.bias[-len(start) :] = torch.tensor(start)


def linear(in_dim: int, out_dim: int, gain: float, generator: torch.Generator) -> nn.Linear:
    """A linear layer whose outputs have ``gain`` times the root mean square of its inputs; bias 0.

    Drawn from ``generator`` alone: torch's own initialisation would use the global random state.
    """
    layer: nn.Linear = nn.Linear(in_dim, out_dim, device="meta").to_empty(device="cpu")
    with torch.no_grad():
        layer.weight.normal_(0.0, gain / math.sqrt(in_dim), generator=generator)
        layer.bias.zero_()
    return layer

"""From the columns that a site can see to the input vectors of the towers.

Shapes: N articles (or B readers), F numeric columns, C categorical columns.
"""

import math
import zlib
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from feedgym.towers.checks import require, require_shape
from feedgym.towers.plain_torch import allocated


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
    start: float = 1.0
    """Spread of the table at the start. 0: an id that nothing has been learned of says nothing (Covington et al.,
    RecSys 2016, 4.1, map ids out of the vocabulary to 0)."""
    half_life_hours: float | None = None
    """Rows that no live article uses halve in so many hours: ids that expire make room for those that come. None: they
    stay."""
    table: str | None = None
    """Name of a table that several categories share, all hashed, of one size and width; each is hashed in its own way,
    so that author 7 and article 7 are not one. None: a table of its own."""

    def __post_init__(self) -> None:
        require(self.size >= 1, f"{self.name}.size", self.size, ">= 1")
        require(self.dim >= 1, f"{self.name}.dim", self.dim, ">= 1")
        require(self.start >= 0, f"{self.name}.start", self.start, ">= 0")
        fading = self.half_life_hours
        require(fading is None or fading > 0, f"{self.name}.half_life_hours", fading, "None, or > 0 (hours)")
        require(self.table is None or self.hashed, f"{self.name}.table", self.table, "None, unless hashed")
        # In a table of many kinds a row that no live article uses may be an author's.
        require(self.table is None or fading is None, f"{self.name}.half_life_hours", fading, "None in a shared table")

    @property
    def salt(self) -> int:
        """Mixed into ids before they are hashed: 0 in a table of its own."""
        return 0 if self.table is None else zlib.crc32(self.name.encode()) << 31

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the table."""
        return self.size, self.dim


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
        shapes: dict[str, tuple[int, int]] = {}
        for category in self.categories:
            if category.table is not None:
                seen = shapes.setdefault(category.table, category.shape)
                require(seen == category.shape, f"{category.name}: size and dim", category.shape, f"{seen}: one table")

    def category(self, name: str) -> CategoryConfig:
        """The category of this name."""
        return self.categories[self.column(name)]

    def column(self, name: str) -> int:
        """Which of the categorical columns has this name."""
        return [category.name for category in self.categories].index(name)

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
        self.tables = nn.ParameterList()
        # Which table each category looks into: those of one name share theirs.
        self._table, places = [], dict[str, int]()
        for category in config.categories:
            place = len(self.tables) if category.table is None else places.setdefault(category.table, len(self.tables))
            self._table.append(place)
            if place == len(self.tables):
                self.tables.append(new_table(category, generator))

    def table_of(self, name: str) -> nn.Parameter:
        """The table that a category looks into."""
        table: nn.Parameter = self.tables[self._table[self.config.column(name)]]
        return table

    def table_named(self, table: str) -> nn.Parameter:
        """The table of this name, which several categories share."""
        (place,) = {i for i, c in zip(self._table, self.config.categories, strict=True) if c.table == table}
        shared: nn.Parameter = self.tables[place]
        return shared

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
        for column, (category, place) in enumerate(zip(categories, self._table, strict=True)):
            parts.append(nn.functional.embedding(rows_of(categorical[:, column], category), self.tables[place]))
        return torch.cat(parts, dim=1)


def new_table(category: CategoryConfig, generator: torch.Generator) -> nn.Parameter:
    """A table as it starts: by default of unit variance, as the standardised columns have."""
    if category.start == 0:
        return nn.Parameter(torch.zeros(category.shape))
    table = torch.randn(category.shape, generator=generator)
    return nn.Parameter(table if category.start == 1 else category.start * table)


def rows_of(ids: Tensor, category: CategoryConfig) -> Tensor:
    """Table rows of category ids (N,)."""
    if category.hashed:
        ids = ids ^ category.salt if category.salt else ids
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
    layer = allocated(nn.Linear(in_dim, out_dim, device="meta"))
    with torch.no_grad():
        layer.weight.normal_(0.0, gain / math.sqrt(in_dim), generator=generator)
        layer.bias.zero_()
    return layer

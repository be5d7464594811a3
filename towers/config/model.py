"""What a two-tower model consists of: what a user chooses, and what the site gives."""

from dataclasses import dataclass, field

from feedgym.towers.checks import require
from feedgym.towers.columns.content_channel import channel_widths
from feedgym.towers.columns.reader_features import LARGEST_TABLE
from feedgym.towers.config.choices import TowersConfig
from feedgym.towers.features import CategoryConfig, ItemFeaturesConfig

HISTORY_COLUMNS = 2
"""What may be known of a click besides its article: log(1 + the article's age in hours), log(1 + minutes read)."""


@dataclass(frozen=True, kw_only=True)
class TwoTowerConfig(TowersConfig):
    """A model on a site: the choices of :class:`TowersConfig`, and what there is to see."""

    item: ItemFeaturesConfig = field(default_factory=ItemFeaturesConfig)
    """What the item tower sees."""
    reader_numeric: int = 4
    """Columns F of a reader, as handed in: numbers, and last the row of her id where ``reader_id`` is given."""
    reader_id: CategoryConfig | None = None
    """A table of readers' ids, a feature of the user tower; None: it does not know who a reader is."""
    widths: tuple[int, ...] = (1024, 512, 256)
    """Hidden layers of each tower."""
    dim: int = 64
    """Dimensions of the inner product."""
    history_length: int = 50
    """L, the clicks that callers hand to the user tower; encoders with positions keep to the newest of so many."""
    id_features: tuple[str, ...] = ()
    """Names of item categories, such as a hashed author, that describe readers too: the means of their embeddings over
    what a reader clicked, what she read for a minute, and her latest click."""
    click_minutes: bool = True
    """Whether it is known how long each click was read: the content channel then weighs clicks by it."""
    num_positions: int = 10
    """Positions that a reranker can tell apart."""
    num_crosses: int = 0
    """Numbers of a reader with an article that a second stage is told, such as how often it was shown to her. No tower
    is: two towers cannot know them."""

    def __post_init__(self) -> None:
        """Check once."""
        require(self.reader_numeric >= 0, "reader_numeric", self.reader_numeric, ">= 0")
        require(self.history_length >= 0, "history_length", self.history_length, ">= 0")
        require(self.num_positions >= 1, "num_positions", self.num_positions, ">= 1")
        require(self.num_crosses >= 0, "num_crosses", self.num_crosses, ">= 0")
        categories = [category.name for category in self.item.categories]
        known_ids = all(name in categories for name in self.id_features)
        require(known_ids, "id_features", self.id_features, f"none, or some of {', '.join(categories)}")
        if self.reader_id is not None:
            require(self.reader_numeric >= 1, "reader_numeric", self.reader_numeric, ">= 1: the row of the id is one")
            size, shared = self.reader_id.size, self.reader_id.table
            require(size <= LARGEST_TABLE, "reader_id.size", size, f"<= {LARGEST_TABLE:,}: rows travel as float32")
            tables = {category.table: category.shape for category in self.item.categories if category.table}
            fits = shared is None or tables.get(shared) == self.reader_id.shape
            require(fits, "reader_id.table", shared, "None, or a table of article features of the same size and dim")
        together = self.share != "none" or all(category.table is None for category in self.item.categories)
        require(together, "share", self.share, "embeddings or item_encoder where kinds of ids share a table")
        super().__post_init__()

    @property
    def matches_content(self) -> bool:
        """Whether there is a content channel: it was chosen, and the site has something to match."""
        return self.content_channel and sum(channel_widths(self.item)) > 0

    @property
    def needs_minutes(self) -> bool:
        """Whether the model wants to know how long each click was read."""
        by_minutes = self.matches_content and self.click_minutes
        return self.history_columns or bool(self.id_features) or by_minutes

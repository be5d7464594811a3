"""The worlds that ship: a site and its readers, by name (world.md)."""

from dataclasses import dataclass, field

from feedgym.env.config import FeedConfig
from feedgym.env.readers.config import NewsReaderConfig


@dataclass(frozen=True, kw_only=True)
class Preset:
    """Settings of a site and of its readers that belong together."""

    description: str
    """One line."""
    feed: FeedConfig = field(default_factory=FeedConfig)
    """Readers, clock, slates, newsroom."""
    reader: NewsReaderConfig = field(default_factory=NewsReaderConfig)
    """How readers choose, read, tire, trust, return and leave."""


WORLDS: dict[str, Preset] = {
    "vivid": Preset(description="strong signals, so that differences show within minutes on a laptop"),
}
"""Name -> preset."""

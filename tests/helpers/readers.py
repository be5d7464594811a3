"""Readers for small sites."""

from feedgym.env import NewsReader, NewsReaderConfig


def plain_readers(**switches: bool | float) -> NewsReader:
    """Readers with every mechanism off, but those named."""
    off = {name: False for name, kind in NewsReaderConfig.__annotations__.items() if kind in (bool, "bool")}
    return NewsReader(NewsReaderConfig(**(off | switches)))  # type: ignore[arg-type]

"""``modules.parquet`` beside a log: which articles each edition of a module showed (docs/guide/log.md)."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from feedgym.env.feed import Feed
from feedgym.env.log.files import metadata_of, write_table
from feedgym.env.newsroom import ModuleNewsroom


def write_modules(path: str | Path, feed: Feed, *, config: Mapping[str, Any] | None = None) -> int:
    """Write what the editions published so far show, whole or not at all; nothing where a feed serves articles.

    Args:
        path: of the file.
        feed: whose newsroom may be one of modules.
        config: as for the log.

    Returns:
        The number of rows: one for each article on each edition.
    """
    import pyarrow as pa

    newsroom = feed.newsroom
    if not isinstance(newsroom, ModuleNewsroom):
        return 0
    days = [newsroom.module_articles(day) for day in range(math.floor(feed.now / 24.0) + 1)]
    columns = {name: np.concatenate([day[name] for day in days]) for name in days[0]}
    published = columns["article_id"] < feed.catalogue.archive.published
    table = pa.table({name: column[published] for name, column in columns.items()})
    write_table(path, table.replace_schema_metadata(metadata_of(config or {})))
    return len(table)

"""The files of a log: which there are, and whether they are what they should be."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from feedgym.env.checks import require
from feedgym.env.log.columns import BY_NAME, COLUMNS, SCHEMA_VERSION
from feedgym.env.log.impressions import ARTICLES_NAME, BESIDE, CONFIG_KEY, SITE_NEEDS, VERSION_KEY

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

IMPRESSIONS = "impressions"
"""Folder of a run with the parts of its log."""
_CONFIG_LIMIT = 1_000_000
"""Bytes of settings, at most."""


def find_parts(path: Path) -> tuple[list[Path], Path | None]:
    """The parts of a log in the order of their names, and the articles beside it, if there are any.

    Args:
        path: folder of a run, folder of part files, or one Parquet file.

    Raises:
        FileNotFoundError: no such file, or no part file in the folder.
    """
    folder = path.parent if path.is_file() else path
    if path.is_file():
        parts = [path]
    elif path.is_dir():
        folder = path / IMPRESSIONS if (path / IMPRESSIONS).is_dir() else path
        parts = sorted(part for part in folder.glob("*.parquet") if part.name not in BESIDE)
    else:
        raise FileNotFoundError(f"log: got {str(path)!r}, needs a folder or a Parquet file that exists")
    if not parts:
        raise FileNotFoundError(f"log: got {str(path)!r}, needs a folder with part files such as day-0000.parquet")
    beside = (folder / ARTICLES_NAME, folder.parent / ARTICLES_NAME)
    return parts, next((found for found in beside if found.is_file()), None)


def opened(path: Path) -> pq.ParquetFile:
    """A Parquet file whose names are text, to be closed by the caller.

    Raises:
        ValueError: cut short, damaged, or another kind of file.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(path, pre_buffer=False)
        _ = file.schema_arrow.names  # of a damaged file these may be no text
        return file
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: got a file that is cut short or no Parquet, needs a log ({error})") from error


def origin(path: Path, schema: pa.Schema) -> tuple[bool, dict[str, Any] | None]:
    """Whether FeedGym wrote a file with this schema, and the settings of the run; None of a site's own.

    Raises:
        ValueError: another schema version, columns that lack, settings that are no JSON.
    """
    metadata = schema.metadata or {}
    version = metadata.get(VERSION_KEY)
    twice = sorted({name for name in schema.names if schema.names.count(name) > 1 and name in BY_NAME})
    require(not twice, f"{path}: columns", twice, "each name once")
    if version is None:
        lacking = [name for name in SITE_NEEDS if name not in schema.names]
        allowed = f"also {lacking}: a log needs {', '.join(SITE_NEEDS)} at least (docs/offline.md)"
        require(not lacking, f"{path}: columns", schema.names[:20], allowed)
        return False, None
    seen = version.decode(errors="replace")
    allowed = f"{SCHEMA_VERSION}: write the log anew with this version, or read it with the one that wrote it"
    require(seen == str(SCHEMA_VERSION), f"{path}: schema version", seen, allowed)
    lacking = [c.name for c in COLUMNS if c.name not in schema.names]
    require(not lacking, f"{path}: columns", schema.names[:50], f"also {lacking}")
    text = metadata.get(CONFIG_KEY, b"{}")
    try:
        config = json.loads(text) if len(text) <= _CONFIG_LIMIT else None
    except (ValueError, RecursionError):
        config = None
    require(isinstance(config, dict), f"{path}: {CONFIG_KEY.decode()}", text[:40], "the settings of a run, as JSON")
    return True, config

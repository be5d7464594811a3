"""The files of a log: what they are called, how they are written and opened, whether they are what they should be."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from feedgym.env.checks import require
from feedgym.env.files import whole_file
from feedgym.env.log.columns import BY_NAME, COLUMNS, EXPLORATION, SCHEMA_VERSION

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

IMPRESSIONS = "impressions"
"""Folder of a run with its log, a part for each simulated day."""
ARTICLES_NAME = "articles.parquet"
"""All articles published so far."""
MODULES_NAME = "modules.parquet"
"""What modules showed, in a world that serves modules."""
OPENS = "opens"
"""Folder of a run with what was opened from elsewhere, a part for each simulated day."""
OPENS_NAME = "opens.parquet"
"""The same of a site's own log, one file."""
BESIDE = (ARTICLES_NAME, MODULES_NAME, OPENS_NAME)
"""Files beside the log; none of its parts."""
SITE_NEEDS = ("reader_id", "article_id", "time_hours", "clicked")
"""What a site's own log cannot do without."""
VERSION_KEY = b"feedgym_schema_version"
CONFIG_KEY = b"feedgym_config"
_CONFIG_LIMIT = 1_000_000
"""Bytes of settings, at most."""


def metadata_of(config: Mapping[str, Any]) -> dict[bytes, bytes]:
    """File metadata: the schema version, and the config as JSON with sorted keys."""
    text = json.dumps(config, sort_keys=True, allow_nan=False)
    return {VERSION_KEY: str(SCHEMA_VERSION).encode(), CONFIG_KEY: text.encode()}


def config_of(table: pa.Table) -> dict[str, Any]:
    """The config that a log, or its articles, was written with."""
    text = (table.schema.metadata or {}).get(CONFIG_KEY)
    if text is None:
        raise ValueError(f"table: got no {CONFIG_KEY.decode()!r} in its metadata, needs a table of read_impressions")
    config: dict[str, Any] = json.loads(text)
    return config


def write_table(path: str | Path, table: pa.Table, dictionary: Iterable[str] | bool = True) -> None:
    """Write Parquet (zstd), whole or not at all."""
    import pyarrow.parquet as pq

    encode = dictionary if isinstance(dictionary, bool) else list(dictionary)
    with whole_file(path) as temporary:
        # Level 1: the default, 3, takes 8 % longer for the same size.
        pq.write_table(table, temporary, compression="zstd", compression_level=1, use_dictionary=encode)


def may_lack(name: str, is_own: bool) -> bool:
    """Whether values of a column may be unknown: in a FeedGym log (``is_own``), or in a site's own."""
    return BY_NAME[name].nullable or (not is_own and name not in SITE_NEEDS)


def find_parts(path: Path) -> tuple[list[Path], Path | None]:
    """The parts of a log in the order of their names, and the articles beside it, if there are any.

    Args:
        path: folder of a run, folder of part files, which may be nested, or one Parquet file.

    Raises:
        FileNotFoundError: no such file, or no part file in the folder.
    """
    folder = path.parent if path.is_file() else path
    if path.is_file():
        parts = [path]
    elif path.is_dir():
        folder = path / IMPRESSIONS if (path / IMPRESSIONS).is_dir() else path
        parts = sorted(part for part in folder.rglob("*.parquet") if _is_part(part.relative_to(folder)))
    else:
        raise FileNotFoundError(f"log: got {str(path)!r}, needs a folder or a Parquet file that exists")
    if not parts:
        raise FileNotFoundError(f"log: got {str(path)!r}, needs a folder with part files such as day-0000.parquet")
    beside = (folder / ARTICLES_NAME, folder.parent / ARTICLES_NAME)
    return parts, next((found for found in beside if found.is_file()), None)


def _is_part(path: Path) -> bool:
    """Whether a file, by its path within the folder of a log, is of the log: not what tools keep there beside it."""
    hidden = any(name.startswith((".", "_")) for name in path.parts)
    return not hidden and path.name not in BESIDE and OPENS not in path.parts[:-1]


@contextlib.contextmanager
def opened(path: Path, needs: str = "a log") -> Iterator[pq.ParquetFile]:
    """A Parquet file whose names are text, until the block ends.

    Args:
        path: of the file.
        needs: what it should be, for messages.

    Raises:
        ValueError: cut short, damaged, or another kind of file, whether that shows at once or within the block.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path, pre_buffer=False) as file:
            _ = file.schema_arrow.names  # of a damaged file these may be no text
            yield file
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: got a file that is cut short or no Parquet, needs {needs} ({error})") from error


class Origin(NamedTuple):
    """Who wrote a log."""

    version: int | None
    """FeedGym's schema version; None: a site's own log."""
    config: dict[str, Any] | None
    """Settings of the run; None of a site's own."""

    @property
    def is_own(self) -> bool:
        """FeedGym wrote it."""
        return self.version is not None


def origin(path: Path, schema: pa.Schema, site_log: bool = True) -> Origin:
    """Whether FeedGym wrote a file with this schema, in which version and by which settings.

    Args:
        path: of the file, for messages.
        schema: the file's.
        site_log: a site's own log will do, too.

    Raises:
        ValueError: an unknown schema version, columns that lack, settings that are no JSON.
    """
    metadata = schema.metadata or {}
    version = metadata.get(VERSION_KEY)
    twice = sorted({name for name in schema.names if schema.names.count(name) > 1 and name in BY_NAME})
    require(not twice, f"{path}: columns", twice, "each name once")
    if version is None and not site_log:
        raise ValueError(
            f"{path}: got a Parquet file without FeedGym's schema version (columns {schema.names[:5]} ...), "
            "needs a log of write_impressions, or site_log=True for a site's own"
        )
    if version is None:
        lacking = [name for name in SITE_NEEDS if name not in schema.names]
        allowed = f"also {lacking}: a log needs {', '.join(SITE_NEEDS)} at least (docs/guide/offline.md)"
        require(not lacking, f"{path}: columns", schema.names[:20], allowed)
        return Origin(None, None)
    seen = version.decode(errors="replace")
    allowed = f"one of {', '.join(map(str, EXPLORATION))}: write it anew with this version, or read it with its own"
    require(seen in map(str, EXPLORATION), f"{path}: schema version", seen, allowed)
    lacking = [c.name for c in COLUMNS if c.name not in schema.names and c.since <= int(seen)]
    require(not lacking, f"{path}: columns", schema.names[:50], f"also {lacking}")
    text = metadata.get(CONFIG_KEY, b"{}")
    try:
        config = json.loads(text) if len(text) <= _CONFIG_LIMIT else None
    except (ValueError, RecursionError):
        config = None
    require(isinstance(config, dict), f"{path}: {CONFIG_KEY.decode()}", text[:40], "the settings of a run, as JSON")
    return Origin(int(seen), config)

"""Files that are whole or not there, whenever the process or the machine stops."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def whole_file(path: str | Path, temporary_name: str | None = None) -> Iterator[Path]:
    """Where to write a file that stands at ``path``, whole, once the block has ended.

    Args:
        path: of the file; what stands there is replaced, folders that lack are made.
        temporary_name: its name in the same folder while it is written; by default its own and ``.part``. For folders
            that somebody watches by names.

    Yields:
        The path to write to. If the block raises, nothing is left there, and ``path`` is as it was.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".part" if temporary_name is None else temporary_name)
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)

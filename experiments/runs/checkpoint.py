"""Files of a run that survive being killed at any moment.

Everything is written under another name and moved into place, so a file that is there is whole. ``done.json``
comes last: a folder with it is a finished run and is never touched again.
"""

import contextlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from feedgym.env.arrays import Arrays
from feedgym.env.files import whole_file

CHECKPOINT = "checkpoint.npz"
DONE = "done.json"
_LOCK = ".lock"


def write_bytes(path: Path, data: bytes) -> None:
    """Write a whole file or none."""
    with whole_file(path) as temporary:
        temporary.write_bytes(data)


def write_json(path: Path, values: Any) -> None:
    """Write JSON with sorted keys."""
    write_bytes(path, (json.dumps(values, indent=2, sort_keys=True) + "\n").encode())


def read_json(path: Path) -> Any:
    """Read what :func:`write_json` wrote."""
    return json.loads(path.read_text())


def kept_result(path: Path, settings: Any, make: Callable[[], Any]) -> Any:
    """What ``make`` returned under these settings, as JSON gives it back: from the file, or made now and written there.

    A file of other settings is replaced.
    """
    settings = json.loads(json.dumps(settings))
    if path.exists() and (found := read_json(path))["settings"] == settings:
        return found["result"]
    write_json(path, {"settings": settings, "result": make()})
    return read_json(path)["result"]


def file_name(label: str) -> str:
    """The label, with what a file's name may not have replaced."""
    return "".join(c if c.isalnum() or c in "-_.=" else "_" for c in label)


def save_arrays(path: Path, arrays: Arrays) -> None:
    """Write arrays as npz (no pickle), whole or not at all."""
    with whole_file(path) as temporary, temporary.open("wb") as file:
        np.savez(file, allow_pickle=False, **arrays)


def load_arrays(path: Path) -> Arrays:
    """Read what :func:`save_arrays` wrote."""
    with np.load(path, allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the folder: a run that was left behind by a killed parent ends before another one goes on.

    The lock goes with the process that holds it, however it ends.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / _LOCK).open("w") as file:
        try:
            import fcntl
        except ImportError:  # not on Windows, which does not replace open files either
            yield
            return
        fcntl.flock(file, fcntl.LOCK_EX)
        yield

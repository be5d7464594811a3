"""Files of a run that survive being killed at any moment.

Everything is written under another name and moved into place, so a file that is there is whole. ``done.json``
comes last: a folder with it is a finished run, and is not touched again unless other code does the run anew.
"""

import contextlib
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from feedgym.env.arrays import Arrays
from feedgym.env.files import whole_file
from feedgym.experiments.runs.code import changed, of_other_code, say

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


def kept_result(
    path: Path, settings: Any, make: Callable[[], Any], *, code: Mapping[str, str], reuse: bool = False
) -> Any:
    """What ``make`` returned under these settings, as JSON gives it back: from the file, or made now and written there.

    A file of other settings is replaced. One of other code, too, unless it is to be reused; both are said.

    Args:
        path: of the file.
        settings: whatever else the result depends on.
        make: makes the result.
        code: of what ``make`` executes, see ``code_with``.
        reuse: take what other code has made.
    """
    settings = json.loads(json.dumps(settings))
    if (found := found_result(path, settings)) is not None:
        parts = changed(found.get("code"), code)
        if parts:
            say(of_other_code(f"{path.name} is", parts) + (": taken (--reuse)" if reuse else ": made anew"))
        if reuse or not parts:
            return found["result"]
    write_json(path, {"settings": settings, "code": dict(code), "result": make()})
    return read_json(path)["result"]


def found_result(path: Path, settings: Any) -> Any:
    """What :func:`kept_result` has written under these settings: ``settings``, ``code`` and ``result``; None if not."""
    if not path.exists() or (found := read_json(path))["settings"] != json.loads(json.dumps(settings)):
        return None
    return found


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

"""Rows: what is finished of a study, in a file that is committed, from which the study goes on anywhere.

Finished runs and results lie in folders that are large and not committed. A row holds what the study's tables need of
one of them. When a study starts, rows are laid out: written where the study looks for what is finished, so that all
that holds there holds for them too. A row of other settings is no part of the study, and one of other code is done anew
or taken with ``--reuse``. While a study runs, rows are written as units are finished.

A file of rows is JSON, a line per row, in the order of the study's units. Numbers have nine digits: more than any table
shows. Of a run a row has the curves, what serving took, and how articles were ranked; not what was shown.
"""

import hashlib
import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from feedgym.experiments.reports import Curves, write_curves
from feedgym.experiments.runs import (
    CONFIG,
    CURVES,
    DONE,
    changed,
    found_result,
    load_run,
    read_json,
    standing,
    write_bytes,
    write_json,
)
from feedgym.experiments.studies.units import Unit

EVERY_SECONDS = 30.0
"""Between two looks for what has been finished."""
Row = dict[str, Any]
"""``path`` below the study's folder, digest of the ``settings``, ``code``, ``result``."""


def read_rows(file: Path, units: Sequence[Unit], root: Path) -> dict[Path, Row]:
    """Rows of these units, by path; others, such as those of other settings, are passed over.

    Args:
        file: of the rows; may be absent.
        units: of the study.
        root: the study's folder.
    """
    lines = file.read_text().splitlines() if file.exists() else []
    there = {(row["path"], row["settings"]): row for row in map(json.loads, lines)}
    keys = {unit.path: (_name(unit, root), _digest(unit.settings)) for unit in units}
    return {path: there[key] for path, key in keys.items() if key in there}


@contextmanager
def kept_rows(file: Path, units: Sequence[Unit], root: Path) -> Iterator[None]:
    """Lay rows out, then write them as units are finished inside, and once more at the end, however that comes.

    Rows that belong to none of the units are not written again.

    Args:
        file: of the rows; written if there is anything to write.
        units: of the study.
        root: the study's folder.
    """
    rows = read_rows(file, units, root)
    for unit in units:
        if unit.path in rows and _is_better(rows[unit.path], unit):
            lay_out(unit, rows[unit.path])
    stop = threading.Event()

    def watch() -> None:
        while not stop.wait(EVERY_SECONDS):
            # Files of a run that is done anew may go between two looks.
            with suppress(FileNotFoundError):
                _write(file, units, root, rows)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        stop.set()
        watcher.join()
        _write(file, units, root, rows)


def lay_out(unit: Unit, row: Row) -> None:
    """Write what a row holds where the study looks for it."""
    result = row["result"]
    if not unit.is_run:
        write_json(unit.path, {"settings": unit.settings, "code": row["code"], "result": result})
        return
    done = result["done"]
    totals = {name: np.array(values, dtype=np.float64) for name, values in result["curves"].items()}
    curves = Curves(done["num_readers"], done["days"], done["bin_hours"], totals)
    # The last one makes it a finished run.
    write_json(unit.path / CONFIG, {**unit.settings, "code": row["code"]})
    write_bytes(unit.path / CURVES, write_curves(curves).encode())
    write_json(unit.path / DONE, done)


def row_of(unit: Unit, root: Path) -> Row | None:
    """The row of a finished unit; None of others."""
    if unit.is_run:
        if standing(unit.path, {"code": unit.code}).state != "finished":
            return None
        code = read_json(unit.path / CONFIG).get("code")
        done = {name: value for name, value in read_json(unit.path / DONE).items() if name != "editor"}
        result: Any = {"done": done, "curves": load_run(unit.path).curves.snapshot()}
    else:
        found = found_result(unit.path, unit.settings)
        if found is None:
            return None
        code, result = found["code"], found["result"]
    return {"path": _name(unit, root), "settings": _digest(unit.settings), "code": code, "result": _brief(result)}


def _is_better(row: Row, unit: Unit) -> bool:
    """Whether a row is to take the place of what is there: nothing, or a result of other code where its own is not."""
    return unit.state == "to do" or (unit.state == "of other code" and unit.state_of(row["code"]) == "done")


def _write(file: Path, units: Sequence[Unit], root: Path, rows: dict[Path, Row]) -> None:
    """Take up what is finished by now. What was taken up of this code is not read again."""
    before = dict(rows)
    for unit in units:
        known = rows.get(unit.path)
        if known is None or changed(known["code"], unit.code):
            row = row_of(unit, root)
            if row is not None:
                rows[unit.path] = row
    found = [rows[unit.path] for unit in units if unit.path in rows]
    if found and (rows != before or not file.exists()):
        lines = [json.dumps(row, sort_keys=True, separators=(",", ":")) for row in found]
        write_bytes(file, ("\n".join(lines) + "\n").encode())


def _name(unit: Unit, root: Path) -> str:
    return unit.path.relative_to(root).as_posix()


def _digest(settings: Mapping[str, Any]) -> str:
    text = json.dumps(settings, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:10]


def _brief(value: Any) -> Any:
    """Numbers to nine digits; whole ones as such, arrays as lists."""
    if isinstance(value, Mapping):
        return {name: _brief(one) for name, one in value.items()}
    if isinstance(value, np.ndarray):
        return [int(one) if one.is_integer() else _brief(one) for one in value.tolist()]
    if isinstance(value, list | tuple):
        return [_brief(one) for one in value]
    return float(f"{value:.9g}") if isinstance(value, float) else value

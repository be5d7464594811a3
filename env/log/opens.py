"""The log of opens from elsewhere: a row for each, in parts of its own beside the impressions (docs/guide/log.md).

No slate showed what was opened, so none of the impression log's columns of slates and chances would mean anything.
Shapes: R rows, m opens of a tick.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from feedgym.env.arrays import Arrays, Ints
from feedgym.env.checks import require
from feedgym.env.feed import Opens, Visits
from feedgym.env.log.files import OPENS, OPENS_NAME, metadata_of, opened, write_table
from feedgym.env.log.ids import IDS, whole_ids

if TYPE_CHECKING:
    import pyarrow as pa

COLUMNS: dict[str, str] = {
    "time_hours": "float64",
    "tick": "int32",
    "reader_id": "int64",
    "number": "int64",
    "article_id": "int64",
    "channel": "category",
    "dwell_minutes": "float32",
    "reward": "float32",
    "device": "category",
}
"""Names and types, in this order; ``category`` is text by dictionary."""
NEEDED = ("time_hours", "reader_id", "article_id")
"""Columns that a site's own file of opens cannot do without."""


class OpenLog:
    """Collects the opens of a run, and writes a part for each simulated day.

    Args:
        config: all settings of the run, as JSON takes them; kept in the metadata of every part.
    """

    def __init__(self, config: Mapping[str, Any] | None = None) -> None:
        self._metadata = metadata_of(config or {})
        self._ticks: list[Opens] = []
        self._device_names: tuple[str, ...] = ()

    def append(self, visits: Visits) -> None:
        """Add what was opened when the tick of these visits began, if anything was."""
        if visits.opens is not None:
            self._ticks.append(visits.opens)
            self._device_names = visits.device_names

    def flush(self, path: str | Path) -> int:
        """Write what was collected as one part file, whole or not at all, and begin anew; the number of rows."""
        import pyarrow as pa

        arrays = [self._column(name, kind) for name, kind in COLUMNS.items()]
        table = pa.Table.from_arrays(arrays, names=list(COLUMNS)).replace_schema_metadata(self._metadata)
        write_table(path, table, ("time_hours", "tick", "channel", "article_id"))
        self._ticks.clear()
        return int(table.num_rows)

    def _column(self, name: str, kind: str) -> pa.Array:
        import pyarrow as pa

        if name in ("time_hours", "tick"):
            field, sizes = ("now" if name == "time_hours" else "tick"), [len(opens) for opens in self._ticks]
            return pa.array(np.repeat([getattr(opens, field) for opens in self._ticks], sizes), pa.type_for_alias(kind))
        columns = [getattr(opens, name) for opens in self._ticks]
        if not columns or columns[0] is None:
            return pa.nulls(sum(len(opens) for opens in self._ticks), _type(kind))
        values = np.concatenate(columns)
        if kind != "category":
            return pa.array(values, pa.type_for_alias(kind))
        names = self._ticks[0].channel_names if name == "channel" else self._device_names
        return pa.DictionaryArray.from_arrays(
            pa.array(values.astype(np.int32), mask=values < 0), pa.array(names, pa.string())
        )


def find_opens(path: Path) -> list[Path]:
    """Files of opens beside a log: the parts of a run, or ``opens.parquet``; none where nothing was opened so.

    Args:
        path: of the log, as for ``LogReader``: folder of a run, folder of part files, or one file.
    """
    folder = path.parent if path.is_file() else path
    for place in (folder, folder.parent):
        parts = sorted((place / OPENS).glob("*.parquet")) if (place / OPENS).is_dir() else []
        single = place / OPENS_NAME
        if parts or single.is_file():
            return parts or [single]
    return []


def read_opens(path: str | Path) -> pa.Table:
    """The opens beside a log as an Arrow table, in the order of their parts; of no rows where there are none.

    Columns that a site's own file lacks are null. ``NEEDED`` must be there.

    Raises:
        ValueError: a file that is cut short or lacks what is needed.
    """
    import pyarrow as pa

    kinds = {name: _type(kind) for name, kind in COLUMNS.items()}
    tables = []
    for part in find_opens(Path(path)):
        with opened(part, "a file of opens") as file:
            names = file.schema_arrow.names
            lacking = [name for name in NEEDED if name not in names]
            require(not lacking, f"{part}: columns", names[:20], f"also {lacking}")
            table = file.read(columns=[name for name in COLUMNS if name in names])
        try:
            columns = [
                (whole_ids(table[name].combine_chunks()) if name in IDS else table[name]).cast(kind)
                if name in table.column_names
                else pa.nulls(table.num_rows, kind)
                for name, kind in kinds.items()
            ]
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            raise ValueError(f"{part}: got a column of another type than docs/guide/log.md says ({error})") from error
        tables.append(pa.table(dict(zip(kinds, columns, strict=True))))
    return pa.concat_tables(tables) if tables else pa.table({name: pa.nulls(0, kind) for name, kind in kinds.items()})


def open_columns(path: str | Path) -> tuple[Arrays, tuple[str, ...], tuple[str, ...]]:
    """The opens beside a log as arrays (R,), checked, in order of time; the names of the channels, and of the devices.

    ``channel`` and ``device`` are indices of the names, -1 where unknown; ``tick`` and ``number`` are -1 where unknown,
    and minutes and rewards 0.

    Raises:
        ValueError: a value that is missing or impossible, naming the column.
    """
    import pyarrow as pa

    table = read_opens(path)
    columns: Arrays = {}
    for name, kind in COLUMNS.items():
        if kind == "category":
            continue
        array = table[name]
        require(name not in NEEDED or array.null_count == 0, f"opens: nulls in {name!r}", array.null_count, "0")
        missing = 0.0 if kind.startswith("float") else -1
        columns[name] = array.fill_null(pa.scalar(missing, array.type)).to_numpy()
    hours, minutes = columns["time_hours"], columns["dwell_minutes"]
    require(bool(np.isfinite(hours).all() and (hours >= 0).all()), "opens: time_hours", "a number", "hours >= 0")
    fits = bool(np.isfinite(minutes).all() and (minutes >= 0).all())
    require(fits, "opens: dwell_minutes", "a number", "finite minutes >= 0")
    for name in ("reader_id", "article_id"):
        least = int(columns[name].min(initial=0))
        require(least >= 0, f"opens: {name}", least, "ids >= 0")
    columns["channel"], channels = _coded(table["channel"])
    columns["device"], devices = _coded(table["device"])
    order = np.argsort(hours, kind="stable")
    return {name: values[order] for name, values in columns.items()}, channels, devices


def _coded(words: pa.ChunkedArray) -> tuple[Ints, tuple[str, ...]]:
    """Words (R,) as indices of their names, -1 where there is none, and the names."""
    import pyarrow as pa

    encoded = pa.array(words.cast(pa.string()).to_pylist(), pa.string()).dictionary_encode()
    codes: Ints = encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
    return codes, tuple(encoded.dictionary.to_pylist())


def _type(kind: str) -> pa.DataType:
    import pyarrow as pa

    return pa.dictionary(pa.int32(), pa.string()) if kind == "category" else pa.type_for_alias(kind)

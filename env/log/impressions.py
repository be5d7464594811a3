"""The impression log as Parquet: written in one go, or read back (columns: ``log_columns``, docs/log.md).

Shapes: R rows, a row per impression. The same data give the same bytes.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from feedgym.env.arrays import Doubles
from feedgym.env.checks import require
from feedgym.env.log.columns import BY_NAME, COLUMNS, DICTIONARY, SCHEMA_VERSION, arrow_type, log_schema

if TYPE_CHECKING:
    import pyarrow as pa

VERSION_KEY = b"feedgym_schema_version"
CONFIG_KEY = b"feedgym_config"
ARTICLES_NAME = "articles.parquet"
"""All articles published so far."""
MODULES_NAME = "modules.parquet"
"""What modules showed, in a world that serves modules."""
BESIDE = (ARTICLES_NAME, MODULES_NAME)
"""Files beside the log; none of its parts."""
SITE_NEEDS = ("reader_id", "article_id", "time_hours", "clicked")
"""What a site's own log cannot do without."""
TOLERANCE = 1e-9
"""By which a slate's log propensity may differ from the sum over its slots."""


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
    """Write Parquet (zstd) under another name first: a file that stands at ``path`` is a whole one."""
    import pyarrow.parquet as pq

    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".tmp")
    encode = dictionary if isinstance(dictionary, bool) else list(dictionary)
    try:
        # Level 1: the default, 3, takes 8 % longer for the same size.
        pq.write_table(table, temporary, compression="zstd", compression_level=1, use_dictionary=encode)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_impressions(
    path: str | Path,
    columns: pa.Table | Mapping[str, Any],
    *,
    config: Mapping[str, Any] | None = None,
    run_id: str | None = None,
    policy: str | None = None,
) -> None:
    """Write a log of impressions to one Parquet file.

    Args:
        path: of the file; what stands there is replaced.
        columns: an Arrow table, or arrays (R,) by name. Nullable columns may be left out; NaN becomes null in them.
        config: all settings of the run, as JSON takes them; kept in the file's metadata.
        run_id: of all rows, instead of a column.
        policy: of all rows, instead of a column.

    Raises:
        ValueError: columns that lack, are unknown, or hold what they must not; a slate whose
            ``log_propensity`` is not the sum of the logs of its ``slot_propensity``.
    """
    import pyarrow as pa

    given = {name: columns[name] for name in (columns.column_names if isinstance(columns, pa.Table) else columns)}
    unknown = sorted(set(given) - set(BY_NAME))
    require(not unknown, "columns", unknown, f"names out of {list(BY_NAME)}")
    lengths = {name: len(values) for name, values in given.items()}
    require(len(set(lengths.values())) == 1, "columns", lengths, "one length for all of them")
    num_rows = next(iter(lengths.values()))
    for name, value in (("run_id", run_id), ("policy", policy)):
        if value is not None:
            require(name not in given, name, value, "a column or an argument, not both")
            given[name] = constant(value, num_rows)
    lacking = [c.name for c in COLUMNS if not c.nullable and c.name not in given]
    require(not lacking, "columns", sorted(given), f"also {lacking}")
    table = pa.Table.from_arrays(
        [_as_column(c.name, given.get(c.name), num_rows) for c in COLUMNS], schema=log_schema()
    )
    _check_rows(table)
    write_table(path, table.replace_schema_metadata(metadata_of(config or {})), DICTIONARY)


def read_impressions(path: str | Path, columns: Iterable[str] | None = None, *, site_log: bool = False) -> pa.Table:
    """Read a log of impressions.

    Args:
        path: a Parquet file, or a folder of part files, which are read in the order of their names
            (``articles.parquet`` is none of them).
        columns: names of the columns to read, in that order; all by default.
        site_log: accept a site's own log: no schema version is asked for, further columns are left out, and
            columns that it lacks come back as nulls (but for ``SITE_NEEDS``).

    Returns:
        An Arrow table in the types of ``log_columns``, with the file's metadata (see :func:`config_of`).

    Raises:
        FileNotFoundError: no such file, or no part file in the folder.
        ValueError: a file that is cut short, is no impression log, or has another schema version.
    """
    import pyarrow as pa

    names = [c.name for c in COLUMNS] if columns is None else list(columns)
    unknown = [name for name in names if name not in BY_NAME]
    require(not unknown, "columns", unknown, f"names out of {list(BY_NAME)}")
    tables = [_read_part(part, names, site_log) for part in _parts(Path(path))]
    configs = {(table.schema.metadata or {}).get(CONFIG_KEY) for table in tables}
    require(len(configs) == 1, f"{path}: configs of the part files", len(configs), "1: all parts of one run")
    return pa.concat_tables(tables)


def constant(value: str | None, num_rows: int) -> pa.Array:
    """One text, or null, in each of R rows, as a dictionary of one word."""
    import pyarrow as pa

    kind = pa.dictionary(pa.int32(), pa.string())
    if value is None:
        return pa.nulls(num_rows, kind)
    return pa.DictionaryArray.from_arrays(pa.array(np.zeros(num_rows, dtype=np.int32)), pa.array([value]))


def _as_column(name: str, values: Any, num_rows: int) -> pa.ChunkedArray | pa.Array:
    """Values as the column's type; NaN is null where nulls are allowed."""
    import pyarrow as pa

    column, kind = BY_NAME[name], arrow_type(BY_NAME[name])
    if values is None:
        return pa.nulls(num_rows, kind)
    try:
        if isinstance(values, pa.Array | pa.ChunkedArray):
            array = values
        else:
            array = pa.array(values, from_pandas=column.nullable)
        array = array if array.type == kind else array.cast(kind)
    except (pa.ArrowException, TypeError, ValueError) as error:
        raise ValueError(f"columns[{name!r}]: got {_type_of(values)}, needs {column.type} ({error})") from error
    nulls = array.null_count
    require(column.nullable or nulls == 0, f"columns[{name!r}]: nulls", nulls, "0: a value in every row")
    return array


def _type_of(values: Any) -> object:
    return getattr(values, "type", getattr(values, "dtype", type(values).__name__))


def _check_rows(table: pa.Table) -> None:
    """Visit by visit, wherever its rows stand."""
    visit_id = table["visit_id"].to_numpy()
    if len(visit_id) == 0:
        return
    _, first, inverse = np.unique(visit_id, return_index=True, return_inverse=True)
    joint = table["log_propensity"].to_numpy()
    apart = np.flatnonzero(joint != joint[first][inverse])
    if len(apart):
        row = int(apart[0])
        raise ValueError(
            f"log_propensity: got {float(joint[row])!r} in row {row} of visit {visit_id[row]}, needs one in all rows"
        )
    slots = slot_logs(table["slot_propensity"].to_numpy())
    slot_sum: Doubles = np.bincount(inverse, weights=slots).astype(np.float64)
    check_joint(joint[first], slot_sum, visit_id[first])


def slot_logs(slot_propensity: Doubles) -> Doubles:
    """Natural logs of propensities, any shape, all within (0, 1]."""
    low, high = float(slot_propensity.min(initial=1.0)), float(slot_propensity.max(initial=1.0))
    require(low > 0.0 and high <= 1.0 + TOLERANCE, "slot_propensity", (low, high), "above 0, at most 1")
    logs: Doubles = np.log(slot_propensity)
    return logs


def check_joint(log_propensity: Doubles, slot_sum: Doubles, visit_id: np.ndarray[Any, Any]) -> None:
    """Refuse a visit whose joint propensity is not the product of its slots (algorithms.md 2.3), all (n,)."""
    # Written so that NaN fails.
    bad = ~(np.abs(log_propensity - slot_sum) <= TOLERANCE)
    if bad.any():
        row = int(np.argmax(bad))
        raise ValueError(
            f"log_propensity: got {float(log_propensity[row])!r} for visit {int(visit_id[row])}, "
            f"needs {float(slot_sum[row])!r}, the sum of the logs of its slot_propensity"
        )


def _parts(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise FileNotFoundError(f"path: got {str(path)!r}, needs a Parquet file, or a folder of them, that exists")
    parts = sorted(p for p in path.glob("*.parquet") if p.name not in BESIDE)
    if not parts:
        raise FileNotFoundError(f"path: got {str(path)!r}, needs a folder with part files such as day-0000.parquet")
    return parts


def _read_part(path: Path, names: list[str], site_log: bool) -> pa.Table:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            present = set(file.schema_arrow.names)
            _check_origin(path, file.schema_arrow, site_log)
            table = file.read(columns=[name for name in names if name in present])
    except (pa.ArrowException, OSError) as error:
        raise ValueError(
            f"{path}: got a file that is cut short or no Parquet, needs an impression log ({error})"
        ) from error
    kinds = {name: arrow_type(BY_NAME[name]) for name in names}
    try:
        arrays = [
            table[name].cast(kinds[name]) if name in present else pa.nulls(table.num_rows, kinds[name])
            for name in names
        ]
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise ValueError(f"{path}: got a column of another type than docs/log.md says ({error})") from error
    fields = [pa.field(name, kinds[name], nullable=site_log or BY_NAME[name].nullable) for name in names]
    return pa.Table.from_arrays(arrays, schema=pa.schema(fields, metadata=table.schema.metadata))


def _check_origin(path: Path, schema: pa.Schema, site_log: bool) -> None:
    version = (schema.metadata or {}).get(VERSION_KEY)
    if site_log:
        lacking = [name for name in SITE_NEEDS if name not in schema.names]
        require(not lacking, f"{path}: columns", schema.names, f"also {lacking}")
        return
    if version is None:
        raise ValueError(
            f"{path}: got a Parquet file without FeedGym's schema version (columns {schema.names[:5]} ...), "
            "needs a log of write_impressions, or site_log=True for a site's own"
        )
    require(version == str(SCHEMA_VERSION).encode(), f"{path}: schema version", version.decode(), f"{SCHEMA_VERSION}")
    lacking = [c.name for c in COLUMNS if c.name not in schema.names]
    require(not lacking, f"{path}: columns", schema.names, f"also {lacking}")

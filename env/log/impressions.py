"""The impression log as a table: written in one go, or read back (columns: ``columns``, docs/guide/log.md).

Shapes: R rows, a row per impression. The same data give the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from feedgym.env.arrays import Doubles
from feedgym.env.checks import require
from feedgym.env.log.columns import BY_NAME, COLUMNS, DICTIONARY, arrow_type, log_schema
from feedgym.env.log.files import CONFIG_KEY, find_parts, may_lack, metadata_of, opened, origin, write_table
from feedgym.env.log.values import check_type

if TYPE_CHECKING:
    import pyarrow as pa

TOLERANCE = 1e-9
"""By which a slate's log propensity may differ from the sum over its slots."""


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
        path: a Parquet file, a folder of part files, which are read in the order of their names
            (``articles.parquet`` is none of them), or the folder of a run.
        columns: names of the columns to read, in that order; all by default.
        site_log: accept a site's own log, without a schema version: further columns are left out, and columns
            that it lacks come back as nulls (but for ``SITE_NEEDS``).

    Returns:
        An Arrow table in the types of ``columns``, with the file's metadata (see :func:`config_of`). Columns that an
        older version did not have are null.

    Raises:
        FileNotFoundError: no such file, or no part file in the folder.
        ValueError: a file that is cut short, is no impression log, or has another schema version.
    """
    import pyarrow as pa

    names = [c.name for c in COLUMNS] if columns is None else list(columns)
    unknown = [name for name in names if name not in BY_NAME]
    require(not unknown, "columns", unknown, f"names out of {list(BY_NAME)}")
    parts, _ = find_parts(Path(path))
    tables = [_read_part(part, names, site_log) for part in parts]
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
    """Refuse a visit whose joint propensity is not the product of its slots (docs/mathematics.md 2.3), all (n,)."""
    # Written so that NaN fails.
    bad = ~(np.abs(log_propensity - slot_sum) <= TOLERANCE)
    if bad.any():
        row = int(np.argmax(bad))
        raise ValueError(
            f"log_propensity: got {float(log_propensity[row])!r} for visit {int(visit_id[row])}, "
            f"needs {float(slot_sum[row])!r}, the sum of the logs of its slot_propensity"
        )


def _read_part(path: Path, names: list[str], site_log: bool) -> pa.Table:
    """Columns of one part file in the log's own types."""
    import pyarrow as pa

    with opened(path) as file:
        schema = file.schema_arrow
        is_own = origin(path, schema, site_log).is_own
        present = [name for name in names if name in schema.names]
        for name in present:
            check_type(str(path), name, schema.field(name).type, may_lack(name, is_own))
        table = file.read(columns=present)
    kinds = {name: arrow_type(BY_NAME[name]) for name in names}
    try:
        arrays = [
            table[name].cast(kinds[name]) if name in present else pa.nulls(table.num_rows, kinds[name])
            for name in names
        ]
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise ValueError(f"{path}: got a column of another type than docs/guide/log.md says ({error})") from error
    lacking = {name for name in names if name not in present}
    fields = [
        pa.field(name, kinds[name], nullable=site_log or BY_NAME[name].nullable or name in lacking) for name in names
    ]
    return pa.Table.from_arrays(arrays, schema=pa.schema(fields, metadata=table.schema.metadata))

"""A log of a few visits, written column by column, and ways to write it wrong."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from feedgym.env import read_impressions, write_impressions
from feedgym.env.log.reader import LogReader

K, VISITS = 3, 40


def columns(num_visits: int = VISITS) -> dict[str, Any]:
    """A log of visits of three positions, two at a tick, a tick an hour."""
    rng = np.random.default_rng(1)
    n, visit = num_visits * K, np.arange(num_visits)
    of = np.repeat(visit, K)
    slot = 0.05 + 0.9 * rng.random(n)
    marginal = np.where(rng.random(n) < 0.3, np.nan, 0.5)
    clicked = rng.random(n) < 0.3
    values = {
        "run_id": ["run"] * n,
        "policy": ["popular"] * n,
        "policy_version": np.zeros(n, np.int32),
        "time_hours": of // 2 * 1.0,
        "slate_made_hours": of // 2 * 1.0,
        "tick": of // 2,
        "visit_id": 1000 + of,
        "reader_id": of % 7,
        "visit": of // 7,
        "session": np.where(of < 10, np.nan, 2),
        "slate_id": 1000 + of,
        "position": np.tile(np.arange(K), num_visits),
        "article_id": rng.integers(-1, 500, n),
        "shortlist_size": np.full(n, 30),
        "num_live": np.full(n, 300),
        "epsilon": np.full(n, 0.1),
        "temperature": np.full(n, 0.5),
        "greedy": np.zeros(n, bool),
        "explored": of % 11 == 0,
        "in_shortlist": rng.random(n) < 0.5,
        "logit": rng.standard_normal(n).astype(np.float32),
        "log_normaliser": 4.0 + of / 100,
        "slot_propensity": slot,
        "slot_marginal": marginal,
        "inclusion": marginal,
        "inclusion_time": np.full(n, 3.5),
        "log_propensity": np.repeat(np.log(slot).reshape(-1, K).sum(axis=1), K),
        "clicked": clicked,
        "dwell_minutes": np.where(clicked, rng.random(n), 0.0).astype(np.float32),
        "subscribed": of % 9 == 0,
        "reward": rng.random(n).astype(np.float32),
        "hours_to_next_visit": np.full(n, np.nan),
        "terminated": np.zeros(n, bool),
        "truncated": np.zeros(n, bool),
        "device": [None if i % 3 == 0 else ("pc", "phone")[i % 2] for i in of],
    }
    values["session"] = pa.array([None if x != x else int(x) for x in values["session"]], pa.int32())
    return values


def write_log(folder: Path, parts: int = 2) -> Path:
    table = {name: pa.array(values, from_pandas=True) for name, values in columns().items()}
    edges = np.linspace(0, VISITS, parts + 1).astype(int) * K
    for number, (start, end) in enumerate(pairwise(edges)):
        part = {name: values[start:end] for name, values in table.items()}
        write_impressions(folder / "impressions" / f"day-{number:04d}.parquet", part, config={"seed": 3})
    return folder


def table_of(folder: Path) -> pa.Table:
    return read_impressions(folder / "impressions")


def rewrite(folder: Path, table: pa.Table, **options: Any) -> Path:
    """The log as one part file with this table."""
    for path in (folder / "impressions").iterdir():
        path.unlink()
    pq.write_table(table, folder / "impressions" / "day-0000.parquet", **options)
    return folder


def with_value(table: pa.Table, name: str, row: int, value: Any, kind: pa.DataType | None = None) -> pa.Table:
    values = table[name].to_pylist()
    values[row] = value
    at = table.column_names.index(name)
    kind = kind or table.schema.field(name).type
    if pa.types.is_dictionary(kind):
        kind = pa.string()
    return table.set_column(at, pa.field(name, kind), pa.array(values, kind))


def all_visits(reader: LogReader) -> dict[str, Any]:
    stretches = list(reader.visits())
    return {name: np.concatenate([stretch[name] for stretch in stretches]) for name in stretches[0]}

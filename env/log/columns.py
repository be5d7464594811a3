"""The columns of the impression log: names, order, types and meaning (docs/guide/log.md says the same).

A row is an impression: one article at one position of one slate. What belongs to a visit stands in each of
its K rows. Arrow is imported late: whoever imports ``feedgym.env`` does not wait for it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import pyarrow as pa

SCHEMA_VERSION = 2
"""Goes up with any change of names, order, types or meaning below. Older versions are read."""

Exploration = Literal["visits", "positions"]
EXPLORATION: dict[int, Exploration] = {1: "positions", 2: "visits"}
"""What explored with chance epsilon under the policies of each version. ``visits``: a visit, which then got a uniform
slate. ``positions``: each position was drawn from weights ``eps / N + (1 - eps) p`` of what was left, and showed more
uniform articles than epsilon, the more peaked p was."""


@dataclass(frozen=True)
class Column:
    """One column of the log."""

    name: str
    type: str
    """Arrow's name of the type; ``category`` is text by dictionary."""
    per: Literal["run", "visit", "impression"]
    """What it belongs to: a visit's value stands in each of its rows."""
    nullable: bool = False
    since: int = 1
    """The version that has it first."""


COLUMNS = (
    Column("run_id", "category", "run"),
    Column("policy", "category", "run"),
    Column("policy_version", "int32", "visit"),
    Column("time_hours", "float64", "visit"),
    Column("slate_made_hours", "float64", "visit"),
    Column("tick", "int32", "visit"),
    Column("visit_id", "int64", "visit"),
    Column("reader_id", "int64", "visit"),
    Column("visit", "int32", "visit"),
    Column("session", "int32", "visit", nullable=True),
    Column("slate_id", "int64", "visit"),
    Column("position", "int32", "impression"),
    Column("article_id", "int64", "impression"),
    Column("list_position", "int32", "impression", nullable=True, since=2),
    Column("num_skipped_expired", "int32", "visit", nullable=True, since=2),
    Column("num_skipped_excluded", "int32", "visit", nullable=True, since=2),
    Column("shortlist_size", "int32", "visit"),
    Column("num_live", "int32", "visit"),
    Column("epsilon", "float64", "visit"),
    Column("temperature", "float64", "visit"),
    Column("greedy", "bool", "visit"),
    Column("explored", "bool", "visit", nullable=True, since=2),
    Column("in_shortlist", "bool", "impression"),
    Column("logit", "float32", "impression", nullable=True),
    Column("log_normaliser", "float64", "visit", nullable=True, since=2),
    Column("slot_propensity", "float64", "impression"),
    Column("slot_marginal", "float64", "impression", nullable=True),
    Column("inclusion", "float64", "impression", nullable=True),
    Column("inclusion_time", "float64", "visit", nullable=True),
    Column("log_propensity", "float64", "visit"),
    Column("clicked", "bool", "impression"),
    Column("dwell_minutes", "float32", "impression"),
    Column("subscribed", "bool", "visit"),
    Column("reward", "float32", "impression"),
    Column("hours_to_next_visit", "float64", "visit", nullable=True),
    Column("terminated", "bool", "visit"),
    Column("truncated", "bool", "visit"),
    Column("device", "category", "visit", nullable=True),
)
BY_NAME = {column.name: column for column in COLUMNS}
# Few values, or values that come back: Parquet's dictionary makes these smaller, and the others larger and slower.
DICTIONARY = (
    *("run_id", "policy", "policy_version", "time_hours", "slate_made_hours", "tick", "visit", "session"),
    *("position", "article_id", "list_position", "num_skipped_expired", "num_skipped_excluded", "shortlist_size"),
    *("num_live", "epsilon", "temperature", "hours_to_next_visit"),
    "device",
)
"""Columns that are written with Parquet's dictionary encoding."""


def arrow_type(column: Column) -> pa.DataType:
    """The column's Arrow type."""
    import pyarrow as pa

    if column.type == "category":
        return pa.dictionary(pa.int32(), pa.string())
    return pa.type_for_alias(column.type)


def log_schema() -> pa.Schema:
    """The whole log's Arrow schema, without metadata."""
    import pyarrow as pa

    return pa.schema([pa.field(c.name, arrow_type(c), nullable=c.nullable) for c in COLUMNS])

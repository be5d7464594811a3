"""What a log must not hold is named: values, rows that do not fit each other, files that are damaged."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from feedgym.env import read_impressions, write_impressions
from feedgym.env.log.columns import BY_NAME
from feedgym.env.log.reader import LogReader
from feedgym.env.log.values import MAX_SLATE
from helpers.logs.written import K, all_visits, columns, rewrite, table_of, with_value, write_log


@pytest.mark.parametrize(
    ("name", "value", "needs"),
    [
        ("time_hours", -1.0, "hours since the log's hour 0"),
        ("time_hours", float("inf"), "hours since the log's hour 0"),
        ("time_hours", 1.7e9, "hours since the log's hour 0"),
        ("tick", -1, "a count >= 0"),
        ("reader_id", -5, "an id >= 0"),
        ("reader_id", 2**62 + 1, "an id >= 0, at most"),
        ("visit_id", -3, "an id >= 0"),
        ("position", 2**31 - 1, f"a position from 0 .* to {MAX_SLATE - 1}"),
        ("position", -2, "a position from 0"),
        ("article_id", -2, "an id of articles.parquet, or -1"),
        ("epsilon", 1.5, "a share between 0 and 1"),
        ("epsilon", float("nan"), "a share between 0 and 1"),
        ("slot_propensity", float("nan"), "a chance above 0, at most 1"),
        ("slot_propensity", 1.5, "a chance above 0, at most 1"),
        ("slot_propensity", 0.0, "a chance above 0, at most 1"),
        ("slot_propensity", -0.1, "a chance above 0, at most 1"),
        ("slot_marginal", float("nan"), "a chance above 0, at most 1"),
        ("inclusion", 1.1, "a chance above 0, at most 1"),
        ("inclusion_time", -1.0, "a number >= 0"),
        ("dwell_minutes", -0.5, "minutes from 0 to"),
        ("dwell_minutes", float("inf"), "minutes from 0 to"),
        ("reward", float("nan"), "a finite number"),
    ],
)
def test_a_value_that_cannot_be_is_named(name: str, value: Any, needs: str, tmp_path: Path) -> None:
    row = 8
    rewrite(write_log(tmp_path), with_value(table_of(tmp_path), name, row, value))
    message = rf"day-0000.parquet: row {row}, column '{name}': got {re.escape(repr(value))}, needs {needs}"
    with pytest.raises(ValueError, match=message):
        LogReader(tmp_path, batch_rows=5).summary  # noqa: B018


@pytest.mark.parametrize("name", ["num_live", "tick", "session", "position"])
@pytest.mark.parametrize("value", [2**31, 2**40, 2**62, -(2**40)])
def test_counts_beyond_all_measure_are_named(name: str, value: int, tmp_path: Path) -> None:
    """In a column that is wide enough to hold them: nothing is allocated by a file's word."""
    table = with_value(table_of(write_log(tmp_path)), name, 3, value, pa.int64())
    with pytest.raises(ValueError, match=rf"day-0000.parquet: row 3, column '{name}': got {value}, needs a "):
        _ = LogReader(rewrite(tmp_path, table)).summary


@pytest.mark.parametrize(
    ("name", "row", "value", "message"),
    [
        ("clicked", 4, None, r"row 4, column 'clicked': got None, needs a value in every row"),
        ("slot_propensity", 4, None, r"row 4, column 'slot_propensity': got None, needs a value in every row"),
        ("reader_id", 4, 6, r"column 'reader_id': got 6 and 1 in one visit"),
        ("subscribed", 0, False, r"column 'subscribed': got True and False in one visit"),
        ("position", 4, 0, r"column 'position': got 0 twice at 0.0 h for reader 1"),
        ("tick", 30, 17, r"column 'tick': got (5 and 17|17 and 5) in one visit"),
    ],
)
def test_rows_that_do_not_fit_each_other_are_named(
    name: str, row: int, value: Any, message: str, tmp_path: Path
) -> None:
    rewrite(write_log(tmp_path), with_value(table_of(tmp_path), name, row, value))
    with pytest.raises(ValueError, match=message):
        all_visits(LogReader(tmp_path, batch_rows=20))


def test_a_clock_that_does_not_keep_time_is_refused(tmp_path: Path) -> None:
    table = table_of(write_log(tmp_path))
    for row in range(30, 30 + K):
        table = with_value(table, "tick", row, 17)
    with pytest.raises(ValueError, match=r"column 'tick': got 17 at 5.0 h, needs 24 ticks in a day, as before"):
        LogReader(rewrite(tmp_path, table)).summary  # noqa: B018


def test_visits_out_of_order_are_refused(tmp_path: Path) -> None:
    table = table_of(write_log(tmp_path))
    rewrite(tmp_path, pa.concat_tables([table.slice(60), table.slice(0, 60)]))
    message = r"column 'time_hours': got 0.0 \(reader 0\) after 19.0, needs rows in order of time"
    for batch_rows in (7, 1000):
        with pytest.raises(ValueError, match=message):
            LogReader(tmp_path, batch_rows=batch_rows).summary  # noqa: B018


def test_an_endless_visit_is_refused(tmp_path: Path) -> None:
    rows = 5000
    table = {"reader_id": [1] * rows, "time_hours": [0.0] * rows, "article_id": [1] * rows, "clicked": [False] * rows}
    pq.write_table(pa.table(table), tmp_path / "log.parquet")
    with pytest.raises(ValueError, match="rows of one visit: got 'more than 1024'"):
        LogReader(tmp_path / "log.parquet", batch_rows=100).summary  # noqa: B018


@pytest.mark.parametrize(
    ("name", "kind", "value"),
    [
        ("reader_id", pa.string(), "7"),
        ("article_id", pa.float64(), 1.0),
        ("clicked", pa.string(), "yes"),
        ("slot_propensity", pa.string(), "0.1"),
        ("time_hours", pa.timestamp("us"), 0),
        ("position", pa.list_(pa.int64()), [1]),
    ],
)
def test_a_column_of_another_type_is_named(name: str, kind: pa.DataType, value: Any, tmp_path: Path) -> None:
    table = table_of(write_log(tmp_path))
    at = table.column_names.index(name)
    rewrite(tmp_path, table.set_column(at, name, pa.array([value] * len(table), kind)))
    with pytest.raises(
        ValueError, match=rf"day-0000.parquet: column '{name}': got type .*, needs {BY_NAME[name].type}"
    ):
        LogReader(tmp_path)


def test_parts_of_two_logs_are_refused(tmp_path: Path) -> None:
    write_log(tmp_path)
    part = {name: values[-K:] for name, values in ((n, pa.array(v, from_pandas=True)) for n, v in columns().items())}
    write_impressions(tmp_path / "impressions" / "day-0009.parquet", part, config={"seed": 4})
    with pytest.raises(ValueError, match=r"day-0009.parquet: settings and columns: got .*parts of one log"):
        LogReader(tmp_path)


def read_all(path: Path) -> str:
    """What comes of reading a damaged file: a clear message, or all of its rows."""
    try:
        return str(len(all_visits(LogReader(path, batch_rows=1000))["reader_id"]))
    except ValueError as error:
        return "refused" if str(path) in str(error) or "column" in str(error) else f"unclear: {error}"


def test_a_file_that_is_cut_short_or_damaged_gets_a_message(tmp_path: Path) -> None:
    write_log(tmp_path, parts=1)
    path = tmp_path / "impressions" / "day-0000.parquet"
    whole = path.read_bytes()
    for size in (0, 3, 8, len(whole) // 3, len(whole) // 2, len(whole) - 9, len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(ValueError, match="cut short or no Parquet"):
            LogReader(path)
    path.write_bytes(b"reader_id,article_id\n1,2\n" * 100)
    with pytest.raises(ValueError, match="cut short or no Parquet"):
        LogReader(path)
    rng = np.random.default_rng(0)
    outcomes = set()
    for _ in range(60):
        damaged = bytearray(whole)
        for at in rng.integers(4, len(whole), 3):
            damaged[at] ^= 1 << int(rng.integers(8))
        path.write_bytes(bytes(damaged))
        outcomes.add(read_all(path))
    assert "refused" in outcomes
    assert not [outcome for outcome in outcomes if outcome.startswith("unclear")]


def test_both_readers_refuse_a_file_in_the_same_words(tmp_path: Path) -> None:
    table = table_of(write_log(tmp_path, parts=1))
    site = table.replace_schema_metadata(None)
    later = table.replace_schema_metadata({b"feedgym_schema_version": b"3"})
    wrong = table.set_column(table.schema.get_field_index("clicked"), "clicked", pa.array(["yes"] * len(table)))
    cases = {
        "schema version": later,
        "'clicked': got type string, needs bool": wrong,
        r"columns: got .*, needs also \['article_id'\]": site.drop_columns("article_id"),
        "each name once": site.append_column("clicked", site["clicked"]),
    }
    for number, (words, bad) in enumerate(cases.items()):
        path = tmp_path / f"{number}.parquet"
        pq.write_table(bad, path)
        said = set()
        for read in (LogReader, lambda path: read_impressions(path, site_log=True)):
            with pytest.raises(ValueError, match=words) as refused:
                read(path)
            said.add(str(refused.value))
        assert len(said) == 1

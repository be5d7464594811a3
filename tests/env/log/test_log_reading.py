"""Logs are read exactly, in bounded memory, and what is wrong in one is named."""

import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from feedgym.env import read_impressions, write_impressions
from feedgym.env.log.columns import BY_NAME, log_schema
from feedgym.env.log.reader import REPLAYED, LogReader
from feedgym.env.log.values import MAX_SLATE

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
        "in_shortlist": rng.random(n) < 0.5,
        "logit": rng.standard_normal(n).astype(np.float32),
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


@pytest.mark.parametrize("batch_rows", [1, 7, 50_000])
def test_a_log_is_read_exactly_whatever_the_batches(batch_rows: int, tmp_path: Path) -> None:
    reader = LogReader(write_log(tmp_path), batch_rows=batch_rows)
    summary, visits = reader.summary, all_visits(reader)
    assert reader.config == {"seed": 3}
    assert (summary.num_rows, summary.num_visits, summary.slate_size) == (VISITS * K, VISITS, K)
    assert summary.reader_id.tolist() == list(range(7))
    assert (summary.last_hours, summary.ticks_per_day, summary.has_sessions) == (19.0, 24, True)
    assert summary.incomplete == {"slot_marginal", "inclusion"}
    assert summary.why_unsupported is None
    expected = table_of(tmp_path).to_pydict()
    for name, seen in visits.items():
        rows = np.repeat(seen, K) if BY_NAME[name].per == "visit" else seen.ravel()
        if name == "device":
            assert [summary.device_names[i] if i >= 0 else None for i in rows] == expected[name]
        else:
            missing = -1 if rows.dtype == np.int64 else np.nan
            np.testing.assert_array_equal(rows, [missing if x is None else x for x in expected[name]], err_msg=name)
    assert set(visits) == set(REPLAYED) - {"position"}


def test_no_more_rows_are_in_memory_than_a_batch_and_a_visit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reader = LogReader(write_log(tmp_path), batch_rows=10)
    lengths = [len(stretch["reader_id"]) * K for stretch in reader.visits()]
    assert sum(lengths) == VISITS * K
    assert max(lengths) <= 10 + K


def test_order_of_rows_within_a_visit_does_not_matter(tmp_path: Path) -> None:
    write_log(tmp_path)
    expected = all_visits(LogReader(tmp_path))
    within = np.concatenate([np.array([2, 0, 1]) + K * v for v in range(VISITS)])
    seen = all_visits(LogReader(rewrite(tmp_path, table_of(tmp_path).take(pa.array(within)))))
    for name, values in expected.items():
        np.testing.assert_array_equal(seen[name], values, err_msg=name)


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


def test_versions_and_origins(tmp_path: Path) -> None:
    table = table_of(write_log(tmp_path))
    metadata = dict(table.schema.metadata)
    old = table.replace_schema_metadata(metadata | {b"feedgym_schema_version": b"0"})
    with pytest.raises(ValueError, match="schema version: got '0', needs 1: write the log anew"):
        LogReader(rewrite(tmp_path, old))
    fewer = table.drop_columns(["inclusion"]).replace_schema_metadata(metadata)
    with pytest.raises(ValueError, match=r"columns: got .*needs also \['inclusion'\]"):
        LogReader(rewrite(tmp_path, fewer))
    broken = table.replace_schema_metadata(metadata | {b"feedgym_config": b"[1"})
    with pytest.raises(ValueError, match=r"feedgym_config: got .*needs the settings of a run, as JSON"):
        LogReader(rewrite(tmp_path, broken))
    foreign = pa.table({"user": [1], "clicked": [True]})
    with pytest.raises(ValueError, match=r"needs also .*reader_id.*: a log needs reader_id, article_id"):
        LogReader(rewrite(tmp_path, foreign))
    with pytest.raises(ValueError, match="a log of at least one visit"):
        LogReader(rewrite(tmp_path, table.slice(0, 0))).summary  # noqa: B018
    with pytest.raises(FileNotFoundError, match="needs a folder or a Parquet file that exists"):
        LogReader(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="needs a folder with part files"):
        LogReader(tmp_path / "empty")


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
    later = table.replace_schema_metadata({b"feedgym_schema_version": b"2"})
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


def test_a_table_is_read_from_the_folder_of_a_run_too(tmp_path: Path) -> None:
    write_log(tmp_path, parts=3)
    assert read_impressions(tmp_path).equals(table_of(tmp_path))


def test_a_sites_own_log_may_have_only_what_a_site_has(tmp_path: Path) -> None:
    path = tmp_path / "log.parquet"
    rows = {
        "reader_id": pa.array([4, 4, 9], pa.int32()),
        "time_hours": pa.array([1, 1, 1], pa.int64()),
        "article_id": pa.array([7, 8, 7], pa.uint16()),
        "clicked": pa.array([0, 1, 0], pa.int8()),
        "slot_propensity": pa.array([0.5, None, 0.25]),
        "something": ["a", "b", "c"],
    }
    pq.write_table(pa.table(rows), path)
    reader = LogReader(path)
    summary, visits = reader.summary, all_visits(reader)
    assert (reader.is_own, reader.config, reader.articles_path) == (False, None, None)
    assert (summary.num_visits, summary.slate_size, summary.ticks_per_day) == (2, 2, None)
    assert summary.num_unknown == 1
    assert summary.why_unsupported == "1 of 3 impressions have no propensity"
    assert visits["article_id"].tolist() == [[7, 8], [7, -1]]
    assert visits["clicked"].tolist() == [[False, True], [False, False]]
    np.testing.assert_array_equal(visits["slot_propensity"], [[0.5, np.nan], [0.25, 1.0]])
    np.testing.assert_array_equal(visits["dwell_minutes"], [[np.nan, np.nan], [np.nan, 0.0]])
    assert visits["tick"].tolist() == [-1, -1]
    rows["clicked"] = pa.array([0, 2, 0], pa.int8())
    pq.write_table(pa.table(rows), path)
    with pytest.raises(ValueError, match="row 1, column 'clicked': got 2, needs true or false, or 0 or 1"):
        LogReader(path).summary  # noqa: B018
    rows["clicked"] = pa.array([0, None, 0], pa.int8())
    pq.write_table(pa.table(rows), path)
    with pytest.raises(ValueError, match="row 1, column 'clicked': got None, needs a value in every row"):
        LogReader(path).summary  # noqa: B018


def test_greedy_and_unexplored_logs_are_told_apart(tmp_path: Path) -> None:
    table = table_of(write_log(tmp_path))
    zero = table
    for row in range(K):
        zero = with_value(zero, "epsilon", row, 0.0)
    assert LogReader(rewrite(tmp_path, zero)).summary.why_unsupported == "1 of 40 visits were served with epsilon = 0"
    for row in range(K):
        zero = with_value(zero, "greedy", row, True)
    assert "1 of 40 visits were served greedily" in str(LogReader(rewrite(tmp_path, zero)).summary.why_unsupported)


def test_the_log_opens_in_polars_and_comes_back(tmp_path: Path) -> None:
    """Every value, and nulls as nulls; written by polars it is a log of a site, with the same visits."""
    polars = pytest.importorskip("polars", reason="polars is in the extra [dev]")
    write_log(tmp_path)
    expected = table_of(tmp_path)
    frame = polars.read_parquet(tmp_path / "impressions" / "day-*.parquet")
    assert frame.columns == expected.column_names
    for name in expected.column_names:
        assert frame[name].cast(str if name in ("run_id", "policy", "device") else frame[name].dtype).to_list() == (
            expected[name].to_pylist()
        ), name
    assert any(frame[name].null_count() for name in ("session", "logit", "device"))
    frame.write_parquet(tmp_path / "polars.parquet")
    again, before = LogReader(tmp_path / "polars.parquet"), LogReader(tmp_path)
    assert before.is_own
    assert not again.is_own
    assert (again.summary.num_visits, again.summary.num_unknown) == (before.summary.num_visits, 0)
    for name, values in all_visits(before).items():
        np.testing.assert_array_equal(all_visits(again)[name], values, err_msg=name)


def test_the_log_opens_in_duckdb_and_comes_back(tmp_path: Path) -> None:
    duckdb = pytest.importorskip("duckdb", reason="duckdb is in the extra [dev]")
    write_log(tmp_path)
    expected = table_of(tmp_path)
    where = tmp_path / "impressions" / "day-*.parquet"
    base = duckdb.connect()
    rows = base.sql(f"select * from '{where}'").fetchall()
    names = [column[0] for column in base.sql(f"select * from '{where}'").description]
    assert names == expected.column_names
    assert [dict(zip(names, row, strict=True)) for row in rows] == expected.to_pylist()
    clicks = base.sql(f"select policy, sum(clicked::int) from '{where}' group by policy").fetchall()
    assert clicks == [(expected["policy"][0].as_py(), sum(expected["clicked"].to_pylist()))]
    base.sql(f"copy (select * from '{where}') to '{tmp_path / 'duck.parquet'}' (format parquet)")
    before, again = LogReader(tmp_path), LogReader(tmp_path / "duck.parquet")
    for name, values in all_visits(before).items():
        np.testing.assert_array_equal(all_visits(again)[name], values, err_msg=name)


def test_the_columns_replayed_are_columns_of_the_log() -> None:
    assert set(REPLAYED) < set(log_schema().names)

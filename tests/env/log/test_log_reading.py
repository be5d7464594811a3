"""Logs are read exactly, in bounded memory, and what is wrong in one is named."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from feedgym.env import read_impressions
from feedgym.env.log.columns import BY_NAME, log_schema
from feedgym.env.log.reader import REPLAYED, LogReader
from helpers.logs.written import VISITS, K, all_visits, rewrite, table_of, with_value, write_log


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


def test_versions_and_origins(tmp_path: Path) -> None:
    table = table_of(write_log(tmp_path))
    metadata = dict(table.schema.metadata)
    old = table.replace_schema_metadata(metadata | {b"feedgym_schema_version": b"0"})
    with pytest.raises(ValueError, match="schema version: got '0', needs one of 1, 2: write it anew"):
        LogReader(rewrite(tmp_path, old))
    fewer = table.drop_columns(["inclusion"]).replace_schema_metadata(metadata)
    with pytest.raises(ValueError, match=r"columns: got .*needs also \['inclusion'\]"):
        LogReader(rewrite(tmp_path, fewer))
    assert LogReader(write_log(tmp_path)).exploration == "visits"
    first = table.drop_columns(["explored", "log_normaliser"])
    first = first.replace_schema_metadata(metadata | {b"feedgym_schema_version": b"1"})
    reader = LogReader(rewrite(tmp_path, first))
    assert (reader.version, reader.exploration) == (1, "positions")
    assert np.isnan(all_visits(reader)["log_normaliser"]).all()
    assert read_impressions(tmp_path, ["explored"])["explored"].null_count == table.num_rows
    second = first.replace_schema_metadata(metadata)
    with pytest.raises(ValueError, match=r"needs also \['explored', 'log_normaliser'\]"):
        LogReader(rewrite(tmp_path, second))
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

"""Files of impressions: what is written comes back, whole or not at all, and what is no log is named."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from feedgym.env import Feed, read_impressions, write_impressions
from feedgym.env.log.columns import COLUMNS
from feedgym.env.log.files import config_of
from feedgym.env.log.writer import ImpressionLog
from helpers.logs.small import CONFIG, Tick, rows, simulate


def test_arrays_written_come_back(tmp_path: Path) -> None:
    data = rows() | {"inclusion": np.array([0.5, np.nan] * 3), "device": ["phone", None] * 3}
    write_impressions(tmp_path / "x.parquet", data, config={"a": [1, "ø"]}, run_id="r", policy="p")
    table = read_impressions(tmp_path / "x.parquet")
    for name, values in data.items():
        if name != "device":
            np.testing.assert_array_equal(
                table[name].to_numpy(), np.asarray(values, dtype=table[name].to_numpy().dtype)
            )
    assert table["logit"].null_count == table["inclusion"].null_count == 3
    assert table["device"].to_pylist() == ["phone", None] * 3
    assert config_of(table) == {"a": [1, "ø"]}
    few = read_impressions(tmp_path / "x.parquet", columns=["clicked", "article_id"])
    assert few.column_names == ["clicked", "article_id"]
    # The order of rows does not matter to the check of propensities.
    write_impressions(tmp_path / "y.parquet", table.take([5, 0, 3, 2, 1, 4]))


def test_a_slate_whose_propensities_do_not_multiply_is_refused(tmp_path: Path) -> None:
    data = rows()
    path = tmp_path / "x.parquet"

    def write(name: str, at: slice, shift: float) -> None:
        wrong = data[name].copy()
        wrong[at] += shift
        write_impressions(path, data | {name: wrong}, run_id="r", policy="p")

    write("log_propensity", slice(2, 4), 1e-10)
    with pytest.raises(ValueError, match=r"log_propensity: got .* for visit 1048576, needs"):
        write("log_propensity", slice(2, 4), 1e-8)
    with pytest.raises(ValueError, match=r"log_propensity: got nan"):
        write("log_propensity", slice(2, 4), np.nan)
    with pytest.raises(ValueError, match=r"log_propensity: got .* in row 1 of visit 0, needs one in all rows"):
        write("log_propensity", slice(1, 2), 0.5)
    with pytest.raises(ValueError, match=r"slot_propensity: got \(0.0, .*needs above 0, at most 1"):
        write("slot_propensity", slice(3, 4), -data["slot_propensity"][3])


@pytest.mark.parametrize("shift", [1e-8, np.nan])
def test_the_log_of_a_run_refuses_such_a_slate_too(tmp_path: Path, shift: float) -> None:
    log = ImpressionLog(CONFIG, run_id="r", policy="p")

    def per_tick(feed: Feed, tick: Tick) -> None:
        if feed.tick == CONFIG.num_ticks:
            tick[2].log_propensity[-1:] += shift
        log.append(*tick)

    simulate(per_tick)
    with pytest.raises(ValueError, match="the sum of the logs of its slot_propensity"):
        log.flush(tmp_path / "x.parquet")
    assert not list(tmp_path.iterdir())


def test_a_part_is_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.parquet"
    write_impressions(path, rows(), run_id="r", policy="p")
    before = path.read_bytes()

    def full_disk(table: pa.Table, where: Path, **settings: object) -> None:
        Path(where).write_bytes(before[:100])
        raise OSError("no space left")

    monkeypatch.setattr(pq, "write_table", full_disk)
    with pytest.raises(OSError, match="no space left"):
        write_impressions(path, rows(2), run_id="r", policy="p")
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["x.parquet"]


def test_the_order_of_settings_does_not_change_the_bytes(tmp_path: Path) -> None:
    for name, config in (("a", {"x": 1, "y": 2}), ("b", {"y": 2, "x": 1})):
        write_impressions(tmp_path / name, rows(), config=config, run_id="r", policy="p")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"nonsense": np.zeros(6)}, r"columns: got \['nonsense'\], needs names out of"),
        ({"clicked": np.zeros(5, dtype=bool)}, "columns: got .*, needs one length"),
        ({"article_id": ["a"] * 6}, r"columns\['article_id'\]: got list, needs int64"),
        ({"reward": [None, 1.0, 1.0, 1.0, 1.0, 1.0]}, r"columns\['reward'\]: nulls: got 1, needs 0: a value"),
        ({"policy": ["x"] * 6}, "policy: got 'p', needs a column or an argument"),
    ],
)
def test_bad_columns_are_named(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        write_impressions(tmp_path / "x.parquet", rows() | change, run_id="r", policy="p")


def test_missing_columns_are_named(tmp_path: Path) -> None:
    data = rows()
    del data["clicked"]
    with pytest.raises(ValueError, match=r"needs also \['run_id', 'clicked'\]"):
        write_impressions(tmp_path / "x.parquet", data, policy="p")


def test_files_that_are_no_log_are_named(tmp_path: Path) -> None:
    path = tmp_path / "day-0000.parquet"
    write_impressions(path, rows(), run_id="r", policy="p")
    whole = path.read_bytes()
    for cut in (0, 10, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:cut])
        with pytest.raises(ValueError, match=r"day-0000\.parquet: got a file that is cut short or no Parquet"):
            read_impressions(tmp_path)
    pq.write_table(pa.table({"a": [1]}), path)
    with pytest.raises(ValueError, match=r"without FeedGym's schema version \(columns \['a'\]"):
        read_impressions(path)
    path.write_bytes(whole)
    newer = pq.read_table(path)
    pq.write_table(newer.replace_schema_metadata({"feedgym_schema_version": "3"}), path)
    with pytest.raises(ValueError, match="schema version: got '3', needs one of 1, 2"):
        read_impressions(path)
    pq.write_table(newer.drop_columns("reward"), path)
    with pytest.raises(ValueError, match=r"needs also \['reward'\]"):
        read_impressions(path)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        read_impressions(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match=r"day-0000\.parquet"):
        read_impressions(tmp_path / "empty")
    with pytest.raises(ValueError, match=r"columns: got \['price'\], needs names out of"):
        read_impressions(path, columns=["price"])


def test_parts_of_different_runs_do_not_mix(tmp_path: Path) -> None:
    for seed in (0, 1):
        write_impressions(tmp_path / f"day-{seed:04d}.parquet", rows(), config={"seed": seed}, run_id="r", policy="p")
    with pytest.raises(ValueError, match="configs of the part files: got 2, needs 1: all parts of one run"):
        read_impressions(tmp_path)


def test_a_sites_own_log_is_read_where_it_is_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "site.parquet"
    table = {"reader_id": [1], "article_id": [2], "time_hours": [0.5], "clicked": [True], "device": ["phone"], "x": [1]}
    pq.write_table(pa.table(table), path)
    read = read_impressions(path, site_log=True)
    assert read.column_names == [c.name for c in COLUMNS]
    assert read["device"].to_pylist() == ["phone"]
    assert read["slot_propensity"].to_pylist() == [None]
    del table["clicked"]
    pq.write_table(pa.table(table), path)
    with pytest.raises(ValueError, match=r"needs also \['clicked'\]"):
        read_impressions(path, site_log=True)

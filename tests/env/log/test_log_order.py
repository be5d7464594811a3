"""The order of a site's own log: parts by time whatever their names, and the rows of a visit together; what is odd."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from feedgym.env.log.reader import LogReader
from helpers.logs.written import all_visits

SIZE = 3


def a_log(visits: int = 40, readers: int = 7) -> pa.Table:
    """A visit each half hour; each reader comes again and again."""
    at = np.repeat(np.arange(visits), SIZE)
    return pa.table(
        {
            "reader_id": at % readers,
            "time_hours": at / 2.0,
            "article_id": np.tile(np.arange(SIZE), visits),
            "clicked": np.tile([True, False, False], visits),
        }
    )


def write_parts(table: pa.Table, folder: Path, names: list[str]) -> Path:
    rows = len(table) // len(names) // SIZE * SIZE
    for number, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        end = None if number == len(names) - 1 else rows
        pq.write_table(table.slice(number * rows, end), folder / name)
    return folder


@pytest.mark.parametrize(
    "names",
    [
        [f"part-{n}.parquet" for n in range(12)],  # part-10 stands before part-2
        [f"day={n}/part-0.parquet" for n in range(11)],
        ["z.parquet", "a.parquet", "m/n/o.parquet"],
    ],
    ids=["numbers", "nested", "any"],
)
def test_parts_are_read_in_order_of_time(names: list[str], tmp_path: Path) -> None:
    whole = write_parts(a_log(), tmp_path / "whole", ["log.parquet"])
    parts = write_parts(a_log(), tmp_path / "parts", names)
    # What tools keep beside the parts is not of the log.
    (parts / "_temporary").mkdir()
    pq.write_table(pa.table({"x": [1]}), parts / "_temporary" / "part-0.parquet")
    found, expected = (LogReader(folder) for folder in (parts, whole))
    assert len(found.parts) == len(names)
    assert found.summary.num_visits == expected.summary.num_visits == 40
    for name, values in all_visits(expected).items():
        np.testing.assert_array_equal(all_visits(found)[name], values, err_msg=name)


def test_an_empty_part_is_in_nobodys_way(tmp_path: Path) -> None:
    folder = write_parts(a_log(), tmp_path, ["b.parquet"])
    pq.write_table(a_log().slice(0, 0), folder / "c.parquet")
    assert LogReader(folder).summary.num_visits == 40


@pytest.mark.parametrize("batch_rows", [4, 7, 1000])
def test_rows_of_a_visit_that_do_not_stand_together_are_refused(batch_rows: int, tmp_path: Path) -> None:
    """Two readers of one moment, row by row in turns: four visits of one article, or two of two."""
    table = a_log(visits=20)
    rows = {"reader_id": [5, 6, 5, 6], "time_hours": [99.0] * 4, "article_id": [0, 1, 2, 3], "clicked": [False] * 4}
    mixed = pa.concat_tables([table, pa.table(rows).cast(table.schema)])
    folder = write_parts(mixed, tmp_path / "mixed", ["log.parquet"])
    message = r"rows of reader 5 at 99.0 h: got others between them, needs the rows of a visit together, or a column"
    with pytest.raises(ValueError, match=message):
        LogReader(folder, batch_rows=batch_rows).summary  # noqa: B018
    # Side by side they are two visits, and with ids of visits they may be four.
    order = pa.array([*range(60), 60, 62, 61, 63])
    aside = write_parts(mixed.take(order), tmp_path / "aside", ["log.parquet"])
    assert LogReader(aside, batch_rows=batch_rows).summary.num_visits == 22
    ids = np.concatenate([np.repeat(np.arange(20), SIZE), 20 + np.arange(4)])
    named = write_parts(mixed.append_column("visit_id", pa.array(ids)), tmp_path / "named", ["log.parquet"])
    assert LogReader(named, batch_rows=batch_rows).summary.num_visits == 24


def test_a_log_of_clicks_alone_is_doubted(tmp_path: Path) -> None:
    table = a_log()
    clicks = table.filter(pa.array(table["clicked"].to_numpy()))
    doubt = LogReader(write_parts(clicks, tmp_path / "clicks", ["log.parquet"])).summary.why_doubtful
    assert doubt is not None
    assert doubt.startswith("100% of the log's 40 rows are clicks: what was shown and not opened seems to be missing")
    assert LogReader(write_parts(table, tmp_path / "whole", ["log.parquet"])).summary.why_doubtful is None

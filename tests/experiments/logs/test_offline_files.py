"""``feedgym offline`` on logs that are damaged or lack something."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from feedgym.experiments import offline
from feedgym.experiments.runs.run_config import RunConfig
from helpers.logs.offline import QUICK, SETTINGS, copied


def with_column(table: pa.Table, name: str, values: Any) -> pa.Table:
    return table.set_column(table.column_names.index(name), name, pa.array(values))


HOSTILE: dict[str, tuple[Any, str]] = {
    "an older schema": (
        lambda t: t.replace_schema_metadata(t.schema.metadata | {b"feedgym_schema_version": b"0"}),
        "schema version.*got '?0'?, needs one of 1, 2",
    ),
    "foreign": (lambda t: pa.table({"price": [1.0], "day": ["monday"]}), "needs also .*'reader_id'"),
    "chances above 1": (
        lambda t: with_column(t, "slot_propensity", np.full(len(t), 1.5)),
        "column 'slot_propensity': got 1.5, needs a chance above 0, at most 1",
    ),
    "NaN chances": (
        lambda t: with_column(t, "slot_propensity", np.full(len(t), np.nan)),
        "column 'slot_propensity': got nan, needs a chance",
    ),
    "negative times": (
        lambda t: with_column(t, "time_hours", np.full(len(t), -3.0)),
        "column 'time_hours': got -3.0, needs hours",
    ),
    "a wrong type": (
        lambda t: with_column(t, "article_id", ["x"] * len(t)),
        "column 'article_id': got type string, needs int64",
    ),
    "a huge count": (
        lambda t: with_column(t, "num_live", np.full(len(t), 2**50)),
        "column 'num_live': got 1125899906842624, needs a count",
    ),
    "unknown articles": (
        lambda t: with_column(t, "article_id", np.full(len(t), 10**9)),
        "column 'article_id': got 1000000000, needs an article of",
    ),
    "no rows": (lambda t: t.slice(0, 0), "a log without a row"),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_bad_file_ends_the_command_with_one_line(kind: str, logged: Path, tmp_path: Path) -> None:
    change, message = HOSTILE[kind]
    folder = copied(logged, tmp_path / "log", RunConfig(**SETTINGS).settings())
    pq.write_table(change(pq.read_table(folder / "day.parquet")), folder / "day.parquet")
    with pytest.raises(SystemExit, match=message) as stopped:
        offline.main(["--log", str(folder), "--agent", QUICK, "--deploy", "False"])
    assert str(stopped.value).startswith("feedgym offline: ")
    assert "\n" not in str(stopped.value)


def test_a_log_without_live_sets_is_refused(logged: Path, tmp_path: Path) -> None:
    folder = copied(logged, tmp_path / "log", None)
    (folder / "articles.parquet").unlink()
    with pytest.raises(SystemExit, match=r"feedgym offline: log: got .*, needs articles.parquet beside it"):
        offline.main(["--log", str(folder), "--agent", QUICK])


def test_a_log_of_clicks_alone_is_taken_with_a_word(tmp_path: Path) -> None:
    folder = tmp_path / "log"
    folder.mkdir()
    n = 60
    columns = {"reader_id": np.arange(n) % 5, "time_hours": np.arange(n) / 2.0, "article_id": np.arange(n) % 3}
    pq.write_table(pa.table(columns | {"clicked": np.ones(n, dtype=np.bool_)}), folder / "log.parquet")
    articles = {"article_id": np.arange(3), "published_hours": np.zeros(3), "expires_hours": np.full(3, 99.0)}
    pq.write_table(pa.table(articles), folder / "articles.parquet")
    config = offline.OfflineConfig(log=folder, agent="regression-click:max_steps=1", estimate_days=0.0)
    result = offline.run(config)
    (note,) = [note for note in result.notes if "clicks" in note]
    assert note.startswith("100% of the log's 60 rows are clicks")

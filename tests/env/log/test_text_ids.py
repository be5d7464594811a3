"""Ids in text: the same numbers in a log, its articles and its opens, and numbers in text are themselves."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from feedgym.agents.logged import LoggedSite
from feedgym.env.log.ids import whole_id, whole_ids
from feedgym.env.log.reader import LogReader
from helpers.logs.written import all_visits


def write(folder: Path, name: Any, **change: Any) -> Path:
    """Ten visits of three articles; ``name`` makes an id of a number."""
    folder.mkdir()
    rows = 30
    log: dict[str, Any] = {
        "reader_id": [name(7 + i // 3 % 4) for i in range(rows)],
        "time_hours": np.arange(rows) // 3 * 1.5,
        "article_id": [name(100 + i % 3) for i in range(rows)],
        "clicked": np.arange(rows) % 3 == 0,
    }
    articles = {
        "article_id": [name(100 + i) for i in range(3)],
        "published_hours": [0.0] * 3,
        "expires_hours": [99.0] * 3,
    }
    opens = {"reader_id": [name(8)], "time_hours": [2.0], "article_id": [name(101)]}
    pq.write_table(pa.table(log | change), folder / "log.parquet")
    pq.write_table(pa.table(articles), folder / "articles.parquet")
    pq.write_table(pa.table(opens), folder / "opens.parquet")
    return folder


def test_numbers_in_text_are_themselves_and_other_text_has_a_number_of_its_own() -> None:
    assert [whole_id(text) for text in ("0", "17", str(2**62))] == [0, 17, 2**62]
    others = [whole_id(text) for text in ("007", "-3", "a", "A", "ü", "1.0", str(2**63), "٣")]
    assert len(set(others)) == len(others)
    assert min(others) >= 1000
    assert max(others) < 2**62
    for column in (pa.array(["a", None, "5", ""]), pa.array(["a", None, "5", ""]).dictionary_encode()):
        assert whole_ids(column).to_pylist() == [whole_id("a"), None, 5, None]
    numbers = pa.array([3, 4])
    assert whole_ids(numbers) is numbers


@pytest.mark.parametrize("batch_rows", [1, 7, 100])
def test_a_log_with_ids_in_text_is_the_same_log(batch_rows: int, tmp_path: Path) -> None:
    plain = write(tmp_path / "plain", int)
    expected = all_visits(LogReader(plain))
    digits = all_visits(LogReader(write(tmp_path / "digits", str), batch_rows=batch_rows))
    named = all_visits(LogReader(write(tmp_path / "named", lambda i: f"n{i}"), batch_rows=batch_rows))
    for name, values in expected.items():
        np.testing.assert_array_equal(digits[name], values, err_msg=name)
        if name not in ("reader_id", "article_id"):
            np.testing.assert_array_equal(named[name], values, err_msg=name)
    hashed = {whole_id(f"n{i}"): i for i in range(200)}
    for name in ("reader_id", "article_id"):
        assert [hashed[i] for i in named[name].ravel().tolist()] == expected[name].ravel().tolist()


def test_a_site_finds_its_articles_and_readers_by_them(tmp_path: Path) -> None:
    lives: list[Any] = []
    for name in (int, lambda i: f"n{i}"):
        site = LoggedSite(write(tmp_path / str(len(lives)), name), seed=0)
        lived = []
        while not site.done:
            lived.append(
                (len(site.visits), None if site.visits.opens is None else site.visits.opens.article_id.tolist())
            )
            site.advance()
        lives.append((lived, len(site.catalogue.archive.column("published_hours"))))
    assert lives[0] == lives[1]
    assert any(opened is not None for _, opened in lives[0][0])


def test_an_empty_id_is_refused_by_its_row(tmp_path: Path) -> None:
    readers = ["u1"] * 29 + [""]
    folder = write(tmp_path / "log", str, reader_id=readers)
    with pytest.raises(ValueError, match=r"row 29, column 'reader_id': got None, needs a value in every row"):
        LogReader(folder).summary  # noqa: B018
    with pytest.raises(ValueError, match=r"column 'reader_id': got type double, needs int64 or text"):
        LogReader(write(tmp_path / "floats", str, reader_id=np.full(30, 0.5)))

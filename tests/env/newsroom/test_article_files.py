"""Files of articles as sites export them: separators, blanks, words for what is missing, types, times far off."""

import decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from feedgym.env.newsroom.article_file import MISSING
from feedgym.env.newsroom.read_articles import read_articles

ROWS = [("a", 0.5, "sport", 3), ("b", 1.0, "art", 4), ("c", 2.0, "sport", 5)]
CASES = Path(__file__).parents[4] / "shared" / "cases"


def write(folder: Path, lines: list[str]) -> Path:
    path = folder / "articles.csv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.mark.parametrize("between", [",", ";", "\t", " , "])
def test_cells_are_separated_by_commas_semicolons_or_tabs(between: str, tmp_path: Path) -> None:
    names = between.join(("id", "published_hours", "topic", "clicks"))
    plain = between.strip(" ")
    found = read_articles(write(tmp_path, [names, *(plain.join(map(str, row)) for row in ROWS)]))
    assert found.original_id.tolist() == ["a", "b", "c"]
    assert found.published_hours.tolist() == [0.5, 1.0, 2.0]
    assert [found.topic_names[code] for code in found.topic] == ["sport", "art", "sport"]
    assert found.popularity.tolist() == [3.0, 4.0, 5.0]


@pytest.mark.parametrize("word", MISSING)
def test_a_word_for_what_is_missing_is_as_an_empty_cell(word: str, tmp_path: Path) -> None:
    lines = ["id,published_hours,topic,clicks", "a,1,sport,3", f"b,2,{word},{word}"]
    for file in (
        write(tmp_path, lines),
        pa.table({"id": ["a", "b"], "published_hours": [1, 2], "topic": ["sport", word]}),
    ):
        found = read_articles(file)
        assert found.topic_names == ("sport",)
        assert found.topic.tolist() == [0, -1]
        assert np.isnan(found.popularity[1])


def test_quoted_cells_may_hold_anything(tmp_path: Path) -> None:
    lines = ["id,published_hours,title", 'a,1,"one, ""two""', 'three"', 'b,2,5" screen', 'c,3,"x;y"']
    assert read_articles(write(tmp_path, lines)).original_id.tolist() == ["a", "b", "c"]


@pytest.mark.parametrize("scale", [0, 2])
def test_whole_decimals_are_integers(scale: int, tmp_path: Path) -> None:
    ids = [decimal.Decimal(9_007_199_254_740_993), decimal.Decimal(7)]
    table = pa.table({"id": pa.array(ids, pa.decimal128(20, scale)), "published_hours": [1.0, 2.0]})
    pq.write_table(table, tmp_path / "articles.parquet")
    assert read_articles(tmp_path / "articles.parquet").original_id.tolist() == ["9007199254740993", "7"]
    half = pa.table({"id": pa.array([decimal.Decimal("1.5")], pa.decimal128(5, 1)), "published_hours": [1.0]})
    with pytest.raises(ValueError, match=r"row 1, column 'id': got Decimal\('1.5'\), needs an integer or text"):
        read_articles(half)


@pytest.mark.parametrize("form", ["[3, 4]", "[3.0 4.0]", "(3,4)", " [3,\n 4] "])
def test_vectors_may_be_lists_in_text(form: str) -> None:
    table = pa.table({"id": ["a", "b"], "published_hours": [1, 2], "vector": [form, None]})
    np.testing.assert_allclose(read_articles(table).vector, [[0.6, 0.8], [0.0, 0.0]], rtol=1e-6)


@pytest.mark.parametrize("far", [-2e5, 9e5])
def test_a_time_far_from_all_others_is_refused(far: float) -> None:
    """As a date that is missing and was written as 1970 has it: a run would take fifty years."""
    hours = np.linspace(0.0, 60.0, 40)
    hours[7] = far
    table: dict[str, Any] = {"id": np.arange(40), "published_hours": hours}
    with pytest.raises(ValueError, match=r"row 8, column 'published_hours': got .*, needs a time near the others"):
        read_articles(pa.table(table))
    stamps = np.datetime64("2024-03-04") + (hours * 3600).astype("timedelta64[s]")
    with pytest.raises(
        ValueError, match=r"row 8, column 'published_at': got .*would span [\d,]+ days; leave such rows"
    ):
        read_articles(pa.table({"id": np.arange(40), "published_at": stamps}))
    # A long quiet year with one article a day is none.
    even = pa.table({"id": np.arange(300), "published_hours": 24.0 * np.arange(300)})
    assert read_articles(even).published_hours.max() == 24.0 * 299


@pytest.mark.skipif(not CASES.is_dir(), reason="the cases are not part of FeedGym")
@pytest.mark.parametrize(
    ("name", "rows", "topics"),
    [
        ("articles_na_topic_null.csv", 40, 4),
        ("articles_na_topic_NaN.csv", 40, 4),
        ("articles_semicolon.csv", 40, 4),
        ("articles_space_header.csv", 40, 4),
        ("articles_id_decimal.parquet", 40, 0),
    ],
)
def test_cases_that_have_to_come_out_right(name: str, rows: int, topics: int) -> None:
    found = read_articles(CASES / name)
    assert (len(found.original_id), len(found.topic_names)) == (rows, topics)

import gzip
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest

from feedgym.env.newsroom.read_articles import ArticleRows, read_articles

HEADER = "article_id,published_at,topic,popularity,read_time_s,vector_0,vector_1"
TITLED = "id,published_hours,title"
GOOD = ["a,2024-05-03T09:30:00,sport,3,40,3,4", "b,2024-05-04,,,,,", "c,2024-05-04T00:00:01.5,art,0,0,0,-2"]


def write(folder: Path, text: str, name: str = "articles.csv") -> Path:
    path = folder / name
    path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    return path


def csv_of(*rows: str, header: str = HEADER) -> str:
    return "\n".join([header, *rows]) + "\n"


def equal(one: ArticleRows, other: ArticleRows) -> bool:
    names = ("original_id", "published_hours", "topic", "popularity", "read_time_s", "vector")
    same = [
        getattr(one, n).dtype == getattr(other, n).dtype
        and np.array_equal(getattr(one, n), getattr(other, n), equal_nan=getattr(one, n).dtype.kind == "f")
        for n in names
    ]
    return all(same) and one.topic_names == other.topic_names


def test_a_csv_is_read_as_it_says(tmp_path: Path) -> None:
    rows = read_articles(write(tmp_path, csv_of(*GOOD)))
    assert rows.original_id.tolist() == ["a", "b", "c"]
    # Hour 0 is the midnight that begins 2024-05-03.
    np.testing.assert_allclose(rows.published_hours, [9.5, 24.0, 24.0 + 1.5 / 3600.0], rtol=0, atol=1e-12)
    assert rows.topic_names == ("art", "sport")
    assert rows.topic.tolist() == [1, -1, 0]
    np.testing.assert_array_equal(rows.popularity, [3.0, np.nan, 0.0])
    np.testing.assert_array_equal(rows.read_time_s, [40.0, np.nan, 0.0])
    np.testing.assert_allclose(np.asarray(rows.vector, dtype=float), [[0.6, 0.8], [0.0, 0.0], [0.0, -1.0]], rtol=1e-6)
    assert rows.unread == ()


def test_other_names_mean_the_same_and_strange_columns_are_reported(tmp_path: Path) -> None:
    header = "id,published_hours,clicks,median_read_time_s,in_view"
    rows = read_articles(write(tmp_path, csv_of("7,-3.5,2,9,1", "8,30,,,", header=header)))
    assert rows.original_id.tolist() == ["7", "8"]
    assert rows.published_hours.tolist() == [-3.5, 30.0]
    np.testing.assert_array_equal(rows.popularity, [2.0, np.nan])
    np.testing.assert_array_equal(rows.read_time_s, [9.0, np.nan])
    assert rows.unread == ("in_view",)
    assert rows.vector.shape == (2, 0)
    assert rows.topic.tolist() == [-1, -1]
    assert rows.topic_names == ()


def as_arrow() -> pa.Table:
    times = np.array(["2024-05-03T09:30:00", "2024-05-04", "2024-05-04T00:00:01.5"], dtype="datetime64[us]")
    return pa.table(
        {
            "article_id": ["a", "b", "c"],
            "published_at": times,
            "topic": pa.array(["sport", None, "art"]).dictionary_encode(),
            "popularity": pa.array([3, None, 0], pa.int64()),
            "read_time_s": pa.array([40.0, None, 0.0], pa.float32()),
            "vector": pa.array([[3, 4], None, [0, -2]], pa.list_(pa.float32())),
        }
    )


def test_csv_gzip_parquet_and_memory_are_equal(tmp_path: Path) -> None:
    plain = read_articles(write(tmp_path, csv_of(*GOOD)))
    assert equal(plain, read_articles(write(tmp_path, csv_of(*GOOD), "articles.CSV.gz")))
    pq.write_table(as_arrow(), tmp_path / "articles.parquet")
    assert equal(plain, read_articles(tmp_path / "articles.parquet"))
    assert equal(plain, read_articles(as_arrow()))
    fixed = (
        as_arrow()
        .drop_columns("vector")
        .append_column("vector", pa.array([[3, 4], None, [0, -2]], pa.list_(pa.float64(), 2)))
    )
    assert equal(plain, read_articles(fixed))
    # The comparison can fail.
    assert not equal(plain, read_articles(write(tmp_path, csv_of(*GOOD).replace("40", "41"))))


def test_integer_ids_and_topics_are_the_same_in_csv_and_parquet(tmp_path: Path) -> None:
    table = pa.table({"id": [12, 7], "published_hours": [0.0, 1.0], "topic": [10, 9]})
    pq.write_table(table, tmp_path / "t.parquet")
    pacsv.write_csv(table, tmp_path / "t.csv")
    assert equal(read_articles(tmp_path / "t.csv"), read_articles(tmp_path / "t.parquet"))
    assert read_articles(tmp_path / "t.csv").topic_names == ("10", "9")


ZERO = "0,0"
TIME = "an ISO time without zone, such as 2023-02-02T07:00:31"


# What is wrong with the second row, the column and value that the message names, and what it allows.
@pytest.mark.parametrize(
    ("row", "column", "value", "allowed"),
    [
        ("x,2024-13-01T00:00:00,,,,,", "published_at", "'2024-13-01T00:00:00'", TIME),
        ("x,yesterday,,,,,", "published_at", "'yesterday'", TIME),
        ("x,,,,,,", "published_at", "None", TIME),
        ("x,2024-05-03T09:30:00Z,,,,,", "published_at", "'2024-05-03T09:30:00Z'", TIME),
        ("x,9999-05-03,,,,,", "published_at", "'9999-05-03'", "a time within 1e+06 hours of the first"),
        (",2024-05-04,,,,,", "article_id", "None", "an integer or text, in every row another"),
        ("a,2024-05-04,,,,,", "article_id", "'a'", "an id of its own (row 1 has it)"),
        (f"{'x' * 300},2024-05-04,,,,,", "article_id", f"'{'x' * 300}'", "at most 256 characters"),
        ("x,2024-05-04,,-1,,,", "popularity", "'-1'", "a finite number from 0 to 1e+15, or an empty cell"),
        ("x,2024-05-04,,many,,,", "popularity", "'many'", "a finite number from 0 to 1e+15"),
        ("x,2024-05-04,,1e16,,,", "popularity", "'1e16'", "a finite number from 0 to 1e+15"),
        ("x,2024-05-04,,-nan,,,", "popularity", "'-nan'", "a finite number from 0 to 1e+15"),
        ("x,2024-05-04,,,-0.5,,", "read_time_s", "'-0.5'", "a finite number from 0 to 1e+06"),
        ("x,2024-05-04,,,inf,,", "read_time_s", "'inf'", "a finite number from 0 to 1e+06"),
        ("x,2024-05-04,,,,1,inf", "vector_1", "'inf'", "a finite number, or a row in which all"),
        ("x,2024-05-04,,,,1,", "vector_1", "None", "a finite number, or a row in which all"),
        ("x,2024-05-04,,,,one,1", "vector_0", "'one'", "a finite number, or a row in which all"),
        (f"x,2024-05-04,,,,{ZERO}", "vector_0 .. vector_1", "[0.0, 0.0]", "a vector that is not all zeros"),
    ],
)
def test_a_bad_cell_is_named(tmp_path: Path, row: str, column: str, value: str, allowed: str) -> None:
    path = write(tmp_path, csv_of(GOOD[0], row, GOOD[2]))
    with pytest.raises(ValueError) as error:
        read_articles(path)
    message = str(error.value)
    assert message.startswith(f"{path}: row 2, column '{column}': got {value}, needs {allowed}")


def test_the_first_of_many_bad_rows_is_found(tmp_path: Path) -> None:
    good = [f"{i},{i / 1000},{i}" for i in range(1000)]
    for bad in (0, 1, 500, 998, 999):
        rows = [*good]
        rows[bad] = f"{bad},{bad / 1000},some"
        rows[-1] = "999,0.999,some"
        path = write(tmp_path, csv_of(*rows, header="id,published_hours,clicks"))
        with pytest.raises(ValueError, match=f"row {bad + 1}, column 'clicks': got 'some'"):
            read_articles(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no CSV in UTF-8 or is cut short"),
        (csv_of(), "rows: got 0, needs at least one article"),
        (csv_of("1,2", header="id,topic"), "got columns ['id', 'topic'], needs a column 'published_at' or"),
        (csv_of("2024-05-04,2", header="published_at,topic"), "needs a column 'article_id' or 'id'"),
        (csv_of("1,1,2", header="id,article_id,published_hours"), "needs only one of them"),
        (csv_of("1,1,2", header="id,topic,topic"), "got ['topic'], needs each column once"),
        (csv_of("1,2", "2,3,4", header="id,published_hours"), "row 2: got 3 cells ('2,3,4'), needs 2"),
        (csv_of("1,30", header="id,published_hours"), "row 1, column 'published_hours': got 30.0, needs hours"),
        (csv_of("1,", header="id,published_hours"), "row 1, column 'published_hours': got None"),
        (csv_of("1,1,2", header="id,published_hours,vector_1"), "needs vector_0 .. vector_0, none left out"),
        (csv_of("1,1,[x]", header="id,published_hours,vector"), "row 1, column 'vector': got '[x]', needs a list of"),
        (csv_of("1,1,2", header="id,published_hours,vector"), "row 1, column 'vector': got '2', needs a list of"),
        (csv_of("1|2", header="id|published_hours"), "got columns ['id|published_hours']"),
        (csv_of("a,1,5", 'b,2,"Breaking: 5', "c,3,6", header=TITLED), "row 2: got a cell that opens with a quote"),
        (csv_of('a,1,"x', "b,2,5", 'c,3,"y', "d,4,6", header=TITLED), "row 1: got a cell that opens with a quote"),
    ],
)
def test_a_bad_file_is_named(tmp_path: Path, text: str, message: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(ValueError) as error:
        read_articles(path)
    assert str(error.value).startswith(str(path))
    assert message in str(error.value)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"nowhere\.csv"):
        read_articles(tmp_path / "nowhere.csv")
    with pytest.raises(ValueError, match=r"articles\.json'.* ending in \.csv or \.csv\.gz or \.parquet"):
        read_articles(write(tmp_path, "{}", "articles.json"))
    whole = gzip.compress(csv_of(*GOOD).encode())
    (tmp_path / "cut.csv.gz").write_bytes(whole[:-20])
    with pytest.raises(ValueError, match="cut short"):
        read_articles(tmp_path / "cut.csv.gz")
    (tmp_path / "no.parquet").write_bytes(b"PAR1")
    with pytest.raises(ValueError, match="no Parquet or is cut short"):
        read_articles(tmp_path / "no.parquet")
    (tmp_path / "latin.csv").write_bytes("id,published_hours,topic\n1,2,k\xe6r\n".encode("latin-1"))
    with pytest.raises(ValueError, match="UTF-8"):
        read_articles(tmp_path / "latin.csv")
    with pytest.raises(ValueError, match="got int, needs a path or a table"):
        read_articles(3)


@pytest.mark.parametrize(
    ("column", "values", "message"),
    [
        ("vector", [[1.0, 2.0], [1.0]], r"row 2, column 'vector': got \[1.0\], needs 2 numbers"),
        ("vector", [[1.0, 2.0], [1.0, np.nan]], r"row 2, column 'vector': got \[1.0, nan\], needs finite"),
        ("vector", [[1.0, 2.0], [1.0, None]], r"row 2, column 'vector': got \[1.0, None\], needs finite"),
        ("vector", [[], []], r"row 1, column 'vector': got \[\], needs 1 numbers"),
        ("vector", [["a"], ["b"]], "column 'vector': got type list.*string.*, needs lists of numbers"),
        ("popularity", [True, False], "column 'popularity': got type bool, needs a finite number"),
        ("topic", [1.0, 2.0], "column 'topic': got type double, needs an integer, text"),
        ("published_at", [1, 2], "column 'published_at': got type int64, needs .*'published_hours'"),
    ],
)
def test_bad_columns_of_a_table(column: str, values: list[object], message: str) -> None:
    table: dict[str, list[object]] = {"id": [1, 2], "published_hours": [0.0, 1.0]}
    if column == "published_at":
        del table["published_hours"]
    with pytest.raises(ValueError, match=f"^articles: .*{message}"):
        read_articles(table | {column: values})


def test_times_with_a_zone_are_refused() -> None:
    times = pa.array([0], pa.timestamp("us", tz="UTC"))
    with pytest.raises(ValueError, match=r"column 'published_at': got type .*UTC.*, needs times without zone"):
        read_articles(pa.table({"id": [1], "published_at": times}))


def test_huge_and_tiny_vectors_keep_their_direction() -> None:
    rows = read_articles({"id": [1, 2], "published_hours": [0.0, 1.0], "vector": [[3e200, 4e200], [3e-200, 4e-200]]})
    np.testing.assert_allclose(np.asarray(rows.vector, dtype=float), [[0.6, 0.8]] * 2, rtol=1e-6)

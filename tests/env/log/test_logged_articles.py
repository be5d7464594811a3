"""Articles of a log: what a site sees of them, in order of publication, and what is wrong in the file."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from feedgym.env import Feed, FeedConfig
from feedgym.env.log.articles import LoggedNewsroom
from feedgym.env.log.writer import write_articles
from feedgym.env.newsroom.articles import OBSERVABLE
from feedgym.env.newsroom.synthetic import Newsroom

SITE: dict[str, Any] = {
    "article_id": [30, 10, 20],
    "published_hours": [1.5, -2.0, 30.0],
    "expires_hours": [9.0, 5.0, float("inf")],
    "publisher": [2, 0, 1],
    "text": [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]],
}


def write(path: Path, **changes: Any) -> Path:
    columns = {name: values for name, values in (SITE | changes).items() if values is not None}
    pq.write_table(pa.table(columns), path)
    return path


def test_a_simulator_s_articles_come_back_as_they_were(tmp_path: Path) -> None:
    feed = Feed(FeedConfig(num_readers=5, days=2, tick_hours=1.0))
    while not feed.done:
        feed.serve(np.full((len(feed.visits), feed.config.slate_size), -1))
    archive = feed.catalogue.archive
    count = write_articles(tmp_path / "articles.parquet", archive)
    newsroom: Newsroom = LoggedNewsroom(tmp_path / "articles.parquet", feed.catalogue.category_sizes)
    days = [newsroom.plan_day(day) for day in range(-1, 3)]
    assert sum(map(len, days)) == count == archive.published
    for name in ("published_hours", "expires_hours", *OBSERVABLE):
        seen, expected = np.concatenate([getattr(day, name) for day in days]), archive.column(name)[:count]
        assert seen.dtype == expected.dtype, name
        np.testing.assert_array_equal(seen, expected, err_msg=name)
    assert newsroom.centers.shape == feed.newsroom.centers.shape
    assert (newsroom.num_publishers, newsroom.num_authors) == feed.catalogue.category_sizes[1:]


def test_a_sites_ids_are_translated_and_what_it_lacks_is_zero(tmp_path: Path) -> None:
    newsroom = LoggedNewsroom(write(tmp_path / "a.parquet"))
    assert newsroom.original_id.tolist() == [10, 30, 20]
    assert newsroom.own_id(np.array([[20, 10], [-1, 30]])).tolist() == [[2, 0], [-1, 1]]
    first = newsroom.plan_day(-1)
    assert (first.published_hours.tolist(), first.text.tolist(), first.topic.tolist()) == ([-2.0], [[3.0, 4.0]], [0])
    assert newsroom.plan_day(0).publisher.tolist() == [2]
    assert newsroom.plan_day(1).expires_hours.tolist() == [np.inf]
    assert len(newsroom.plan_day(2)) == 0
    assert (newsroom.centers.shape, newsroom.num_publishers, newsroom.num_authors) == ((1, 2), 3, 1)
    plain = LoggedNewsroom(write(tmp_path / "b.parquet", text=None, publisher=None))
    assert plain.plan_day(0).text.tolist() == [[0.0]]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"article_id": [1, 1, 2]}, r"column 'article_id': got \[1\], needs each article once"),
        ({"article_id": [-1, 1, 2]}, "row 0, column 'article_id': got -1, needs a number from 0"),
        ({"article_id": [1.0, 2.0, 3.0]}, "column 'article_id': type: got 'double', needs int64"),
        ({"published_hours": [0.0, float("nan"), 1.0]}, "row 1, column 'published_hours': got nan"),
        (
            {"published_hours": [0.0, 1.7e9, 1.0]},
            "row 1, column 'published_hours': got 1700000000.0, needs a number from",
        ),
        ({"published_hours": ["x", "y", "z"]}, "column 'published_hours': type: got 'string'"),
        ({"published_hours": [0.0, None, 1.0]}, "column 'published_hours': nulls: got 1, needs a value each"),
        ({"published_hours": None}, r"columns: got .*needs also \['published_hours'\]"),
        (
            {"expires_hours": [9.0, -3.0, 40.0]},
            r"row 1, column 'expires_hours': got -3.0, needs published_hours \(-2.0\)",
        ),
        ({"publisher": [0, 2**31, 1]}, "row 1, column 'publisher': got 2147483648, needs a number from 0 to 1e"),
        ({"text": [[1.0], [1.0, 2.0], [3.0]]}, "column 'text': lengths: got .*needs one length"),
        ({"text": [[1.0], [float("nan")], [3.0]]}, "column 'text': got 'NaN or an infinite number'"),
        ({"text": [["a"], ["b"], ["c"]]}, "column 'text': type: got 'list.*needs lists of numbers"),
        ({"text": [[1.0], None, [3.0]]}, "column 'text'"),
    ],
)
def test_what_is_wrong_in_the_file_is_named(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        LoggedNewsroom(write(tmp_path / "a.parquet", **changes))


def test_vectors_of_absurd_length_are_refused_before_they_are_read(tmp_path: Path) -> None:
    kind = pa.list_(pa.float32(), 5000)
    text = pa.FixedSizeListArray.from_arrays(pa.array(np.zeros(3 * 5000, np.float32)), type=kind)
    with pytest.raises(ValueError, match="column 'text': length: got 5000, needs 1 to 4096"):
        LoggedNewsroom(write(tmp_path / "a.parquet", text=text))


def test_an_unknown_article_is_named(tmp_path: Path) -> None:
    newsroom = LoggedNewsroom(write(tmp_path / "a.parquet"))
    for unknown in (11, 2**62, 0):
        with pytest.raises(ValueError, match=rf"column 'article_id': got {unknown}, needs an article of .*3 articles"):
            newsroom.own_id(np.array([10, unknown]))


def test_a_file_cut_short_gets_a_message(tmp_path: Path) -> None:
    whole = write(tmp_path / "a.parquet").read_bytes()
    (tmp_path / "a.parquet").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"a.parquet: got a file that is cut short or no Parquet"):
        LoggedNewsroom(tmp_path / "a.parquet")

from dataclasses import fields
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest
from scipy import stats

from feedgym.env import Feed, FeedConfig, NewsroomConfig, ReplayNewsroom
from feedgym.env.newsroom.articles import ArticleTable
from feedgym.env.newsroom.replay_newsroom import appeal_of, article_keys, opening_stock_at_hour_0, quality_of
from helpers.paths import EBNERD

ALL_DAYS = range(-1, 40)


def published(newsroom: ReplayNewsroom) -> dict[str, ArticleTable]:
    """Every article by its original id, as a table of one row."""
    rows = {}
    count = 0
    for day in ALL_DAYS:
        table = newsroom.plan_day(day)
        for row in range(len(table)):
            rows[str(newsroom.original_id(np.array(count)))] = table.take(np.array([row]))
            count += 1
    return rows


def different(one: ArticleTable, other: ArticleTable) -> set[str]:
    return {f.name for f in fields(one) if not np.array_equal(getattr(one, f.name), getattr(other, f.name))}


def small(num: int = 40, **columns: object) -> dict[str, object]:
    return {"id": [f"n{i}" for i in range(num)], "published_hours": np.linspace(1.0, 60.0, num), **columns}


def test_the_shipped_file_is_3080_articles_over_28_days() -> None:
    newsroom = ReplayNewsroom(EBNERD, seed=3)
    counts = [len(newsroom.plan_day(day)) for day in ALL_DAYS]
    assert sum(counts) == len(newsroom) == 3080
    assert newsroom.days == 28
    assert counts[:4] == [0, 509, 103, 58]  # day -1, 2023-02-02, ...
    assert newsroom.given == ("published", "popularity", "read_time_s")
    assert "topic" in newsroom.drawn
    assert "quality" in newsroom.drawn  # 1,128 articles have no read time
    summary = newsroom.summary()
    for words in ("3,080 articles over 28 days", "read_time_s (1,952 of 3,080)", "Columns not read: in_view"):
        assert words in summary
    first = newsroom.plan_day(0)
    # 407 articles stand at the file's first time, 07:00:31: the stock of the opening. The next came at 07:20:58.
    assert np.count_nonzero(first.published_hours == 0.0) == 407
    assert first.published_hours[407] == pytest.approx(7 + 20 / 60 + 58 / 3600)
    assert newsroom.original_id(np.array([3079])).tolist() == ["9657267"]
    assert (np.diff(np.concatenate([newsroom.plan_day(d).published_hours for d in ALL_DAYS])) >= 0).all()


def test_the_shipped_licence_names_its_holder() -> None:
    notice = EBNERD.with_name("ebnerd_articles.LICENSE").read_text()
    assert "MIT License" in notice
    assert "Copyright (c) 2024 Ekstra Bladet" in notice
    assert "Permission is hereby granted, free of charge" in notice


def test_the_live_catalogue_follows_the_file() -> None:
    newsroom = ReplayNewsroom(EBNERD, seed=0)
    times = np.concatenate([newsroom.plan_day(d).published_hours for d in ALL_DAYS])
    expires = np.concatenate([newsroom.plan_day(d).expires_hours for d in ALL_DAYS])
    feed = Feed(FeedConfig(num_readers=30, tick_hours=1.0, days=30, slate_size=4), newsroom=newsroom, seed=1)
    clicks = 0
    rng = np.random.default_rng(0)
    while not feed.done:
        live = np.sort(feed.catalogue.article_id)
        np.testing.assert_array_equal(live, np.flatnonzero((times <= feed.now) & (feed.now < expires)))
        n = len(feed.visits)
        clicks += feed.serve(rng.choice(live, (n, 4)) if len(live) else np.full((n, 4), -1)).clicks.sum()
    assert clicks > 10
    assert feed.catalogue.archive.published == 3080


def test_a_day_is_the_same_whenever_it_is_asked_for() -> None:
    newsroom = ReplayNewsroom(EBNERD, seed=3)
    later = newsroom.plan_day(5)
    assert not different(later, ReplayNewsroom(EBNERD, seed=3).plan_day(5))


def test_other_rows_change_nothing_of_what_is_drawn_for_an_article() -> None:
    whole = small()
    table = pa.table(whole)
    all_articles = published(ReplayNewsroom(table, seed=5))
    assert len(all_articles) == 40
    keep = np.sort(np.random.default_rng(0).choice(np.arange(1, 40), 20, replace=False))
    fewer = published(ReplayNewsroom(table.take(np.concatenate([[0], keep])), seed=5))
    assert len(fewer) == 21
    # A longer id beside it, and another order of the file, change nothing either.
    longer = pa.table({"id": ["a much longer id than the others"], "published_hours": [0.5]})
    more = published(ReplayNewsroom(pa.concat_tables([longer, table.take(np.arange(39, -1, -1))]), seed=5))
    assert len(more) == 41
    for subset in (fewer, more):
        for name in set(subset) & set(all_articles):
            assert not different(subset[name], all_articles[name])
    # The comparison can fail: another seed changes everything that is drawn, and nothing that is given.
    other = published(ReplayNewsroom(table, seed=6))
    for name, row in other.items():
        changed = different(row, all_articles[name])
        assert {"vector", "text", "quality", "clickbait", "half_life_hours"} <= changed
        assert not changed & {"published_hours", "appeal", "breaking"}


def test_rows_of_the_shipped_file_keep_what_is_drawn() -> None:
    table = pacsv.read_csv(EBNERD).select(["article_id", "published_at"])
    whole = published(ReplayNewsroom(table, seed=1))
    half = published(ReplayNewsroom(table.take(np.arange(0, 3080, 2)), seed=1))
    assert len(half) == 1540
    assert all(not different(row, whole[name]) for name, row in half.items())


def test_csv_and_parquet_give_the_same_articles(tmp_path: Path) -> None:
    table = pa.table(small(topic=["a", "b"] * 20, clicks=list(range(40)), read_time_s=[5.5, 60.0] * 20))
    pq.write_table(table, tmp_path / "t.parquet")
    pacsv.write_csv(table, tmp_path / "t.csv")
    one, two = (ReplayNewsroom(tmp_path / name, seed=2) for name in ("t.parquet", "t.csv"))
    for name, row in published(one).items():
        assert not different(row, published(two)[name])
    assert one.topic_names == two.topic_names == ("a", "b")
    assert "topic" in one.given
    assert "topic" not in one.drawn
    assert "quality" not in one.drawn


def test_what_is_drawn_has_the_synthetic_newsrooms_distributions() -> None:
    config = NewsroomConfig()
    num = 12_000
    newsroom = ReplayNewsroom(small(num), config, seed=11)
    table = [newsroom.plan_day(d) for d in range(3)]
    topic = np.concatenate([t.topic for t in table])
    assert stats.chisquare(np.bincount(topic, minlength=16)).pvalue > 1e-3
    publisher = np.concatenate([t.publisher for t in table])
    assert stats.chisquare(np.bincount(publisher, minlength=24)).pvalue > 1e-3
    half_life = np.log(np.concatenate([t.half_life_hours for t in table]))
    long = np.concatenate([t.half_life_hours for t in table]) > 10.0  # between the medians 4 h and 24 h
    # By the two log-normals' own tails, .2 of the articles but for 3e-4.
    assert abs(long.mean() - 0.2) < 3.3 * np.sqrt(0.16 / num) + 2e-3
    assert stats.kstest((half_life[~long] - np.log(4.0)) / 0.3, "norm").pvalue > 1e-3
    quality = np.concatenate([t.quality for t in table]).astype(np.float64)
    means = np.array([quality[publisher == p].mean() for p in range(24)])
    assert 0.3 < means.std() < 1.0
    within = (quality - means[publisher]) / 0.8
    assert stats.kstest(within, "norm").pvalue > 1e-3
    # A wrong model is rejected.
    assert stats.kstest(within * 1.15, "norm").pvalue < 1e-3
    assert abs(np.corrcoef(quality, half_life)[0, 1]) < 4.0 / np.sqrt(num)


def test_popularity_enters_appeal_smoothly() -> None:
    # Mean 4: log((p + 4) / 8).
    seen = appeal_of(np.array([0.0, 4.0, 8.0, np.nan, 4.0]))
    np.testing.assert_allclose(seen, [-np.log(2), 0.0, np.log(1.5), 0.0, 0.0], rtol=1e-6, atol=1e-7)
    assert appeal_of(np.array([0.0, 0.0])).tolist() == [0.0, 0.0]
    assert appeal_of(np.array([np.nan, np.nan])).tolist() == [0.0, 0.0]


def test_read_time_enters_quality_in_standard_deviations() -> None:
    time = np.expm1([1.0, 3.0, np.nan, 2.0])
    quality = quality_of(time, np.full(4, 9.0), sd=2.0)
    scale = 2.0 / np.sqrt(2.0 / 3.0)
    np.testing.assert_allclose(quality, [-scale, scale, 9.0, 0.0], atol=1e-12)
    assert quality_of(np.full(3, 7.0), np.zeros(3), 1.0).tolist() == [0.0, 0.0, 0.0]
    assert quality_of(np.full(2, np.nan), np.array([1.0, 2.0]), 1.0).tolist() == [1.0, 2.0]


def test_given_vectors_are_used_and_their_topic_means_are_the_centres() -> None:
    vectors = np.random.default_rng(0).standard_normal((40, 5))
    given = [None if i == 7 else list(v) for i, v in enumerate(vectors)]
    newsroom = ReplayNewsroom(small(vector=given, topic=[i % 3 for i in range(40)]), seed=2)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    assert newsroom.centers.shape == (3, 5)
    for topic in range(3):
        known = [i for i in range(40) if i % 3 == topic and i != 7]
        mean = unit[known].mean(axis=0)
        np.testing.assert_allclose(newsroom.centers[topic], mean / np.linalg.norm(mean), atol=1e-6)
    rows = published(newsroom)
    for i in (0, 6, 39):
        np.testing.assert_allclose(rows[f"n{i}"].vector[0], unit[i], atol=1e-6)
        np.testing.assert_array_equal(rows[f"n{i}"].text, rows[f"n{i}"].vector)
    assert np.linalg.norm(rows["n7"].vector) == pytest.approx(1.0, abs=1e-6)
    assert "vector" in newsroom.given
    assert "vector" in newsroom.drawn
    feed = Feed(FeedConfig(num_readers=50, tick_hours=1.0, days=1, slate_size=2), newsroom=newsroom)
    assert feed.catalogue.archive.dim == 5


def test_topics_of_vectors_without_topics_lie_near_their_vectors() -> None:
    rng = np.random.default_rng(1)
    kinds = np.arange(60) % 3
    # A narrow cone, as the vectors of texts are.
    vectors = 5.0 * np.eye(8)[7] + np.eye(3, 8)[kinds] + 0.05 * rng.standard_normal((60, 8))
    newsroom = ReplayNewsroom(small(60, vector=list(vectors)), NewsroomConfig(num_topics=8), seed=2)
    rows = published(newsroom)
    topics = np.array([int(rows[f"n{i}"].topic[0]) for i in range(60)])
    assert all(len(set(topics[kinds == kind])) == 1 for kind in range(3))
    assert len(set(topics)) == 3


def test_the_stock_of_the_opening_is_live_at_hour_0() -> None:
    assert opening_stock_at_hour_0(np.array([7.0, 7.0, 8.0])).tolist() == [0.0, 0.0, 8.0]
    assert opening_stock_at_hour_0(np.array([7.0, 7.5, 7.5])).tolist() == [7.0, 7.5, 7.5]
    assert opening_stock_at_hour_0(np.array([-2.0, -2.0, 3.0])).tolist() == [-2.0, -2.0, 3.0]


def test_articles_from_before_hour_0_belong_to_day_minus_1_while_they_live() -> None:
    table = {"id": ["old", "late", "now"], "published_hours": [-5000.0, -1e-6, 0.0]}
    newsroom = ReplayNewsroom(table, seed=0)
    assert len(newsroom.plan_day(-1)) == 1
    assert newsroom.original_id(np.arange(2)).tolist() == ["late", "now"]
    feed = Feed(FeedConfig(num_readers=5, days=1), newsroom=newsroom)
    assert np.sort(feed.catalogue.article_id).tolist() == [0, 1]


@pytest.mark.parametrize(("last", "days"), [(1.5, 1), (25.0, 1), (25.1, 2), (49.0, 2)])
def test_days_count_from_the_first_article_to_the_last(last: float, days: int) -> None:
    assert ReplayNewsroom({"id": [1, 2], "published_hours": [1.0, last]}).days == days


def test_keys_depend_on_the_id_alone_and_differ() -> None:
    ids = np.array([str(i) for i in range(20_000)] + ["a", "aa", "ab", "ba"])
    keys = article_keys(ids)
    assert len(set(keys.tolist())) == len(ids)
    np.testing.assert_array_equal(article_keys(np.array(["17"])), keys[17:18])
    np.testing.assert_array_equal(article_keys(np.array(["17", "long" * 20]))[:1], keys[17:18])


def test_a_bad_seed_is_named() -> None:
    with pytest.raises(ValueError, match=r"seed: got -1, needs an integer >= 0"):
        ReplayNewsroom(small(), seed=-1)

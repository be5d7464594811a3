"""The live catalogue against a plain set, its counters against plain counting, and the archive's growth."""

from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feedgym.env import Feed, FeedConfig
from feedgym.env.feed.catalogue import Catalogue
from feedgym.env.newsroom.articles import Archive, ArticleTable

DIM = 2


def table(published: Any, expires: Any, seed: int = 0) -> ArticleTable:
    m, rng = len(published), np.random.default_rng((seed, len(published)))
    return ArticleTable(
        published_hours=np.asarray(published, dtype=np.float64),
        expires_hours=np.asarray(expires, dtype=np.float64),
        topic=rng.integers(0, 3, m, dtype=np.int32),
        publisher=rng.integers(0, 4, m, dtype=np.int32),
        author=rng.integers(0, 9, m, dtype=np.int32),
        text=rng.random((m, DIM), dtype=np.float32),
        clickbait_proxy=rng.random(m, dtype=np.float32),
        quality_proxy=rng.random(m, dtype=np.float32),
        breaking=rng.random(m) < 0.5,
        vector=rng.random((m, DIM), dtype=np.float32),
        quality=rng.random(m, dtype=np.float32),
        clickbait=rng.random(m, dtype=np.float32),
        half_life_hours=1.0 + rng.random(m),
        appeal=rng.random(m, dtype=np.float32),
    )


class RandomNewsroom:
    """Articles at random times with random lives, some shorter than a tick, some without an end."""

    centers = np.eye(3, DIM, dtype=np.float32)
    num_publishers = 4
    num_authors = 9

    def __init__(self, seed: int, per_day: int, mean_life: float) -> None:
        self._seed, self._per_day, self._mean_life = seed, per_day, mean_life

    def plan_day(self, day: int) -> ArticleTable:
        rng = np.random.default_rng((self._seed, day + 1))
        m = int(rng.integers(0, self._per_day + 1))
        times = np.sort(24.0 * (day + rng.random(m)))
        # Whole hours now and then: published and expired on the very tick.
        times = np.sort(np.where(rng.random(m) < 0.2, np.floor(times), times))
        expires = times + rng.exponential(self._mean_life, m)
        expires = np.where(rng.random(m) < 0.1, np.ceil(expires), expires)
        expires = np.where(rng.random(m) < 0.02, np.inf, expires)
        made = table(times, expires, self._seed)
        return made.take(made.expires_hours > 0.0) if day < 0 else made


def plan(newsroom: RandomNewsroom, days: int) -> list[tuple[float, float]]:
    """(published, expires) of every article, by id."""
    tables = [newsroom.plan_day(day) for day in range(-1, days)]
    return [(float(p), float(e)) for t in tables for p, e in zip(t.published_hours, t.expires_hours, strict=True)]


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 10**6),
    per_day=st.sampled_from([0, 3, 60, 2500]),
    mean_life=st.sampled_from([0.05, 2.0, 30.0]),
    ticks_per_day=st.sampled_from([1, 24, 48]),
)
def test_live_ids_equal_a_plain_set(seed: int, per_day: int, mean_life: float, ticks_per_day: int) -> None:
    newsroom = RandomNewsroom(seed, per_day, mean_life)
    catalogue = Catalogue(newsroom, ticks_per_day)
    articles = plan(newsroom, 4)
    before: set[int] = set()
    for tick in range(3 * ticks_per_day):
        now = tick * (24.0 / ticks_per_day)
        catalogue.advance(tick, now)
        live = {a for a, (published, expires) in enumerate(articles) if published <= now < expires}
        ids = catalogue.article_id.tolist()
        assert len(ids) == len(set(ids)) == len(catalogue)
        assert set(ids) == live
        assert catalogue.arrived.tolist() == sorted(live - before)
        assert catalogue.departed.tolist() == sorted(before - live)
        assert set(np.flatnonzero(catalogue.archive.is_live).tolist()) == live
        assert catalogue.archive.published == sum(published <= now for published, _ in articles)
        np.testing.assert_allclose(catalogue.age_hours, [now - articles[a][0] for a in ids])
        before = live


@settings(max_examples=25, deadline=None, derandomize=True)
@given(seed=st.integers(0, 10**6), per_day=st.sampled_from([5, 2500]), look=st.integers(1, 40))
def test_counters_equal_plain_counting(seed: int, per_day: int, look: int) -> None:
    newsroom = RandomNewsroom(seed, per_day, 20.0)
    catalogue, rng = Catalogue(newsroom, 24), np.random.default_rng(seed)
    shown: Counter[int] = Counter()
    clicks: Counter[int] = Counter()
    dwell: Counter[int] = Counter()
    for tick in range(48):
        catalogue.advance(tick, float(tick))
        if not catalogue.archive.published:
            continue
        # Popular ids repeat within one call; sizes around the limit at which impressions are counted.
        ids = rng.integers(0, catalogue.archive.published, (4, int(rng.integers(0, 900))))
        clicked = rng.choice(ids.ravel(), ids.size // 5)
        minutes = rng.integers(1, 64, len(clicked)).astype(np.float32)
        catalogue.count(ids, clicked, minutes)
        shown.update(ids.ravel().tolist())
        clicks.update(clicked.tolist())
        for article, value in zip(clicked.tolist(), minutes.tolist(), strict=True):
            dwell[article] += value
        if tick % look == 0:  # looking must not change what is counted
            _compare(catalogue, shown, clicks, dwell)
    _compare(catalogue, shown, clicks, dwell)


def _compare(catalogue: Catalogue, shown: Any, clicks: Any, dwell: Any) -> None:
    ids = np.arange(catalogue.archive.published)
    assert catalogue.impressions_of(ids).tolist() == [shown[i] for i in ids]
    assert catalogue.clicks_of(ids).tolist() == [clicks[i] for i in ids]
    assert catalogue.dwell_minutes_of(ids).tolist() == [dwell[i] for i in ids]


def test_impressions_are_counted_without_being_asked() -> None:
    """Else what waits to be counted would grow for ever."""
    catalogue = Catalogue(RandomNewsroom(0, 50, 20.0), 24)
    catalogue.advance(0, 0.0)
    for _ in range(60):
        catalogue.count(np.zeros((10, 100), dtype=np.int64), np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.float32))
        assert sum(ids.size for ids in catalogue._pending) < 8 * len(catalogue._impressions)
    assert catalogue.impressions_of(np.array([0, 1])).tolist() == [60_000, 0]


def test_a_restored_catalogue_goes_on_alike() -> None:
    newsroom = RandomNewsroom(8, 400, 10.0)
    one, other = Catalogue(newsroom, 24), Catalogue(newsroom, 24)
    for tick in range(30):
        one.advance(tick, float(tick))
        ids = one.article_id[: len(one) // 2].copy()
        one.count(ids, ids[::2], np.ones(len(ids[::2]), dtype=np.float32))
    other.restore(one.snapshot(), 29, 29.0)
    for tick in range(30, 90):
        for catalogue in (one, other):
            catalogue.advance(tick, float(tick))
        np.testing.assert_array_equal(one.article_id, other.article_id)
        np.testing.assert_array_equal(one.departed, other.departed)
    snapshots = one.snapshot(), other.snapshot()
    for name, value in snapshots[0].items():
        np.testing.assert_array_equal(value, snapshots[1][name], err_msg=name)


def test_the_archive_grows_and_keeps_every_article() -> None:
    archive, tables = Archive(DIM), []
    start = 0.0
    for size in (0, 1, 1000, 30, 5000, 3, 20_000):
        times = start + np.arange(size) / 1000.0
        tables.append(table(times, times + 5.0, size))
        start += size / 1000.0
        archive.plan(tables[-1])
        assert archive.planned == sum(len(t) for t in tables)
        assert len(archive.scoring) >= archive.planned
    for name in (
        "published_hours",
        "expires_hours",
        "text",
        "vector",
        "topic",
        "breaking",
        "appeal",
        "half_life_hours",
    ):
        expected = np.concatenate([getattr(t, name) for t in tables])
        column = archive.column(name)[: archive.planned]
        assert column.dtype == expected.dtype
        np.testing.assert_array_equal(column, expected)
    everything = {
        n: np.concatenate([getattr(t, n) for t in tables]) for n in ("vector", "clickbait", "quality", "appeal")
    }
    rate = np.log(2.0) / np.concatenate([t.half_life_hours for t in tables])
    born = rate * archive.column("published_hours")[: archive.planned]
    topic = archive.column("topic")[: archive.planned]
    rows = np.column_stack([*everything.values(), born, rate, topic])
    np.testing.assert_allclose(archive.scoring[: archive.planned], rows, rtol=1e-6)
    assert len(archive.scoring) <= 2 * archive.planned  # by doubling, not by more


def test_the_archive_names_what_it_refuses() -> None:
    archive = Archive(3)
    with pytest.raises(ValueError, match=r"text: got \(1, 2\), needs \(m, 3\)"):
        archive.plan(table([0.0], [1.0]))
    with pytest.raises(ValueError, match=r"name: got 'colour', needs one of"):
        archive.column("colour")


def test_observables_of_the_live_articles() -> None:
    catalogue = Catalogue(RandomNewsroom(1, 300, 20.0), 24)
    catalogue.advance(0, 0.0)
    ids, archive = catalogue.article_id, catalogue.archive
    features = dict(zip(catalogue.feature_names, catalogue.features.T, strict=True))
    assert list(features) == ["text_0", "text_1", "clickbait_proxy", "quality_proxy", "breaking"]
    np.testing.assert_array_equal(features["text_1"], archive.column("text")[ids, 1])
    for name in ("clickbait_proxy", "quality_proxy", "breaking"):
        np.testing.assert_array_equal(features[name], archive.column(name)[ids].astype(np.float32))
    categories = np.column_stack([archive.column(name)[ids] for name in ("topic", "publisher", "author")])
    np.testing.assert_array_equal(catalogue.categories_of(ids), categories)
    assert catalogue.category_sizes == (3, 4, 9)
    with pytest.raises(ValueError, match="read-only"):
        ids[0] = 5


def test_categories_of_any_shape_and_of_no_article() -> None:
    feed = Feed(FeedConfig(num_readers=10, days=1.0))
    catalogue = feed.catalogue
    ids = np.sort(catalogue.article_id)[:6]
    flat = catalogue.categories_of(ids)
    assert flat.shape == (6, 3)
    for place, name in enumerate(("topic", "publisher", "author")):
        np.testing.assert_array_equal(flat[:, place], catalogue.archive.column(name)[ids])
    history = np.array([[ids[3], ids[0], -1], [ids[5], -1, -1]])
    found = catalogue.categories_of(history)
    assert found.shape == (2, 3, 3)
    assert found.dtype == np.int32
    np.testing.assert_array_equal(found[0, 0], flat[3])
    np.testing.assert_array_equal(found[0, 1], flat[0])
    np.testing.assert_array_equal(found[1, 0], flat[5])
    assert (found[history < 0] == -1).all()
    assert (flat >= 0).all()

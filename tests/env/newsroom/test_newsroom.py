"""The synthetic newsroom: how many articles, when, and what they are like; the same for everybody."""

import math
from typing import Any

import numpy as np
import pytest
from scipy import stats

from feedgym.env import HalfLifeClass, NewsroomConfig, SyntheticNewsroom
from feedgym.env.newsroom.articles import ArticleTable
from feedgym.env.newsroom.decay import decay_rate
from feedgym.env.newsroom.synthetic import topic_centers, unit

CONFIG = NewsroomConfig()
BUSY = NewsroomConfig(articles_per_day=6000.0)


def week(config: NewsroomConfig, seed: int = 2, days: int = 7) -> list[ArticleTable]:
    newsroom = SyntheticNewsroom(config, seed)
    return [newsroom.plan_day(day) for day in range(days)]


BUSY_WEEK = week(BUSY)


def joined(tables: list[ArticleTable], name: str) -> np.ndarray:
    return np.concatenate([getattr(table, name) for table in tables])


def test_a_day_does_not_depend_on_the_days_planned_before() -> None:
    newsroom = SyntheticNewsroom(CONFIG, 3)
    late = newsroom.plan_day(5)
    for other in (SyntheticNewsroom(CONFIG, 3).plan_day(5), newsroom.plan_day(5)):
        for name in ("published_hours", "expires_hours", "text", "quality", "author", "breaking", "half_life_hours"):
            np.testing.assert_array_equal(getattr(late, name), getattr(other, name))
    assert not np.array_equal(late.quality[:50], SyntheticNewsroom(CONFIG, 4).plan_day(5).quality[:50])
    assert not np.array_equal(late.quality[:50], newsroom.plan_day(6).quality[:50])


def test_times_rise_within_their_day() -> None:
    for day, table in enumerate(BUSY_WEEK):
        assert np.all(np.diff(table.published_hours) >= 0)
        assert table.published_hours[0] >= 24.0 * day
        assert table.published_hours[-1] < 24.0 * (day + 1)


def test_arrivals_are_poisson_with_the_stated_profiles() -> None:
    counts = np.array([len(SyntheticNewsroom(CONFIG, seed).plan_day(0)) for seed in range(300)])
    monday = 400.0 * 7.0 / (5 + 2 * 0.6)
    assert abs(counts.mean() - monday) < 4.0 * math.sqrt(monday / 300)
    # Poisson: the variance is the mean.
    dispersion = 299 * counts.var(ddof=1) / monday
    assert 1e-3 < stats.chi2(299).cdf(dispersion) < 1 - 1e-3
    times = joined(BUSY_WEEK, "published_hours")
    profile = np.array(BUSY.day_profile)
    by_hour = np.bincount((times % 24.0).astype(int), minlength=24)
    assert stats.chisquare(by_hour, len(times) * profile / profile.sum()).pvalue > 1e-3
    assert stats.chisquare(by_hour, len(times) * np.roll(profile, 1) / profile.sum()).pvalue < 1e-9
    by_day = np.bincount((times // 24.0).astype(int), minlength=7)
    weekdays = np.array([1.0] * 5 + [0.6] * 2)
    expected = BUSY.articles_per_day * 7.0 * weekdays / weekdays.sum()
    assert np.all(np.abs(by_day - expected) < 4.0 * np.sqrt(expected))
    assert stats.kstest(times % 1.0, "uniform").pvalue > 1e-3


def test_what_articles_are_like() -> None:
    """docs/mathematics.md 9.1: q = q_p + .8 N, c = c_p - .2 q + .8 N, v = unit(center + spread N / sqrt D)."""
    columns = {
        name: joined(BUSY_WEEK, name) for name in ("quality", "clickbait", "publisher", "topic", "vector", "text")
    }
    q, c, publisher = (columns[name] for name in ("quality", "clickbait", "publisher"))
    m = len(q)
    for name, size in (("publisher", 24), ("topic", 16), ("author", 400)):
        counts = np.bincount(joined(BUSY_WEEK, name), minlength=size)
        assert stats.chisquare(counts).pvalue > 1e-3, name
    mean_q = np.array([q[publisher == p].mean() for p in range(24)])
    own_q = q - mean_q[publisher]
    assert own_q.std() == pytest.approx(0.8, rel=0.02)
    slope, residual = np.polyfit(
        own_q, c - np.array([c[publisher == p].mean() for p in range(24)])[publisher], 1, full=True
    )[:2]
    assert slope[0] == pytest.approx(-0.2, abs=4.0 / math.sqrt(m))
    assert math.sqrt(residual[0] / m) == pytest.approx(0.8, rel=0.02)
    assert 0.35 < mean_q.std() < 0.9  # 24 draws of sd .6
    vectors, centers = columns["vector"].astype(np.float64), topic_centers(16, 16)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, rtol=1e-6)
    # The match with the own centre: that of centre + spread N / sqrt D, scaled to length 1.
    rng = np.random.default_rng(0)
    drawn = np.eye(1, 16) + 0.5 / 4.0 * rng.standard_normal((40_000, 16))
    match = (vectors * centers[columns["topic"]]).sum(axis=1)
    assert stats.ks_2samp(match, drawn[:, 0] / np.linalg.norm(drawn, axis=1)).pvalue > 1e-3
    noise = columns["text"] - vectors
    assert noise.std() == pytest.approx(0.5 / 4.0, rel=0.01)
    assert stats.kstest(noise.ravel() / 0.125, "norm").pvalue > 1e-3  # all 16 axes at once
    for name, sd, latent in (("clickbait_proxy", 0.5, c), ("quality_proxy", 0.7, q)):
        error = joined(BUSY_WEEK, name) - latent
        assert error.std() == pytest.approx(sd, rel=0.02)
        assert abs(error.mean()) < 4.0 * sd / math.sqrt(m)
    assert not joined(BUSY_WEEK, "breaking").any()
    assert not joined(BUSY_WEEK, "appeal").any()


def test_half_lives_are_log_normal_within_their_kind() -> None:
    half = joined(BUSY_WEEK, "half_life_hours")
    log = np.log(half)

    def mixture(x: np.ndarray, share: float = 0.8) -> np.ndarray:
        cdf = stats.norm(math.log(4.0), 0.3).cdf(x) * share + stats.norm(math.log(24.0), 0.3).cdf(x) * (1 - share)
        return np.asarray(cdf)

    assert stats.kstest(log, mixture).pvalue > 1e-3
    assert stats.kstest(log, lambda x: mixture(x, 0.78)).pvalue < 1e-3
    np.testing.assert_allclose(joined(BUSY_WEEK, "expires_hours"), joined(BUSY_WEEK, "published_hours") + 6.0 * half)


def test_the_day_before_hour_0_holds_exactly_what_is_still_live() -> None:
    before = SyntheticNewsroom(CONFIG, 1).plan_day(-1)
    assert np.all(before.published_hours < 0)
    assert np.all(before.expires_hours > 0)
    assert np.all(np.diff(before.published_hours) >= 0)
    # Little's law: live = rate * mean life; the weekend before hour 0 thins it out.
    mean_life = 6.0 * math.exp(0.3**2 / 2) * (0.8 * 4.0 + 0.2 * 24.0)
    assert 0.65 < len(before) / (400.0 / 24.0 * mean_life) < 1.05


def test_edges() -> None:
    silent = week(NewsroomConfig(articles_per_day=0.0), days=2)
    assert [len(table) for table in silent] == [0, 0]
    assert len(SyntheticNewsroom(NewsroomConfig(articles_per_day=0.0), 0).plan_day(-1)) == 0
    alike = week(
        NewsroomConfig(half_life_log_sd=0.0, half_lives=(HalfLifeClass(share=1.0, median_hours=5.0),)), days=1
    )[0]
    np.testing.assert_array_equal(alike.half_life_hours, 5.0)
    no_weekend = week(NewsroomConfig(weekend_factor=0.0))
    assert [len(table) > 0 for table in no_weekend] == [True] * 5 + [False] * 2
    table = week(NewsroomConfig(num_topics=40, dim=8), days=1)[0]
    assert table.vector.shape[1] == 8
    assert table.topic.max() >= 30


def test_centers() -> None:
    np.testing.assert_array_equal(topic_centers(3, 5), np.eye(3, 5))
    many = topic_centers(40, 8)
    np.testing.assert_allclose(np.linalg.norm(many, axis=1), 1.0, rtol=1e-6)
    np.testing.assert_array_equal(many, topic_centers(40, 8))
    np.testing.assert_array_equal(unit(np.array([[0.0, 0.0], [3.0, 4.0]])), np.array([[0, 0], [0.6, 0.8]], np.float32))


def test_decay_halves_the_odds_at_the_half_life() -> None:
    assert math.exp(-4.0 * float(decay_rate(np.array(4.0)))) == pytest.approx(0.5)
    assert math.exp(-12.0 * float(decay_rate(np.array(4.0)))) == pytest.approx(0.125)
    np.testing.assert_allclose(decay_rate(np.array([4.0, 24.0])), np.log(2.0) / np.array([4.0, 24.0]))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"articles_per_day": -1.0}, "articles_per_day: got -1.0, needs >= 0"),
        ({"articles_per_day": math.nan}, "articles_per_day: got nan"),
        ({"day_profile": (1.0,) * 23}, "day_profile: got 23, needs 24 weights"),
        ({"day_profile": (0.0,) * 24}, "day_profile"),
        (
            {"half_lives": (HalfLifeClass(share=0.5, median_hours=1.0),)},
            "half_lives: got 0.5, needs shares that sum to 1",
        ),
        ({"num_topics": 0}, "num_topics: got 0, needs >= 1"),
        ({"spread": -0.1}, "spread: got -0.1"),
        ({"max_age_half_lives": 0.0}, "max_age_half_lives"),
    ],
)
def test_bad_settings_are_named(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        NewsroomConfig(**settings)

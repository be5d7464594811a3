"""A world of modules: what editions show and are worth, when they come and go, and that no agent changes any of it."""

import dataclasses
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from feedgym.env import Feed, FeedConfig, NewsroomConfig, ReplayNewsroom, SyntheticNewsroom, read_impressions
from feedgym.env.config import EventConfig, ModuleConfig
from feedgym.env.log.modules import write_modules
from feedgym.env.newsroom import module_editions
from feedgym.env.newsroom.articles import Archive, ArticleTable
from feedgym.env.newsroom.modules import ModuleNewsroom
from helpers.paths import EBNERD

T, P = 4, 3
SMALL = NewsroomConfig(articles_per_day=60.0, num_topics=T, num_publishers=P, dim=6)
MODULES = ModuleConfig(size=3, refresh_hours=1.0, pick_hours=8.0)
SITE = FeedConfig(num_readers=60, days=2.5, slate_size=4, newsroom=SMALL, modules=MODULES)


def newsroom(seed: int = 3, config: NewsroomConfig = SMALL, modules: ModuleConfig = MODULES) -> ModuleNewsroom:
    return ModuleNewsroom(SyntheticNewsroom(config, seed), modules)


def joined(tables: list[ArticleTable]) -> ArticleTable:
    return ArticleTable(**{f.name: np.concatenate([getattr(t, f.name) for t in tables]) for f in fields(ArticleTable)})


def same(one: ArticleTable, other: ArticleTable) -> None:
    for f in fields(ArticleTable):
        np.testing.assert_array_equal(getattr(one, f.name), getattr(other, f.name), err_msg=f.name)


def plain_choice(articles: ArticleTable, module: int, at: float, c: ModuleConfig) -> list[int]:
    """What a module shows, article by article."""
    group = articles.publisher if module >= 2 * T else articles.topic
    wanted = module - 2 * T if module >= 2 * T else module % T
    live = [
        i
        for i in range(len(articles))
        if group[i] == wanted and articles.published_hours[i] <= at < articles.expires_hours[i]
    ]
    newest = sorted(live, reverse=True)
    if not T <= module < 2 * T:
        return newest[: c.size]
    young = [i for i in live if at - articles.published_hours[i] <= c.pick_hours]
    best = sorted(young, key=lambda i: -articles.quality_proxy[i])
    return (best + [i for i in newest if i not in young])[: c.size]


def most(values: list[int]) -> int:
    return max(values, key=lambda value: (values.count(value), -values.index(value)))


# ---- what an edition shows and is ----
def test_editions_show_and_pool_what_a_plain_loop_would() -> None:
    # Few articles: some modules show fewer than three, and a pick must fill up with older ones.
    config = dataclasses.replace(SMALL, articles_per_day=8.0)
    modules = newsroom(config=config)
    base = SyntheticNewsroom(config, 3)
    articles = joined([base.plan_day(day) for day in range(-1, 3)])
    editions = joined([modules.plan_day(day) for day in range(3)])
    shown: dict[int, list[int]] = {}
    for day in range(3):
        rows = modules.module_articles(day)
        for edition, slot, article in zip(rows["article_id"], rows["slot"], rows["shown_id"], strict=True):
            assert slot == len(shown.setdefault(int(edition), []))
            shown[int(edition)].append(int(article))
        np.testing.assert_array_equal(rows["module"], editions.author[rows["article_id"]])
        np.testing.assert_array_equal(rows["latent_quality"], articles.quality[rows["shown_id"]])
        np.testing.assert_array_equal(rows["publisher"], articles.publisher[rows["shown_id"]])
    assert list(shown) == list(range(len(editions)))
    sizes = [len(chosen) for chosen in shown.values()]
    assert min(sizes) < MODULES.size == max(sizes)
    mixed = 0
    for edition, chosen in shown.items():
        at = editions.published_hours[edition]
        assert chosen == plain_choice(articles, int(editions.author[edition]), at, MODULES)
        few = articles.take(np.array(chosen))
        for name in ("text", "vector", "clickbait_proxy", "quality_proxy", "quality", "clickbait"):
            mean = getattr(few, name).astype(np.float64).mean(axis=0)
            np.testing.assert_allclose(getattr(editions, name)[edition], mean, rtol=1e-5, atol=1e-6)
        assert editions.topic[edition] == most(few.topic.tolist())
        assert editions.publisher[edition] == most(few.publisher.tolist())
        mixed += len(set(few.topic.tolist())) > 1
        rate = np.log(2.0) / few.half_life_hours
        np.testing.assert_allclose(np.log(2.0) / editions.half_life_hours[edition], rate.mean())
        stale = (few.appeal - rate * (at - few.published_hours)).mean()
        np.testing.assert_allclose(editions.appeal[edition], stale, rtol=1e-4, atol=1e-5)
    assert mixed > 50
    assert len(editions) < (2 * T + P) * (1 + 3 * 24)  # now and then a module has nothing to show


def test_log_odds_are_at_every_moment_the_mean_of_the_articles_log_odds() -> None:
    modules = newsroom()
    one, alone = Archive(SMALL.dim), Archive(SMALL.dim)
    for day in range(-1, 2):
        one.plan(modules.plan_day(day))
        alone.plan(modules.newsroom.plan_day(day))
    rng = np.random.default_rng(0)
    reader = rng.standard_normal(SMALL.dim + 2)
    rows = modules.module_articles(1)
    edition, article = rows["article_id"], rows["shown_id"]
    count = np.bincount(edition, minlength=one.planned)
    for later in (0.0, 0.4, 1.0):
        now = one.column("published_hours")[: one.planned] + later

        def log_odds(archive: Archive, ids: Any, when: Any) -> Any:
            known = archive.scoring[ids].astype(np.float64)
            d = archive.dim
            return known[:, : d + 2] @ reader + known[:, d + 2] + known[:, d + 3] - known[:, d + 4] * when

        own = log_odds(alone, article, now[edition])
        mean = np.bincount(edition, weights=own, minlength=one.planned)[count > 0] / count[count > 0]
        whole = log_odds(one, np.flatnonzero(count), now[count > 0])
        np.testing.assert_allclose(whole, mean, atol=1e-4)
    # The staleness of what is shown counts: pooled, it is most of an hour's decay or more.
    assert np.median(one.column("appeal")[: one.planned]) < -0.2


def test_breaking_is_seen_and_events_reach_through() -> None:
    events = EventConfig(per_day=2.0)
    config = dataclasses.replace(SMALL, events=events)
    modules, base = newsroom(config=config), SyntheticNewsroom(config, 3)
    assert modules.has_surges
    for now in (0.0, 30.0, 60.0):
        np.testing.assert_array_equal(modules.trend(now)[0], base.trend(now)[0])
        assert modules.trend(now)[1] == base.trend(now)[1]
    hours = np.arange(100)
    assert base.surge(hours).max() > 1.0
    np.testing.assert_array_equal(modules.surge(hours), base.surge(hours))
    assert 0.0 < joined([modules.plan_day(day) for day in range(3)]).breaking.mean() < 1.0
    quiet = ModuleNewsroom(ReplayNewsroom({"id": ["a", "b"], "published_hours": [1.0, 2.0]}))
    assert not quiet.has_surges
    assert not quiet.trend(5.0)[0].any()
    assert (quiet.surge(hours) == 1.0).all()


# ---- when they come and go ----
def test_an_edition_expires_exactly_when_the_next_one_arrives() -> None:
    table = joined([newsroom(seed=1).plan_day(day) for day in range(-1, 3)])
    assert (np.diff(table.published_hours) >= 0.0).all()
    assert sorted(table.author[table.published_hours == 0.0]) == list(range(2 * T + P))
    for module in range(2 * T + P):
        mine = table.take(table.author == module)
        np.testing.assert_array_equal(mine.expires_hours[:-1], mine.published_hours[1:])
        np.testing.assert_allclose(np.diff(mine.published_hours[1:]), 1.0, atol=1e-5)
    # Staggered: every tick of a quarter of an hour brings about a quarter of the modules.
    ticks = np.bincount((table.published_hours[2 * T + P :] * 4.0).astype(int))
    assert ticks.min() >= 2
    assert ticks.max() <= 3


@pytest.mark.parametrize("tick_hours", [0.25, 1.0 / 12.0, 0.1, 2.0])
@pytest.mark.parametrize("refresh_hours", [1.0, 0.3, 1.1])
def test_at_every_tick_each_module_is_live_once(tick_hours: float, refresh_hours: float) -> None:
    # 11 modules have times that are no multiples of any tick; 12 have many that are, up to rounding.
    config = dataclasses.replace(SMALL, articles_per_day=400.0, num_publishers=4)
    modules = dataclasses.replace(MODULES, refresh_hours=refresh_hours)
    feed = Feed(
        FeedConfig(num_readers=2, days=2.0, tick_hours=tick_hours, slate_size=2, newsroom=config, modules=modules)
    )
    author, seen = feed.catalogue.archive.column, 0
    while not feed.done:
        live = np.sort(author("author")[feed.catalogue.article_id])
        np.testing.assert_array_equal(live, np.arange(12), err_msg=f"at {feed.now} h")
        seen += len(feed.catalogue.arrived)
        feed.serve(np.full((len(feed.visits), 2), -1))
    assert seen > 12 * 2.0 * 24.0 / max(refresh_hours, tick_hours) * 0.8


def test_the_opening_stock_and_the_names() -> None:
    feed = Feed(FeedConfig(num_readers=5, modules=ModuleConfig()))
    wrapped = feed.newsroom
    assert isinstance(wrapped, ModuleNewsroom)
    assert len(feed.catalogue) == wrapped.num_modules == len(wrapped.module_names) == 16 * 2 + 24
    assert wrapped.module_names[17] == "topic 1, editors' pick"
    assert feed.catalogue.category_sizes == (16, 24, 56)
    assert feed.catalogue.age_hours.max() == 0.0


def test_with_nothing_published_nothing_is_live() -> None:
    silent = dataclasses.replace(SITE, newsroom=dataclasses.replace(SMALL, articles_per_day=0.0), days=1.2)
    feed = Feed(silent)
    while not feed.done:
        assert len(feed.catalogue) == 0
        feed.serve(np.full((len(feed.visits), 4), -1))


# ---- exogenous, and the same bytes ----
def served(feed: Feed, seed: int, until: float) -> list[Any]:
    """Random slates, drawn anew each tick; what happened."""
    happened = []
    while not feed.done and feed.now < until:
        live = np.sort(feed.catalogue.article_id)
        rng = np.random.default_rng((seed, feed.tick))
        slates = rng.permuted(np.tile(live, (len(feed.visits), 1)), axis=1)[:, :4]
        outcome = feed.serve(slates)
        happened += [slates, outcome.clicks, outcome.dwell_minutes, outcome.hours_to_next_visit]
    return happened


def test_no_agent_and_no_population_changes_what_is_published() -> None:
    one, other = Feed(SITE, seed=5), Feed(dataclasses.replace(SITE, num_readers=7), seed=5)
    clicks = sum(int(part.sum()) for part in served(one, 1, 100.0)[1::4])
    served(other, 2, 100.0)
    assert clicks > 0
    a, b = one.catalogue.archive.snapshot(), other.catalogue.archive.snapshot()
    assert a.keys() == b.keys()
    assert all(a[name].tobytes() == b[name].tobytes() for name in a)
    changed = Feed(SITE, seed=6).catalogue.archive.column("quality")
    assert not np.array_equal(changed[:50], one.catalogue.archive.column("quality")[:50])


def test_days_are_the_same_in_whatever_order_they_are_asked_for() -> None:
    modules, again = newsroom(), newsroom()
    days = [modules.plan_day(day) for day in range(-1, 5)]
    assert len(days[0]) == 0
    for day in (3, 3, 1, -1, 4, 0):
        same(again.plan_day(day), days[day + 1])
    np.testing.assert_array_equal(again.module_articles(2)["shown_id"], modules.module_articles(2)["shown_id"])


def test_a_restored_feed_goes_on_byte_for_byte() -> None:
    whole = Feed(SITE, seed=2)
    served(whole, 9, 30.0)
    saved = whole.snapshot()
    rest = served(whole, 9, 100.0)
    resumed = Feed(SITE, seed=2)
    resumed.restore(saved)
    np.testing.assert_array_equal(resumed.catalogue.arrived, saved["catalogue/arrived"])
    again = served(resumed, 9, 100.0)
    assert len(rest) == len(again) > 50
    assert all(a.tobytes() == b.tobytes() for a, b in zip(rest, again, strict=True))
    end, other = whole.snapshot(), resumed.snapshot()
    assert all(end[name].tobytes() == other[name].tobytes() for name in end)
    # With other contents of the modules, other bytes.
    odd = Feed(dataclasses.replace(SITE, modules=dataclasses.replace(MODULES, size=2)), seed=2)
    odd_bytes = [part.tobytes() for part in served(odd, 9, 30.0)]
    assert odd_bytes != [part.tobytes() for part in served(Feed(SITE, seed=2), 9, 30.0)]


def test_a_large_newsroom_is_taken_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = newsroom().plan_day(0)
    monkeypatch.setattr(module_editions, "_CELLS", 300)
    same(newsroom().plan_day(0), whole)


# ---- replay and the log ----
def test_a_real_sites_articles_in_modules() -> None:
    base = ReplayNewsroom(EBNERD, seed=1)
    feed = Feed(FeedConfig(num_readers=40, days=2.0, slate_size=4, modules=ModuleConfig()), newsroom=base, seed=1)
    # The file's opening stock stands at hour 0: so do the modules.
    assert len(feed.catalogue) == 56
    clicks = sum(int(part.sum()) for part in served(feed, 1, 100.0)[1::4])
    assert clicks > 0
    wrapped = feed.newsroom
    assert isinstance(wrapped, ModuleNewsroom)
    rows = wrapped.module_articles(1)
    np.testing.assert_array_equal(base.plan_day(0).published_hours[rows["shown_id"][:3]], rows["published_hours"][:3])


def test_the_log_says_what_modules_showed(tmp_path: Path) -> None:
    feed = Feed(dataclasses.replace(SITE, num_readers=5, days=1.3), seed=4)
    plain = Feed(dataclasses.replace(SITE, num_readers=5, days=1.3, modules=None), seed=4)
    while not feed.done:
        feed.serve(np.full((len(feed.visits), 4), -1))
    while not plain.done:
        plain.serve(np.full((len(plain.visits), 4), -1))
    path = tmp_path / "modules.parquet"
    assert write_modules(path, feed, config={"seed": 4}) == pq.read_metadata(path).num_rows > 0
    table = pq.read_table(path)
    edition, shown = table["article_id"].to_numpy(), table["shown_id"].to_numpy()
    # Every edition published so far, no later one; and ids that are those of the world without modules.
    np.testing.assert_array_equal(np.unique(edition), np.arange(feed.catalogue.archive.published))
    assert shown.max() < plain.catalogue.archive.published
    for name in ("published_hours", "topic", "author", "quality_proxy"):
        np.testing.assert_array_equal(table[name].to_numpy(), plain.catalogue.archive.column(name)[shown])
    assert write_modules(tmp_path / "none.parquet", plain) == 0
    assert not (tmp_path / "none.parquet").exists()
    with pytest.raises(FileNotFoundError, match="needs a folder with part files"):
        read_impressions(tmp_path)


# ---- errors ----
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"size": 0}, "size: got 0, needs >= 1"),
        ({"refresh_hours": 0.0}, r"refresh_hours: got 0.0, needs from 1/60 to 168 \(hours\)"),
        ({"refresh_hours": float("nan")}, "refresh_hours: got nan"),
        ({"pick_hours": -1.0}, r"pick_hours: got -1.0, needs > 0 \(hours\)"),
    ],
)
def test_a_bad_setting_is_named(settings: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ModuleConfig(**settings)


def test_other_mistakes_are_named_too() -> None:
    with pytest.raises(ValueError, match="modules: got True, needs a ModuleConfig, or None"):
        FeedConfig(modules=True)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="day: got -1, needs >= 0"):
        newsroom().module_articles(-1)

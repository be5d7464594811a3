"""A log replayed as a site: what agents see equals what they saw, from the log and its articles alone."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow import csv

from feedgym.agents.logged.site import LoggedSite
from feedgym.env import Feed, FeedConfig, RewardConfig
from feedgym.env.log.writer import ImpressionLog, write_articles
from feedgym.env.readers.news_reader import NewsReader
from feedgym.env.worlds import WORLDS
from helpers.logs.small import Slates

CONFIG = FeedConfig(num_readers=60, tick_hours=1.0, days=2, slate_size=4)


@dataclass
class Seen:
    """One tick, copied."""

    visits: dict[str, Any]
    catalogue: dict[str, Any]
    served: Any
    outcome: dict[str, Any]


VISIT_FIELDS = ("rows", "reader_id", "visit", "gap_hours", "features", "history_id", "history_dwell", "session")


def seen_visits(visits: Any) -> dict[str, Any]:
    """What agents see of visits, copied; devices by name."""
    values = {name: None if getattr(visits, name) is None else getattr(visits, name).copy() for name in VISIT_FIELDS}
    values |= {"tick": visits.tick, "now": visits.now, "feature_names": visits.feature_names}
    device = visits.device
    values["device"] = None if device is None else [visits.device_names[i] for i in device]
    return values


def seen_catalogue(catalogue: Any) -> dict[str, Any]:
    """What agents see of a catalogue, copied."""
    every = np.arange(catalogue.archive.published)
    names = ("features_of", "categories_of", "published_hours_of", "clicks_of", "dwell_minutes_of", "impressions_of")
    values = {name: getattr(catalogue, name)(every).copy() for name in names}
    values |= {name: getattr(catalogue, name).copy() for name in ("article_id", "arrived", "departed", "age_hours")}
    return values | {"now": catalogue.now}


def make_log(folder: Path, world: str = "vivid", config: FeedConfig = CONFIG, settings: Any = None) -> list[Seen]:
    """Write a log (a part for each day) and ``articles.parquet`` into ``folder``; the ticks as they were."""
    feed = Feed(config, NewsReader(WORLDS[world].reader), seed=4)
    log = ImpressionLog(config, run_id="r", policy="random", config={"seed": 4, **(settings or {})})
    rng, ticks = np.random.default_rng(0), []
    while not feed.done:
        shape = (len(feed.visits), config.slate_size)
        ids = rng.choice(feed.catalogue.article_id, shape)
        ids[rng.random(shape) < 0.1] = -1
        ids[rng.random(shape) < 0.05] = 0  # expired after a while
        slot = np.where(ids >= 0, 0.1 + 0.9 * rng.random(shape), 1.0)
        joint = np.log(slot).sum(axis=1)
        logit, total = rng.normal(size=shape), rng.normal(size=len(ids))
        slates = Slates(ids, logit, rng.random(shape) < 0.5, slot, joint, np.zeros(len(ids), bool), total)
        visits, seen, before = feed.visits, seen_visits(feed.visits), seen_catalogue(feed.catalogue)
        outcome = feed.serve(ids)
        of = {name: getattr(outcome, name).copy() for name in ("clicks", "dwell_minutes", "subscribed", "slot_reward")}
        ticks.append(Seen(seen, before, slates, of))
        if len(visits):
            log.append(visits, outcome, slates)
        if feed.tick % config.ticks_per_day == 0:
            log.flush(folder / "impressions" / f"day-{feed.tick // config.ticks_per_day - 1:04d}.parquet")
    write_articles(folder / "articles.parquet", feed.catalogue.archive)
    return ticks


def assert_same(seen: dict[str, Any], expected: dict[str, Any], when: object) -> None:
    assert seen.keys() == expected.keys()
    for name, value in expected.items():
        if isinstance(value, np.ndarray):
            assert seen[name].dtype == value.dtype, name
        np.testing.assert_array_equal(seen[name], value, err_msg=f"{name} at {when}")


@pytest.mark.parametrize(("world", "batch_rows"), [("vivid", 50_000), ("vivid", 7), ("measured", 500)])
def test_a_replayed_log_shows_agents_what_they_saw(world: str, batch_rows: int, tmp_path: Path) -> None:
    ticks = make_log(tmp_path, world)
    site = LoggedSite(tmp_path, batch_rows=batch_rows, category_sizes=(1, 1, 1))
    assert site.config.num_ticks == len(ticks) == 48
    assert sum((t.served.article_id < 0).sum() for t in ticks) > 50
    assert any(t.visits["history_id"].max(initial=-1) >= 0 for t in ticks)
    for tick in ticks:
        assert not site.done
        assert_same(seen_visits(site.visits), tick.visits, site.tick)
        assert_same(seen_catalogue(site.catalogue), tick.catalogue, site.tick)
        np.testing.assert_array_equal(site.logged.article_id, tick.served.article_id)
        np.testing.assert_array_equal(site.logged.slot_propensity, tick.served.slot_propensity)
        assert site.logged.explores_by_visits
        shown = tick.served.article_id >= 0
        np.testing.assert_array_equal(site.logged.logit[shown], tick.served.logit[shown].astype(np.float32))
        np.testing.assert_array_equal(site.logged.log_normaliser, tick.served.log_normaliser)
        for name in ("clicks", "dwell_minutes", "subscribed"):
            np.testing.assert_array_equal(getattr(site.outcome, name), tick.outcome[name], err_msg=name)
        np.testing.assert_array_equal(site.slot_reward, tick.outcome["slot_reward"])
        site.advance()
    assert site.done
    assert len(site.visits) == 0
    assert site.seed == 4
    assert (ticks[-1].visits["device"] is None) == (world == "vivid")


def test_no_latent_column_is_read(tmp_path: Path) -> None:
    make_log(tmp_path)
    path = tmp_path / "articles.parquet"
    table = pq.read_table(path)
    pq.write_table(table.drop_columns([name for name in table.column_names if name.startswith("latent_")]), path)
    site = LoggedSite(tmp_path)
    site.advance()
    assert not site.catalogue.archive.column("vector").any()
    assert not site.catalogue.archive.column("quality").any()


def test_the_reward_is_the_log_s_own(tmp_path: Path) -> None:
    make_log(tmp_path, settings={"reward": {"click": 0.5, "dwell_minutes": 0.0, "subscription": 2.0}})
    assert LoggedSite(tmp_path).config.reward == RewardConfig(click=0.5, dwell_minutes=0.0, subscription=2.0)
    assert LoggedSite(tmp_path, reward=RewardConfig(click=9.0)).config.reward.click == 9.0


# ---- a site's own log: the four columns that it must have, ids of its own, no clock ----
SITE: dict[str, Any] = {
    # Reader 7_000_000_000 comes twice within a tick of an hour; a visit's rows stand together.
    "reader_id": [7_000_000_000, 7_000_000_000, 5, 5, 7_000_000_000, 5],
    "time_hours": [0.2, 0.2, 0.25, 0.25, 0.7, 3.0],
    "article_id": [900, 17, 17, -1, 17, 33],
    "clicked": [1, 0, 1, 0, 1, 0],
}
ARTICLES: dict[str, Any] = {
    # Neither ids nor rows in order of publication.
    "article_id": [33, 900, 17],
    "published_hours": [2.5, -1.0, 0.1],
    "expires_hours": [float("inf"), 2.0, 30.0],
    "topic": [4, 2, 3],
}


def write_site(folder: Path, rows: dict[str, Any] = SITE, articles: dict[str, Any] = ARTICLES) -> Path:
    folder.mkdir(exist_ok=True)
    pq.write_table(pa.table(rows), folder / "clicks.parquet")
    pq.write_table(pa.table(articles), folder / "articles.parquet")
    return folder


def test_a_sites_own_log_is_put_on_a_clock(tmp_path: Path) -> None:
    site = LoggedSite(write_site(tmp_path), tick_hours=1.0)
    assert (site.config.slate_size, site.config.days, site.summary.num_visits) == (2, 1.0, 4)
    assert site.newsroom.original_id.tolist() == [900, 17, 33]
    assert len(site.visits) == 0  # the first visit comes at the tick after its time
    site.advance()
    assert (site.tick, site.visits.reader_id.tolist(), site.visits.rows.tolist()) == (1, [5, 7_000_000_000], [0, 1])
    assert site.logged.article_id.tolist() == [[1, -1], [0, 1]]
    assert site.outcome.clicks.tolist() == [[True, False], [True, False]]
    assert np.isnan(site.logged.slot_propensity[0, 0])
    assert site.logged.slot_propensity[0, 1] == 1.0
    assert site.visits.gap_hours.tolist() == [0.0, 0.0]
    assert sorted(site.catalogue.article_id.tolist()) == [0, 1]
    assert site.catalogue.category_sizes == (5, 1, 1)
    site.advance()
    # The same tick, the same reader's second visit.
    assert (site.tick, site.visits.reader_id.tolist(), site.visits.visit.tolist()) == (1, [7_000_000_000], [1])
    assert site.visits.history_id[0, :2].tolist() == [0, -1]
    assert len(site.catalogue.arrived) == len(site.catalogue.departed) == 0
    site.advance()
    assert (site.tick, len(site.visits), site.catalogue.departed.tolist()) == (2, 0, [0])
    site.advance()
    assert (site.visits.reader_id.tolist(), site.visits.gap_hours.tolist()) == ([5], [2.0])
    assert site.logged.article_id.tolist() == [[2, -1]]
    assert site.catalogue.clicks_of(np.arange(3)).tolist() == [1, 2, 0]
    while not site.done:
        site.advance()
    assert site.catalogue.impressions_of(np.arange(3)).tolist() == [1, 3, 1]
    assert site.tick == 24


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("article_id", 18, r"column 'article_id': got 18, needs an article of .*articles.parquet \(3 articles\)"),
        ("article_id", 33, r"column 'article_id': got 33 at 1 h, which was published at 2.5 h"),
        ("article_id", -1, r"column 'clicked' at 1 h: got True, needs false where article_id is -1"),
    ],
)
def test_what_articles_do_not_allow_is_refused(column: str, value: int, message: str, tmp_path: Path) -> None:
    rows: dict[str, Any] = {name: [*values] for name, values in SITE.items()}
    rows[column][0] = value
    site = LoggedSite(write_site(tmp_path, rows), tick_hours=1.0)
    with pytest.raises(ValueError, match=message):
        site.advance()


def test_a_log_without_articles_or_with_a_clock_of_its_own_says_so(tmp_path: Path) -> None:
    write_site(tmp_path)
    (tmp_path / "articles.parquet").unlink()
    with pytest.raises(FileNotFoundError, match=r"needs articles.parquet beside it"):
        LoggedSite(tmp_path)
    make_log(tmp_path / "own")
    with pytest.raises(ValueError, match=r"tick_hours: got 0.5, needs None: this log has its own clock"):
        LoggedSite(tmp_path / "own", tick_hours=0.5)


OPEN_BANDIT = Path("../shared/data/open_bandit/bts_all.csv.gz")


@pytest.mark.skipif(not OPEN_BANDIT.exists(), reason="no open_bandit beside the repository")
def test_a_published_log_is_a_site(tmp_path: Path) -> None:
    """One item of three places a row, with its true chance there: no slates, no clock, readers by their features."""
    table = csv.read_csv(OPEN_BANDIT)
    features = np.stack([table[f"user_feature_{k}"].to_numpy() for k in range(4)])
    _, reader = np.unique(features, axis=1, return_inverse=True)
    seconds = table["timestamp"].to_numpy().astype("datetime64[us]") - np.datetime64("2019-11-24")
    order = np.argsort(seconds, kind="stable")
    rows = {
        "reader_id": reader.ravel(),
        "time_hours": seconds / np.timedelta64(1, "h"),
        "article_id": table["item_id"].to_numpy(),
        "position": table["position"].to_numpy() - 1,
        "clicked": table["click"].to_numpy(),
        "slot_propensity": table["propensity_score"].to_numpy(),
    }
    items = np.unique(rows["article_id"])
    always = {"published_hours": np.full(len(items), -1.0), "expires_hours": np.full(len(items), np.inf)}
    write_site(tmp_path, {name: values[order] for name, values in rows.items()}, {"article_id": items} | always)
    site = LoggedSite(tmp_path)
    # Some rows share reader and time: they stand on one slate, at different places.
    assert 0.9 * len(reader) < site.summary.num_visits <= len(reader) == site.summary.num_rows
    # The last of seven days' visits comes at the tick after it: at the next midnight.
    assert (site.summary.slate_size, site.config.days, site.summary.num_unknown) == (3, 8.0, 0)
    clicks, chances = 0, []
    while not site.done:
        shown = site.logged.article_id >= 0
        chances.append(site.logged.slot_propensity[shown])
        clicks += int(site.outcome.clicks.sum())
        site.advance()
    # No minutes in the log: clicks are what pays.
    assert site.config.reward == RewardConfig(click=1.0, dwell_minutes=0.0)
    assert clicks == rows["clicked"].sum() > 20
    np.testing.assert_allclose(np.sort(np.concatenate(chances)), np.sort(rows["slot_propensity"]))
    counted = site.catalogue.impressions_of(np.arange(len(items)))
    np.testing.assert_array_equal(counted, np.unique(rows["article_id"], return_counts=True)[1])


def run_through(site: LoggedSite) -> None:
    while not site.done:
        site.advance()


@pytest.mark.parametrize("early", [1, 2])
def test_a_few_articles_shown_too_early_are_taken_for_empty_positions(early: int, tmp_path: Path) -> None:
    """One in a hundred impressions at most: a site's clocks differ. Of more the log is refused."""
    visits = 50
    rows: dict[str, Any] = {
        "reader_id": np.repeat(np.arange(visits) % 7, 2),
        "time_hours": np.repeat(np.arange(visits) / 4.0, 2),
        "article_id": np.tile([11, 22], visits),
        "clicked": np.ones(2 * visits, dtype=np.bool_),
        "dwell_minutes": np.full(2 * visits, 3.0),
        "reward": np.full(2 * visits, 3.0),
    }
    rows["article_id"][4 : 4 + 2 * early : 2] = 33  # one of both positions, of one visit or two
    pq.write_table(pa.table(rows), tmp_path / "log.parquet")
    articles = {"article_id": [11, 22, 33], "published_hours": [0.0, 0.0, 6.0], "expires_hours": [99.0] * 3}
    pq.write_table(pa.table(articles), tmp_path / "articles.parquet")
    site = LoggedSite(tmp_path, tick_hours=0.25)
    assert site.why_fewer is None
    if early == 2:
        with pytest.raises(ValueError, match=r"got 33 at 0.75 h, which was published at 6 h, 2 of 100 impressions so"):
            run_through(site)
        return
    seen = []
    while not site.done:
        if len(site.visits):
            seen.append((site.logged.article_id.copy(), site.outcome.clicks.copy(), site.slot_reward.copy()))
        site.advance()
    ids, clicks, reward = (np.concatenate(part) for part in zip(*seen, strict=True))
    empty = np.zeros((visits, 2), dtype=np.bool_)
    empty[2, 0] = True
    assert np.array_equal(ids < 0, empty)
    assert np.array_equal(clicks, ~empty)
    assert np.array_equal(reward, np.where(empty, 0.0, 3.0))
    assert site.catalogue.impressions_of(np.arange(3)).tolist() == [visits - 1, visits, 0]
    assert site.why_fewer is not None
    assert site.why_fewer.startswith("1 of 100 impressions are of articles that had not been published")

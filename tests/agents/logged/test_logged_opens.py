"""Opens from elsewhere in a log: replayed as they were, learned from as they were, and refused where they are wrong."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from feedgym.agents.logged import LoggedSite, learn_from_log
from feedgym.agents.registry import parse_agent
from feedgym.env import WORLDS, Feed, NewsReader
from feedgym.env.log import ImpressionLog, OpenLog, read_opens, write_articles
from feedgym.env.readers import Outcome


def new_feed(world: str, share: float = 0.5) -> Feed:
    preset = WORLDS[world]
    organic = dataclasses.replace(preset.feed.organic, share=share, reward=0.5)
    config = dataclasses.replace(preset.feed, num_readers=80, tick_hours=1.0, days=3.0, organic=organic)
    return Feed(config, NewsReader(preset.reader), 3)


def seen(site: Any) -> dict[str, Any]:
    """What agents see of a tick, its opens and their readers among it, copied."""
    visits, opens = site.visits, site.visits.opens
    every = np.arange(site.catalogue.archive.published)
    found = {
        "history": visits.history_id.tolist(),
        "minutes": visits.history_dwell.tolist(),
        "opens": site.catalogue.opens_of(every).tolist(),
        "clicks": site.catalogue.clicks_of(every).tolist(),
    }
    if opens is None:
        return found
    names = ("rows", "reader_id", "number", "article_id", "dwell_minutes", "reward")
    found |= {name: getattr(opens, name).tolist() for name in names}
    readers = opens.readers()
    fields = ("visit", "gap_hours", "features", "history_id", "history_dwell")
    found |= {f"before {name}": getattr(readers, name).tolist() for name in fields}
    return found | {"channel": [opens.channel_names[channel] for channel in opens.channel]}


def live(agent_text: str, folder: Path, world: str) -> tuple[Any, list[dict[str, Any]]]:
    """Three days of an agent, with their log."""
    feed = new_feed(world)
    agent: Any = parse_agent(agent_text).start(feed)
    log, opens, ticks = ImpressionLog(feed.config, run_id="r", policy="p", config={"seed": 3}), OpenLog(), []
    while not feed.done:
        visits = feed.visits
        ticks.append(seen(feed))
        served = agent.act(visits, feed.catalogue)
        outcome = feed.serve(served.article_id)
        agent.learn(Outcome(clicks=outcome.clicks, dwell_minutes=outcome.dwell_minutes, subscribed=outcome.subscribed))
        log.append(visits, outcome, served.as_drawn, served.as_drawn.log_columns(visits.reader_id))
        opens.append(visits)
        if feed.tick % feed.config.ticks_per_day == 0:
            opens.flush(folder / "opens" / f"day-{feed.tick // feed.config.ticks_per_day - 1:04d}.parquet")
    agent.act(feed.visits, feed.catalogue)
    log.flush(folder / "impressions" / "day-0000.parquet")
    write_articles(folder / "articles.parquet", feed.catalogue.archive)
    assert read_opens(folder).num_rows == feed.num_opens > 50
    return agent, ticks


@pytest.mark.parametrize("world", ["vivid", "measured"])
def test_a_replayed_log_shows_every_open_as_it_was(tmp_path: Path, world: str) -> None:
    _, ticks = live("random", tmp_path, world)
    site, replayed = LoggedSite(tmp_path, category_sizes=new_feed(world).catalogue.category_sizes), []
    assert site.has_opens
    while not site.done:
        replayed.append(seen(site))
        site.advance()
    assert replayed == ticks


@pytest.mark.parametrize(
    "agent_text", ["contrastive:propensity_cap=None", "contrastive:propensity_cap=None,serving=streaming"]
)
def test_learning_from_the_log_is_learning_live(tmp_path: Path, agent_text: str) -> None:
    agent, _ = live(agent_text, tmp_path, "vivid")
    site = LoggedSite(tmp_path, category_sizes=new_feed("vivid").catalogue.category_sizes)
    again: Any = parse_agent(agent_text).start(site)  # type: ignore[arg-type]
    learn_from_log(again, site)
    assert again.policy_version == agent.policy_version > 1
    one, other = agent.model.to_arrays(), again.model.to_arrays()
    assert [name for name in one if one[name].tobytes() != other[name].tobytes()] == []
    # Without the opens it learns something else: they are seen.
    for part in (tmp_path / "opens").glob("*.parquet"):
        part.unlink()
    site = LoggedSite(tmp_path, category_sizes=new_feed("vivid").catalogue.category_sizes)
    assert not site.has_opens
    blind: Any = parse_agent(agent_text).start(site)  # type: ignore[arg-type]
    learn_from_log(blind, site)
    third = blind.model.to_arrays()
    assert [name for name in one if one[name].tobytes() != third[name].tobytes()] != []


def site_log(folder: Path, **changes: Any) -> Path:
    """A site's own log with a file of opens beside it."""
    articles = {"article_id": [7, 8], "published_hours": [0.0, 5.0], "expires_hours": [90.0, 90.0]}
    pq.write_table(pa.table(articles), folder / "articles.parquet")
    rows = {"reader_id": [1, 1], "article_id": [7, 7], "time_hours": [1.0, 9.0], "clicked": [True, False]}
    pq.write_table(pa.table(rows), folder / "log.parquet")
    opens = {"reader_id": [2, 1, 1], "article_id": [7, 8, 7], "time_hours": [0.5, 6.01, 6.0]}
    pq.write_table(pa.table(opens | changes), folder / "opens.parquet")
    return folder / "log.parquet"


def test_a_sites_own_opens_are_put_on_the_clock_one_a_tick(tmp_path: Path) -> None:
    site, found = LoggedSite(site_log(tmp_path)), []
    while not site.done:
        opens = site.visits.opens
        if opens is not None:
            found.append(
                (round(opens.now, 3), opens.reader_id.tolist(), opens.article_id.tolist(), opens.channel.tolist())
            )
        if len(site.visits) and site.now > 2.0:
            assert site.visits.history_id[0, :4].tolist() == [1, 0, 0, -1]
        site.advance()
    assert found == [(0.5, [2], [0], [-1]), (6.0, [1], [0], [-1]), (6.083, [1], [1], [-1])]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"article_id": [7, 9, 7]}, "column 'article_id': got 9"),
        ({"article_id": [8, 8, 7]}, r"opens: article_id: got '8 at 0.5 h, published at 5 h'"),
        ({"time_hours": [0.5, None, 6.0]}, "opens: nulls in 'time_hours'"),
        ({"time_hours": [0.5, float("nan"), 6.0]}, "opens: time_hours"),
        ({"dwell_minutes": [0.5, -1.0, 0.0]}, "opens: dwell_minutes"),
        ({"reader_id": [0.5, 1.5, 2.5]}, "another type"),
        ({"reader_id": ["", "b", "c"]}, "opens: nulls in 'reader_id'"),
        ({"reader_id": [-4, 1, 1]}, "opens: reader_id"),
    ],
)
def test_what_cannot_be_is_refused(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    path = site_log(tmp_path, **changes)

    def through() -> None:
        site = LoggedSite(path)
        while not site.done:
            site.advance()

    with pytest.raises(ValueError, match=message):
        through()


def test_a_file_without_readers_is_refused(tmp_path: Path) -> None:
    path = site_log(tmp_path)
    pq.write_table(pa.table({"article_id": [7], "time_hours": [1.0]}), tmp_path / "opens.parquet")
    with pytest.raises(ValueError, match=r"also \['reader_id'\]"):
        LoggedSite(path)

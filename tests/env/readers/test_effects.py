"""Effects of a reader's past: one object serves visits and oracles; one from outside needs no copy of the reader."""

import dataclasses
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from feedgym.env import CascadeReader, Feed, FeedConfig, NewsReader, NewsReaderConfig, check_reader_model
from feedgym.env.arrays import Arrays, Floats
from feedgym.env.readers import EFFECTS, Reaction, Shown
from feedgym.env.readers.fatigue import Fatigue

PAGE = (Path(__file__).parents[3] / "docs" / "guide" / "readers.md").read_text()
(EXAMPLE,) = re.findall(r"```python\n([^`]*class PublisherLoyalty.*?)```", PAGE, re.DOTALL)
SITE = FeedConfig(num_readers=120, newcomers_per_day=0.0, days=3.0)


def example() -> dict[str, Any]:
    names: dict[str, Any] = {}
    exec(compile(EXAMPLE, "docs/guide/readers.md", "exec"), names)
    return names


class Clicked:
    """The plain way: against all articles, by the number of clicks so far."""

    def __init__(self, weight: float, name: str = "num_clicked") -> None:
        self.weight, self.name = np.float32(weight), name

    def columns(self, num_readers: int, num_topics: int) -> Arrays:
        return {self.name: np.zeros(num_readers, dtype=np.int64)}

    def beside(self, num_readers: int) -> Arrays:
        return {f"{self.name}_at": np.zeros((num_readers, 40))}

    def oppose(self, shown: Shown, against: Floats) -> None:
        against += self.weight * shown.reader[self.name].astype(np.float32)

    def after(self, shown: Shown, found: None, reaction: Reaction) -> None:
        count = shown.reader[self.name]
        count += reaction.clicks.sum(axis=0)
        shown.state[f"{self.name}_at"][shown.rows, np.minimum(count, 39)] = shown.now


def live(model: NewsReader, site: FeedConfig = SITE) -> tuple[Feed, Any]:
    """A run on the newest articles, and each reader's clicks."""
    feed, clicks = Feed(site, model, seed=3), np.zeros(site.num_readers, dtype=np.int64)
    while not feed.done:
        newest = np.sort(feed.catalogue.article_id)[::-1][: site.slate_size]
        rows = feed.visits.rows
        clicks[rows] += feed.serve(np.tile(newest, (len(rows), 1))).clicks.sum(axis=1)
    return feed, clicks


def expected(feed: Feed) -> Any:
    rows, ids = np.arange(feed.config.num_readers), np.sort(feed.catalogue.article_id)
    model: Any = feed.reader_model
    chance = model.expected_response(feed.state, rows, feed.catalogue.archive, ids, feed.now)[0].astype(np.float64)
    return np.log(chance / (1.0 - chance))


@pytest.mark.parametrize("kind", [NewsReader, CascadeReader])
def test_an_effect_from_outside_serves_visits_and_oracles(kind: type[NewsReader]) -> None:
    feed, clicks = live(kind(effects=(Clicked(0.7),)))
    np.testing.assert_array_equal(feed.state["num_clicked"], clicks)
    assert clicks.max() >= 3
    assert feed.state["num_clicked_at"].max() > 48.0
    # The oracle, asked about the same state by a reader without the effect, says so much more.
    without: Any = Feed(SITE, kind(), seed=3)
    without.population.state, without.catalogue, without.tick = feed.state, feed.catalogue, feed.tick
    more = expected(without) - expected(feed)
    np.testing.assert_allclose(more, np.broadcast_to(0.7 * clicks[:, None], more.shape), atol=2e-2)
    # And visits obey it.
    assert clicks.sum() < 0.8 * live(kind())[1].sum()


def test_an_effect_of_no_weight_changes_no_visit() -> None:
    a, b = live(NewsReader(effects=(Clicked(0.0),)))[1], live(NewsReader())[1]
    np.testing.assert_array_equal(a, b)


def test_effects_keep_to_names_of_their_own() -> None:
    with pytest.raises(ValueError, match=r"effects: columns: got \['trust'\], needs names that nothing else has"):
        Feed(SITE, NewsReader(effects=(Clicked(0.1, "trust"),)))
    with pytest.raises(ValueError, match=r"got \['num_clicked'\]"):
        Feed(SITE, NewsReader(effects=(Clicked(0.1), Clicked(0.2))))


def test_the_table_goes_by_the_switches_of_the_config() -> None:
    switches = {f.name for f in dataclasses.fields(NewsReaderConfig) if f.type in (bool, "bool")}
    assert EFFECTS.keys() <= switches
    assert len(NewsReader().effects) == sum(getattr(NewsReaderConfig(), switch) for switch in EFFECTS)
    assert not any(isinstance(effect, Fatigue) for effect in NewsReader(NewsReaderConfig(fatigue=False)).effects)


def test_the_example_of_the_page_is_right() -> None:
    names = example()
    report = check_reader_model(names["LoyalReader"]())
    assert report.ok, str(report)
    feed, clicks = live(names["LoyalReader"]())
    assert ((feed.state["last_publisher"] >= 0) == (clicks > 0)).all()
    # Once more by a reader who forgets: the publisher of the last click gains what the page says.
    loyal = expected(feed)
    last = feed.state["last_publisher"].copy()
    feed.state["last_publisher"][:] = -1
    publisher = feed.catalogue.archive.column("publisher")[np.sort(feed.catalogue.article_id)]
    np.testing.assert_allclose(loyal - expected(feed), 0.7 * (publisher == last[:, None]), atol=2e-2)

"""Nothing is forgotten in a snapshot: after a restore every array of a Feed is what it was, found by walking it."""

import dataclasses
from typing import Any

import numpy as np
import pytest

from feedgym.env import WORLDS, Feed, NewsReader
from feedgym.env.arrays import copied, put_back
from feedgym.env.config import ModuleConfig
from feedgym.env.feed import catalogue
from helpers.walking import differing, walk

# What is there for speed only, or beyond the rows in use. Going on from a snapshot byte for byte is tested besides.
NO_STATE = (
    "population._calendar",  # who is due when: made anew from _next_tick
    "population._roomy",  # of which the state shows the rows in use
    "population._records",  # the Feed's
    "population._model",
    "catalogue._expiries",  # as that, from expires_hours
    "catalogue._slot_of",  # of articles that are not live: places of long ago
    "catalogue._expiry_tick",  # of expired articles, too
    "catalogue._pending",  # taken into the counters by a snapshot
    "catalogue._num_pending",
    "newsroom",  # a function of seed and day; keeps the last day's articles
    "catalogue._newsroom",
    "catalogue._eventful",
    "reader_model",  # tables of the rhythm as long as they were asked for
)
IN_USE = {
    "catalogue._slots": "catalogue._num_live",
    "catalogue.archive._": "catalogue.archive.planned",
    "catalogue._clicks": "catalogue.archive.planned",
    "catalogue._dwell_minutes": "catalogue.archive.planned",
    "catalogue._impressions": "catalogue.archive.planned",
    "records._": "population.num_rows",
    "visits.records._": "population.num_rows",
    "population._next_tick": "population.num_rows",
}
"""Arrays with room to grow, and how many of their rows are in use."""


def found(feed: Feed) -> dict[str, Any]:
    values = dict(walk(feed, NO_STATE))
    for start, count in IN_USE.items():
        for path in values:
            if path.startswith(start) and isinstance(values[path], np.ndarray) and path != "catalogue.archive._trend":
                values[path] = values[path][: values[count]]
    return values


def differences(a: Feed, b: Feed) -> list[str]:
    return differing(found(a), found(b))


def make(world: str, modules: bool) -> Feed:
    preset = WORLDS[world]
    config = dataclasses.replace(
        preset.feed, num_readers=150, newcomers_per_day=0.2, days=6.0, modules=ModuleConfig() if modules else None
    )
    return Feed(config, NewsReader(preset.reader), seed=4)


def live(feed: Feed, hours: float) -> None:
    rng = np.random.default_rng(0)
    while feed.now < hours:
        ids = feed.catalogue.article_id
        size = feed.config.slate_size
        slates = np.array([rng.choice(ids, size, replace=False) for _ in range(len(feed.visits))], dtype=np.int64)
        feed.serve(slates.reshape(len(feed.visits), size))
        feed.visits.history_id  # noqa: B018 - read, as an agent does


@pytest.mark.parametrize(("world", "modules"), [("vivid", False), ("measured", False), ("measured", True)])
def test_every_array_is_restored(world: str, modules: bool) -> None:
    feed = make(world, modules)
    live(feed, 60.0)
    restored = make(world, modules)
    at_first = differences(feed, restored)
    assert len(at_first) > 25
    restored.restore(feed.snapshot())
    restored.visits.history_id  # noqa: B018
    assert differences(feed, restored) == []


@pytest.mark.parametrize(("names", "forgotten"), [("_COUNTERS", "_clicks"), ("_KEPT", "arrived")])
def test_a_forgotten_array_is_found(monkeypatch: pytest.MonkeyPatch, names: str, forgotten: str) -> None:
    feed, restored = make("vivid", modules=False), make("vivid", modules=False)
    live(feed, 30.0)
    monkeypatch.setattr(catalogue, names, tuple(name for name in getattr(catalogue, names) if name != forgotten))
    if names == "_COUNTERS":  # room is made by the same list
        restored.catalogue._clicks = np.zeros(len(feed.catalogue._clicks), dtype=np.int64)
    restored.restore(feed.snapshot())
    assert f"catalogue.{forgotten}" in differences(feed, restored)


class Thing:
    def __init__(self) -> None:
        self.count, self.share, self.is_on = 3, 0.5, True
        self._rows = np.arange(8, dtype=np.int32).reshape(4, 2)


def test_fields_are_copied_and_put_back_as_they_were() -> None:
    fields = ("count", "share", "is_on", "_rows")
    one, other = Thing(), Thing()
    saved = copied(one, fields)
    assert saved.keys() == {"count", "share", "is_on", "rows"}
    one._rows[:] = 0
    other.count, other.share, other.is_on, other._rows = 0, 0.0, False, np.zeros((0, 2), dtype=np.int32)
    put_back(other, fields, saved)
    assert (other.count, other.share, other.is_on) == (3, 0.5, True)
    assert (type(other.count), type(other.share), type(other.is_on)) == (int, float, bool)
    assert other._rows.dtype == np.int32
    assert other._rows.tolist() == [[0, 1], [2, 3], [4, 5], [6, 7]]
    other._rows[:] = 9
    assert saved["rows"].max() == 7
    part = copied(other, ("_rows",), rows=2)
    put_back(one, ("_rows",), part, room=5)
    assert one._rows.tolist() == [[9, 9], [9, 9], [0, 0], [0, 0], [0, 0]]
    with pytest.raises(ValueError, match=r"snapshot: got \['rows'\], needs also 'count'"):
        put_back(one, ("_rows", "count"), part)

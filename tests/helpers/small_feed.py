"""A small site whose readers click a lot, for tests of the Feed."""

import dataclasses
from typing import Any

import numpy as np

from feedgym.env import Feed, FeedConfig, NewsReader, NewsReaderConfig, NewsroomConfig

K = 5

SITE = FeedConfig(num_readers=80, days=2.0, slate_size=K, newsroom=NewsroomConfig(articles_per_day=60.0))

# Clicks whatever is shown: a click that must not be would be made.
CLICKERS = NewsReaderConfig(base_log_odds=30.0, position_bias=False, enrolment_share=0.0, gap_median_hours=1.0)


def site(model: Any = None, seed: int = 1, **changes: Any) -> Feed:
    return Feed(dataclasses.replace(SITE, **changes), NewsReader(CLICKERS) if model is None else model, seed)


def live(feed: Feed) -> Any:
    return np.sort(feed.catalogue.article_id)


def good_slates(feed: Feed) -> Any:
    return np.tile(live(feed)[-K:], (len(feed.visits), 1))


def to_a_visit(feed: Feed, ticks: int = 0) -> Feed:
    """Serve until a tick with at least two visits, after so many ticks."""
    while len(feed.visits) < 2 or feed.tick < ticks:
        feed.serve(good_slates(feed))
    return feed


def assert_unmoved(feed: Feed, before: dict[str, Any], *, but: str = "\0") -> None:
    after = feed.snapshot()
    assert before.keys() == after.keys()
    for name, value in before.items():
        if not name.startswith(but):
            np.testing.assert_array_equal(after[name], value, err_msg=name)

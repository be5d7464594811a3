"""Returns and sessions of ``measured`` on their own, on seeds that chose nothing: slates of one article, few articles.

What was served hardly matters to them. Two weeks lack the longest gaps of a month: its p90 has a wider band.
"""

import dataclasses
from typing import Any

import numpy as np
import pytest

from feedgym.env import Feed, NewsReader
from feedgym.env.config import EventConfig
from feedgym.env.worlds import WORLDS
from feedgym.experiments.studies.worlds.log_facts import FactsLog, log_facts
from feedgym.experiments.studies.worlds.measured_facts import FACTS

WORLD = WORLDS["measured"]
NEWSROOM = dataclasses.replace(WORLD.feed.newsroom, articles_per_day=8.0, events=EventConfig(per_day=0.0))
BANDS = {
    fact.name: (fact.low, fact.high)
    for fact in FACTS
    if fact.policy == "recent" and fact.name.startswith(("gap", "slates", "sessions", "own hour"))
}


def returns(seed: int, days: float = 14.0, **changes: Any) -> dict[str, float]:
    site = dataclasses.replace(WORLD.feed, num_readers=1000, days=days, slate_size=1, newsroom=NEWSROOM)
    feed = Feed(site, NewsReader(dataclasses.replace(WORLD.reader, **changes)), seed)
    parts = []
    while not feed.done:
        visits = feed.visits
        newest = feed.catalogue.article_id.max()
        if len(visits):
            assert visits.session is not None
            parts.append(np.stack([np.full(len(visits), feed.now), visits.reader_id, visits.session]))
        feed.serve(np.full((len(visits), 1), newest))
    hours, reader, session = np.concatenate(parts, axis=1)
    slate = np.arange(len(hours))
    nothing = np.zeros(len(hours), dtype=np.bool_)
    return log_facts(
        FactsLog(
            hours=hours,
            reader=reader.astype(np.int64),
            slate=slate,
            article=np.zeros(len(hours), dtype=np.int64),
            clicked=nothing,
            session=session.astype(np.int64),
        )
    )


def test_returns_and_sessions_are_within_the_bands_of_the_month() -> None:
    """All facts of one run in one test: which of them are outside is said."""
    found, bands = returns(930), BANDS | {"gap p90, h": (0.8 * BANDS["gap p90, h"][0], BANDS["gap p90, h"][1])}
    assert {name: found[name] for name, (low, high) in bands.items() if not low <= found[name] <= high} == {}


@pytest.mark.parametrize(
    ("changes", "lost"),
    [
        ({"own_hours": False}, {"gaps over 12 h within 1 h of whole days"}),
        (
            {"short_returns": False, "continuation_log_odds_sd": 0.0},
            {"gap Weibull shape, by number", "gap p10, h", "slates per session, by number"},
        ),
    ],
)
def test_each_of_them_is_needed(changes: dict[str, Any], lost: set[str]) -> None:
    found = returns(931, 7.0, **changes)
    assert not np.isnan([found[name] for name in lost]).any()
    assert lost <= {name for name, (low, high) in BANDS.items() if not low <= found[name] <= high}

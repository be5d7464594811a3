"""Serving a site with an agent, tick by tick, and what was served."""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from feedgym.agents import Agent, Served
from feedgym.env import Feed
from feedgym.env.arrays import Ints
from feedgym.env.feed import ServedOutcome
from feedgym.env.feed.visits import Visits
from helpers.inside import acted_of

Run = list[tuple[Served, ServedOutcome]]
COLUMNS = ("article_id", "slot_propensity", "log_propensity", "in_shortlist", "logit")


def drive(agent: Agent, feed: Feed, until: float = np.inf) -> Run:
    """Serve and learn until ``until`` hours, or the horizon."""
    served = []
    while not feed.done and feed.now < until:
        slates = agent.act(feed.visits, feed.catalogue)
        outcome = feed.serve(slates.article_id)
        agent.learn(outcome)
        served.append((slates, outcome))
    return served


def ticks(agent: Any, feed: Feed, until: float = np.inf) -> Iterator[tuple[Any, Any]]:
    """What was served at each tick, between ``act`` and ``learn``, with how it came about."""
    while not feed.done and feed.now < until:
        served = agent.act(feed.visits, feed.catalogue)
        yield served, acted_of(agent)
        agent.learn(feed.serve(served.article_id))


def crowd(visits: Visits, times: int, at: Ints | None = None) -> Visits:
    """The first visit, ``times`` over: alike in all that agents look at, each by a reader with luck of her own.

    They stand at rows ``at``, (times,); at that of the visit if not given.
    """
    names = ("rows", "visit", "gap_hours", "features")
    rows: dict[str, Any] = {name: np.repeat(getattr(visits, name)[:1], times, axis=0) for name in names}
    if at is not None:
        rows["rows"] = at
    return dataclasses.replace(visits, _history=None, reader_id=np.arange(times), **rows)


def served_bytes(run: Run, columns: Sequence[str] = COLUMNS) -> list[tuple[bytes, ...]]:
    """All slates of a run, to compare runs by."""
    return [tuple(np.ascontiguousarray(getattr(s, name)).tobytes() for name in columns) for s, _ in run]

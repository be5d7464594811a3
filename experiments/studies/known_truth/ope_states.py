"""States that a frozen logger has left, with everything needed to draw slates and outcomes there again.

Two-tower agents learn in a world, and are frozen. The logger then serves the world from hour 0; of the visits of the
last day is kept who came, in which state, what each policy would draw from, and what the readers can be expected to do.
From there on the study logs as often as it likes: a new slate by the logger, a new response by the reader model.
Shapes: n visits of a tick, N live articles, M shortlist, V visits of all ticks. Time is in hours.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import cast

import numpy as np

from feedgym.agents.registry import parse_agent
from feedgym.agents.slate_policy import Draw
from feedgym.agents.two_tower import TwoTowerAgent
from feedgym.env.arrays import Arrays, Floats, Ints
from feedgym.env.feed import Feed
from feedgym.env.newsroom import Archive
from feedgym.env.readers import NewsReader, PackedState
from feedgym.env.worlds import WORLDS

LOGGER = "logger"
DWELL, CLICK = "regression-dwell:sharpness=1.0,epsilon=0.3", "regression-click:sharpness=1.0,epsilon=0.3"


@dataclass(frozen=True, kw_only=True)
class Frozen:
    """A policy that learns no more."""

    learns: str
    """The agent whose towers it has."""
    hours: float
    """How long these have learned, from the agent's own visits."""
    serves: str
    """Settings with which it serves."""


POLICIES: Mapping[str, Frozen] = {
    LOGGER: Frozen(learns=DWELL, hours=48.0, serves=DWELL),
    "near": Frozen(learns=DWELL, hours=48.0, serves="regression-dwell:sharpness=1.2,epsilon=0.2"),
    "retrained": Frozen(learns=DWELL, hours=60.0, serves=DWELL),
    "far": Frozen(learns=CLICK, hours=48.0, serves=CLICK),
}
"""The logger, and the targets: its own towers that explore less; its towers half a day later; another model. Towers are
as they ship, sharpness is not: it says how near ``near`` is. From a logger at 2.5 to a target at 1.6, weights of whole
slates are worth 5 % of 1,000 visits and 1.5 % of 20,000 (seed 101): a tail so heavy that 95 % intervals of ``sips``
cover in about three of four logs, of whatever size. From 1 to 1.6 it is 18 %, and they cover as they should."""


@dataclass(frozen=True, kw_only=True)
class StatesConfig:
    """A world and its logger."""

    world: str = "vivid"
    """Preset of the site and its readers."""
    readers: int = 1500
    """Seats."""
    warm_up_hours: float = 24.0
    """Served by the logger before states are kept."""
    kept_hours: float = 24.0
    """Of these the states are kept."""
    policies: Mapping[str, Frozen] = field(default_factory=lambda: POLICIES)
    """The logger, under ``LOGGER``, and its targets."""


@dataclass(frozen=True)
class TickStates:
    """The visits of one tick."""

    now: float
    live: Ints
    """Ids of the live articles, rising, (N,)."""
    reader: Ints
    """Who came, (n,)."""
    state: Arrays
    """Their rows of the reader model's state, latent."""
    choices: Mapping[str, Draw]
    """What each policy draws from, by name."""
    click: Floats
    """Chance of a click once examined, latent, (n, N)."""
    minutes: Floats
    """Expected minutes once clicked, latent, (n, N)."""
    score: Floats
    """The logger's score of every live article, (n, N): what the reward model sees."""

    def columns(self, article_id: Ints) -> Ints:
        """Where live articles, any shape, stand in ``live``."""
        return np.searchsorted(self.live, article_id).astype(np.int64)

    def state_at(self, row: Ints) -> PackedState:
        """A copy of the state of some visits, for readers to change."""
        return PackedState({name: column[row] for name, column in self.state.items()})


@dataclass(frozen=True)
class States:
    """The visits of a day."""

    ticks: tuple[TickStates, ...]
    archive: Archive
    slate_size: int
    centers: Floats
    """Of the topics, for other reader models."""
    reader_visits: tuple[Ints, Ints]
    """Numbers of the visits, ordered by reader, (V,), and where each reader's begin, (R + 1,). A visit's number counts
    through the ticks."""

    @property
    def first(self) -> Ints:
        """Number of each tick's first visit, and V, (ticks + 1,)."""
        return np.concatenate([[0], np.cumsum([len(tick.reader) for tick in self.ticks])]).astype(np.int64)

    @property
    def num_readers(self) -> int:
        """R, readers who came that day."""
        return len(self.reader_visits[1]) - 1

    def visits_of(self, readers: Ints) -> tuple[Ints, Ints]:
        """Numbers of all visits of these readers (r,), and for each of them which entry of ``readers`` it is of."""
        visits, start = self.reader_visits
        count = start[readers + 1] - start[readers]
        entry = np.repeat(np.arange(len(readers)), count)
        before = np.cumsum(count) - count
        return visits[start[readers][entry] + np.arange(len(entry)) - before[entry]], entry


def logged_states(config: StatesConfig, seed: int) -> States:
    """Train, freeze, serve, keep."""
    policies = _trained(config, seed)
    feed = _feed(config, seed)
    kept = []
    while not feed.done:
        served = {name: agent.act(feed.visits, feed.catalogue) for name, agent in policies.items()}
        if feed.now >= config.warm_up_hours and len(feed.visits):
            choices = {name: one.draw for name, one in served.items()}
            kept.append(_kept(feed, policies[LOGGER], choices))
        feed.serve(served[LOGGER].article_id)
    reader = np.concatenate([tick.reader for tick in kept])
    order = np.argsort(reader, kind="stable")
    _, start = np.unique(reader[order], return_index=True)
    by_reader = (order.astype(np.int64), np.append(start, len(reader)).astype(np.int64))
    archive = feed.catalogue.archive
    return States(tuple(kept), archive, feed.config.slate_size, feed.newsroom.centers, by_reader)


def _kept(feed: Feed, logger: TwoTowerAgent, choices: dict[str, Draw]) -> TickStates:
    visits, order = feed.visits, np.argsort(feed.catalogue.article_id)
    live = feed.catalogue.article_id[order]
    model = cast(NewsReader, feed.reader_model)
    click, minutes = model.expected_response(feed.state, visits.rows, feed.catalogue.archive, live, feed.now)
    state = {name: column[visits.rows] for name, column in feed.state.items()}
    score = logger.score_all(visits, feed.catalogue)[:, order].astype(np.float32)
    return TickStates(feed.now, live, visits.reader_id, state, choices, click, minutes, score)


def _trained(config: StatesConfig, seed: int) -> dict[str, TwoTowerAgent]:
    """All policies, new and frozen. One run for each agent that learns: it is looked at when its hours are over."""
    found = {}
    for learns in dict.fromkeys(policy.learns for policy in config.policies.values()):
        mine = {name: policy for name, policy in config.policies.items() if policy.learns == learns}
        feed = _feed(config, seed, max(policy.hours for policy in mine.values()))
        agent = cast(TwoTowerAgent, parse_agent(learns).start(feed))
        for name, policy in sorted(mine.items(), key=lambda item: item[1].hours):
            while feed.now < policy.hours and not feed.done:
                agent.learn(feed.serve(agent.act(feed.visits, feed.catalogue).article_id))
            found[name] = cast(TwoTowerAgent, parse_agent(policy.serves).start(feed))
            found[name].adopt(agent)
    return {name: found[name] for name in config.policies}


def _feed(config: StatesConfig, seed: int, hours: float | None = None) -> Feed:
    world = WORLDS[config.world]
    hours = config.warm_up_hours + config.kept_hours if hours is None else hours
    site = dataclasses.replace(world.feed, num_readers=config.readers, days=hours / 24.0)
    return Feed(site, NewsReader(world.reader), seed)

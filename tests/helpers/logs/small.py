"""A small run and its log, tick by tick."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from feedgym.env import Feed, FeedConfig, NewsReader, RewardConfig, ServedOutcome
from feedgym.env.feed.visits import Visits
from feedgym.env.log.writer import ImpressionLog

CONFIG = FeedConfig(
    num_readers=60, tick_hours=1.0, days=3, slate_size=4, reward=RewardConfig(click=0.5, subscription=3.0)
)

SETTINGS = {"seed": 4, "feed": dataclasses.asdict(CONFIG)}


@dataclasses.dataclass
class Slates:
    article_id: Any
    logit: Any
    in_shortlist: Any
    slot_propensity: Any
    log_propensity: Any
    explored: Any
    log_normaliser: Any
    shortlist_size: Any = 30
    num_live: Any = 700
    epsilon: Any = 0.05
    temperature: Any = 0.5
    greedy: Any = False
    policy_version: Any = 2


Tick = tuple[Visits, ServedOutcome, Slates]


def simulate(
    per_tick: Callable[[Feed, Tick], None], config: FeedConfig = CONFIG, readers: NewsReader | None = None
) -> Feed:
    """Random slates, now and then with an entry that shows nothing."""
    feed = Feed(config, readers, seed=4)
    rng = np.random.default_rng(0)
    while not feed.done:
        shape = (len(feed.visits), config.slate_size)
        slot = 0.1 + 0.9 * rng.random(shape)
        ids = rng.choice(feed.catalogue.article_id, shape)
        ids[rng.random(shape) < 0.1] = -1
        inside = rng.random(shape) < 0.8
        logit = np.where(inside, rng.standard_normal(shape), np.nan)
        coin, total = rng.random(len(ids)) < 0.1, rng.standard_normal(len(ids))
        slates = Slates(ids, logit, inside, slot, np.log(slot).sum(axis=1), coin, total)
        visits = feed.visits
        per_tick(feed, (visits, feed.serve(ids), slates))
    return feed


def logged(folder: Path) -> tuple[list[Tick], Feed]:
    """A run whose log goes into ``folder``, a part a day, and the ticks that it was made of."""
    log = ImpressionLog(CONFIG, run_id="run-1", policy="random", config=SETTINGS)
    ticks: list[Tick] = []

    def per_tick(feed: Feed, tick: Tick) -> None:
        log.append(*tick)
        ticks.append(tick)
        if feed.tick % CONFIG.ticks_per_day == 0:
            size = len(log)
            assert log.flush(folder / f"day-{feed.tick // CONFIG.ticks_per_day - 1:04d}.parquet") == size

    return ticks, simulate(per_tick)


def rows(num_visits: int = 3, size: int = 2) -> dict[str, Any]:
    """A valid log as arrays, without run_id and policy."""
    n, k = num_visits, size
    rng = np.random.default_rng(1)
    slot = 0.2 + 0.8 * rng.random((n, k))
    visit_id = np.repeat(np.arange(n), k) << 20
    return {
        "policy_version": np.zeros(n * k, dtype=np.int32),
        "time_hours": np.repeat(np.arange(n) * 0.25, k),
        "slate_made_hours": np.repeat(np.arange(n) * 0.25, k),
        "tick": np.repeat(np.arange(n), k),
        "visit_id": visit_id,
        "reader_id": np.repeat(np.arange(n), k),
        "visit": np.zeros(n * k, dtype=np.int64),
        "slate_id": visit_id,
        "position": np.tile(np.arange(k), n),
        "article_id": rng.integers(0, 50, n * k),
        "shortlist_size": np.full(n * k, 5),
        "num_live": np.full(n * k, 50),
        "epsilon": np.full(n * k, 0.1),
        "temperature": np.ones(n * k),
        "greedy": np.zeros(n * k, dtype=bool),
        "in_shortlist": np.ones(n * k, dtype=bool),
        "logit": np.array([0.5, np.nan] * n)[: n * k],
        "slot_propensity": slot.reshape(-1),
        "log_propensity": np.repeat(np.log(slot).sum(axis=1), k),
        "clicked": np.zeros(n * k, dtype=bool),
        "dwell_minutes": np.zeros(n * k),
        "subscribed": np.zeros(n * k, dtype=bool),
        "reward": np.zeros(n * k),
        "hours_to_next_visit": np.full(n * k, 2.5),
        "terminated": np.zeros(n * k, dtype=bool),
        "truncated": np.zeros(n * k, dtype=bool),
    }

"""The world that a log came from, made again, and an agent deployed in it."""

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from feedgym.agents.registry import AgentPlan
from feedgym.env.arrays import Doubles
from feedgym.env.checks import require
from feedgym.env.config import RewardConfig
from feedgym.experiments.runs import RunConfig, changed, of_other_code, say, without_code

if TYPE_CHECKING:
    from feedgym.agents.two_tower import TwoTowerAgent
    from feedgym.env.feed import Feed

NOT_THE_WORLD = ("feedgym.towers", "feedgym.agents", "feedgym.experiments")
"""Code of who served, and of what was counted."""
MOST_READERS, MOST_DAYS = 20_000_000, 3650
"""Of a world that is made again from a file's word."""


def simulated_run(settings: Mapping[str, Any] | None, *, trusted: bool = False, reuse: bool = False) -> RunConfig:
    """The world that a log came from, made again from the log's settings; its agent is not.

    Args:
        settings: of the log; None of a site's own.
        trusted: import the reader model that the settings name. A log is a file from anywhere: by itself it may not
            say which code runs.
        reuse: take the world also where its code, or the reader model's, is not that of the log; this is said.

    Raises:
        ValueError: it cannot be, and why.
    """
    require(settings is not None, "log", "a site's own log", "one of a simulator, to deploy there")
    assert settings is not None
    names = {f.name for f in dataclasses.fields(RunConfig)} & settings.keys()
    require("world" in names, "settings of the log", sorted(settings)[:10], "those of feedgym log, train or compare")
    allowed = "the world's own newsroom: the file of articles is not part of the log"
    require(settings.get("articles") is None, "articles of the log", settings.get("articles"), allowed)
    own = settings.get("reader_model")
    require(own is None or trusted, "reader_model of the log", own, "--deploy, to say that this code may run")
    values = {name: settings[name] for name in names - {"articles"}} | {"agent": "random"}
    for name, most in (("readers", MOST_READERS), ("days", MOST_DAYS)):
        fits = isinstance(values.get(name), int | float) and values[name] <= most
        require(fits, f"{name} of the log", values.get(name), f"a number up to {most:,}")
    values["reward"] = RewardConfig(**settings.get("reward", {}))
    try:
        config = RunConfig(**values)
    except TypeError as error:
        raise ValueError(f"settings of the log: got {values}, needs those of a run ({error})") from error
    now, then = without_code(config.settings()), without_code(settings)
    names = (now.keys() | then.keys()) - {"agent"}
    other = sorted(name for name in names if now.get(name) != then.get(name))
    require(not other, "settings of the log", other, "what this version makes of them: another one wrote this log")
    parts = changed_world(settings, config)
    if parts:
        words = of_other_code("the log's world is", parts)
        require(reuse, "code of the log", words, "this code: --reuse, to take today's world for the log's")
        say(f"{words}: taken (--reuse)")
    return config


def changed_world(settings: Mapping[str, Any], world: RunConfig) -> tuple[str, ...]:
    """Parts of a log's world whose code has changed since: how the logger chose and learned is no part of it."""
    own = {name: digest for name, digest in world.code().items() if name not in NOT_THE_WORLD}
    then = settings.get("code", {})
    return changed({name: then[name] for name in own.keys() & then.keys()}, own)


def feed_of(world: RunConfig) -> "Feed":
    """The site of a run."""
    from feedgym.experiments.runs import make_drive

    return make_drive(world).feed


def fresh_feed(world: RunConfig, seed: int) -> "Feed":
    """The same newsroom and articles, with other readers and other luck.

    What a reader does is keyed by seed, reader, visit and article: on the log's own seed a frozen agent would meet the
    very draws that it has learned from.
    """
    from feedgym.env.feed import Feed
    from feedgym.env.newsroom import SyntheticNewsroom

    config = world.feed_config()
    newsroom = world.make_newsroom() or SyntheticNewsroom(config.newsroom, world.seed)
    return Feed(config, world.make_reader_model(), seed, newsroom=newsroom)


def deploy(plan: AgentPlan, trained: "TwoTowerAgent", world: RunConfig, *, seed: int | None = None) -> Doubles:
    """Serve what was learned, frozen, from hour 0 to the horizon.

    Frozen, so that what is measured is what the log taught, not what was learned after it.

    Args:
        plan: the agent.
        trained: what it has learned.
        world: where.
        seed: of other readers with other luck; None: those of the log.

    Returns:
        What each reader brought over all days, newcomers behind the readers of hour 0, (P,).

    Raises:
        ValueError: readers of this world show more of themselves than the log kept.
    """
    from feedgym.agents.two_tower import TwoTowerAgent
    from feedgym.env.feed import most_readers

    feed = feed_of(world) if seed is None else fresh_feed(world, seed)
    agent = plan.start(feed)
    assert isinstance(agent, TwoTowerAgent)
    seen, logged = agent.model.config.reader_numeric, trained.model.config.reader_numeric
    allowed = f"{logged}, as in the log: deploy=False, or a reader model whose columns are devices"
    require(seen == logged, "columns of the site's readers", seen, allowed)
    agent.adopt(trained)
    total = np.zeros(most_readers(feed.config, feed.reader_model))
    while not feed.done:
        visits = feed.visits
        served = agent.act(visits, feed.catalogue)
        outcome = feed.serve(served.article_id)
        # Nothing is kept: a frozen agent never trains.
        total[visits.rows] += outcome.reward
    return total

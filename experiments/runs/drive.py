"""Two ways to drive a site: the Feed itself, or Gymnasium's vector face on it. Agents cannot tell them apart."""

from typing import Protocol

import numpy as np

from feedgym.env.arrays import Ints
from feedgym.env.faces import NewsFeedVectorEnv
from feedgym.env.feed import Catalogue, Feed, ServedOutcome, Visits
from feedgym.experiments.runs.run_config import RunConfig


class Drive(Protocol):
    """What the loop of a run needs of a site."""

    @property
    def feed(self) -> Feed:
        """The site."""
        ...

    @property
    def visits(self) -> Visits:
        """This tick's visits."""
        ...

    @property
    def catalogue(self) -> Catalogue:
        """The live catalogue."""
        ...

    def serve(self, slates: Ints) -> ServedOutcome:
        """Serve slates (n, K) for this tick's visits."""
        ...


class FeedDrive:
    """No cost in the number of readers."""

    def __init__(self, config: RunConfig) -> None:
        self.feed = Feed(config.feed_config(), config.make_reader_model(), config.seed, newsroom=config.make_newsroom())

    @property
    def visits(self) -> Visits:
        """This tick's visits."""
        return self.feed.visits

    @property
    def catalogue(self) -> Catalogue:
        """The live catalogue."""
        return self.feed.catalogue

    def serve(self, slates: Ints) -> ServedOutcome:
        """Serve slates (n, K) for this tick's visits."""
        return self.feed.serve(slates)


class VectorDrive:
    """A row of action, observation and info for every reader at every tick, as Gymnasium asks."""

    def __init__(self, config: RunConfig) -> None:
        self._env = NewsFeedVectorEnv(
            config=config.feed_config(),
            reader_model=config.make_reader_model(),
            newsroom=config.make_newsroom(),
        )
        self._env.reset(seed=config.seed)

    @property
    def feed(self) -> Feed:
        """The site below the face."""
        return self._env.feed

    @property
    def visits(self) -> Visits:
        """This tick's visits."""
        return self._env.visits

    @property
    def catalogue(self) -> Catalogue:
        """The live catalogue."""
        return self._env.catalogue

    def serve(self, slates: Ints) -> ServedOutcome:
        """Spread the slates over all readers, step, and gather what happened to those present."""
        rows = self._env.visits.rows
        actions = np.full((self._env.num_envs, slates.shape[1]), -1, dtype=np.int64)
        actions[rows] = slates
        _, _, terminated, _, info = self._env.step(actions)
        outcome = self._env.outcome
        assert outcome is not None
        return ServedOutcome(
            clicks=info["clicks"][rows],
            dwell_minutes=info["dwell_minutes"][rows],
            subscribed=info["subscribed"][rows],
            # Not the step's rewards: they hold what readers open from elsewhere as the next tick begins.
            reward=outcome.reward,
            left=terminated[rows],
            valid=outcome.valid,
            slot_reward=outcome.slot_reward,
            hours_to_next_visit=outcome.hours_to_next_visit,
        )


def make_drive(config: RunConfig) -> Drive:
    """The drive that the config names."""
    return FeedDrive(config) if config.face == "feed" else VectorDrive(config)

"""What an agent is: it acts on the visits of a tick, and learns from what a site sees of the outcome.

Shapes: n visits, K positions.
"""

import json
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import numpy as np

from feedgym.agents.slate_policy import Served
from feedgym.env.arrays import AnyArray, Arrays, Doubles, Ints
from feedgym.env.config import RewardConfig
from feedgym.env.feed import Catalogue, Visits
from feedgym.env.noise import Noise
from feedgym.env.readers import Outcome


@dataclass(frozen=True, kw_only=True)
class Site:
    """What an agent is told before the first tick."""

    slate_size: int
    """K"""
    history_length: int
    """L, clicks of history that visits bring."""
    num_numeric: int
    """Observable numeric columns of an article."""
    num_text: int = 0
    """How many of them, the first ones, are the text-like vector."""
    category_sizes: tuple[int, int, int]
    """Topic, publisher and author ids are below these."""
    num_reader_features: int
    """Columns that the reader model adds to what a site sees of a reader."""
    seed: int
    """Of the agent's own random stream, and of its slates."""
    feature_names: tuple[str, ...] = ()
    """Names of the numeric columns of an article, where they are known."""
    has_opens: bool = False
    """Readers also open articles without a slate, coming from elsewhere: ``visits.opens``."""
    reward: RewardConfig = field(default_factory=RewardConfig)
    """What the site counts as reward: learners of returns add up the same."""


class Agent(Protocol):
    """A policy that may learn. Any class with these members fits."""

    @property
    def is_oracle(self) -> bool:
        """The agent sees latents: a reference, not a candidate."""
        ...

    def act(self, visits: Visits, catalogue: Catalogue) -> Served:
        """Slates for this tick's visits. Called at every tick, also without visits: the catalogue changes."""
        ...

    def learn(self, outcome: Outcome) -> None:
        """What the readers of the last ``act`` did, as far as a site can see it."""
        ...

    def metrics(self) -> dict[str, float]:
        """Numbers worth a curve, since the last call: tag ``train/NAME``, or the name itself where it has a "/"."""
        ...

    def snapshot(self) -> Arrays:
        """The complete state as plain arrays."""
        ...

    def restore(self, snapshot: Arrays) -> None:
        """Go on from a snapshot of an agent with the same settings, byte for byte."""
        ...


@runtime_checkable
class Scoring(Protocol):
    """Optional: an agent whose ranking of the full live catalogue can be evaluated."""

    def score_all(self, visits: Visits, catalogue: Catalogue) -> Doubles | None:
        """Scores of all live articles, float64 (n, N), columns as ``catalogue.article_id``; None without any.

        Asked between ``act`` and ``learn`` of a tick, for some of its visits. Changes no state and draws nothing. Of
        a two-stage agent these are the scores that retrieval searches by.
        """
        ...


@runtime_checkable
class Linked(Protocol):
    """Optional, of an agent that is ``Scoring``: scores may be on another scale than what they foretell, as logits."""

    def linked(self, score: Doubles) -> Doubles:
        """Finite scores of ``score_all`` on the scale of what they foretell, any shape; as they are if they only rank.

        Changes no state and draws nothing.
        """
        ...


@runtime_checkable
class Predicting(Protocol):
    """Optional: an agent that predicts clicks."""

    def served_click_chance(self) -> Doubles | None:
        """Predicted chance of a click on each entry of the last ``act``, float64 (n, K), NaN where nothing is shown.

        None where there is no prediction, such as before the first training. Asked between ``act`` and ``learn``;
        changes no state and draws nothing.
        """
        ...


@runtime_checkable
class Counting(Protocol):
    """Optional: an agent that counts what serving costs."""

    def serving_counts(self) -> dict[str, int]:
        """Since hour 0, by name, see ``ServingCost``."""
        ...


def agent_stream(seed: int) -> np.random.Generator:
    """The agents' own stream, apart from those of newsroom and population: for what is not about a visit."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(0xA6E27,)))


def visit_noise(seed: int, reader_id: Ints, visit: Ints) -> Noise:
    """What the slates of visits (n,) are drawn by: keyed by seed, reader and number of the visit, as her own luck is.

    So a visit's slate does not depend on who else comes in the tick, nor on order or split of the tick's visits. All
    agents under one seed have the same: of an article that two of them like as much, both draw the same arrival.

    Args:
        seed: of the agent, ``Site.seed``.
        reader_id: int64 (n,).
        visit: visits that the reader has had before this one, int64 (n,).
    """
    return Noise(seed, reader_id, visit, stream="agent")


def generator_state(rng: np.random.Generator) -> AnyArray:
    """The state of a generator as bytes, for a snapshot."""
    return np.frombuffer(json.dumps(rng.bit_generator.state).encode(), dtype=np.uint8).copy()


def restore_generator(rng: np.random.Generator, state: AnyArray) -> None:
    """The inverse of :func:`generator_state`."""
    rng.bit_generator.state = json.loads(state.tobytes().decode())

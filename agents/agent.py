"""What an agent is: it acts on the visits of a tick, and learns from what a site sees of the outcome.

Shapes: n visits, K positions.
"""

import json
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from feedgym.agents.slate_policy import Slates
from feedgym.env.arrays import AnyArray, Arrays, Bools, Doubles, Ints
from feedgym.env.catalogue import Catalogue
from feedgym.env.readers.protocol import Outcome
from feedgym.env.visits import Visits


@dataclass(frozen=True, kw_only=True)
class Site:
    """What an agent is told before the first tick."""

    slate_size: int
    """K"""
    history_length: int
    """L, clicks of history that visits bring."""
    num_numeric: int
    """Observable numeric columns of an article."""
    category_sizes: tuple[int, int, int]
    """Topic, publisher and author ids are below these."""
    num_reader_features: int
    """Columns that the reader model adds to what a site sees of a reader."""
    seed: int
    """Of the agent's own random stream."""


@dataclass(frozen=True, kw_only=True)
class Served:
    """Slates with everything that the log keeps of the policy that served them (algorithms.md, 2.3)."""

    slates: Slates
    shortlist_size: Ints
    """M, articles really returned, (n,)."""
    num_live: int
    """N"""
    epsilon: float
    """Share of uniform exploration."""
    temperature: float
    """What the logits were divided by: already in ``slates.logit``."""
    greedy: bool
    """The K best by logit, deterministically: log propensity 0."""
    policy_version: int
    """Grows with every training."""

    @property
    def article_id(self) -> Ints:
        """Article ids, int64 (n, K)."""
        return self.slates.article_id

    @property
    def slot_propensity(self) -> Doubles:
        """Per position, float64 (n, K)."""
        return self.slates.slot_propensity

    @property
    def log_propensity(self) -> Doubles:
        """Per slate, float64 (n,)."""
        return self.slates.log_propensity

    @property
    def in_shortlist(self) -> Bools:
        """Membership by id, bool (n, K)."""
        return self.slates.in_shortlist

    @property
    def logit(self) -> Doubles:
        """float64 (n, K), NaN outside the shortlist."""
        return self.slates.logit


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
        """Numbers worth a curve, since the last call."""
        ...

    def snapshot(self) -> Arrays:
        """The complete state as plain arrays."""
        ...

    def restore(self, snapshot: Arrays) -> None:
        """Go on from a snapshot of an agent with the same settings, byte for byte."""
        ...


def agent_stream(seed: int) -> np.random.Generator:
    """The agents' own stream, apart from those of newsroom and population."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(0xA6E27,)))


def generator_state(rng: np.random.Generator) -> AnyArray:
    """The state of a generator as bytes, for a snapshot."""
    return np.frombuffer(json.dumps(rng.bit_generator.state).encode(), dtype=np.uint8).copy()


def restore_generator(rng: np.random.Generator, state: AnyArray) -> None:
    """The inverse of :func:`generator_state`."""
    rng.bit_generator.state = json.loads(state.tobytes().decode())

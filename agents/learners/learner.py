"""What a learner is: a loss on a batch of logged visits. The agent owns store, replay and optimiser.

:class:`Learner` is what every one of them does; any class with its four methods fits. What only some do is a small
protocol of its own each: a learner that has the method is asked, the others need not know of it.
Shapes: n visits of a tick, m articles, K positions, R columns of a reader, X columns of the learner's own.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor, nn

from feedgym.agents.agent import Site
from feedgym.agents.learners.learning import Learning
from feedgym.agents.learners.replay import Replay
from feedgym.agents.serving import Acted
from feedgym.agents.slate_policy import PolicyConfig
from feedgym.env.arrays import Arrays, Doubles, Floats, Ints
from feedgym.env.checks import require
from feedgym.env.feed import Catalogue
from feedgym.env.readers import Outcome
from feedgym.towers.config import TwoTowerConfig
from feedgym.towers.interface import Towers


class OwnColumns(Protocol):
    """A part of the logits that is not the towers': an inner product of columns appended to v' and u'."""

    num_columns: int
    """X"""

    def articles(self, numeric: Tensor, categorical: Tensor) -> Tensor:
        """Of articles (m,), by their features: float32 (m, X)."""
        ...

    def readers(self, columns: Tensor) -> Tensor:
        """Of readers, by their columns (n, R): float32 (n, X)."""
        ...


class Trained(NamedTuple):
    """A module that is trained beside the towers."""

    module: nn.Module
    learning_rate: float
    weight_decay: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Parts:
    """What a learner brings to its agent, and what it asks of it: known once the sizes are."""

    model: Towers
    """The towers."""
    modules: Iterable[Trained] = ()
    """What else is trained."""
    columns: OwnColumns | None = None
    """What is added to the towers' scores."""
    raw_logits: bool = False
    """Logits are the scores themselves, not their z-scores: the learner trains their scale."""
    shortlists: bool = False
    """Keep shortlists in the replay."""
    inclusions: bool = False
    """Keep in the replay how likely the slates were to hold what they show."""
    whole_slates: bool = False
    """It learns from the chance of whole slates: of none that have lost an entry."""


class Learner(Protocol):
    """How towers are trained."""

    def start(self, site: Site, towers: TwoTowerConfig, policy: PolicyConfig, generator: torch.Generator) -> Parts:
        """Once, before the first tick: make the towers, and what else the sizes decide.

        Args:
            site: where it will learn.
            towers: sizes and parts of the model.
            policy: how slates will be drawn.
            generator: of all initial weights.

        Raises:
            ValueError: this learner does not train such towers, or cannot learn from what this policy serves.
        """
        ...

    def loss(self, learning: Learning[Any], rng: np.random.Generator) -> Tensor | None:
        """Loss of one batch drawn from the replay, a scalar; None where it holds nothing to learn from."""
        ...

    def snapshot(self) -> Arrays:
        """The complete state as plain arrays, its own modules included."""
        ...

    def restore(self, snapshot: Arrays) -> None:
        """Go on from a snapshot."""
        ...


@runtime_checkable
class Following(Protocol):
    """Optional: a learner that keeps books of the catalogue, and nothing besides them that it serves by."""

    def follow(self, catalogue: Catalogue) -> None:
        """Take notice of what has come and gone at this tick."""
        ...


@runtime_checkable
class Observing(Protocol):
    """Optional: a learner that keeps something of each tick besides the replay."""

    def observe(self, acted: Acted, outcome: Outcome, learning: Learning[Any], rng: np.random.Generator) -> None:
        """Take notice of one tick's slates and what became of them."""
        ...


@runtime_checkable
class Gathering(Protocol):
    """Optional: a learner that learns from clicks without a slate, too: the replay has them, marked ``organic``."""

    def opened(self, article_id: Ints) -> None:
        """Articles (m,) that readers have opened from elsewhere, before the visits of the same tick."""
        ...


@runtime_checkable
class Preparing(Protocol):
    """Optional: a learner that starts biases where the data are."""

    def prepare(self, learning: Learning[Any]) -> None:
        """Before the first training."""
        ...


@runtime_checkable
class Beginning(Protocol):
    """Optional: a learner that works something out of the whole replay before the steps of a training."""

    def begin(self, learning: Learning[Any], now: float) -> None:
        """Before each training's steps, at ``now`` in hours."""
        ...


@runtime_checkable
class Finishing(Protocol):
    """Optional: a learner that sets something right when the steps of a training are done."""

    def finish(self, learning: Learning[Any]) -> None:
        """After each training's steps, when articles have been embedded anew."""
        ...


@runtime_checkable
class Inspecting(Protocol):
    """Optional: a learner that looks at its gradients."""

    def after_backward(self) -> None:
        """Of each step, before the optimiser takes it."""
        ...


@runtime_checkable
class Counting(Protocol):
    """Optional: a learner whose rows are not visits. ``passes`` counts its rows."""

    @property
    def num_rows(self) -> int:
        """Rows that it has ever been given, such as clicks."""
        ...

    @property
    def batch_rows(self) -> int:
        """Rows in a batch."""
        ...


@runtime_checkable
class Foretelling(Protocol):
    """Optional: a learner whose scores predict what an impression brings."""

    @property
    def foretells(self) -> str | None:
        """What the score predicts; None: it only ranks.

        ``click``: it is the log-odds of a click. ``dwell``: the minutes read. A sum of such tasks: the first of them,
        as far as the others agree.
        """
        ...

    def click_examination(self, num_positions: int) -> Doubles | None:
        """Chance that each position is examined, float64 (K,): that times sigmoid of the score predicts a click.

        None where the score predicts no click.
        """
        ...


@runtime_checkable
class Logarithmic(Protocol):
    """Optional: a learner whose scores may be the logarithm of what they foretell."""

    @property
    def logarithmic(self) -> bool:
        """Whether they are."""
        ...


@runtime_checkable
class Crossing(Protocol):
    """Optional: a learner that finds what crosses (numbers of a reader with an article) add to the scores."""

    @property
    def cross_weights(self) -> Floats | None:
        """A weight for each, float32 (X,), on the scale of the scores; None before the first training, and without."""
        ...


@runtime_checkable
class Reporting(Protocol):
    """Optional: a learner with numbers worth a curve."""

    def metrics(self) -> dict[str, float]:
        """By name, since the last call."""
        ...


def new_rows(learner: Learner, replay: Replay, known: int) -> tuple[int, int]:
    """Rows that a learner was given beyond the first ``known``, and how many a batch takes.

    Visits, 256 in a batch, unless the learner counts others.
    """
    if isinstance(learner, Counting):
        return learner.num_rows - known, learner.batch_rows
    return replay.total - known, 256


def require_one_stage(towers: TwoTowerConfig, learner: str) -> None:
    """Refuse a second stage, for a learner that trains none.

    Raises:
        ValueError: the towers have one.
    """
    kind = towers.reranker
    require(kind is None, "prediction", kind, f"'dot' or 'cosine' for {learner}: one stage")


def require_unnamed_readers(towers: TwoTowerConfig, learner: str) -> None:
    """Refuse ids of readers, for a learner whose own heads read all columns of a reader as numbers.

    Raises:
        ValueError: the last column is the row of an id.
    """
    ids = towers.reader_id
    require(ids is None, "reader_buckets", 0 if ids is None else ids.size, f"0 for {learner}: its heads take numbers")

"""Benchmark of learning: one optimiser step of each learner, against contrastive learning's in the same round."""

import dataclasses
import statistics
import time
from dataclasses import dataclass
from typing import Any

import torch

from feedgym.agents import parse_agent
from feedgym.agents.two_tower import TwoTowerAgent
from feedgym.env.config import FeedConfig
from feedgym.env.feed import Feed

REFERENCE = "contrastive-uniform"
STEPS = {
    "contrastive-uniform": "contrastive-uniform:batch_clicks={batch}",
    "regression": "regression:batch_visits={batch}",
    "reinforce, its policy alone": "reinforce:policy_batch={batch},batch_visits=1",
    "reinforce, with its regression": "reinforce:policy_batch={batch},batch_visits={batch}",
    "ltv": "ltv:batch_visits={batch}",
}
"""What is timed: label -> agent. ``batch_visits=1`` leaves next to nothing of the regression beside the policy."""


@dataclass(frozen=True, kw_only=True)
class LearningFigures:
    """CPU time of a step on one batch."""

    learner: str
    batch: int
    """Clicks of contrastive learning, visits of the others."""
    step_ms: float
    """CPU milliseconds, median over rounds."""
    ratio: float
    """Over ``contrastive-uniform`` in the same round, median."""


class Steps:
    """An agent with a log to learn from, and its steps."""

    def __init__(self, agent: str, readers: int, hours: float) -> None:
        feed = Feed(FeedConfig(num_readers=readers, days=hours / 24.0), seed=1)
        self._agent: Any = parse_agent(agent).start(feed)
        assert isinstance(self._agent, TwoTowerAgent)
        # A log is wanted, not a good policy: one step each training.
        config = self._agent.config
        self._agent.config = dataclasses.replace(config, optimiser=dataclasses.replace(config.optimiser, max_steps=1))
        while not feed.done:
            self._agent.learn(feed.serve(self._agent.act(feed.visits, feed.catalogue).article_id))
        self._agent.begin_training(feed.now)

    def take(self, count: int) -> float:
        """CPU seconds of a step, over ``count`` of them."""
        start = time.process_time()
        for _ in range(count):
            self._agent.step()
        return (time.process_time() - start) / count


def measure(batch: int, rounds: int, readers: int = 2000, hours: float = 60.0) -> list[LearningFigures]:
    """One batch size: ``rounds`` in which the learners take turns."""
    torch.set_num_threads(1)
    steps = {label: Steps(agent.format(batch=batch), readers, hours) for label, agent in STEPS.items()}
    for each in steps.values():
        each.take(2)  # first-time costs are not what is asked for
    seconds: dict[str, list[float]] = {label: [] for label in steps}
    for _ in range(rounds):
        for label, each in steps.items():
            seconds[label].append(each.take(5))
    return [
        LearningFigures(
            learner=label,
            batch=batch,
            step_ms=1e3 * statistics.median(values),
            ratio=statistics.median(a / b for a, b in zip(values, seconds[REFERENCE], strict=True)),
        )
        for label, values in seconds.items()
    ]

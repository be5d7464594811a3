"""The inside of an agent that learns: the one place where tests reach for it."""

from typing import Any

from feedgym.agents.learners import Learning
from feedgym.agents.learners.replay import Replay
from feedgym.agents.serving.acted import Acted


def learner_of(agent: Any) -> Any:
    """What the agent learns with."""
    return agent.learner


def learning_of(agent: Any) -> Learning[Any]:
    """What a learner is handed: model, store and replay."""
    learning: Learning[Any] = agent._learning
    return learning


def replay_of(agent: Any) -> Replay:
    """The visits that are learned from."""
    replay: Replay = agent._replay
    return replay


def acted_of(agent: Any) -> Acted:
    """How the latest slates came about; between ``act`` and ``learn``."""
    acted: Acted = agent._acted
    return acted


def next_training_of(agent: Any) -> float:
    """In simulated hours."""
    return float(agent._next_training)


def ring_of(learner: Any) -> Any:
    """The slates with their candidates that a policy gradient is taken of."""
    return learner.policy.ring

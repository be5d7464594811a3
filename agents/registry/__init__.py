"""The agents that ship, by name: ``make_agent("regression", target="click").start(feed)``.

May import every other room of ``agents``.
"""

from feedgym.agents.registry.plans import (
    AGENTS,
    AgentKind,
    AgentPlan,
    agent_kinds,
    kind_named,
    learner_builder,
    make_agent,
    parse_agent,
)
from feedgym.agents.registry.published import SYSTEMS

__all__ = [
    "AGENTS",
    "SYSTEMS",
    "AgentKind",
    "AgentPlan",
    "agent_kinds",
    "kind_named",
    "learner_builder",
    "make_agent",
    "parse_agent",
]

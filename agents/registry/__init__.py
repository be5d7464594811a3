"""The agents that ship, by name: ``make_agent("regression", target="click").start(feed)``.

May import every other room of ``agents``.
"""

from feedgym.agents.registry.kinds import AgentKind, Setting
from feedgym.agents.registry.plans import AGENTS, AgentPlan, kind_named, make_agent, parse_agent, split_agents
from feedgym.agents.registry.published import SYSTEMS
from feedgym.agents.registry.shipped import KINDS, learned_kind, one_stage

__all__ = [
    "AGENTS",
    "KINDS",
    "SYSTEMS",
    "AgentKind",
    "AgentPlan",
    "Setting",
    "kind_named",
    "learned_kind",
    "make_agent",
    "one_stage",
    "parse_agent",
    "split_agents",
]

"""Policies that act by retrieval over the live articles, and learn."""

from feedgym.agents.agent import Agent, Site
from feedgym.agents.baselines import policy_agent
from feedgym.agents.registry import AGENTS, AgentKind, AgentPlan, make_agent, parse_agent
from feedgym.agents.slate_policy import PolicyConfig, Served

__all__ = [
    "AGENTS",
    "Agent",
    "AgentKind",
    "AgentPlan",
    "PolicyConfig",
    "Served",
    "Site",
    "make_agent",
    "parse_agent",
    "policy_agent",
]

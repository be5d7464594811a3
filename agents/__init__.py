"""Policies that act by retrieval over the live articles, and learn."""

from feedgym.agents.agent import Agent, Site
from feedgym.agents.registry import AGENTS, AgentPlan, make_agent, parse_agent
from feedgym.agents.slate_policy import Served

__all__ = ["AGENTS", "Agent", "AgentPlan", "Served", "Site", "make_agent", "parse_agent"]

"""Agents that train no towers: random, recent, popular, a sponsored logger, and oracles that see latents.

May import ``slate_policy`` and ``feedgym.env``.
"""

from feedgym.agents.baselines.one_list import OneListAgent, OneListConfig
from feedgym.agents.baselines.oracles import OracleAgent, PlanningConfig
from feedgym.agents.baselines.popularity import (
    PopularConfig,
    RandomConfig,
    RecentConfig,
    decayed_rates,
    policy_agent,
    popular_agent,
    random_agent,
    recent_agent,
)
from feedgym.agents.baselines.sponsored import SponsoredConfig, sponsored_agent

__all__ = [
    "OneListAgent",
    "OneListConfig",
    "OracleAgent",
    "PlanningConfig",
    "PopularConfig",
    "RandomConfig",
    "RecentConfig",
    "SponsoredConfig",
    "decayed_rates",
    "policy_agent",
    "popular_agent",
    "random_agent",
    "recent_agent",
    "sponsored_agent",
]

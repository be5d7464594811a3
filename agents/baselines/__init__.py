"""Agents that train no towers: random, recent, popular, a sponsored logger, and oracles that see latents.

May import ``slate_policy`` and ``feedgym.env``.
"""

from feedgym.agents.baselines.oracles import OracleAgent
from feedgym.agents.baselines.popularity import (
    PopularConfig,
    RandomConfig,
    RecentConfig,
    popular_agent,
    random_agent,
    recent_agent,
)
from feedgym.agents.baselines.sponsored import SponsoredConfig, sponsored_agent

__all__ = [
    "OracleAgent",
    "PopularConfig",
    "RandomConfig",
    "RecentConfig",
    "SponsoredConfig",
    "popular_agent",
    "random_agent",
    "recent_agent",
    "sponsored_agent",
]

"""The Gymnasium id of the simulated site."""

import gymnasium

ENV_ID = "FeedGym/NewsFeed-v0"
"""One reader with ``gymnasium.make``, a population on one clock with ``gymnasium.make_vec``."""


def register() -> None:
    """Register ``FeedGym/NewsFeed-v0``; again does nothing. Called by ``import feedgym.env``."""
    # Gymnasium warns when an id is registered twice, as a reload of this package would.
    if ENV_ID not in gymnasium.registry:
        gymnasium.register(
            id=ENV_ID,
            entry_point="feedgym.env.faces.news_feed_env:NewsFeedEnv",
            vector_entry_point="feedgym.env.faces.vector_env:NewsFeedVectorEnv",
        )

"""Gymnasium's two faces of the Feed: one reader (a step is a visit), and all readers (a step is a tick).

May import ``feed`` and what is below it.
"""

from feedgym.env.faces.actions import newest_first
from feedgym.env.faces.news_feed_env import NewsFeedEnv
from feedgym.env.faces.observables import ReaderTable, clock_columns, newest
from feedgym.env.faces.registration import register
from feedgym.env.faces.vector_env import NewsFeedVectorEnv

__all__ = ["NewsFeedEnv", "NewsFeedVectorEnv", "ReaderTable", "clock_columns", "newest", "newest_first", "register"]

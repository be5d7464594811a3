"""Gymnasium's two faces of the Feed: one reader (a step is a visit), and all readers (a step is a tick).

May import ``feed`` and what is below it. Names are looked up late: ``feedgym.env`` registers the faces at once and
loads them when one is made.
"""

from typing import TYPE_CHECKING

from feedgym.env.faces.registration import register
from feedgym.env.late_names import late_names

if TYPE_CHECKING:
    from feedgym.env.faces.actions import newest_first
    from feedgym.env.faces.news_feed_env import NewsFeedEnv
    from feedgym.env.faces.observables import ReaderTable, clock_columns, newest
    from feedgym.env.faces.vector_env import NewsFeedVectorEnv

__all__ = ["NewsFeedEnv", "NewsFeedVectorEnv", "ReaderTable", "clock_columns", "newest", "newest_first", "register"]

__getattr__ = late_names(
    __name__,
    {
        "newest_first": "actions",
        "NewsFeedEnv": "news_feed_env",
        "ReaderTable": "observables",
        "clock_columns": "observables",
        "newest": "observables",
        "NewsFeedVectorEnv": "vector_env",
    },
)

"""The simulated site: numpy and gymnasium only. Importing it registers ``FeedGym/NewsFeed-v0``.

Names are looked up when they are first asked for: whoever needs the checks or the Feed loads no Gymnasium face.
"""

from typing import TYPE_CHECKING

from feedgym.env.faces import register
from feedgym.env.late_names import late_names

if TYPE_CHECKING:
    from feedgym.env.check_reader import ReaderProblem, ReaderReport, check_reader_model
    from feedgym.env.config import FeedConfig, HalfLifeClass, NewsroomConfig, OrganicConfig, RewardConfig
    from feedgym.env.faces import NewsFeedEnv, NewsFeedVectorEnv
    from feedgym.env.feed import Feed, ServedOutcome
    from feedgym.env.log import read_impressions, write_impressions
    from feedgym.env.newsroom import ReplayNewsroom, SyntheticNewsroom
    from feedgym.env.readers import CascadeReader, NewsReader, NewsReaderConfig, Outcome, ReaderModel, SlateView
    from feedgym.env.worlds import WORLDS

register()

__all__ = [
    "WORLDS",
    "CascadeReader",
    "Feed",
    "FeedConfig",
    "HalfLifeClass",
    "NewsFeedEnv",
    "NewsFeedVectorEnv",
    "NewsReader",
    "NewsReaderConfig",
    "NewsroomConfig",
    "OrganicConfig",
    "Outcome",
    "ReaderModel",
    "ReaderProblem",
    "ReaderReport",
    "ReplayNewsroom",
    "RewardConfig",
    "ServedOutcome",
    "SlateView",
    "SyntheticNewsroom",
    "check_reader_model",
    "read_impressions",
    "write_impressions",
]

_HOMES = {
    "check_reader": ("ReaderProblem", "ReaderReport", "check_reader_model"),
    "config": ("FeedConfig", "HalfLifeClass", "NewsroomConfig", "OrganicConfig", "RewardConfig"),
    "faces": ("NewsFeedEnv", "NewsFeedVectorEnv"),
    "feed": ("Feed", "ServedOutcome"),
    "log": ("read_impressions", "write_impressions"),
    "newsroom": ("ReplayNewsroom", "SyntheticNewsroom"),
    "readers": ("CascadeReader", "NewsReader", "NewsReaderConfig", "Outcome", "ReaderModel", "SlateView"),
    "worlds": ("WORLDS",),
}
__getattr__ = late_names(__name__, {name: home for home, names in _HOMES.items() for name in names})


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

"""The simulated site: numpy and gymnasium only. Importing it registers ``FeedGym/NewsFeed-v0``."""

from feedgym.env.check_reader import ReaderProblem, ReaderReport, check_reader_model
from feedgym.env.config import FeedConfig, HalfLifeClass, NewsroomConfig, RewardConfig
from feedgym.env.faces import NewsFeedEnv, NewsFeedVectorEnv, register
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

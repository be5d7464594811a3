"""The simulated site: numpy and gymnasium only. Importing it registers ``FeedGym/NewsFeed-v0``."""

from feedgym.env.check_reader import check_reader_model
from feedgym.env.check_reader_report import ReaderProblem, ReaderReport
from feedgym.env.config import FeedConfig, HalfLifeClass, NewsroomConfig, RewardConfig
from feedgym.env.feed import Feed, ServedOutcome
from feedgym.env.impressions import read_impressions, write_impressions
from feedgym.env.news_feed_env import NewsFeedEnv
from feedgym.env.newsroom import SyntheticNewsroom
from feedgym.env.readers import CascadeReader, NewsReader, NewsReaderConfig, Outcome, ReaderModel, SlateView
from feedgym.env.registration import register
from feedgym.env.replay_newsroom import ReplayNewsroom
from feedgym.env.vector_env import NewsFeedVectorEnv
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

"""The simulated site: numpy and gymnasium only. Importing it registers ``FeedGym/NewsFeed-v0``."""

from feedgym.env.config import FeedConfig, HalfLifeClass, NewsroomConfig, RewardConfig
from feedgym.env.feed import Feed, ServedOutcome
from feedgym.env.impressions import read_impressions, write_impressions
from feedgym.env.news_feed_env import NewsFeedEnv
from feedgym.env.newsroom import SyntheticNewsroom
from feedgym.env.readers import NewsReader, NewsReaderConfig, Outcome, ReaderModel, SlateView
from feedgym.env.registration import register
from feedgym.env.replay_newsroom import ReplayNewsroom
from feedgym.env.vector_env import NewsFeedVectorEnv
from feedgym.env.worlds import WORLDS

register()

__all__ = [
    "WORLDS",
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
    "ReplayNewsroom",
    "RewardConfig",
    "ServedOutcome",
    "SlateView",
    "SyntheticNewsroom",
    "read_impressions",
    "write_impressions",
]

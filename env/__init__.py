"""The simulated site: numpy and gymnasium only."""

from feedgym.env.config import FeedConfig, HalfLifeClass, NewsroomConfig, RewardConfig
from feedgym.env.feed import Feed, ServedOutcome
from feedgym.env.newsroom import SyntheticNewsroom
from feedgym.env.readers import NewsReader, NewsReaderConfig, Outcome, ReaderModel, SlateView

__all__ = [
    "Feed",
    "FeedConfig",
    "HalfLifeClass",
    "NewsReader",
    "NewsReaderConfig",
    "NewsroomConfig",
    "Outcome",
    "ReaderModel",
    "RewardConfig",
    "ServedOutcome",
    "SlateView",
    "SyntheticNewsroom",
]

"""Reader models: the plug-in point, and the models that ship."""

from feedgym.env.readers.cascade import CascadeReader
from feedgym.env.readers.config import NewsReaderConfig
from feedgym.env.readers.news_reader import NewsReader
from feedgym.env.readers.protocol import Outcome, ReaderModel, SlateView, World

__all__ = ["CascadeReader", "NewsReader", "NewsReaderConfig", "Outcome", "ReaderModel", "SlateView", "World"]

"""Reader models: the plug-in point, and the models that ship. May import ``newsroom`` and what is below it."""

from feedgym.env.readers.cascade import CascadeReader
from feedgym.env.readers.config import Device, NewsReaderConfig
from feedgym.env.readers.effects import Effect, Reaction, Shown
from feedgym.env.readers.news_reader import EFFECTS, NewsReader
from feedgym.env.readers.protocol import (
    Attracting,
    Describing,
    Expecting,
    Observing,
    Outcome,
    ReaderModel,
    Renewing,
    Roaming,
    SlateView,
    World,
    WorldAware,
)
from feedgym.env.readers.reader_rows import PackedState
from feedgym.env.readers.rhythm import DayRhythm

__all__ = [
    "EFFECTS",
    "Attracting",
    "CascadeReader",
    "DayRhythm",
    "Describing",
    "Device",
    "Effect",
    "Expecting",
    "NewsReader",
    "NewsReaderConfig",
    "Observing",
    "Outcome",
    "PackedState",
    "Reaction",
    "ReaderModel",
    "Renewing",
    "Roaming",
    "Shown",
    "SlateView",
    "World",
    "WorldAware",
]

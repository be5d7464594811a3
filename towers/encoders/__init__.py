"""What is inside the towers: one encoder a file."""

from feedgym.towers.encoders.feed_forward import FeedForward
from feedgym.towers.encoders.mean import HistoryMean

__all__ = ["FeedForward", "HistoryMean"]

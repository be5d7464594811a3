"""What a second stage is told of a reader with an article, which no tower can know: the crosses.

Kept from slates and outcomes, as a site sees them. May import ``baselines`` and ``feedgym.env``; loads no torch.
"""

from feedgym.agents.two_tower.second_stage.boosted import Boosting
from feedgym.agents.two_tower.second_stage.crosses import CROSSES, OF_SOURCES, Cross, cross_names
from feedgym.agents.two_tower.second_stage.memory import PairMemory
from feedgym.agents.two_tower.second_stage.pairs import Counts, Pairs
from feedgym.agents.two_tower.second_stage.shown_table import ShownTable
from feedgym.agents.two_tower.second_stage.sources import SOURCES, TOWERS, Asked, Source, Sources, merged, source_names
from feedgym.agents.two_tower.second_stage.trees import TreeRanker

__all__ = [
    "CROSSES",
    "OF_SOURCES",
    "SOURCES",
    "TOWERS",
    "Asked",
    "Boosting",
    "Counts",
    "Cross",
    "PairMemory",
    "Pairs",
    "ShownTable",
    "Source",
    "Sources",
    "TreeRanker",
    "cross_names",
    "merged",
    "source_names",
]

"""The newsroom: what is published when, of what kind, and how it fades.

May import ``config``, ``noise`` and ``arrays``.
"""

from feedgym.env.newsroom.articles import LATENT, OBSERVABLE, SCORING_EXTRA, Archive, ArticleTable, Scoring
from feedgym.env.newsroom.modules import ModuleNewsroom
from feedgym.env.newsroom.replay_newsroom import ReplayNewsroom
from feedgym.env.newsroom.synthetic import Eventful, Newsroom, SyntheticNewsroom, topic_centers, unit

__all__ = [
    "LATENT",
    "OBSERVABLE",
    "SCORING_EXTRA",
    "Archive",
    "ArticleTable",
    "Eventful",
    "ModuleNewsroom",
    "Newsroom",
    "ReplayNewsroom",
    "Scoring",
    "SyntheticNewsroom",
    "topic_centers",
    "unit",
]

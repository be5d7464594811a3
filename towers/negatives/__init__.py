"""What a click is compared with: samplers of negatives, each with the log of its expected counts."""

from feedgym.towers.negatives.hard import Hard
from feedgym.towers.negatives.impressed import Impressed
from feedgym.towers.negatives.in_batch import InBatch
from feedgym.towers.negatives.memory import Memory
from feedgym.towers.negatives.mixed import Mixed
from feedgym.towers.negatives.own import Own
from feedgym.towers.negatives.popularity import Popularity
from feedgym.towers.negatives.registry import NEGATIVES, check_combination, make_negatives
from feedgym.towers.negatives.types import (
    NegativeContext,
    Negatives,
    NegativeSampler,
    Remembering,
    no_rows,
    while_live,
)
from feedgym.towers.negatives.uniform import Uniform

__all__ = [
    "NEGATIVES",
    "Hard",
    "Impressed",
    "InBatch",
    "Memory",
    "Mixed",
    "NegativeContext",
    "NegativeSampler",
    "Negatives",
    "Own",
    "Popularity",
    "Remembering",
    "Uniform",
    "check_combination",
    "make_negatives",
    "no_rows",
    "while_live",
]

"""Two-tower models and what trains them. Imports nothing else of FeedGym."""

from feedgym.towers import losses
from feedgym.towers.age_decay import AgeDecay, ExponentialSum, LinearDecay, NoDecay
from feedgym.towers.config import TwoTowerConfig
from feedgym.towers.encoders import FeedForward, HistoryMean
from feedgym.towers.features import CategoryConfig, ItemFeatures, ItemFeaturesConfig, Standardise
from feedgym.towers.frequency import FrequencyEstimator
from feedgym.towers.interface import Towers, UserOutput
from feedgym.towers.prediction import DotPrediction, dot_score
from feedgym.towers.summed_towers import SummedTowers
from feedgym.towers.two_tower import TwoTower

__all__ = [
    "AgeDecay",
    "CategoryConfig",
    "DotPrediction",
    "ExponentialSum",
    "FeedForward",
    "FrequencyEstimator",
    "HistoryMean",
    "ItemFeatures",
    "ItemFeaturesConfig",
    "LinearDecay",
    "NoDecay",
    "Standardise",
    "SummedTowers",
    "Towers",
    "TwoTower",
    "TwoTowerConfig",
    "UserOutput",
    "dot_score",
    "losses",
]

"""Two-tower models and what trains them. Imports nothing else of FeedGym.

Names are looked up when they are first asked for (PEP 562): models import torch, what a user chooses of them does not.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from feedgym.towers import losses
    from feedgym.towers.age_decay import AgeDecay, ExponentialSum, LinearDecay, NoDecay
    from feedgym.towers.config import TowersConfig, TwoTowerConfig
    from feedgym.towers.encoders import FeedForward, HistoryMean
    from feedgym.towers.features import CategoryConfig, ItemFeatures, ItemFeaturesConfig, Standardise
    from feedgym.towers.interface import Towers, UserOutput
    from feedgym.towers.negatives.frequency import FrequencyEstimator
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
    "TowersConfig",
    "TwoTower",
    "TwoTowerConfig",
    "UserOutput",
    "dot_score",
    "losses",
]

_HOMES = {
    **dict.fromkeys(("AgeDecay", "ExponentialSum", "LinearDecay", "NoDecay"), "age_decay"),
    **dict.fromkeys(("TowersConfig", "TwoTowerConfig"), "config"),
    **dict.fromkeys(("FeedForward", "HistoryMean"), "encoders"),
    **dict.fromkeys(("CategoryConfig", "ItemFeatures", "ItemFeaturesConfig", "Standardise"), "features"),
    "FrequencyEstimator": "negatives.frequency",
    **dict.fromkeys(("DotPrediction", "dot_score"), "prediction"),
    "SummedTowers": "summed_towers",
    **dict.fromkeys(("Towers", "UserOutput"), "interface"),
    "TwoTower": "two_tower",
    "losses": "losses",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = import_module(f"{__name__}.{_HOMES[name]}")
    return module if name == "losses" else getattr(module, name)

"""Importance weights: what a logged reward says about another policy (docs/mathematics.md 3.1).

The estimators of docs/mathematics.md 5 are ``feedgym.agents.ope``; the public ones have their names here too.

Shapes: any; n weights of a batch. Everything is float64.
"""

from feedgym.agents.ope import (
    Estimate,
    cascade_dr,
    dm,
    dr,
    dros,
    effective_sample_size,
    iips,
    inclusion_ips,
    ips,
    rips,
    sips,
    sndr,
    sniips,
    snips,
    snrips,
    snsips,
    switch_dr,
)
from feedgym.agents.slate_policy import PAPER_CAP, WEIGHT_METHODS, WeightMethod, importance_weight, top_k_multiplier

__all__ = [
    "PAPER_CAP",
    "WEIGHT_METHODS",
    "Estimate",
    "WeightMethod",
    "cascade_dr",
    "dm",
    "dr",
    "dros",
    "effective_sample_size",
    "iips",
    "importance_weight",
    "inclusion_ips",
    "ips",
    "rips",
    "sips",
    "sndr",
    "sniips",
    "snips",
    "snrips",
    "snsips",
    "switch_dr",
    "top_k_multiplier",
]

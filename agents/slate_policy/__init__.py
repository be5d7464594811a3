"""From shortlists with logits to slates with exact propensities: sampling, marginals, inclusion, importance weights.

May import ``retrieval``, ``editorial`` and ``feedgym.env``.
"""

from feedgym.agents.slate_policy.draw import Draw
from feedgym.agents.slate_policy.importance import (
    PAPER_CAP,
    WEIGHT_METHODS,
    WeightMethod,
    importance_weight,
    top_k_multiplier,
)
from feedgym.agents.slate_policy.inclusion import (
    SlateMarginals,
    inclusion_probability,
    inclusion_time,
    slate_marginals,
    slot_marginal,
)
from feedgym.agents.slate_policy.policy import PolicyConfig, boosts, eligible, greedy, only_eligible, serve
from feedgym.agents.slate_policy.race_clock import Rates, arrival_time, last_time, num_nodes, reachable
from feedgym.agents.slate_policy.served import (
    Ahead,
    Chances,
    Served,
    cheap_chances,
    marginals_of,
    times_of,
    unknown_marginals,
)
from feedgym.agents.slate_policy.slates import (
    Slates,
    draw_slates,
    explored_share,
    greedy_slates,
    kept_share,
    prefix_chances,
    sample_slates,
    slate_chances,
    slate_log_propensity,
)
from feedgym.agents.slate_policy.softmax import columns_in_shortlist, softmax_of

__all__ = [
    "PAPER_CAP",
    "WEIGHT_METHODS",
    "Ahead",
    "Chances",
    "Draw",
    "PolicyConfig",
    "Rates",
    "Served",
    "SlateMarginals",
    "Slates",
    "WeightMethod",
    "arrival_time",
    "boosts",
    "cheap_chances",
    "columns_in_shortlist",
    "draw_slates",
    "eligible",
    "explored_share",
    "greedy",
    "greedy_slates",
    "importance_weight",
    "inclusion_probability",
    "inclusion_time",
    "kept_share",
    "last_time",
    "marginals_of",
    "num_nodes",
    "only_eligible",
    "prefix_chances",
    "reachable",
    "sample_slates",
    "serve",
    "slate_chances",
    "slate_log_propensity",
    "slate_marginals",
    "slot_marginal",
    "softmax_of",
    "times_of",
    "top_k_multiplier",
    "unknown_marginals",
]

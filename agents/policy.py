"""From shortlists with logits to what is served: settings of the slate policy, and the greedy branch."""

import math
from dataclasses import dataclass

import numpy as np

from feedgym.agents.agent import Served
from feedgym.agents.slate_policy import Slates, greedy_slates, sample_slates
from feedgym.env.arrays import Doubles, Ints
from feedgym.env.checks import require


@dataclass(frozen=True, kw_only=True)
class PolicyConfig:
    """Epsilon-Plackett-Luce over a shortlist (algorithms.md, section 2)."""

    shortlist_size: int = 100
    """M, articles that retrieval returns."""
    epsilon: float = 0.05
    """Share of uniform exploration over all live articles."""
    temperature: float = 1.0
    """What logits are divided by."""
    sharpness: float = 4.0
    """kap: logits are this many times the score's z-score over the live catalogue (design.md, 7)."""
    greedy: bool = False
    """Serve the K best by logit instead of sampling."""

    def __post_init__(self) -> None:
        """Check once."""
        require(self.shortlist_size >= 1, "shortlist_size", self.shortlist_size, ">= 1")
        require(0.0 <= self.epsilon <= 1.0, "epsilon", self.epsilon, "between 0 and 1")
        positive = math.isfinite(self.temperature) and self.temperature > 0
        require(positive, "temperature", self.temperature, "> 0")
        require(math.isfinite(self.sharpness), "sharpness", self.sharpness, "a finite number")


def serve(
    rng: np.random.Generator,
    config: PolicyConfig,
    logits: Doubles,
    shortlist: Ints,
    live_ids: Ints,
    slate_size: int,
    policy_version: int,
) -> Served:
    """Slates from logits (n, M), temperature included, over shortlists (n, M); -1 pads a shortlist."""
    drawn = len(live_ids) > 0 and not config.greedy
    if len(live_ids) == 0:
        slates = _nothing(len(shortlist), slate_size)
    elif config.greedy:
        slates = greedy(logits, shortlist, slate_size)
    else:
        slates = sample_slates(rng, logits, shortlist, live_ids, slate_size, config.epsilon, check=False)
    return Served(
        slates=slates,
        shortlist_size=np.count_nonzero(shortlist >= 0, axis=1),
        num_live=len(live_ids),
        epsilon=0.0 if config.greedy else config.epsilon,
        temperature=config.temperature,
        greedy=config.greedy,
        policy_version=policy_version,
        drawn_from=(logits, shortlist) if drawn else None,
    )


def _nothing(num_visits: int, slate_size: int) -> Slates:
    """Slates of an empty catalogue: nothing to show, with certainty."""
    shape = (num_visits, slate_size)
    return Slates(
        article_id=np.full(shape, -1, dtype=np.int64),
        slot_propensity=np.ones(shape),
        log_propensity=np.zeros(num_visits),
        in_shortlist=np.zeros(shape, dtype=np.bool_),
        logit=np.full(shape, np.nan),
        log_weight=np.full(shape, -np.inf),
    )


def greedy(logits: Doubles, shortlist: Ints, slate_size: int) -> Slates:
    """The K best by logit; propensity 1, and no draw, so that draw weights are NaN."""
    article_id = greedy_slates(logits, shortlist, slate_size)
    shown = article_id >= 0
    # The logit that goes with each served id: its column is where the shortlist holds it.
    column = np.argmax(shortlist[:, None, :] == article_id[:, :, None], axis=2)
    logit = np.where(shown, np.take_along_axis(logits, column, axis=1), np.nan)
    return Slates(
        article_id=article_id,
        slot_propensity=np.ones(article_id.shape),
        log_propensity=np.zeros(len(article_id)),
        in_shortlist=shown,
        logit=logit,
        log_weight=np.where(shown, np.nan, -np.inf),
    )

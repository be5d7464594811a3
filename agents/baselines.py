"""Policies without a model: random, most recent, most popular. The same shortlist for every reader.

Shapes: n visits, N live articles, M shortlist, K positions. Time is in hours.
"""

from dataclasses import dataclass, field

import numpy as np

from feedgym.agents.agent import Served, Site, agent_stream, generator_state, restore_generator
from feedgym.agents.policy import PolicyConfig, serve
from feedgym.env.arrays import Arrays, Doubles, Ints
from feedgym.env.catalogue import Catalogue
from feedgym.env.checks import require
from feedgym.env.readers.protocol import Outcome
from feedgym.env.visits import Visits


class RandomAgent:
    """Uniform over the live articles: every slate is exploration, and its log serves any later policy."""

    is_oracle = False

    def __init__(self, site: Site) -> None:
        self._site = site
        self._rng = agent_stream(site.seed)
        self._policy = PolicyConfig(epsilon=1.0)

    def act(self, visits: Visits, catalogue: Catalogue) -> Served:
        """K different live articles, each slate equally likely."""
        nothing: Ints = np.full((len(visits), 1), -1, dtype=np.int64)
        logits = np.zeros(nothing.shape)
        return serve(self._rng, self._policy, logits, nothing, catalogue.article_id, self._site.slate_size, 0)

    def learn(self, outcome: Outcome) -> None:
        """Nothing to learn."""

    def metrics(self) -> dict[str, float]:
        """Nothing to tell."""
        return {}

    def snapshot(self) -> Arrays:
        """The random stream."""
        return {"rng": generator_state(self._rng)}

    def restore(self, snapshot: Arrays) -> None:
        """Go on from a snapshot."""
        restore_generator(self._rng, snapshot["rng"])


class _SharedRanking:
    """One score per live article, the same for every reader."""

    is_oracle = False

    def __init__(self, site: Site, policy: PolicyConfig) -> None:
        self._site = site
        self._rng = agent_stream(site.seed)
        self._policy = policy

    def logits(self, catalogue: Catalogue) -> Doubles:
        """Logits of the live articles, float64 (N,), rows as ``catalogue.article_id``."""
        raise NotImplementedError

    def act(self, visits: Visits, catalogue: Catalogue) -> Served:
        """Slates from the M best live articles; a tie goes to the newer article."""
        live, n = catalogue.article_id, len(visits)
        size = max(self._policy.shortlist_size, self._site.slate_size)
        if n == 0 or len(live) == 0:
            best, logits = np.zeros(0, dtype=np.int64), np.zeros(0)
        else:
            logits = self.logits(catalogue) / self._policy.temperature
            order = np.lexsort((-live, -logits))[:size]
            best, logits = live[order], logits[order]
        shape = (n, max(1, len(best)))
        shortlist = np.broadcast_to(best if len(best) else np.int64(-1), shape)
        rows = np.broadcast_to(logits if len(best) else np.float64(0), shape)
        return serve(self._rng, self._policy, rows, shortlist, live, self._site.slate_size, 0)

    def learn(self, outcome: Outcome) -> None:
        """Nothing to learn: what is needed is in the catalogue's counters."""

    def metrics(self) -> dict[str, float]:
        """Nothing to tell."""
        return {}

    def snapshot(self) -> Arrays:
        """The random stream."""
        return {"rng": generator_state(self._rng)}

    def restore(self, snapshot: Arrays) -> None:
        """Go on from a snapshot."""
        restore_generator(self._rng, snapshot["rng"])


@dataclass(frozen=True, kw_only=True)
class RecentConfig:
    """Newest first."""

    policy: PolicyConfig = field(default_factory=PolicyConfig)
    """How slates are drawn; ``sharpness`` is not used."""
    scale_hours: float = 6.0
    """Logit: minus age over this."""

    def __post_init__(self) -> None:
        """Check once."""
        require(self.scale_hours > 0, "scale_hours", self.scale_hours, "> 0 (hours)")


class RecentAgent(_SharedRanking):
    """Newest first, softened: logits ``-age / scale_hours``, as the recency policy of world.md."""

    def __init__(self, site: Site, config: RecentConfig) -> None:
        super().__init__(site, config.policy)
        self._scale_hours = config.scale_hours

    def logits(self, catalogue: Catalogue) -> Doubles:
        """Minus age, in units of the scale."""
        return -catalogue.age_hours / self._scale_hours


@dataclass(frozen=True, kw_only=True)
class PopularConfig:
    """Most clicked, smoothed and decayed."""

    policy: PolicyConfig = field(default_factory=PolicyConfig)
    """How slates are drawn."""
    prior_impressions: float = 100.0
    """An article starts with this many impressions at the site's own click rate."""
    half_life_hours: float = 6.0
    """The click rate is discounted by age with this half-life: clicks lag behind appeal."""

    def __post_init__(self) -> None:
        """Check once."""
        require(self.prior_impressions > 0, "prior_impressions", self.prior_impressions, "> 0")
        require(self.half_life_hours > 0, "half_life_hours", self.half_life_hours, "> 0 (hours)")


class PopularAgent(_SharedRanking):
    """Highest click rate, smoothed by a prior and decayed by age.

    Without the prior, one lucky click rules; without the decay, old links that have had time to be clicked.
    """

    def __init__(self, site: Site, config: PopularConfig) -> None:
        super().__init__(site, config.policy)
        self._config = config

    def logits(self, catalogue: Catalogue) -> Doubles:
        """``sharpness`` times the z-score of the decayed rate over the live articles."""
        c, ids = self._config, catalogue.article_id
        clicks, shown = catalogue.clicks_of(ids), catalogue.impressions_of(ids)
        site_rate = (clicks.sum() + 1.0) / (shown.sum() + c.prior_impressions)
        rate = (clicks + c.prior_impressions * site_rate) / (shown + c.prior_impressions)
        score = rate * np.exp2(-catalogue.age_hours / c.half_life_hours)
        spread = score.std()
        standard: Doubles = (score - score.mean()) / (spread if spread > 0 else 1.0)
        return self._policy.sharpness * standard

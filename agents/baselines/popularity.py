"""Policies without a model: random, most recent, most popular; and of one's own, see :func:`policy_agent`.

Shapes: n visits, N live articles, M shortlist, K positions. Time is in hours.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from feedgym.agents.agent import Site, visit_noise
from feedgym.agents.editorial import Rule, rules_of
from feedgym.agents.slate_policy import PolicyConfig, Served, boosts, eligible, serve
from feedgym.env.arrays import Arrays, Doubles, Ints
from feedgym.env.checks import require
from feedgym.env.feed import Catalogue, Visits
from feedgym.env.readers import Outcome

Logits = Callable[[Catalogue], Doubles]
"""Logits of the live articles, float64 (N,), rows as ``catalogue.article_id``."""
ReaderLogits = Callable[[Visits, Catalogue], Doubles]
"""Logits of the live articles for each visiting reader, float64 (n, N), or (N,): the same for all of them."""


class BaselineAgent:
    """A policy that learns nothing: what it needs to know is in the visits and in the catalogue.

    Args:
        site: whom it serves.
        policy: how slates are drawn from the M best.
        logits: of the live articles; None lists nobody, so that every slate is exploration.
    """

    is_oracle = False

    def __init__(self, site: Site, policy: PolicyConfig, logits: ReaderLogits | None) -> None:
        self._site = site
        self._policy = policy
        self._logits = logits

    def act(self, visits: Visits, catalogue: Catalogue) -> Served:
        """Slates from the M best live articles; a tie goes to the newer article."""
        live, n, slate_size, policy = catalogue.article_id, len(visits), self._site.slate_size, self._policy
        kept = eligible(policy, catalogue)
        if kept is not None:
            live = live[kept]
        best: Ints = np.full((1, 1), -1, dtype=np.int64)
        logits = np.zeros((1, 1))
        if self._logits is not None and n > 0 and len(live) > 0:
            # One row where the logits are the same for every reader, else n.
            every = np.atleast_2d(self._logits(visits, catalogue)) / policy.temperature
            every = (every if kept is None else every[:, kept]) + boosts(policy, catalogue, live)
            newest_first = np.broadcast_to(-live, every.shape)
            order = np.lexsort((newest_first, -every))[:, : max(policy.shortlist_size, slate_size)]
            best, logits = live[order], np.take_along_axis(every, order, axis=1)
        shape = (n, best.shape[1])
        shortlist, rows = np.broadcast_to(best, shape), np.broadcast_to(logits, shape)
        luck = visit_noise(self._site.seed, visits.reader_id, visits.visit)
        return serve(luck, policy, policy.draw(rows, shortlist, len(live), slate_size), live, 0, catalogue)

    def score_all(self, visits: Visits, catalogue: Catalogue) -> Doubles:
        """The logits, for every reader; all 0 where there are none: a ranking at random."""
        logits = np.zeros(len(catalogue)) if self._logits is None else self._logits(visits, catalogue)
        return np.broadcast_to(logits, (len(visits), len(catalogue)))

    def learn(self, outcome: Outcome) -> None:
        """Nothing to learn: what is needed is in the catalogue's counters."""

    def metrics(self) -> dict[str, float]:
        """Nothing to tell."""
        return {}

    def snapshot(self) -> Arrays:
        """Nothing: what it draws by is keyed by the visit."""
        return {}

    def restore(self, snapshot: Arrays) -> None:
        """Nothing to restore."""


def policy_agent(site: Site, policy: PolicyConfig, logits: ReaderLogits) -> BaselineAgent:
    """An agent of your own that learns nothing, from what it thinks of the live articles (docs/guide/agents.md).

    Args:
        site: whom it serves.
        policy: how slates are drawn.
        logits: called at every tick that has visits: float64 (n, N), columns as ``catalogue.article_id``, or (N,).

    Returns:
        An agent that retrieves the M best for each reader, draws slates from their softmax with their exact
        propensities, keeps to editorial rules, and can be stopped and resumed.
    """
    return BaselineAgent(site, policy, logits)


@dataclass(frozen=True, kw_only=True)
class RandomConfig:
    """Uniform exploration alone: no other setting of :class:`PolicyConfig` would change a slate."""

    rules: str | tuple[Rule, ...] | None = None
    """Editorial rules, such as ``exclude(topic=3)+cap(topic,2)`` (docs/guide/editorial.md): uniform over what they
    allow."""

    def __post_init__(self) -> None:
        """Check once."""
        rules_of(self.rules)


def random_agent(site: Site, config: RandomConfig | None = None) -> BaselineAgent:
    """K different live articles, each position uniform over what is left: its log serves any later policy.

    Without rules every slate is equally likely; under rules each position is uniform over what they allow there.
    """
    rules = None if config is None else config.rules
    return BaselineAgent(site, PolicyConfig(epsilon=1.0, rules=rules), None)


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


def recent_agent(site: Site, config: RecentConfig) -> BaselineAgent:
    """Newest first, softened: logits ``-age / scale_hours``, as the recency policy of docs/mathematics.md 9.4."""
    return BaselineAgent(site, config.policy, lambda _, catalogue: -catalogue.age_hours / config.scale_hours)


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


def popular_agent(site: Site, config: PopularConfig) -> BaselineAgent:
    """Highest click rate, smoothed by a prior and decayed by age.

    Without the prior, one lucky click rules; without the decay, old links that have had time to be clicked.
    """
    logits = popularity(config)
    return BaselineAgent(site, config.policy, lambda _, catalogue: logits(catalogue))


def decayed_rates(config: PopularConfig, catalogue: Catalogue, article_id: Ints) -> Doubles:
    """Click rates of published articles (m,), smoothed by the rate of all of these and decayed by age, float64 (m,)."""
    clicks, shown = catalogue.clicks_of(article_id), catalogue.impressions_of(article_id)
    site_rate = (clicks.sum() + 1.0) / (shown.sum() + config.prior_impressions)
    rate = (clicks + config.prior_impressions * site_rate) / (shown + config.prior_impressions)
    age_hours = catalogue.now - catalogue.published_hours_of(article_id)
    rates: Doubles = rate * np.exp2(-age_hours / config.half_life_hours)
    return rates


def popularity(config: PopularConfig) -> Logits:
    """``sharpness`` times the z-score of the decayed rate over the live articles."""

    def logits(catalogue: Catalogue) -> Doubles:
        score = decayed_rates(config, catalogue, catalogue.article_id)
        spread = score.std()
        standard: Doubles = (score - score.mean()) / (spread if spread > 0 else 1.0)
        return config.policy.sharpness * standard

    return logits

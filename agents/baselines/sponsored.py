"""A logger with an interest: popular articles, with those of some publishers pushed up, as a sales department does it.

A tool for studies of learning from logs: what a log shows most is here not what readers like most. Unless it is told
who pays, the site's least attractive publishers do, by what it can see of the articles that it held at hour 0. No
latents: it is no oracle, and it serves on a logged site as well.
Shapes: A articles of the archive, N live articles, P publishers. Time is in hours.
"""

import math
from dataclasses import dataclass, field

import numpy as np

from feedgym.agents.agent import Site
from feedgym.agents.baselines.popularity import BaselineAgent, PopularConfig, popularity
from feedgym.env.arrays import Doubles, Ints
from feedgym.env.checks import require
from feedgym.env.feed import Catalogue, Visits

_PUBLISHER = 1
"""Column of ``Catalogue.categories_of``."""


@dataclass(frozen=True, kw_only=True)
class SponsoredConfig:
    """Who has paid, and for how much."""

    popular: PopularConfig = field(default_factory=PopularConfig)
    """Whom it would serve without being paid, and how slates are drawn."""
    publishers: tuple[int, ...] | None = None
    """Ids of the publishers who pay, such as ``(3,17)``; None: the least attractive ones of the site."""
    paying_share: float = 0.25
    """How many of the site's publishers pay, as a share, at least one; not used where ``publishers`` are given."""
    boost: float = 3.0
    """What their articles gain in nats, after the temperature. On ``vivid`` 4 of 5 impressions are theirs then."""

    def __post_init__(self) -> None:
        """Check once."""
        ids = self.publishers
        known = ids is None or (isinstance(ids, tuple) and all(isinstance(p, int) and p >= 0 for p in ids))
        require(known, "publishers", ids, "None, or a tuple of publisher ids (>= 0), such as (3,17)")
        require(ids is None or len(ids) > 0, "publishers", ids, "at least one id; popular is the agent nobody pays")
        require(0.0 < self.paying_share <= 1.0, "paying_share", self.paying_share, "a share in (0, 1]")
        require(math.isfinite(self.boost), "boost", self.boost, "a finite number")


def least_attractive(catalogue: Catalogue, share: float) -> Ints:
    """The publishers whose articles draw least, by what a site sees of them at hour 0; int64, rising.

    Attraction is the mean of the two proxies that an article shows, of a sensational headline and of a good story:
    both draw clicks and minutes. It is of the articles published up to hour 0, so that it never changes later.

    Args:
        catalogue: with its archive.
        share: of the site's publishers, rounded, at least one. Publishers without an article are not among them: of
            a site that has published nothing there are none.
    """
    archive = catalogue.archive
    hours = archive.column("published_hours")[: archive.published]
    ids: Ints = np.flatnonzero(hours <= 0.0)
    publisher = catalogue.categories_of(ids)[:, _PUBLISHER].astype(np.int64)
    draws = archive.column("clickbait_proxy")[ids].astype(np.float64) + archive.column("quality_proxy")[ids]
    num_publishers = catalogue.category_sizes[_PUBLISHER]
    count = np.bincount(publisher, minlength=num_publishers)
    mean = np.bincount(publisher, weights=draws, minlength=num_publishers) / np.maximum(count, 1)
    order = np.argsort(np.where(count > 0, mean, np.inf), kind="stable")
    paying = min(max(round(share * num_publishers), 1), int(np.count_nonzero(count)))
    return np.sort(order[:paying])


def sponsored_agent(site: Site, config: SponsoredConfig) -> BaselineAgent:
    """Popular articles, those of the paying publishers ``boost`` nats higher.

    Raises:
        ValueError: a publisher that this site does not have.
    """
    num_publishers = site.category_sizes[_PUBLISHER]
    if config.publishers is not None:
        largest = max(config.publishers)
        require(largest < num_publishers, "publishers", largest, f"ids below {num_publishers}, the site's")
    unpaid, temperature = popularity(config.popular), config.popular.policy.temperature

    def logits(_: Visits, catalogue: Catalogue) -> Doubles:
        """Rows as ``catalogue.article_id``; the agent divides them by the temperature."""
        given = config.publishers
        paying = least_attractive(catalogue, config.paying_share) if given is None else np.asarray(given)
        is_paid = np.isin(catalogue.categories_of(catalogue.article_id)[:, _PUBLISHER], paying)
        raised: Doubles = unpaid(catalogue) + temperature * config.boost * is_paid
        return raised

    return BaselineAgent(site, config.popular.policy, logits)

"""From shortlists with logits to what is served: settings of the slate policy, and the greedy branch."""

import math
from dataclasses import dataclass

import numpy as np

from feedgym.agents.editorial import Rule, Rules, rules_of
from feedgym.agents.slate_policy.draw import Draw, as_shortlist
from feedgym.agents.slate_policy.exploration import is_new
from feedgym.agents.slate_policy.luck import Luck
from feedgym.agents.slate_policy.ruled_slates import ruled_slates
from feedgym.agents.slate_policy.served import Served, unknown_marginals
from feedgym.agents.slate_policy.slates import Slates, draw_slates, greedy_slates
from feedgym.agents.slate_policy.softmax import columns_in_shortlist
from feedgym.env.arrays import Bools, Doubles, Ints, taken_at
from feedgym.env.checks import require
from feedgym.env.feed import Catalogue


@dataclass(frozen=True, kw_only=True)
class PolicyConfig:
    """Plackett-Luce over a shortlist, and uniform visits that explore (docs/mathematics.md 2)."""

    shortlist_size: int = 100
    """M, articles that retrieval returns."""
    epsilon: float = 0.05
    """Chance that a visit explores: its slate is a uniform one of all live articles."""
    temperature: float = 1.0
    """What logits are divided by."""
    sharpness: float = 4.0
    """kap: logits are this many times the score's z-score over the live catalogue (docs/mathematics.md 2.6)."""
    greedy: bool = False
    """Serve the K best by logit instead of sampling."""
    new_boost: float = 0.0
    """Added to the logit of new articles of the shortlist, after the temperature: see the next two."""
    new_hours: float = 1.0
    """An article younger than this is new; 0: age does not matter."""
    new_impressions: int = 0
    """So is one that was shown less often than this."""
    rules: str | tuple[Rule, ...] | None = None
    """Editorial rules, such as ``exclude(topic=3)+cap(topic,2)+pin(812,0)+share(topic=1,0.2)``
    (docs/guide/editorial.md)."""

    def __post_init__(self) -> None:
        """Check once."""
        require(self.shortlist_size >= 1, "shortlist_size", self.shortlist_size, ">= 1")
        require(0.0 <= self.epsilon <= 1.0, "epsilon", self.epsilon, "between 0 and 1")
        positive = math.isfinite(self.temperature) and self.temperature > 0
        require(positive, "temperature", self.temperature, "> 0")
        require(math.isfinite(self.sharpness), "sharpness", self.sharpness, "a finite number")
        require(math.isfinite(self.new_boost), "new_boost", self.new_boost, "a finite number")
        require(self.new_hours >= 0, "new_hours", self.new_hours, ">= 0 (hours)")
        require(self.new_impressions >= 0, "new_impressions", self.new_impressions, ">= 0")
        rules_of(self.rules)

    @property
    def editorial(self) -> Rules:
        """The rules, read."""
        return rules_of(self.rules)

    def draw(self, logits: Doubles, shortlist: Ints, num_live: int, slate_size: int) -> Draw:
        """What this policy draws slates from.

        Args:
            logits: (n, M), temperature and boosts included.
            shortlist: (n, M), without what the rules exclude; -1 pads.
            num_live: N, likewise; 0 where nothing is left.
            slate_size: K.
        """
        epsilon = 0.0 if self.greedy else self.epsilon
        return Draw(*as_shortlist(logits, shortlist, check=False), num_live, epsilon, slate_size, self.greedy)


def eligible(config: PolicyConfig, catalogue: Catalogue) -> Bools | None:
    """Which live articles the rules do not exclude, bool (N,), rows as ``catalogue.article_id``; None: all."""
    rules = config.editorial
    return ~rules.excluded(catalogue) if rules.exclude else None


def boosts(config: PolicyConfig, catalogue: Catalogue, article_id: Ints) -> Doubles | float:
    """What new articles gain in nats: float64 of the shape of ``article_id`` (-1: 0), or 0 where nothing is set."""
    if config.new_boost == 0.0:
        return 0.0
    new = is_new(catalogue, article_id, config.new_hours, config.new_impressions)
    gain: Doubles = np.where(new, config.new_boost, 0.0)
    return gain


def only_eligible(shortlist: Ints, logits: Doubles, live_ids: Ints, size: int) -> tuple[Ints, Doubles]:
    """Shortlists (n, M) and logits without what is not among ``live_ids`` (N,), cut to ``size``; order is kept.

    A row of which nothing is left lists the newest eligible articles, at equal logits: a softmax needs something to
    choose from. Where the index was asked for as many more as are excluded, that happens to approximate ones only.
    """
    kept = (shortlist >= 0) & np.isin(shortlist, live_ids)
    order = np.argsort(~kept, axis=1, kind="stable")[:, :size]
    kept = np.take_along_axis(kept, order, axis=1)
    left: Ints = np.where(kept, np.take_along_axis(shortlist, order, axis=1), -1)
    scores: Doubles = np.where(kept, np.take_along_axis(logits, order, axis=1), 0.0)
    none = ~kept.any(axis=1)
    if none.any() and len(live_ids):
        newest = np.sort(live_ids)[::-1][: left.shape[1]]
        left[none, : len(newest)] = newest
    return left, scores


def serve(
    luck: Luck,
    config: PolicyConfig,
    draw: Draw,
    live_ids: Ints,
    policy_version: int,
    catalogue: Catalogue | None = None,
    *,
    pages: int = 1,
) -> Served:
    """Slates from what is to be drawn from.

    Args:
        luck: of the n visits: ``visit_noise`` of an agent, or a generator.
        config: whose ``draw`` it is.
        draw: of n visits.
        live_ids: what ``draw.num_live`` counts, (N,).
        policy_version: grows with every training.
        catalogue: whose categories rules look at. Under rules that do more than exclude, inclusion, slot marginals and
            ``t*`` are unknown, and NaN in the log.
        pages: of lists: slates as long as all of them together, of which each keeps the rules.
    """
    rules, unknown = config.editorial, None
    if len(live_ids) == 0:
        slates = _nothing(len(draw), draw.slate_size)
    elif rules.reshapes:
        if catalogue is None:
            raise ValueError("catalogue: got None, needs the catalogue whose categories the rules look at")
        slates = ruled_slates(luck, rules, catalogue, draw, live_ids, pages=pages)
        unknown = None if draw.all_greedy else unknown_marginals(slates.article_id)
    elif draw.all_greedy:
        slates = greedy(draw)
    else:
        slates = draw_slates(luck, draw, live_ids)
    return Served(
        **vars(slates),
        draw=draw,
        temperature=config.temperature,
        policy_version=policy_version,
        given_marginals=unknown,
        num_unfilled=_unfilled(slates.article_id, len(catalogue)) if catalogue is not None else 0,
    )


def _unfilled(article_id: Ints, num_live: int) -> int:
    """Positions of slates (n, K) that stay empty though the catalogue holds articles for them."""
    n, size = article_id.shape
    wanted: int = n * min(size, num_live)
    return wanted - int(np.count_nonzero(article_id >= 0))


def _nothing(num_visits: int, slate_size: int) -> Slates:
    """Slates of an empty catalogue: nothing to show, with certainty."""
    shape = (num_visits, slate_size)
    return Slates(
        article_id=np.full(shape, -1, dtype=np.int64),
        slot_propensity=np.ones(shape),
        log_propensity=np.zeros(num_visits),
        explored=np.zeros(num_visits, dtype=np.bool_),
        in_shortlist=np.zeros(shape, dtype=np.bool_),
        logit=np.full(shape, np.nan),
        log_normaliser=np.full(num_visits, np.nan),
    )


def greedy(draw: Draw) -> Slates:
    """The K best by logit; propensity 1, and no draw, so that nobody knows a normaliser: NaN."""
    article_id = greedy_slates(draw.logits, draw.shortlist, draw.slate_size)
    shown = article_id >= 0
    logit = taken_at(draw.logits, columns_in_shortlist(article_id, draw.shortlist), np.nan)
    return Slates(
        article_id=article_id,
        slot_propensity=np.ones(article_id.shape),
        log_propensity=np.zeros(len(article_id)),
        explored=np.zeros(len(article_id), dtype=np.bool_),
        in_shortlist=shown,
        logit=logit,
        log_normaliser=np.full(len(article_id), np.nan),
    )

"""Oracles: what could be earned by someone who sees latents. References, marked as such wherever shown.

They ask the reader model what it expects of every visiting reader and every live article, and serve the best
slate greedily. None is an optimum: an immediate oracle does not plan, and ``planning`` plans by a rule.
Shapes: n visits, N live articles, K positions.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from feedgym.agents.slate_policy import PolicyConfig, Served, greedy
from feedgym.env.arrays import Arrays, Doubles, Ints
from feedgym.env.feed import Catalogue, Feed, Visits
from feedgym.env.readers import Expecting, Outcome

Aim = Literal["click", "dwell", "planning"]


@dataclass(frozen=True, kw_only=True)
class PlanningConfig:
    """What an opened article is worth beyond its minutes."""

    quality_bonus: float = 2.0
    """Minutes that a unit of quality is worth later."""
    clickbait_cost: float = 2.0
    """Minutes that a unit of clickbait costs later."""


def expecting(feed: Feed) -> Expecting:
    """The reader model of a site, as oracles ask it.

    Raises:
        ValueError: it does not say what it expects.
    """
    model = feed.reader_model
    if not isinstance(model, Expecting):
        raise ValueError(
            f"reader_model: got {type(model).__name__}, needs a method expected_response for oracles; "
            "leave the oracles out of this comparison, or add it"
        )
    return model


def best_slates(score: Doubles, live: Ints, slate_size: int) -> Served:
    """For each row of ``score`` (n, N) the ``min(K, N)`` best of the live articles ``live`` (N,), best first."""
    width = min(slate_size, len(live))
    if len(score) == 0 or width == 0:
        shortlist: Ints = np.full((len(score), 1), -1, dtype=np.int64)
        scores = np.zeros((len(score), 1))
    else:
        columns = np.argpartition(score, -width, axis=1)[:, -width:]
        shortlist, scores = live[columns], np.take_along_axis(score, columns, axis=1)
    draw = PolicyConfig(greedy=True).draw(scores, shortlist, len(live), slate_size)
    return Served(**vars(greedy(draw)), draw=draw, temperature=1.0, policy_version=0)


class OracleAgent:
    """Serves the K live articles of highest expected value to each reader.

    Examination falls with position and is the same for every article, so the best slate is the K best
    articles in falling order.

    Args:
        feed: whose latents are seen.
        aim: ``click``: chance of a click; ``dwell``: that times the expected minutes; ``planning``: the
            dwell score plus ``quality_bonus * quality - clickbait_cost * clickbait``, both times the chance of
            a click, since an unopened article does not change its reader. (Outside that product, as a
            prototype had it, the bonus fills slates with articles nobody opens: less than half the minutes on
            a tuning seed.)
        planning: what ``planning`` goes by.
    """

    is_oracle = True

    def __init__(self, feed: Feed, aim: Aim, planning: PlanningConfig | None = None) -> None:
        self._feed = feed
        self._model = expecting(feed)
        self._aim = aim
        self._planning = planning or PlanningConfig()

    def act(self, visits: Visits, catalogue: Catalogue) -> Served:
        """The best slate for each reader."""
        live = catalogue.article_id
        score = self._score(visits, live) if len(visits) and len(live) else np.zeros((len(visits), len(live)))
        return best_slates(score, live, self._feed.config.slate_size)

    def _score(self, visits: Visits, live: Ints) -> Doubles:
        archive = self._feed.catalogue.archive
        click, minutes = self._model.expected_response(self._feed.state, visits.rows, archive, live, visits.now)
        value = click.astype(np.float64)
        if self._aim == "click":
            return value
        worth = minutes.astype(np.float64)
        if self._aim == "planning":
            worth = worth + self._planning.quality_bonus * archive.column("quality")[live]
            worth -= self._planning.clickbait_cost * archive.column("clickbait")[live]
        result: Doubles = value * worth
        return result

    def score_all(self, visits: Visits, catalogue: Catalogue) -> Doubles:
        """What it serves by, float64 (n, N), columns as ``catalogue.article_id``."""
        return self._score(visits, catalogue.article_id)

    def learn(self, outcome: Outcome) -> None:
        """Nothing to learn."""

    def metrics(self) -> dict[str, float]:
        """Nothing to tell."""
        return {}

    def snapshot(self) -> Arrays:
        """Oracles have no state of their own."""
        return {}

    def restore(self, snapshot: Arrays) -> None:
        """Nothing to restore."""

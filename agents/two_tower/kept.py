"""What an agent keeps of a tick once its outcome is known: rows of the replay, and what readers were shown.

Shapes: n visits, K positions, M shortlist, X crosses.
"""

import numpy as np

from feedgym.agents.agent import Site
from feedgym.agents.learners import Crossing, Learner, VisitBatch
from feedgym.agents.serving import Acted
from feedgym.agents.two_tower.second_stage import PairMemory
from feedgym.agents.two_tower.settings import TwoTowerAgentConfig
from feedgym.env.arrays import Ints
from feedgym.env.checks import require
from feedgym.env.readers import Outcome


def check_crosses(config: TwoTowerAgentConfig, learner: Learner) -> None:
    """Refuse crosses that nobody would make use of, and those of readers who are served by less than what is known.

    Raises:
        ValueError: with what would do.
    """
    words = config.features.crosses
    if config.features.cross_names:
        used = config.towers.reranker is not None or isinstance(learner, Crossing)
        require(used, "crosses", words, "'none' for this learner, which fits none, but with prediction=logistic or mlp")
        lags = config.serving.clocks.readers_lag
        require(not lags, "crosses", words, "'none' where readers lag: crosses are those of the request")


def pairs_of(site: Site, config: TwoTowerAgentConfig) -> PairMemory | None:
    """The memory that the settings ask for; None where no cross is told to anybody."""
    names = config.features.cross_names
    return PairMemory(names, site.category_sizes) if names else None


def visit_batch(
    acted: Acted, outcome: Outcome, *, inclusions: bool, shortlist_size: int, pairs: PairMemory | None
) -> VisitBatch:
    """A tick's visits as rows of the replay.

    Args:
        acted: how they were served, by the agent or, as a log has it, by somebody else.
        outcome: what became of them.
        inclusions: keep the chances of what is shown to stand anywhere on the slate.
        shortlist_size: M, keep shortlists; 0 does not.
        pairs: as it was when they were served.
    """
    article_id = acted.served.article_id
    return VisitBatch(
        now=np.full(len(acted.row), acted.now),
        row=acted.row,
        reader=acted.reader,
        history_id=acted.history_id,
        article_id=article_id,
        clicks=outcome.clicks,
        dwell_minutes=outcome.dwell_minutes,
        subscribed=outcome.subscribed,
        slot_propensity=acted.served.slot_propensity.astype(np.float32),
        history_minutes=acted.history_minutes,
        inclusion=acted.inclusion.astype(np.float32) if inclusions else None,
        shortlist=_padded(acted.served.draw.shortlist, shortlist_size) if shortlist_size else None,
        crosses=None if pairs is None else pairs.told(acted.row, article_id, acted.now),
    )


def note_outcome(pairs: PairMemory, acted: Acted, outcome: Outcome | None = None) -> None:
    """Remember what a tick's readers were shown, and what they did where that is known."""
    article_id = acted.served.article_id
    opened = np.zeros(article_id.shape, dtype=np.bool_) if outcome is None else outcome.clicks
    minutes = np.zeros(article_id.shape, dtype=np.float32) if outcome is None else outcome.dwell_minutes
    pairs.note(acted.row, article_id, opened, minutes, acted.now)


def _padded(shortlist: Ints, size: int) -> Ints:
    """Shortlists (n, M') with M columns, -1 where there were fewer."""
    rows: Ints = np.full((len(shortlist), size), -1, dtype=np.int64)
    rows[:, : shortlist.shape[1]] = shortlist
    return rows

"""The replay, and what of a tick goes into it: visits, and what readers opened from elsewhere when it began.

Shapes: n visits, m opens, K positions, M shortlist, L clicks of history, R columns of a reader.
"""

import numpy as np

from feedgym.agents.agent import Site
from feedgym.agents.learners import Gathering, Learner, Learning, Parts, Replay, VisitBatch
from feedgym.agents.serving import Acted, Requests
from feedgym.agents.two_tower.second_stage import PairMemory
from feedgym.agents.two_tower.settings import TwoTowerAgentConfig
from feedgym.agents.two_tower.through_link import level_of
from feedgym.env.arrays import Floats, Ints
from feedgym.env.feed import Opens
from feedgym.env.readers import Outcome
from feedgym.towers.interface import Towers


def replay_for(
    site: Site, config: TwoTowerAgentConfig, model: Towers, learner: Learner, parts: Parts, shortlist_size: int
) -> Replay:
    """An empty replay with the columns that this agent needs.

    Args:
        site: who comes, and how large slates are.
        config: of the agent.
        model: of which the learner may have made less than was asked for.
        learner: learns from opens without a slate where it is ``Gathering``.
        parts: what the learner needs kept.
        shortlist_size: columns of the shortlists; 0: none are kept.
    """
    return Replay(
        config.optimiser.replay_visits,
        site.slate_size,
        site.history_length,
        model.config.reader_numeric,
        with_minutes=model.config.needs_minutes,
        shortlist_size=shortlist_size,
        with_inclusions=parts.inclusions,
        with_opens=site.has_opens and isinstance(learner, Gathering),
        num_crosses=len(config.second_stage.cross_names),
        with_scores=config.second_stage.grows_trees,
    )


def visited_rows(
    acted: Acted,
    outcome: Outcome,
    *,
    shortlist_size: int,
    with_inclusions: bool,
    pairs: PairMemory | None = None,
    scored_by: Learning[Towers] | None = None,
) -> VisitBatch:
    """The visits of a tick, as they were served and as they came out.

    Args:
        acted: how.
        outcome: what the readers did.
        shortlist_size: columns of the replay's shortlists; 0: it has none.
        with_inclusions: the replay keeps the chances to stand anywhere on the slate.
        pairs: as it was when they were served; None: the replay has no crosses.
        scored_by: as it was then, to keep the first stage's scores; None: do not.
    """
    return VisitBatch(
        now=np.full(len(acted.row), acted.now),
        row=acted.row,
        reader=acted.reader,
        history_id=acted.history_id,
        article_id=acted.served.article_id,
        clicks=outcome.clicks,
        dwell_minutes=outcome.dwell_minutes,
        subscribed=outcome.subscribed,
        slot_propensity=acted.served.slot_propensity.astype(np.float32),
        history_minutes=acted.history_minutes,
        inclusion=acted.inclusion.astype(np.float32) if with_inclusions else None,
        shortlist=_padded(acted.served.draw.shortlist, shortlist_size) if shortlist_size else None,
        organic=np.zeros(len(acted.row), dtype=np.bool_),
        crosses=None if pairs is None else pairs.told(acted.row, acted.served.article_id, acted.now),
        score=None if scored_by is None else _scores(acted, scored_by),
    )


def opened_rows(
    opens: Opens, readers: Requests, slate_size: int, shortlist_size: int, pairs: PairMemory | None = None
) -> VisitBatch:
    """Each open as a click on top of an otherwise empty slate, marked as ``organic``.

    Nobody chose to show it, and it could be opened whatever a policy did: its chance to be there is 1, and so is the
    weight that follows from it.

    Args:
        opens: at one tick.
        readers: who they are, as the towers are told of them just before.
        slate_size: K.
        shortlist_size: columns of the replay's shortlists, which are empty here.
        pairs: what they have been shown so far; None: the replay has no crosses.
    """
    m = len(opens)
    shape = (m, slate_size)
    article_id, minutes = np.full(shape, -1, dtype=np.int64), np.zeros(shape, dtype=np.float32)
    clicks = np.zeros(shape, dtype=np.bool_)
    article_id[:, 0], minutes[:, 0], clicks[:, 0] = opens.article_id, opens.dwell_minutes, True
    return VisitBatch(
        now=np.full(m, opens.now),
        row=opens.rows,
        reader=readers.reader,
        history_id=readers.history_id,
        history_minutes=readers.history_minutes,
        article_id=article_id,
        clicks=clicks,
        dwell_minutes=minutes,
        subscribed=np.zeros(m, dtype=np.bool_),
        slot_propensity=np.ones(shape, dtype=np.float32),
        inclusion=np.ones(shape, dtype=np.float32),
        shortlist=np.full((m, shortlist_size), -1, dtype=np.int64),
        organic=np.ones(m, dtype=np.bool_),
        crosses=None if pairs is None else pairs.told(opens.rows, article_id, opens.now),
    )


def _scores(acted: Acted, learning: Learning[Towers]) -> Floats:
    """The first stage's scores of what was shown, float32 (n, K)."""
    assert acted.factor is not None
    model, store = learning.model, learning.store
    vectors = store.augmented[np.maximum(acted.served.article_id, 0), : model.augmented_dim]
    product = np.einsum("ne,nke->nk", acted.queries[:, : model.augmented_dim], vectors)
    score: Floats = (product / acted.factor[:, None] + level_of(model)).astype(np.float32)
    return score


def _padded(shortlist: Ints, size: int) -> Ints:
    """Shortlists (n, M) with ``size`` columns, -1 where there were fewer."""
    rows: Ints = np.full((len(shortlist), size), -1, dtype=np.int64)
    rows[:, : shortlist.shape[1]] = shortlist
    return rows

"""What of a tick goes into a replay: its visits, and what readers opened from elsewhere when it began.

Shapes: n visits, m opens, K positions, M shortlist, L clicks of history, R columns of a reader.
"""

import numpy as np

from feedgym.agents.learners import VisitBatch
from feedgym.agents.serving import Acted, Requests
from feedgym.env.arrays import Ints
from feedgym.env.feed import Opens
from feedgym.env.readers import Outcome


def visited_rows(acted: Acted, outcome: Outcome, *, shortlist_size: int, with_inclusions: bool) -> VisitBatch:
    """The visits of a tick, as they were served and as they came out.

    Args:
        acted: how.
        outcome: what the readers did.
        shortlist_size: columns of the replay's shortlists; 0: it has none.
        with_inclusions: the replay keeps the chances to stand anywhere on the slate.
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
    )


def opened_rows(opens: Opens, readers: Requests, slate_size: int, shortlist_size: int) -> VisitBatch:
    """Each open as a click on top of an otherwise empty slate, marked as ``organic``.

    Nobody chose to show it, and it could be opened whatever a policy did: its chance to be there is 1, and so is the
    weight that follows from it.

    Args:
        opens: at one tick.
        readers: who they are, as the towers are told of them just before.
        slate_size: K.
        shortlist_size: columns of the replay's shortlists, which are empty here.
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
    )


def _padded(shortlist: Ints, size: int) -> Ints:
    """Shortlists (n, M) with ``size`` columns, -1 where there were fewer."""
    rows: Ints = np.full((len(shortlist), size), -1, dtype=np.int64)
    rows[:, : shortlist.shape[1]] = shortlist
    return rows

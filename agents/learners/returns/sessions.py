"""What the readers' sessions held, and how long they then stayed away: what a model of returns is fitted to.

Everything is what a site sees (docs/mathematics.md 3.7). A session is described by what was opened in it, not by how
long it was read: minutes are a consequence of the same articles, and would take their effect away.
Shapes: n visits, K positions, t sessions, A articles, C columns of articles, P = 2 C + 2 columns of sessions.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from feedgym.agents.learners.returns.returns import chain_order, scan_forward
from feedgym.agents.learners.returns.site_clock import SiteClock
from feedgym.env.arrays import AnyArray, Arrays, Bools, Doubles, Floats, Ints, copied, put_back
from feedgym.env.feed import SESSION_HOURS

NEWEST = 0.2
"""Weight of a session in the slow state that it leaves behind: what its reader has come to expect."""
_PUBLISHER_PRIOR = 4.0
"""Average articles that each publisher is taken to have had: a publisher's first article says little about it."""
_SHORTEST_HOURS = 1e-2
_FARTHEST = 5.0
"""Standard deviations beyond which an article's number is cut: counts of a real site have long tails."""
_LEAST_SPREAD = 1e-6
_KEPT = ("_centre", "_spread", "_of_publisher")


class ArticleColumns:
    """What an article says beforehand about the session that opens it: its own numbers, and its publisher's.

    Articles that come later are measured against those that :meth:`know` was last told of.

    Args:
        names: of all numbers of the articles, (F,).
        wanted: which of them count; of these, those that the site does not have are left out.
    """

    def __init__(self, names: Sequence[str], wanted: Sequence[str]) -> None:
        found = [name for name in wanted if name in names]
        self._columns: Ints = np.array([list(names).index(name) for name in found], dtype=np.int64)
        self.names: tuple[str, ...] = ("opened", *found, *(f"publisher_{name}" for name in found), "log_opened")
        """Of a session's columns, (P,)."""
        self._centre: Doubles = np.zeros(len(found))
        self._spread: Doubles = np.ones(len(found))
        self._of_publisher: Doubles = np.zeros((1, len(found)))
        """Mean of each publisher's articles, a row each; the last row is of those who had none."""

    def know(self, numeric: Floats, publisher: Ints) -> None:
        """Take in all articles so far; numbers are centred and scaled over them.

        Args:
            numeric: the articles' numbers, (A, F) or more columns.
            publisher: (A,), >= 0.
        """
        if len(numeric) == 0:
            return
        raw = numeric[:, self._columns].astype(np.float64)
        self._centre, spread = raw.mean(axis=0), raw.std(axis=0)
        self._spread = np.where(spread > _LEAST_SPREAD, spread, 1.0)
        size = int(publisher.max()) + 1
        each = np.bincount(publisher, minlength=size) + _PUBLISHER_PRIOR
        self._of_publisher = np.zeros((size + 1, len(self._columns)))
        for c, own in enumerate(self._own(numeric).T):
            self._of_publisher[:size, c] = np.bincount(publisher, own, size) / each

    def _own(self, numeric: Floats) -> Doubles:
        own = (numeric[:, self._columns].astype(np.float64) - self._centre) / self._spread
        return np.clip(own, -_FARTHEST, _FARTHEST)

    def of(self, numeric: Floats, publisher: Ints) -> Doubles:
        """Columns of articles (m,) by their numbers (m, F) and publishers (m,), float64 (m, 2 C)."""
        means = self._of_publisher[np.minimum(publisher, len(self._of_publisher) - 1)]
        return np.concatenate([self._own(numeric), means], axis=1)

    def opened_alone(self, numeric: Floats, publisher: Ints) -> Doubles:
        """The x of sessions that open one of these articles (m,) and nothing else, float64 (m, P)."""
        m = len(numeric)
        return np.concatenate([np.ones((m, 1)), self.of(numeric, publisher), np.full((m, 1), np.log(2.0))], axis=1)

    def snapshot(self) -> Arrays:
        """What articles are measured against."""
        return copied(self, _KEPT)

    def restore(self, snapshot: Arrays) -> None:
        """Go on from a snapshot."""
        put_back(self, _KEPT, snapshot)


@dataclass(frozen=True)
class Sessions:
    """Sessions in chain order: reader by reader, each in order of time."""

    row: Ints
    """Whose, (t,)."""
    start: Doubles
    """Hour of the first visit, (t,)."""
    minutes: Doubles
    """Read, (t,)."""
    x: Doubles
    """What was opened, (t, P): anything at all, the means of the articles' columns, log(1 + number opened)."""
    slow: Doubles
    """The slow state that the session leaves behind, (t, P): an exponentially weighted sum of ``x``, its own too."""
    place: Ints
    """Number of the session among those known of its reader, from 0, (t,)."""
    gap_hours: Doubles
    """Clock hours until the next session or, where open, until now, (t,)."""
    gap: Doubles
    """The same in hours of the site's own clock, (t,), > 0."""
    is_open: Bools
    """No next session is known, (t,)."""

    def __len__(self) -> int:
        """Number of sessions, t."""
        return len(self.row)


def sessions_of(
    row: Ints,
    time: Doubles,
    clicks: Bools,
    article_id: Ints,
    dwell_minutes: Floats,
    articles: Doubles,
    now: float,
) -> Sessions:
    """Sessions of logged visits, which may be in any order.

    Args:
        row: whose visit, (n,).
        time: when, hours (n,).
        clicks: (n, K).
        article_id: what was shown, known wherever it was clicked, (n, K).
        dwell_minutes: (n, K).
        articles: columns of all articles, (A, 2 C), as :meth:`ArticleColumns.of` has them.
        now: hours; nothing is known of what comes later.
    """
    order, last = chain_order(row, time)
    row, time = row[order].astype(np.int64), time[order]
    begins: Bools = np.ones(len(row), dtype=np.bool_)
    begins[1:] = last[:-1] | (np.diff(time) >= SESSION_HOURS)
    first = np.flatnonzero(begins)
    size = len(first)
    session: Ints = np.empty(len(row), dtype=np.int64)
    session[order] = np.cumsum(begins) - 1
    slot, position = np.nonzero(clicks)
    x = _opened(session[slot], articles[article_id[slot, position]], size)
    read: Doubles = np.bincount(session, dwell_minutes.sum(axis=1), size).astype(np.float64)
    who, start = row[first], time[first]
    end = time[np.append(first[1:], len(row)) - 1] if size else start
    is_open: Bools = np.ones(size, dtype=np.bool_)
    is_open[:-1] = who[1:] != who[:-1]
    starts_chain = np.roll(is_open, 1)
    index = np.arange(size)
    chain = np.maximum.accumulate(np.where(starts_chain, index, 0))
    keep = np.where(starts_chain, 0.0, 1.0 - NEWEST)
    back = np.where(is_open, now, np.roll(start, -1))
    clock = SiteClock(start, float(time.min(initial=now)), now)
    return Sessions(
        row=who,
        start=start,
        minutes=read,
        x=x,
        slow=np.stack([scan_forward(NEWEST * column, keep) for column in x.T], axis=1),
        place=index - chain,
        gap_hours=back - end,
        gap=np.maximum(clock.at(back) - clock.at(end), _SHORTEST_HOURS),
        is_open=is_open,
    )


def _opened(session: Ints, columns: AnyArray, size: int) -> Doubles:
    """The x of ``size`` sessions, from the articles opened: in which session (c,), and their columns (c, 2 C)."""
    count = np.bincount(session, minlength=size).astype(np.float64)
    sums = [np.bincount(session, column, size) / np.maximum(count, 1.0) for column in columns.T]
    x: Doubles = np.stack([(count > 0).astype(np.float64), *sums, np.log1p(count)], axis=1)
    return x

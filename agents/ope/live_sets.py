"""What was live when a slate was made: no other policy's propensities are known without it (docs/mathematics.md 2.4).

Shapes: n visits, K positions, M columns of a shortlist (-1 pads), A articles of the archive. Time is in hours.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from feedgym.agents.ope.logged import LoggedSlates
from feedgym.env.arrays import Bools, Doubles, Ints
from feedgym.env.checks import require


@dataclass(frozen=True)
class ArticleTimes:
    """When articles were live: in ``[published_hours, expires_hours)``. Rows are article ids."""

    published_hours: Doubles
    """float64 (A,)."""
    expires_hours: Doubles
    """float64 (A,); inf: never."""

    def __post_init__(self) -> None:
        seen = (self.published_hours.shape, self.expires_hours.shape)
        require(self.published_hours.ndim == 1 and seen[0] == seen[1], "expires_hours", seen, "two arrays (A,)")

    def num_live(self, hours: Doubles, until: Doubles | None = None) -> Ints:
        """N at each of n moments, int64 (n,), by two searches; with ``until`` (n,) those of them that are live then."""
        lives = self.expires_hours > self.published_hours
        if until is not None:
            made, of = np.unique(hours, return_inverse=True)
            left: Ints = np.zeros(len(hours), dtype=np.int64)
            for i, at in enumerate(made):
                expired = np.sort(self.expires_hours[lives & (self.published_hours <= at)])
                left[of == i] = len(expired) - np.searchsorted(expired, until[of == i], side="right")
            return left
        published, expired = np.sort(self.published_hours[lives]), np.sort(self.expires_hours[lives])
        count = np.searchsorted(published, hours, side="right") - np.searchsorted(expired, hours, side="right")
        return count.astype(np.int64)

    def is_live(self, article_id: Ints, hours: Doubles) -> Bools:
        """Whether articles (n, W) were live at moments (n,), bool (n, W); unknown ids and -1 were not."""
        known = (article_id >= 0) & (article_id < len(self.published_hours))
        row = np.where(known, article_id, 0)
        if len(self.published_hours) == 0:
            return known
        at = hours[:, None]
        live: Bools = known & (self.published_hours[row] <= at) & (at < self.expires_hours[row])
        return live


def check_live_sets(log: LoggedSlates, articles: ArticleTimes | None) -> ArticleTimes:
    """Refuse a log whose live sets are missing, or whose articles are not those it was written with.

    Args:
        log: with ``made_hours`` and ``num_live``.
        articles: of the ``articles.parquet`` beside the log.

    Returns:
        ``articles``, for the caller who did not know whether there are any.

    Raises:
        ValueError: no articles, no times; a logged article that is unknown or was not live; another N than logged.
    """
    if articles is None:
        raise ValueError(
            "articles: got None, needs publication and expiry times (articles.parquet beside the log): a target's "
            "propensities depend on all that was live; without them only target propensities of your own, or dm, can do"
        )
    if log.made_hours is None or log.num_live is None:
        lacks = "made_hours" if log.made_hours is None else "num_live"
        raise ValueError(
            f"log: got no {lacks}, needs made_hours and num_live to find what was live (docs/guide/log.md)"
        )
    dead = (log.article_id >= 0) & ~articles.is_live(log.article_id, log.made_hours)
    if dead.any():
        row = int(np.argmax(dead.any(axis=1)))
        seen = f"article {log.article_id[row][dead[row]][0]} in row {row}, not live at {log.made_hours[row]:g} h"
        require(False, "articles", seen, "the catalogue that the log was written with: it has changed since")
    count = articles.num_live(log.made_hours, log.shown_hours)
    if (count != log.num_live).any():
        row = int(np.argmax(count != log.num_live))
        seen = f"{count[row]} live at {log.made_hours[row]:g} h, where row {row} logged {log.num_live[row]}"
        why = "it has changed since, or editorial rules excluded some of it"
        require(False, "articles", seen, f"the catalogue that the log was written with: {why}")
    return articles


def check_shortlist(shortlist: Ints, log: LoggedSlates, articles: ArticleTimes) -> None:
    """Refuse shortlists (n, M) that hold what was not live when the logged slates were made, such as later articles."""
    require(log.made_hours is not None, "log", "no made_hours", "the time when each slate was made")
    assert log.made_hours is not None
    dead = (shortlist >= 0) & ~articles.is_live(shortlist, log.made_hours)
    if dead.any():
        row = int(np.argmax(dead.any(axis=1)))
        seen = f"article {shortlist[row][dead[row]][0]} in row {row}, not live at {log.made_hours[row]:g} h"
        require(False, "shortlist", seen, "articles live at the logged moment: retrieve among those")

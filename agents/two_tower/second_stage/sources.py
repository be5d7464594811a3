"""Further sources of candidates: what they propose joins the shortlist that the towers found, each article once.

A news team merges several lists before it ranks: what is new, what is popular, what is like the last read. The slate is
drawn from the merged shortlist by the policy, so that its chances are exact whatever the sources are.
Shapes: n readers, N live articles that can be found, m articles of a source, M columns of a shortlist.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from feedgym.agents.baselines import PopularConfig, decayed_rates
from feedgym.env.arrays import Bools, Doubles, Floats, Ints
from feedgym.env.checks import require
from feedgym.env.feed import Catalogue

TOWERS = "towers"
"""What always is a source: retrieval by the towers' inner product."""
_POPULAR = PopularConfig()


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What a source may look at."""

    catalogue: Catalogue
    """What is live, and what has been counted of it."""
    findable: Ints
    """Live articles that may be proposed, (N,): without those that rules exclude or that no search finds yet."""
    history_id: Ints
    """The readers' clicks, newest first, (n, L); -1 where none."""
    like: Callable[[Ints, int], Ints]
    """Nearest articles by the item tower: of ids (n,), -1 of none, so many each: (n, m), -1 pads."""
    size: int
    """m, at most as many are proposed."""


Source = Callable[[Asked], Ints]
"""Article ids (n, m), or (1, m) for all readers alike; -1 pads. They need not be distinct from other sources'."""


def _best(findable: Ints, score: Doubles | Ints, size: int) -> Ints:
    """The ids of the highest scores, (1, m), at equal ones the newest."""
    order = np.lexsort((-findable, -score))[:size]
    best: Ints = findable[order][None]
    return best


def newest(asked: Asked) -> Ints:
    """Latest published."""
    return _best(asked.findable, asked.findable, asked.size)


def most_clicked(asked: Asked) -> Ints:
    """Highest click rate of the site, smoothed by a prior and decayed by age, as the agent ``popular`` has it."""
    return _best(asked.findable, decayed_rates(_POPULAR, asked.catalogue, asked.findable), asked.size)


def like_the_last_click(asked: Asked) -> Ints:
    """Item to item: nearest to the article that the reader opened last, by the item tower; none without a click."""
    history = asked.history_id
    last = history[:, 0] if history.shape[1] else np.full(len(history), -1, dtype=np.int64)
    found = asked.like(last, asked.size)
    return np.where(np.isin(found, asked.findable), found, -1)


SOURCES: dict[str, Source] = {"recent": newest, "popular": most_clicked, "similar": like_the_last_click}
"""Sources beside the towers, by name. A new one is a function and a line."""


def source_names(words: str) -> tuple[str, ...]:
    """Sources beside the towers in the words of a setting: ``towers``, or with others, ``towers+recent+similar``.

    Raises:
        ValueError: the towers are missing, a name is unknown, or there twice.
    """
    names = tuple(words.split("+"))
    known = names[0] == TOWERS and all(name in SOURCES for name in names[1:]) and len(set(names)) == len(names)
    require(
        known, "sources", words, f"'{TOWERS}', and after it, joined by '+', once each, some of {', '.join(SOURCES)}"
    )
    return names[1:]


def merged(shortlist: Ints, proposals: Sequence[Ints]) -> Ints:
    """Shortlists (n, M) with what sources propose behind, each article where it stands first: (n, M + sum of m).

    What is there already becomes -1, so that a row stays one of distinct articles.
    """
    n = len(shortlist)
    rows: Ints = np.hstack([shortlist, *(np.broadcast_to(ids, (n, ids.shape[1])) for ids in proposals)])
    order = np.argsort(rows, axis=1, kind="stable")
    ranked = np.take_along_axis(rows, order, axis=1)
    again: Bools = np.zeros(rows.shape, dtype=np.bool_)
    np.put_along_axis(again, order[:, 1:], ranked[:, 1:] == ranked[:, :-1], axis=1)
    rows[again] = -1
    return rows


class Sources:
    """The sources that an agent asks, and what they proposed at the latest draw: crosses ask for that.

    It has no state that outlives a tick.

    Args:
        names: of ``SOURCES``.
        size: m, of each.
    """

    def __init__(self, names: Sequence[str], size: int) -> None:
        self._sources: Mapping[str, Source] = {name: SOURCES[name] for name in names}
        self.size = size
        self._rows: Ints = np.zeros(0, dtype=np.int64)
        self._proposed: dict[str, Ints] = {}

    @property
    def columns(self) -> int:
        """What they add to a shortlist."""
        return self.size * len(self._sources)

    def propose(self, rows: Ints, asked: Asked) -> list[Ints]:
        """What each source has for readers (n,), padded to m columns: (n, m) or (1, m)."""
        self._rows = rows
        self._proposed = {name: self._padded(source(asked)) for name, source in self._sources.items()}
        return list(self._proposed.values())

    def forget(self) -> None:
        """At this draw nobody was asked."""
        self._rows, self._proposed = np.zeros(0, dtype=np.int64), {}

    def _padded(self, ids: Ints) -> Ints:
        rows = np.full((len(ids), self.size), -1, dtype=np.int64)
        rows[:, : ids.shape[1]] = ids[:, : self.size]
        return rows

    def proposed(self, name: str, rows: Ints, article_id: Ints) -> Floats:
        """Whether a source proposed articles (n, M) to readers (n,) at the latest draw: 1 or 0, float32 (n, M).

        0 for readers who were not among those of that draw: of an open from elsewhere no source knows.
        """
        found = np.zeros(article_id.shape, dtype=np.float32)
        ids = self._proposed.get(name)
        if ids is not None and len(rows) and np.array_equal(rows, self._rows):
            listed = (article_id[:, :, None] == ids[:, None, :]).any(axis=2) & (article_id >= 0)
            found[listed] = 1.0
        return found

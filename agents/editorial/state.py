"""What editorial rules look at while slates are drawn: categories, caps used up, shares still wanted, pinned articles.

Live articles of the same categories are one *cell*: what a rule says of one it says of all.
Shapes: B visits, N eligible articles, G cells, V categories of a column, K positions.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from feedgym.agents.editorial.rules import COLUMNS, Rules
from feedgym.env.arrays import Bools, Ints
from feedgym.env.feed import Catalogue


@dataclass(frozen=True)
class Cells:
    """Eligible articles by what the rules look at."""

    article_id: Ints
    """Eligible, rising, (N,)."""
    cell: Ints
    """Of each, (N,)."""
    category: Ints
    """Topic, publisher and author of each cell, (G, 3); 0 where no rule looks."""
    by_cell: Ints
    """The articles, cell by cell, (N,)."""
    start: Ints
    """Where each cell's begin there, (G,)."""
    size: Ints
    """(G,)"""

    def of(self, article_id: Ints) -> Ints:
        """Cells of eligible articles, of any shape; -1 gets some cell."""
        place = np.searchsorted(self.article_id, article_id)
        return self.cell[np.minimum(place, len(self.article_id) - 1)]

    def within(self, column: str | None, category: int | None) -> Bools:
        """Which cells are of a category, (G,)."""
        return np.asarray(self.category[:, COLUMNS.index(str(column))] == category)


def make_cells(rules: Rules, catalogue: Catalogue, live_ids: Ints) -> Cells:
    """The cells of eligible articles (N,), by the columns that some rule looks at."""
    ids = np.sort(live_ids)
    looked_at = {c.column for c in rules.caps} | {p.column for p in rules.pins} | {s.column for s in rules.shares}
    used = np.array([name in looked_at for name in COLUMNS])
    categories = np.where(used, catalogue.categories_of(ids).astype(np.int64), 0)
    # One number a combination: np.unique of rows is ten times slower.
    _, publishers, authors = catalogue.category_sizes
    key = (categories[:, 0] * publishers + categories[:, 1]) * authors + categories[:, 2]
    _, first, cell, size = np.unique(key, return_index=True, return_inverse=True, return_counts=True)
    start = np.cumsum(size) - size
    return Cells(ids, cell, categories[first], ids[np.argsort(cell, kind="stable")], start, size)


@dataclass
class Caps:
    """One cap, and how much of it each slate has used."""

    most: int
    value: Ints
    """Each cell's category among those counted, (G,)."""
    capped: Bools
    """Which cells it is about, (G,)."""
    used: Ints
    """(B, V): pinned articles count from the start."""
    promised: Ints
    """Pins for a category that are still to come, by position and category, (K, V)."""

    def full(self, position: int) -> Bools:
        """Cells of which no more may come, (B, G)."""
        return np.asarray((self.used + self.promised[position] >= self.most)[:, self.value] & self.capped)


class Shares:
    """What minimum shares still want of each slate. A pin of the same category is a promise, and not in the need."""

    def __init__(self, rules: Rules, cells: Cells, pinned: Ints, num_rows: int) -> None:
        size = len(pinned)
        kind_of_pin = {p.position: (p.column, p.category) for p in rules.pins if p.category is not None}
        self._kinds = [(s.column, s.category) for s in rules.shares]
        self._of_kind = np.array([cells.within(*kind) for kind in self._kinds]).reshape(-1, len(cells.size))
        self._kind_of_pin = kind_of_pin
        self._free = np.array([pinned[k] < 0 and k not in kind_of_pin for k in range(size)])
        promised = np.array([list(kind_of_pin.values()).count(kind) for kind in self._kinds], dtype=np.int64)
        places = np.array([s.places(size) for s in rules.shares], dtype=np.int64)
        standing = self._of_kind[:, cells.of(pinned[pinned >= 0])].sum(axis=1)
        self.need: Ints = np.tile(np.maximum(places - promised - standing, 0), (num_rows, 1))  # (B, shares)

    def allowed(self, position: int) -> Bools:
        """Cells that may come, (B, G): any, until as many free positions are left as articles are wanted."""
        total = self.need.sum(axis=1)
        forced = (total >= self._free[position:].sum()) & (total > 0)
        wanted = (self.need > 0).astype(np.int64) @ self._of_kind.astype(np.int64)
        return np.asarray(~forced[:, None] | (wanted > 0))

    def take(self, position: int, rows: Ints, cell: Ints) -> None:
        """Slates ``rows`` (b,) show an article of these cells (b,) there."""
        for s, kind in enumerate(self._kinds):
            if self._kind_of_pin.get(position) != kind:
                self.need[rows, s] = np.maximum(self.need[rows, s] - self._of_kind[s, cell], 0)


def pinned_articles(rules: Rules, cells: Cells, slate_size: int) -> Ints:
    """The article that stands at each position for certain, (K,); -1 for none. A cap lets the upper ones pass."""
    pinned: Ints = np.full(slate_size, -1, dtype=np.int64)
    for pin in sorted(rules.pins, key=lambda pin: pin.position):
        if pin.article_id is None or pin.article_id not in cells.article_id:
            continue
        pinned[pin.position] = pin.article_id
        caps = make_caps(rules, cells, pinned, 1, slate_size)
        if any((cap.used > cap.most)[:, cap.value[cap.capped]].any() for cap in caps):
            pinned[pin.position] = -1
    return pinned


def make_caps(rules: Rules, cells: Cells, pinned: Ints, num_rows: int, slate_size: int) -> list[Caps]:
    """Every cap, with the pinned articles (K,) counted and the pinned categories promised."""
    caps = []
    fixed = cells.of(pinned[pinned >= 0])
    for rule in rules.caps:
        own = cells.category[:, COLUMNS.index(rule.column)]
        names, value = np.unique(own, return_inverse=True)
        capped = np.ones(len(own), dtype=np.bool_) if rule.category is None else own == rule.category
        used = np.tile(np.bincount(value[fixed], minlength=len(names)), (num_rows, 1))
        promised = np.zeros((slate_size, len(names)), dtype=np.int64)
        for pin in rules.pins:
            if pin.column == rule.column:
                promised[: pin.position, names == pin.category] += 1
        caps.append(Caps(rule.most, value, capped, used, promised))
    return caps

"""Editorial rules: what may not be shown, how much of a kind, and what stands where.

Rules are the same for all readers. ``exclude`` takes articles out of the live catalogue before anything is drawn. The
others change what may come next on a slate, see ruled_slates.py. One rule gives way to another in this order: exclude
before cap before pin before share; where nothing is left that a position may show, it stays empty.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from feedgym.env.arrays import Bools
from feedgym.env.checks import require
from feedgym.env.feed import Catalogue

COLUMNS = ("topic", "publisher", "author")
"""Categories of articles, in the order of ``Catalogue.categories_of``."""


@dataclass(frozen=True, kw_only=True, repr=False)
class Exclude:
    """Never show: one article, a category, or what is above or below a bound in an observable column."""

    article_id: int | None = None
    """This article."""
    column: str | None = None
    """With ``category``: topic, publisher or author. With a bound: ``age_hours`` or one of the catalogue's
    ``feature_names``."""
    category: int | None = None
    """This one of the column."""
    above: float | None = None
    """Everything above this."""
    below: float | None = None
    """Everything below this."""

    def __post_init__(self) -> None:
        """Check once."""
        given = [v for v in (self.article_id, self.category, self.above, self.below) if v is not None]
        require(len(given) == 1, "exclude", given, "one of article_id, category, above, below")
        bound = self.above if self.above is not None else self.below
        require(bound is None or math.isfinite(bound), "exclude", bound, "a finite bound")
        if self.category is not None:
            _check_category("exclude", self.column, self.category)
        elif self.article_id is not None:
            require(self.column is None, "exclude", self.column, "no column beside article_id")
            require(self.article_id >= 0, "exclude", self.article_id, "an article id >= 0")
        else:
            require(bool(self.column), "exclude", self.column, "a column beside a bound")

    def __repr__(self) -> str:
        """As on the command line."""
        if self.article_id is not None:
            return f"exclude({self.article_id})"
        sign, value = ("=", self.category) if self.category is not None else (">", self.above)
        return (
            f"exclude({self.column}<{self.below})" if self.below is not None else f"exclude({self.column}{sign}{value})"
        )

    def hits(self, catalogue: Catalogue) -> Bools:
        """Which live articles it takes out, bool (N,), rows as ``catalogue.article_id``.

        Raises:
            ValueError: the catalogue has no such column.
        """
        ids = catalogue.article_id
        if self.article_id is not None:
            return np.asarray(ids == self.article_id)
        if self.category is not None:
            assert self.column is not None
            return np.asarray(catalogue.categories_of(ids)[:, COLUMNS.index(self.column)] == self.category)
        names = ("age_hours", *catalogue.feature_names)
        require(self.column in names, "exclude", self.column, f"one of {', '.join(names)}")
        values = catalogue.age_hours
        if self.column != "age_hours":
            values = catalogue.features[:, names.index(str(self.column)) - 1].astype(np.float64)
        if self.above is not None:
            return np.asarray(values > self.above)
        assert self.below is not None
        return np.asarray(values < self.below)


@dataclass(frozen=True, repr=False)
class CapPerCategory:
    """At most ``most`` articles of each category of a column on a slate, or of one category only."""

    column: str
    """topic, publisher or author."""
    most: int
    """Articles a slate, >= 0."""
    category: int | None = None
    """None: of each."""

    def __post_init__(self) -> None:
        """Check once."""
        _check_category("cap", self.column, 0 if self.category is None else self.category)
        require(isinstance(self.most, int) and self.most >= 0, "cap", self.most, "a whole number >= 0")

    def __repr__(self) -> str:
        """As on the command line."""
        return f"cap({self.column}{'' if self.category is None else f'={self.category}'},{self.most})"


@dataclass(frozen=True, kw_only=True, repr=False)
class Pin:
    """An article at a position, for certain while it is live; or a position kept for one category."""

    position: int
    """0 is the top."""
    article_id: int | None = None
    """This article; while it is not live, the position is drawn like any other."""
    column: str | None = None
    """topic, publisher or author."""
    category: int | None = None
    """The position is drawn from this category alone."""

    def __post_init__(self) -> None:
        """Check once."""
        require(isinstance(self.position, int) and self.position >= 0, "pin", self.position, "a position >= 0")
        one = (self.article_id is None) != (self.category is None)
        require(one, "pin", (self.article_id, self.category), "an article or a category")
        if self.category is not None:
            _check_category("pin", self.column, self.category)
        else:
            require(self.article_id is not None and self.article_id >= 0, "pin", self.article_id, "an article id >= 0")

    def __repr__(self) -> str:
        """As on the command line."""
        what = self.article_id if self.article_id is not None else f"{self.column}={self.category}"
        return f"pin({what},{self.position})"


@dataclass(frozen=True, repr=False)
class MinimumShare:
    """At least this share of a slate's K positions, rounded up, is of one category."""

    column: str
    """topic, publisher or author."""
    category: int
    """Of that column."""
    share: float
    """In (0, 1]."""

    def __post_init__(self) -> None:
        """Check once."""
        _check_category("share", self.column, self.category)
        require(0.0 < self.share <= 1.0, "share", self.share, "a share in (0, 1]")

    def __repr__(self) -> str:
        """As on the command line."""
        return f"share({self.column}={self.category},{self.share})"

    def places(self, slate_size: int) -> int:
        """Positions of K that it asks for."""
        return math.ceil(self.share * slate_size - 1e-9)


Rule = Exclude | CapPerCategory | Pin | MinimumShare


@dataclass(frozen=True)
class Rules:
    """All rules of a policy, by kind."""

    exclude: tuple[Exclude, ...] = ()
    caps: tuple[CapPerCategory, ...] = ()
    pins: tuple[Pin, ...] = ()
    shares: tuple[MinimumShare, ...] = ()

    def __post_init__(self) -> None:
        """Refuse what contradicts itself."""
        places = [pin.position for pin in self.pins]
        require(len(set(places)) == len(places), "pin", places, "one pin a position")
        pinned = [pin.article_id for pin in self.pins if pin.article_id is not None]
        require(len(set(pinned)) == len(pinned), "pin", pinned, "one position an article")
        both = {e.article_id for e in self.exclude if e.article_id is not None} & set(pinned)
        require(not both, "pin", sorted(map(str, both)), "articles that exclude does not name")
        gone = {(e.column, e.category) for e in self.exclude if e.category is not None}
        kinds = [(pin.column, pin.category) for pin in self.pins if pin.category is not None]
        wanted = [(share.column, share.category) for share in self.shares]
        for kind in (*kinds, *wanted):
            require(kind not in gone, "rules", "{}={}".format(*kind), "a category that exclude does not name")
        require(len(set(wanted)) == len(wanted), "share", wanted, "one share a category")

    @property
    def reshapes(self) -> bool:
        """What may come next depends on what stands above: a cap, pin or share, not only exclusions."""
        return bool(self.caps or self.pins or self.shares)

    def excluded(self, catalogue: Catalogue) -> Bools:
        """Which live articles are out, bool (N,), rows as ``catalogue.article_id``."""
        out: Bools = np.zeros(len(catalogue), dtype=np.bool_)
        for rule in self.exclude:
            out |= rule.hits(catalogue)
        return out

    def check(self, slate_size: int) -> None:
        """Refuse what slates of K positions can never keep.

        Raises:
            ValueError: a pin beyond the slate, shares that add up to more than it, a cap below what is asked for.
        """
        for pin in self.pins:
            require(pin.position < slate_size, "pin", pin, f"a position below the slate's {slate_size}")
        asked = 0
        for share in self.shares:
            kind = (share.column, share.category)
            most = self._most(*kind)
            require(share.places(slate_size) <= most, "share", share, f"at most the {most} that cap allows")
            asked += max(share.places(slate_size) - self._pinned(*kind), 0)
        free = slate_size - len(self.pins)
        require(asked <= free, "share", list(self.shares), f"at most the {free} positions without a pin")
        for pin in self.pins:
            if pin.column is not None and pin.category is not None:
                kind = (pin.column, pin.category)
                most = self._most(*kind)
                require(self._pinned(*kind) <= most, "pin", pin, f"at most the {most} that cap allows")

    def _most(self, column: str, category: int) -> float:
        caps = [c.most for c in self.caps if c.column == column and c.category in (None, category)]
        return min(caps, default=math.inf)

    def _pinned(self, column: str, category: int) -> int:
        return sum((pin.column, pin.category) == (column, category) for pin in self.pins)


def _check_category(kind: str, column: str | None, category: int) -> None:
    require(column in COLUMNS, kind, column, f"one of {', '.join(COLUMNS)}")
    require(category >= 0, kind, category, "a category >= 0")

"""Articles as a struct of arrays: what a newsroom publishes, and the archive that keeps all of it.

An ``article_id`` is the article's row in the archive: ids grow with publication and are never reused.
Shapes: m articles of one publication, A articles in the archive, D dimensions.
"""

from dataclasses import dataclass, fields

import numpy as np

from feedgym.env.arrays import AnyArray, Arrays, Bools, Doubles, Floats, Ints, SmallInts, copied, put_back
from feedgym.env.checks import require
from feedgym.env.newsroom.decay import decay_rate

OBSERVABLE = ("topic", "publisher", "author", "text", "clickbait_proxy", "quality_proxy", "breaking")
"""What a site sees of an article at publication, besides its publication time."""
LATENT = ("vector", "quality", "clickbait", "half_life_hours", "appeal")
"""What only the simulator knows of an article."""
SCORING_EXTRA = 6
"""Columns of ``Archive.scoring`` after the vector."""


class Scoring:
    """Columns of ``Archive.scoring`` by name, counted from the end, so that they hold for any D."""

    VECTOR = slice(None, -SCORING_EXTRA)
    """The article's vector, D columns."""
    CLICKBAIT, QUALITY, APPEAL, RATE_PUBLISHED, RATE, TOPIC = range(-SCORING_EXTRA, 0)
    """Appeal includes the topic's trend of the moment; then ``rate * published_hours`` and ``rate``, of the decay."""


@dataclass(frozen=True, kw_only=True)
class ArticleTable:
    """Articles with a row each, in order of publication. Observables first, then latents."""

    published_hours: Doubles
    """(m,), rising."""
    expires_hours: Doubles
    """(m,): the article is live in [published_hours, expires_hours)."""
    topic: SmallInts
    """(m,)"""
    publisher: SmallInts
    """(m,)"""
    author: SmallInts
    """(m,)"""
    text: Floats
    """(m, D): the text-like vector, ``vector`` seen through noise."""
    clickbait_proxy: Floats
    """(m,): how sensational the headline looks."""
    quality_proxy: Floats
    """(m,): how good the story looks."""
    breaking: Bools
    """(m,)"""
    vector: Floats
    """(m, D), latent, of length 1."""
    quality: Floats
    """(m,), latent."""
    clickbait: Floats
    """(m,), latent."""
    half_life_hours: Doubles
    """(m,), latent: age at which the odds of a click have halved."""
    appeal: Floats
    """(m,), latent: log-odds of a click that are the article's own; 0 in a synthetic newsroom."""

    def __len__(self) -> int:
        """Number of articles."""
        return len(self.published_hours)

    def take(self, rows: Ints | Bools) -> "ArticleTable":
        """The articles at ``rows``, in that order."""
        return ArticleTable(**{f.name: getattr(self, f.name)[rows] for f in fields(self)})


class Archive:
    """All articles ever published, and those that the newsroom has already planned for today.

    Arrays grow by doubling. ``planned`` counts the rows that are filled, ``published`` those that readers
    may see: cost is proportional to what is published, not to what is kept.
    """

    def __init__(self, dim: int) -> None:
        self.dim = dim
        self.planned = 0
        self.published = 0
        self._columns: Arrays = {
            "published_hours": np.zeros(0),
            "expires_hours": np.zeros(0),
            "topic": np.zeros(0, dtype=np.int32),
            "publisher": np.zeros(0, dtype=np.int32),
            "author": np.zeros(0, dtype=np.int32),
            "text": np.zeros((0, dim), dtype=np.float32),
            "clickbait_proxy": np.zeros(0, dtype=np.float32),
            "quality_proxy": np.zeros(0, dtype=np.float32),
            "breaking": np.zeros(0, dtype=np.bool_),
            "vector": np.zeros((0, dim), dtype=np.float32),
            "quality": np.zeros(0, dtype=np.float32),
            "clickbait": np.zeros(0, dtype=np.float32),
            "half_life_hours": np.zeros(0),
            "appeal": np.zeros(0, dtype=np.float32),
        }
        self._derived: Arrays = {"is_live": np.zeros(0, dtype=np.bool_)}
        self._scoring = np.zeros((0, dim + SCORING_EXTRA), dtype=np.float32)
        self._trend: Floats | None = None
        self._grow(1024)

    def _grow(self, capacity: int) -> None:
        def grown(old: AnyArray) -> AnyArray:
            new = np.zeros((capacity, *old.shape[1:]), dtype=old.dtype)
            new[: len(old)] = old
            return new

        self._columns = {name: grown(column) for name, column in self._columns.items()}
        self._derived = {name: grown(column) for name, column in self._derived.items()}
        self._scoring = grown(self._scoring)

    def plan(self, table: ArticleTable) -> None:
        """Append articles, to be published when their time comes."""
        start, end = self.planned, self.planned + len(table)
        require(table.text.shape[1:] == (self.dim,), "text", table.text.shape, f"(m, {self.dim})")
        if end > len(self._scoring):
            self._grow(max(end, 2 * len(self._scoring)))
        for name, column in self._columns.items():
            column[start:end] = getattr(table, name)
        self._fill_scoring(table, start)
        self.planned = end

    def _fill_scoring(self, table: ArticleTable, start: int) -> None:
        """Rows of :attr:`scoring`: all that a click's log-odds needs of an article, side by side."""
        rows = self._scoring[start : start + len(table)]
        rate = decay_rate(table.half_life_hours)
        rows[:, Scoring.VECTOR] = table.vector
        rows[:, Scoring.CLICKBAIT] = table.clickbait
        rows[:, Scoring.QUALITY] = table.quality
        rows[:, Scoring.APPEAL] = self._trending(table.appeal, table.topic)
        rows[:, Scoring.RATE_PUBLISHED] = rate * table.published_hours
        rows[:, Scoring.RATE] = rate
        rows[:, Scoring.TOPIC] = table.topic

    def _trending(self, appeal: Floats, topic: SmallInts) -> Floats:
        """Log-odds of articles (m,) that do not depend on the reader: their own, and their topic's trend."""
        return appeal if self._trend is None else appeal + self._trend[topic]

    def set_trend(self, trend: Floats) -> None:
        """Log-odds of a click that each topic has gained, (T,): into :attr:`scoring`, so that no visit pays for it."""
        self._trend = trend
        appeal, topic = (self._columns[name][: self.planned] for name in ("appeal", "topic"))
        self._scoring[: self.planned, Scoring.APPEAL] = self._trending(appeal, topic)

    def column(self, name: str) -> AnyArray:
        """The whole column ``name`` with a row per article id, filled up to ``planned``."""
        if name in self._derived:
            return self._derived[name]
        require(name in self._columns, "name", name, f"one of {sorted(self._columns)}")
        return self._columns[name]

    @property
    def is_live(self) -> Bools:
        """(capacity,): published and not yet expired."""
        return self._derived["is_live"]

    @property
    def scoring(self) -> Floats:
        """(capacity, D + 6) float32: ``[vector, clickbait, quality, appeal, rate * published_hours, rate, topic]``.

        Appeal includes the topic's trend of the moment. :class:`Scoring` names the columns.

        With a reader's ``[taste * u, w_c, w_q, 1, 1, -now, 0]`` one inner product is all of the log-odds that
        does not depend on the reader's past, decay included. The topic rides along to save a gather.
        """
        return self._scoring

    def snapshot(self) -> Arrays:
        """All filled rows."""
        arrays: Arrays = {name: column[: self.planned].copy() for name, column in self._columns.items()}
        arrays["is_live"] = self.is_live[: self.planned].copy()
        return arrays | copied(self, ("published",))

    def restore(self, arrays: Arrays) -> None:
        """Become the archive of a snapshot."""
        self.planned = 0
        table = ArticleTable(**{name: arrays[name] for name in self._columns})
        self.plan(table)
        self.is_live[:] = False
        self.is_live[: self.planned] = arrays["is_live"]
        put_back(self, ("published",), arrays)

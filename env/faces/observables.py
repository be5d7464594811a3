"""Observable numbers of articles and readers, as the Gymnasium faces show them: bounded columns with names.

Both faces take them from here, so that P = 1 of the one is the other. Everything is what a real site could
see: text, topic, age, counters, clicks. Counts and times go through ``x / (x + half)``, which stays in [0, 1).
Shapes: m articles, n readers, P readers of the site, L clicks of history, D article columns, F reader columns.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from gymnasium import spaces

from feedgym.env.arrays import Bools, Doubles, Floats, Ints
from feedgym.env.checks import require
from feedgym.env.config import FeedConfig
from feedgym.env.feed import Catalogue, Feed, Opens
from feedgym.env.newsroom import Newsroom, topic_centers
from feedgym.env.readers import Observing, ReaderModel, World, WorldAware

BOUND = 10.0
"""Columns without a range of their own (text vectors, a reader model's ``observe``) are clipped to +-BOUND."""
FRESH_HOURS = 6.0
"""An article's freshness is ``exp(-age / FRESH_HOURS)``."""
PRIOR_CLICKS, PRIOR_IMPRESSIONS = 1.0, 20.0
"""Popularity starts as if each article had won this many clicks in this many impressions."""
HALF_VISITS, HALF_CLICKS, HALF_GAP_HOURS, HALF_MINUTES = 20.0, 20.0, 24.0, 2.0
"""Where the columns of a reader's visits, clicks, gap and minutes per click reach one half."""
LEAST_MINUTES = 0.01
"""A click counts in the taste columns by its minutes, and by at least this many."""


def check_render_mode(mode: str | None, render_modes: list[str]) -> None:
    """Refuse a way to be shown that an environment does not have.

    Raises:
        ValueError: with the modes there are.
    """
    require(mode is None or mode in render_modes, "render_mode", mode, f"None, or one of render_modes {render_modes}")


def saturating(x: Doubles, half: float) -> Floats:
    """``x / (x + half)`` for x >= 0, any shape: in [0, 1), one half at ``half``; float32."""
    bounded: Floats = (x / (x + half)).astype(np.float32)
    return bounded


def clock_columns(now: float) -> Floats:
    """Sine and cosine of the hour of the day, float32 (2,), at ``now`` hours (hour 0 is a midnight)."""
    angle = 2.0 * np.pi * (now % 24.0) / 24.0
    columns: Floats = np.array([np.sin(angle), np.cos(angle)], dtype=np.float32)
    return columns


def article_space(centers: Floats) -> tuple[tuple[str, ...], Floats, Floats]:
    """Names, lower and upper bounds (D,) of :func:`article_columns`, for topics with centres (T, dim)."""
    topics, dim = centers.shape
    names = [f"text_{d}" for d in range(dim)] + [f"topic_{t}" for t in range(topics)]
    low: Floats = np.zeros(dim + topics + 2, dtype=np.float32)
    high: Floats = np.ones(dim + topics + 2, dtype=np.float32)
    low[:dim], high[:dim] = -BOUND, BOUND
    return (*names, "freshness", "popularity"), low, high


def article_columns(catalogue: Catalogue, article_id: Ints) -> Floats:
    """The observable feature space in which queries retrieve, and in which candidates are shown.

    Args:
        catalogue: of the site; its clock gives the ages, its counters the popularity.
        article_id: published articles, int64 (m,).

    Returns:
        float32 (m, D): ``text_*`` (the text-like vector), ``topic_*`` (one-hot), ``freshness``
        (``exp(-age / 6 h)``), ``popularity`` (square root of the smoothed click-through rate
        ``(clicks + 1) / (impressions + 20)``).
    """
    text = catalogue.features_of(article_id)[:, : catalogue.archive.dim]
    m, dim, topics = len(article_id), catalogue.archive.dim, catalogue.category_sizes[0]
    columns: Floats = np.zeros((m, dim + topics + 2), dtype=np.float32)
    np.clip(text, -BOUND, BOUND, out=columns[:, :dim])
    columns[np.arange(m), dim + catalogue.categories_of(article_id)[:, 0]] = 1.0
    age = catalogue.now - catalogue.published_hours_of(article_id)
    columns[:, -2] = np.exp(-np.maximum(age, 0.0) / FRESH_HOURS)
    clicks = catalogue.clicks_of(article_id) + PRIOR_CLICKS
    impressions = catalogue.impressions_of(article_id) + PRIOR_IMPRESSIONS
    # The root spreads click-through rates of .01 to .3 over .1 to .55, a width like the other columns'.
    columns[:, -1] = np.sqrt(clicks / np.maximum(impressions, clicks))
    return columns


def newest(article_id: Ints, count: int) -> Ints:
    """The ``count`` newest of these articles (m,), newest first; fewer where m is smaller."""
    if len(article_id) > count:
        article_id = np.partition(article_id, len(article_id) - count)[-count:]
    # Ids grow with publication.
    latest: Ints = np.sort(article_id)[::-1]
    return latest


def nearest(query: Floats, columns: Floats, article_id: Ints, count: int) -> Ints:
    """The ``count`` articles with the largest inner products, best first; of equals the newer one.

    Args:
        query: float32 (D,).
        columns: of the live articles, float32 (m, D).
        article_id: their ids, int64 (m,).
        count: articles wanted, K.

    Returns:
        int64 (K,); -1 at the end where m < K.
    """
    # einsum: a matrix product may round a row by the number of its rows.
    scores = np.einsum("md,d->m", columns, query)
    if len(scores) > count:
        kept = np.flatnonzero(scores >= np.partition(scores, len(scores) - count)[-count])
        scores, article_id = scores[kept], article_id[kept]
    order = np.lexsort((-article_id, -scores))[:count]
    slate: Ints = np.full(count, -1, dtype=np.int64)
    slate[: len(order)] = article_id[order]
    return slate


def world_centers(config: FeedConfig, newsroom: Newsroom | None) -> Floats:
    """Centres (T, dim) of the topics that a Feed with these settings will have."""
    if newsroom is not None:
        return newsroom.centers
    return topic_centers(config.newsroom.num_topics, config.newsroom.dim)


def reader_space(model: ReaderModel, centers: Floats) -> tuple[tuple[str, ...], Floats, Floats]:
    """Names, lower and upper bounds (F,) of :meth:`ReaderTable.columns`, before there is a Feed."""
    if isinstance(model, WorldAware):
        model = model.enter(World(centers=centers))
    own = tuple(model.observable_names) if isinstance(model, Observing) else ()
    topics, dim = centers.shape
    taste = [f"liked_text_{d}" for d in range(dim)] + [f"liked_topic_{t}" for t in range(topics)]
    low: Floats = np.zeros(dim + topics + 4 + len(own), dtype=np.float32)
    high: Floats = np.ones(len(low), dtype=np.float32)
    low[:dim], high[:dim] = -BOUND, BOUND
    low[dim + topics + 4 :], high[dim + topics + 4 :] = -BOUND, BOUND
    return (*taste, "minutes", "clicks", "visits", "gap", *own), low, high


def observation_space(obs: str, low: Mapping[str, Floats], high: Mapping[str, Floats]) -> spaces.Space[Any]:
    """The space of named one-dimensional parts between bounds: a ``"dict"`` of them, or ``"flat"``, end to end."""
    if obs == "dict":
        return spaces.Dict({name: spaces.Box(low[name], high[name], dtype=np.float32) for name in low})
    return spaces.Box(np.concatenate([*low.values()]), np.concatenate([*high.values()]), dtype=np.float32)


class ReaderTable:
    """Observable numbers of all P readers, a row each; only visits cost more than a copy.

    Columns: ``liked_text_*`` and ``liked_topic_*``, means over the latest L clicks weighted by minutes read;
    ``minutes`` per click of those; ``clicks`` and ``visits`` so far; ``gap``, hours since the last visit;
    what the reader model's ``observe`` adds, as it was at the latest visit. All 0 before the first visit, but for
    what was opened from elsewhere, which counts among the clicks.

    Args:
        feed: the site.
    """

    def __init__(self, feed: Feed) -> None:
        self._feed = feed
        self._dim, self._topics = feed.catalogue.archive.dim, feed.catalogue.category_sizes[0]
        own = feed.visits.features.shape[1]
        rows = len(feed.records.visit_count)
        self._table: Floats = np.zeros((rows, self._dim + self._topics + 4 + own), dtype=np.float32)
        self._own = slice(self._dim + self._topics + 4, None)
        self.open_tick()

    def open_tick(self) -> None:
        """Take in what the readers of a new visit batch show of themselves, and what was opened from elsewhere."""
        visits = self._feed.visits
        if visits.opens is not None:
            self._record_taste(visits.opens.rows)
        if visits.features.shape[1]:
            self._table[visits.rows, self._own] = np.clip(visits.features, -BOUND, BOUND)

    def record_opens(self, opens: Sequence[Opens]) -> None:
        """Take in what was opened from elsewhere at ticks that were passed over."""
        for one in opens:
            self._record_taste(one.rows)

    def record(self, rows: Ints, clicks: Bools) -> None:
        """Take in a served tick: the readers at ``rows`` (n,) and their ``clicks`` (n, K)."""
        clicked: Bools = np.asarray(clicks.any(axis=1))
        if clicked.any():
            self._record_taste(rows[clicked])
        count = self._feed.records.visit_count[rows]
        self._table[rows, self._dim + self._topics + 2] = saturating(count.astype(np.float64), HALF_VISITS)

    def _record_taste(self, rows: Ints) -> None:
        records, archive = self._feed.records, self._feed.catalogue.archive
        ids, minutes = records.history(rows)  # (n, L)
        known = ids >= 0
        safe = np.where(known, ids, 0)
        weight = np.where(known, np.maximum(minutes, LEAST_MINUTES), 0.0).astype(np.float32)
        weight /= weight.sum(axis=1, keepdims=True)
        text = np.clip(archive.column("text")[safe], -BOUND, BOUND)
        self._table[rows, : self._dim] = np.einsum("nl,nld->nd", weight, text)
        at = np.arange(len(rows))[:, None] * self._topics + archive.column("topic")[safe]
        share = np.bincount(at.ravel(), weights=weight.ravel(), minlength=len(rows) * self._topics)
        # The sum of L float32 weights may exceed 1 by a rounding, and the columns are bounded by 1.
        share = np.minimum(share, 1.0).reshape(len(rows), self._topics)
        self._table[rows, self._dim : self._dim + self._topics] = share
        mean = minutes.sum(axis=1, dtype=np.float64) / known.sum(axis=1)
        self._table[rows, self._dim + self._topics] = saturating(mean, HALF_MINUTES)
        count = records.click_count[rows].astype(np.float64)
        self._table[rows, self._dim + self._topics + 1] = saturating(count, HALF_CLICKS)

    def gap_hours(self) -> Doubles:
        """Hours since each reader's last visit, float64 (P,); 0 before the first."""
        feed = self._feed
        gap = (feed.tick - feed.records.last_tick.astype(np.int64)) * feed.config.tick_hours
        hours: Doubles = np.where(feed.records.visit_count > 0, gap, 0.0)
        return hours

    def columns(self) -> Floats:
        """All columns now, float32 (P, F), a fresh array."""
        columns: Floats = self._table.copy()
        columns[:, self._dim + self._topics + 3] = saturating(self.gap_hours(), HALF_GAP_HOURS)
        return columns

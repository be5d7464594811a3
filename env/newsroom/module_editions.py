"""When the modules of a home page have their editions, what an edition shows, and what it is as one article.

Pure functions; :mod:`feedgym.env.newsroom.modules` has the newsroom. Shapes: m articles, e editions, S slots of a
module. Time is in hours.
"""

import numpy as np

from feedgym.env.arrays import Bools, Doubles, Floats, Ints, SmallInts
from feedgym.env.newsroom.articles import ArticleTable
from feedgym.env.newsroom.decay import LN2, decay_rate

_GRID = 2.0**19
_CELLS = 1_000_000
"""Editions times candidates that are compared at once: 8 MB an array, however large the newsroom."""


def edition_hours(issue: Ints, module: Ints, num_modules: int, refresh_hours: float) -> Doubles:
    """When modules (e,) have their ``issue``-th editions (e,), in hours: staggered evenly over ``refresh_hours``.

    Odd multiples of ``2^-20`` h, at which no tick begins. Rounding could otherwise put the arrival of an edition and
    the expiry of the one before, the same number, into different ticks: both live in one, or neither.
    """
    hours: Doubles = (np.floor(refresh_hours * (issue + module / num_modules) * _GRID) + 0.5) / _GRID
    return hours


def choose(
    at: Doubles,
    group: Ints,
    articles: ArticleTable,
    group_of: SmallInts,
    size: int,
    *,
    preferred: Floats | None = None,
    preferred_hours: float = 0.0,
) -> Ints:
    """The articles that a group shows, at many moments and for many groups at once: the newest, or preferred ones.

    Args:
        at: hours, (e,).
        group: out of which to choose, >= 0, (e,).
        articles: m of them, in order of publication; those live at the moment can be chosen.
        group_of: each article's group, (m,).
        size: how many to choose at most, S.
        preferred: the greatest of these (m,) first, among articles of at most ``preferred_hours``; then the newest.
        preferred_hours: an age, in hours.

    Returns:
        Rows of ``articles``, int64 (e, S), the first choice first; -1 where no more are live.
    """
    m = len(articles)
    num_groups = 1 + max(int(group.max(initial=0)), int(group_of.max(initial=0)))
    order: Ints = np.argsort(group_of, kind="stable").astype(np.int64)
    count = np.bincount(group_of, minlength=num_groups)
    width = max(int(count.max()), size)
    members = np.full((num_groups, width), -1, dtype=np.int64)  # a row per group, its articles to the left
    members[group_of[order], np.arange(m) - np.repeat(np.cumsum(count) - count, count)] = order
    rank = None
    if preferred is not None:
        rank = np.empty(m, dtype=np.int64)
        rank[np.argsort(preferred, kind="stable")] = np.arange(m, 2 * m)  # above every row, the key of the rest
    chosen = np.full((len(at), size), -1, dtype=np.int64)
    if m == 0:
        return chosen
    step = max(1, _CELLS // width)
    for start in range(0, len(at), step):  # one pass for all but very large newsrooms
        some = slice(start, start + step)
        rows, now = members[group[some]], at[some, None]
        published = articles.published_hours[rows]
        live = (rows >= 0) & (published <= now) & (now < articles.expires_hours[rows])
        key = rows if rank is None else np.where(published >= now - preferred_hours, rank[rows], rows)
        key = np.where(live, key, -1)
        best = np.argpartition(key, width - size, axis=1)[:, width - size :]
        best = np.take_along_axis(best, np.argsort(-np.take_along_axis(key, best, axis=1), axis=1), axis=1)
        found = np.take_along_axis(key, best, axis=1) >= 0
        chosen[some] = np.where(found, np.take_along_axis(rows, best, axis=1), -1)
    return chosen


def most_frequent(values: SmallInts, there: Bools) -> SmallInts:
    """Each row's most frequent value, (e,), of ``values`` (e, S) where ``there``; of a tie the one further left."""
    same = (values[:, :, None] == values[:, None, :]) & there[:, None, :]
    count = np.where(there, np.count_nonzero(same, axis=2), -1)
    common: SmallInts = values[np.arange(len(values)), count.argmax(axis=1)]
    return common


def pool(articles: ArticleTable, rows: Ints, at: Doubles, expires_hours: Doubles, module: Ints) -> ArticleTable:
    """Editions as articles: means over the articles that they show.

    With ``rate_i = ln 2 / h_i`` an article alone has the log-odds ``appeal_i - rate_i (now - published_i)``, besides
    terms linear in ``v, q, c``. Their mean over the articles is that of one article published at ``at`` whose rate is
    the mean rate, and whose appeal is ``mean(appeal_i - rate_i (at - published_i))``: what is stale from the start.

    Args:
        articles: m of them.
        rows: which of them an edition shows, (e, S), -1 to the right where it shows fewer; at least one.
        at: when the editions arrive, hours (e,), rising.
        expires_hours: when the next ones do, (e,).
        module: number of the definition, (e,): the editions' ``author``.

    Returns:
        A row per edition.
    """
    there: Bools = rows >= 0
    share = there / np.count_nonzero(there, axis=1)[:, None]

    def mean(values: Doubles | Floats) -> Doubles:
        taken: Doubles = values[rows].astype(np.float64)
        pooled = np.zeros((len(rows), *values.shape[1:]))
        for slot in range(rows.shape[1]):  # slot by slot: the same sum whatever the shapes
            pooled += taken[:, slot] * share[:, slot].reshape(-1, *[1] * (values.ndim - 1))
        return pooled

    def mean32(values: Floats) -> Floats:
        return mean(values).astype(np.float32)

    breaking: Bools = np.asarray((articles.breaking[rows] & there).any(axis=1))
    rate = decay_rate(articles.half_life_hours)
    # rate_i (at - published_i), with ``at`` taken out of the mean.
    faded = mean(rate) * at - mean(rate * articles.published_hours)
    return ArticleTable(
        published_hours=at,
        expires_hours=expires_hours,
        topic=most_frequent(articles.topic[rows], there),
        publisher=most_frequent(articles.publisher[rows], there),
        author=module.astype(np.int32),
        text=mean32(articles.text),
        clickbait_proxy=mean32(articles.clickbait_proxy),
        quality_proxy=mean32(articles.quality_proxy),
        breaking=breaking,
        vector=mean32(articles.vector),
        quality=mean32(articles.quality),
        clickbait=mean32(articles.clickbait),
        half_life_hours=LN2 / mean(rate),
        appeal=(mean(articles.appeal) - faded).astype(np.float32),
    )

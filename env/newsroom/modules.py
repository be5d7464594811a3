"""A newsroom of modules: what is published are not articles but editions of a home page's modules.

A module is a definition, such as "the newest of topic 3". Every ``refresh_hours`` it is issued anew: an
**edition**, which is an entry of the archive like any article, with an id and a vector of its own, pools the
articles that the module shows at that moment and expires when the next one arrives. So agents, retrieval,
propensities, logs and oracles need not know of modules. Exogenous, as the newsroom that it wraps.

Pooling takes the mean of everything that enters a click's log-odds, decay included (docs/guide/modules.md), so
that at every moment an edition's log-odds are the mean of those that its articles would have, shown alone.
Shapes: m articles live at some time of a day, e editions of that day, S slots of a module, T topics.
"""

import math
from dataclasses import dataclass, fields

import numpy as np

from feedgym.env.arrays import Arrays, Doubles, Floats, Ints
from feedgym.env.checks import require
from feedgym.env.config import ModuleConfig
from feedgym.env.newsroom.articles import ArticleTable
from feedgym.env.newsroom.module_editions import choose, edition_hours, pool
from feedgym.env.newsroom.synthetic import Eventful, Newsroom

SHOWN = ("published_hours", "topic", "publisher", "author", "clickbait_proxy", "quality_proxy", "breaking")
"""What a site sees of an article that a module shows, in ``ModuleNewsroom.module_articles``."""
SHOWN_LATENT = ("quality", "clickbait", "half_life_hours", "appeal")
"""What only the simulator knows of it."""


@dataclass(frozen=True, kw_only=True)
class _Day:
    """The editions of one day."""

    table: ArticleTable
    first_id: int
    """The first edition's id."""
    rows: Ints
    """(e, S), into ``articles``; -1: nothing."""
    articles: ArticleTable
    base_id: Ints
    """(m,): ids of ``articles`` in the newsroom that is wrapped."""


class ModuleNewsroom:
    """Publishes editions of modules that show the articles of another newsroom.

    The modules of T topics and P publishers, by number: from 0 each topic's newest; from T each topic's best of the
    last ``pick_hours`` by ``quality_proxy``, the editors' pick; from 2T each publisher's newest.
    At hour 0 all of them stand there. A module for which no article is live has no edition until one is.

    Args:
        newsroom: whose articles are shown.
        config: how many, and how often.
    """

    def __init__(self, newsroom: Newsroom, config: ModuleConfig | None = None) -> None:
        self.newsroom = newsroom
        self.config = config if config is not None else ModuleConfig()
        self._eventful = newsroom if isinstance(newsroom, Eventful) else None
        self._num_topics = len(newsroom.centers)
        self._start()

    def _start(self) -> None:
        """Before day 0."""
        self._articles = self.newsroom.plan_day(-1)
        self._base_id: Ints = np.arange(len(self._articles), dtype=np.int64)
        self._num_articles = len(self._articles)
        self._num_editions = 0
        self._next_day = 0
        self._last: _Day | None = None

    @property
    def num_modules(self) -> int:
        """Definitions; as many entries are live, fewer only where there is nothing to show."""
        return 2 * self._num_topics + self.newsroom.num_publishers

    @property
    def module_names(self) -> tuple[str, ...]:
        """What each module shows, by number."""
        topics = range(self._num_topics)
        return (
            *(f"topic {t}, newest" for t in topics),
            *(f"topic {t}, editors' pick" for t in topics),
            *(f"publisher {p}, newest" for p in range(self.newsroom.num_publishers)),
        )

    @property
    def centers(self) -> Floats:
        """Centres of the topics, (T, D)."""
        return self.newsroom.centers

    @property
    def num_publishers(self) -> int:
        """Publisher ids are below this."""
        return self.newsroom.num_publishers

    @property
    def num_authors(self) -> int:
        """An edition's author is its module's number: below this."""
        return self.num_modules

    @property
    def has_surges(self) -> bool:
        """Whether breaking events raise traffic."""
        return self._eventful is not None and self._eventful.has_surges

    def trend(self, hours: float) -> tuple[Floats, float]:
        """Log-odds of a click that each topic has gained, (T,), and until when that holds."""
        if self._eventful is None:
            return np.zeros(self._num_topics, dtype=np.float32), math.inf
        return self._eventful.trend(hours)

    def surge(self, hours: Ints) -> Doubles:
        """Traffic over the usual in each of these consecutive clock hours, (h,)."""
        return np.ones(len(hours)) if self._eventful is None else self._eventful.surge(hours)

    def plan_day(self, day: int) -> ArticleTable:
        """Editions that arrive in ``[24 day, 24 day + 24)``; none on day -1, since all begin anew at hour 0."""
        if day < 0:
            return self._day(0).table.take(np.zeros(0, dtype=np.int64))
        return self._day(day).table

    def module_articles(self, day: int) -> Arrays:
        """What the editions of a day >= 0 show, a row for each article on each of them, by column name.

        ``article_id`` is the edition's, ``slot`` 0 the first that it shows, ``shown_id`` the article's id in the world
        without modules. Latent columns begin with ``latent_``.
        """
        require(day >= 0, "day", day, ">= 0")
        one = self._day(day)
        edition, slot = np.nonzero(one.rows >= 0)
        shown = one.rows[edition, slot]
        columns: Arrays = {
            "article_id": one.first_id + edition,
            "slot": slot.astype(np.int32),
            "module": one.table.author[edition],
            "shown_id": one.base_id[shown],
        }
        columns |= {name: getattr(one.articles, name)[shown] for name in SHOWN}
        return columns | {f"latent_{name}": getattr(one.articles, name)[shown] for name in SHOWN_LATENT}

    def _day(self, day: int) -> _Day:
        """A day's editions. Days are kept one at a time: an earlier one is made again from day 0 on."""
        if day < self._next_day - 1:
            self._start()
        last = self._last
        while last is None or self._next_day <= day:
            last = self._last = self._issue(self._next_day)
            self._next_day += 1
        return last

    def _issue(self, day: int) -> _Day:
        """Take in what the newsroom publishes on the next day, and put together the editions of that day."""
        fresh, start = self.newsroom.plan_day(day), 24.0 * day
        old = self._articles.expires_hours > start
        self._base_id = np.concatenate([self._base_id[old], self._num_articles + np.arange(len(fresh), dtype=np.int64)])
        self._num_articles += len(fresh)
        parts = (self._articles.take(old), fresh)
        self._articles = articles = ArticleTable(
            **{f.name: np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(ArticleTable)}
        )
        at, expires, module = self._schedule(day)
        rows = self._shown(articles, at, module)
        some = rows[:, 0] >= 0
        table = pool(articles, rows[some], at[some], expires[some], module[some])
        first, self._num_editions = self._num_editions, self._num_editions + len(table)
        return _Day(table=table, first_id=first, rows=rows[some], articles=articles, base_id=self._base_id)

    def _schedule(self, day: int) -> tuple[Doubles, Doubles, Ints]:
        """Arrival, expiry and module of the editions that are due on a day, (e,) each, in order of arrival."""
        refresh, start = self.config.refresh_hours, 24.0 * day
        modules = np.arange(self.num_modules, dtype=np.int64)
        issues = np.arange(math.floor(start / refresh) - 1, math.ceil((start + 24.0) / refresh) + 1, dtype=np.int64)
        issue, module = (grid.ravel() for grid in np.meshgrid(issues, modules, indexing="ij"))
        at = edition_hours(issue, module, self.num_modules, refresh)
        expires = edition_hours(issue + 1, module, self.num_modules, refresh)
        due = (at >= start) & (at < start + 24.0)
        if day == 0:
            # What is live at hour 0 is put together then: before, a replayed site has nothing to show.
            opening = (at < 0.0) & (expires > 0.0)
            at, due = np.where(opening, 0.0, at), due | opening
        order = np.flatnonzero(due)
        order = order[np.argsort(at[order], kind="stable")]
        return at[order], expires[order], module[order]

    def _shown(self, articles: ArticleTable, at: Doubles, module: Ints) -> Ints:
        """What each edition shows: rows of ``articles`` (e, S), -1 where there is no more."""
        c, num_topics = self.config, self._num_topics
        rows = np.full((len(at), c.size), -1, dtype=np.int64)
        kind = np.minimum(module // num_topics, 2)
        newest, pick, publishers = (np.flatnonzero(kind == k) for k in range(3))
        rows[newest] = choose(at[newest], module[newest], articles, articles.topic, c.size)
        rows[pick] = choose(
            at[pick],
            module[pick] - num_topics,
            articles,
            articles.topic,
            c.size,
            preferred=articles.quality_proxy,
            preferred_hours=c.pick_hours,
        )
        publisher = module[publishers] - 2 * num_topics
        rows[publishers] = choose(at[publishers], publisher, articles, articles.publisher, c.size)
        return rows

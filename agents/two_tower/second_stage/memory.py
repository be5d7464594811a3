"""Readers with articles: what an agent remembers of the two together, from slates, their outcomes and other opens.

Of each reader the latest articles, authors, publishers and topics, and what her session has shown so far. Agents see no
latents: all of it is a site's own log.
Shapes: n visits, K positions, M articles of a slate or a shortlist, X crosses. Time is in hours.
"""

from collections.abc import Callable, Sequence

import numpy as np

from feedgym.agents.two_tower.second_stage.crosses import chosen_crosses
from feedgym.agents.two_tower.second_stage.pairs import KINDS, Counts, Pairs
from feedgym.agents.two_tower.second_stage.shown_table import ShownTable
from feedgym.agents.two_tower.second_stage.sources import Sources
from feedgym.env.arrays import Arrays, Bools, Floats, Ints, SmallInts, copied, lengthened, nest, put_back, unnest
from feedgym.env.feed import SESSION_HOURS, Catalogue

ARTICLES, AUTHORS = 64, 32
"""Of a reader's latest articles and authors, so many are remembered; of publishers and topics up to ``ARTICLES``."""
_NAMES = ("_categories", "_last", "_page", "_on_pages")


class PairMemory:
    """What is remembered, a row by reader, growing by doubling: 3.3 KB each with 16 topics and 24 publishers.

    Args:
        names: crosses that are asked for, see ``chosen_crosses``.
        category_sizes: topic, publisher and author ids are below these.
        sources: of candidates, as the agent asks them; None: the towers alone.
    """

    def __init__(
        self, names: Sequence[str], category_sizes: tuple[int, int, int], sources: Sources | None = None
    ) -> None:
        self.crosses, self._sources = chosen_crosses(names), sources
        topics, publishers, authors = category_sizes
        sizes = (ARTICLES, min(authors, AUTHORS), min(publishers, ARTICLES), min(topics, ARTICLES))
        self._tables = {kind: ShownTable(max(size, 1)) for kind, size in zip(KINDS, sizes, strict=True)}
        self._categories: SmallInts = np.full((0, 3), -1, dtype=np.int32)
        self._topics = max(topics, 1)
        self._last: Floats = np.full(0, -np.inf, dtype=np.float32)
        self._page: SmallInts = np.zeros(0, dtype=np.int32)
        self._on_pages = np.zeros((0, self._topics), dtype=np.uint16)

    def __len__(self) -> int:
        """Crosses, X."""
        return len(self.crosses)

    def follow(self, catalogue: Catalogue) -> None:
        """Learn of what has been published: topic, publisher and author of each article."""
        ids = catalogue.arrived
        if len(ids):
            if int(ids[-1]) >= len(self._categories):
                self._categories = lengthened(self._categories, max(int(ids[-1]) + 1, 1024), -1)
            self._categories[ids] = catalogue.categories_of(ids)

    def of(self, rows: Ints, article_id: Ints, now: float) -> Floats:
        """The crosses of readers (n,) with articles (n, M), one after the other: float32 (X, n, M); 0 where id -1.

        Rounded to what the replay keeps of them (float16): what is served by is what is trained on.
        """
        pairs = Pairs(rows, article_id, now, self._counts, self._session, self._proposed(rows, article_id))
        shown = article_id >= 0
        columns = np.zeros((len(self.crosses), *article_id.shape), dtype=np.float32)
        for column, cross in zip(columns, self.crosses, strict=True):
            np.multiply(cross(pairs), shown, out=column)
        return columns.astype(np.float16).astype(np.float32)

    def told(self, rows: Ints, article_id: Ints, now: float) -> Floats:
        """The same, side by side: float32 (n, M, X)."""
        return np.ascontiguousarray(np.moveaxis(self.of(rows, article_id, now), 0, 2))

    def weighed(self, rows: Ints, article_id: Ints, now: float, weights: Floats) -> Floats:
        """What crosses add to scores by their weights (X,): float32 (n, M)."""
        # Column by column, no BLAS: a reader's sum is the same bytes in every batch.
        total: Floats = np.zeros(article_id.shape, dtype=np.float32)
        for column, weight in zip(self.of(rows, article_id, now), weights, strict=True):
            total += weight * column
        return total

    def _proposed(self, rows: Ints, article_id: Ints) -> Callable[[str], Floats]:
        sources = self._sources
        none = np.zeros(article_id.shape, dtype=np.float32)
        return lambda name: none if sources is None else sources.proposed(name, rows, article_id)

    def _counts(self, pairs: Pairs, kind: str) -> Counts:
        return Counts(*self._tables[kind].of(pairs.rows, self._keys(pairs.article_id, kind), pairs.now))

    def _session(self, pairs: Pairs) -> tuple[Floats, Floats]:
        """Pages so far of the sessions that readers are in, and how often they showed the topic; (n, M) each."""
        rows = pairs.rows
        self._reserve(int(rows.max(initial=-1)) + 1)
        goes_on = self._in_session(rows, pairs.now)[:, None]
        topic = np.maximum(self._keys(pairs.article_id, "topic"), 0)
        pages = np.broadcast_to(self._page[rows][:, None], topic.shape)
        on_pages = self._on_pages[rows[:, None], topic]
        return np.where(goes_on, pages, 0).astype(np.float32), np.where(goes_on, on_pages, 0).astype(np.float32)

    def note(self, rows: Ints, article_id: Ints, opened: Bools, minutes: Floats, now: float) -> None:
        """Readers (n,), each once, were shown slates (n, K) at ``now``; what they opened, and minutes read, (n, K)."""
        if len(rows) == 0:
            return
        for kind, table in self._tables.items():
            table.note(rows, self._keys(article_id, kind), opened, minutes, now)
        self._reserve(int(rows.max()) + 1)
        goes_on = self._in_session(rows, now)
        self._page[rows] = np.where(goes_on, self._page[rows], 0) + 1
        topic = self._keys(article_id, "topic")
        cells = (np.arange(len(rows))[:, None] * self._topics + topic)[topic >= 0]
        counts = np.bincount(cells, minlength=len(rows) * self._topics).reshape(-1, self._topics)
        self._on_pages[rows] = np.where(goes_on[:, None], self._on_pages[rows], 0) + counts
        self._last[rows] = now

    def note_opens(self, rows: Ints, article_id: Ints, minutes: Floats, now: float) -> None:
        """Readers (m,), each once, opened articles (m,) from elsewhere, minutes read (m,): openings, and no showing."""
        ids, opened = article_id[:, None], np.ones((len(rows), 1), dtype=np.bool_)
        for kind, table in self._tables.items():
            table.note(rows, self._keys(ids, kind), opened, minutes[:, None], now, showings=0.0)

    def _in_session(self, rows: Ints, now: float) -> Bools:
        return np.float32(now) - self._last[rows] < np.float32(SESSION_HOURS)

    def _keys(self, article_id: Ints, kind: str) -> Ints:
        """Numbers of the articles' own, or of their author, publisher or topic, in the same shape; -1 of none."""
        if kind == "article":
            return article_id
        column = ("topic", "publisher", "author").index(kind)
        keys = self._categories[np.maximum(article_id, 0), column].astype(np.int64)
        return np.where(article_id >= 0, keys, -1)

    def _reserve(self, size: int) -> None:
        if size > len(self._page):
            self._last = lengthened(self._last, size, -np.inf)
            self._page, self._on_pages = lengthened(self._page, size), lengthened(self._on_pages, size)

    def snapshot(self) -> Arrays:
        """All tables."""
        arrays = copied(self, _NAMES)
        for kind, table in self._tables.items():
            arrays |= nest(kind, table.snapshot())
        return arrays

    def restore(self, snapshot: Arrays) -> None:
        """Become the memory of a snapshot."""
        put_back(self, _NAMES, snapshot)
        for kind, table in self._tables.items():
            table.restore(unnest(kind, snapshot))

"""A newsroom made of ``articles.parquet``: what a log's articles were, as far as a site sees them.

Latent columns are not read: all of them are 0, so that a learner cannot cheat. Shapes: m articles, D dimensions.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from feedgym.env.arrays import AnyArray, Bools, Doubles, Floats, Ints
from feedgym.env.checks import require
from feedgym.env.log.files import ARTICLES_NAME, opened
from feedgym.env.log.ids import IDS, whole_ids
from feedgym.env.log.values import MAX_HOURS, MAX_ID
from feedgym.env.newsroom import ArticleTable

if TYPE_CHECKING:
    import pyarrow as pa

MAX_ARTICLES = 50_000_000
MAX_DIM = 4096
MAX_CATEGORY = 10_000_000
_TIMES = ("published_hours", "expires_hours")
_IDS = ("topic", "publisher", "author")
_PROXIES = ("clickbait_proxy", "quality_proxy")


class LoggedNewsroom:
    """Publishes the articles of a log at their times.

    Ids of the replay are the articles' order of publication, as everywhere in FeedGym; where a site's ids are others,
    :meth:`own_id` translates.

    Args:
        path: of ``articles.parquet``: ``article_id, published_hours, expires_hours``, and of ``topic, publisher,
            author, text, clickbait_proxy, quality_proxy, breaking`` what the site has. Times are the log's hours; those
            from before its hour 0 are negative. ``expires_hours`` may be infinite.
        category_sizes: topics, publishers and authors there are, at least.

    Raises:
        ValueError: whatever is wrong in the file, naming column, row, value and what is allowed.
    """

    def __init__(self, path: str | Path, category_sizes: tuple[int, int, int] = (1, 1, 1)) -> None:
        self._where = str(path)
        table = _read(Path(path))
        ids: Ints = self._numbers(table, "article_id", np.int64, 0, MAX_ID)
        published = self._numbers(table, "published_hours", np.float64, -MAX_HOURS, MAX_HOURS)
        expires = self._numbers(table, "expires_hours", np.float64, -MAX_HOURS, np.inf)
        early = np.flatnonzero(expires < published)
        if len(early):
            row = int(early[0])
            raise ValueError(
                f"{path}: row {row}, column 'expires_hours': got {expires[row]}, needs published_hours "
                f"({published[row]}) or later"
            )
        order = np.argsort(published, kind="stable")
        self.original_id: Ints = ids[order]
        """Ids of the log, by the replay's ids, (m,)."""
        self._sorted = np.argsort(self.original_id, kind="stable")
        known = self.original_id[self._sorted]
        twice = known[1:][known[1:] == known[:-1]]
        require(len(twice) == 0, f"{path}: column 'article_id'", twice[:3].tolist(), "each article once")
        self._known = known
        m = len(ids)
        text = self._text(table)
        integers = {name: self._optional(table, name, np.int32, 0, MAX_CATEGORY) for name in _IDS}
        proxies = {name: self._optional(table, name, np.float32, -1e9, 1e9) for name in _PROXIES}
        breaking = self._optional(table, "breaking", np.bool_, 0, 1)
        sizes = [
            max(least, int(column.max(initial=0)) + 1)
            for least, column in zip(category_sizes, integers.values(), strict=True)
        ]
        self._num_topics, self._num_publishers, self._num_authors = sizes
        self._dim = text.shape[1]
        zeros = np.zeros(m, dtype=np.float32)
        self._table = ArticleTable(
            published_hours=published,
            expires_hours=expires,
            **integers,
            text=text,
            **proxies,
            breaking=breaking,
            vector=np.zeros_like(text),
            quality=zeros,
            clickbait=zeros,
            half_life_hours=np.ones(m),
            appeal=zeros,
        ).take(order)

    def __len__(self) -> int:
        """Articles, m."""
        return len(self._table)

    @property
    def centers(self) -> Floats:
        """Unknown: zeros (T, D), for their shape."""
        return np.zeros((self._num_topics, self._dim), dtype=np.float32)

    @property
    def num_publishers(self) -> int:
        """Publisher ids are below this."""
        return self._num_publishers

    @property
    def num_authors(self) -> int:
        """Author ids are below this."""
        return self._num_authors

    def plan_day(self, day: int) -> ArticleTable:
        """Articles published in ``[24 day, 24 day + 24)``; day -1: those from before hour 0."""
        start = 24.0 * day if day >= 0 else -np.inf
        first, last = np.searchsorted(self._table.published_hours, [start, 24.0 * day + 24.0])
        return self._table.take(np.arange(first, last))

    @property
    def live_hours(self) -> tuple[Doubles, Doubles]:
        """When articles were published and expired, by the replay's ids, (m,) each."""
        return self._table.published_hours, self._table.expires_hours

    def own_id(self, article_id: Ints) -> Ints:
        """The replay's ids of a log's ids, any shape; -1 stays.

        Raises:
            ValueError: an id that ``articles.parquet`` does not have.
        """
        place = np.minimum(np.searchsorted(self._known, article_id), max(len(self._known) - 1, 0))
        known: Bools = self._known[place] == article_id if len(self._known) else np.zeros(article_id.shape, dtype=bool)
        unknown = article_id[~known & (article_id != -1)]
        if len(unknown):
            raise ValueError(
                f"column 'article_id': got {int(unknown[0])}, needs an article of {self._where} "
                f"({len(self):,} articles), or -1 where nothing was shown"
            )
        ids: Ints = np.where(known, self._sorted[place], -1)
        return ids

    def _optional(self, table: pa.Table, name: str, kind: Any, low: float, high: float) -> AnyArray:
        if name not in table.column_names:
            return np.zeros(len(table), dtype=kind)
        return self._numbers(table, name, kind, low, high)

    def _numbers(self, table: pa.Table, name: str, kind: Any, low: float, high: float) -> AnyArray:
        import pyarrow as pa

        column = table[name].combine_chunks()
        if name in IDS:
            column = whole_ids(column)
        whole = np.issubdtype(kind, np.integer)
        types = pa.types
        numeric = types.is_integer(column.type) or (types.is_floating(column.type) and not whole)
        numeric = numeric or (kind is np.bool_ and types.is_boolean(column.type))
        require(numeric, f"{self._where}: column {name!r}: type", str(column.type), np.dtype(kind).name)
        require(column.null_count == 0, f"{self._where}: column {name!r}: nulls", column.null_count, "a value each")
        values = column.to_numpy(zero_copy_only=False)
        bad = ~((values >= low) & (values <= high))
        if bad.any():
            row = int(np.argmax(bad))
            raise ValueError(
                f"{self._where}: row {row}, column {name!r}: got {values[row]}, needs a number from {low:g} to {high:g}"
            )
        numbers: AnyArray = values.astype(kind)
        return numbers

    def _text(self, table: pa.Table) -> Floats:
        """Vectors (m, D), all of one length; one column of zeros where there are none."""
        import pyarrow as pa

        if "text" not in table.column_names:
            return np.zeros((len(table), 1), dtype=np.float32)
        column, where = table["text"].combine_chunks(), f"{self._where}: column 'text'"
        kind = column.type
        listed = pa.types.is_fixed_size_list(kind) or pa.types.is_list(kind) or pa.types.is_large_list(kind)
        numeric = listed and (pa.types.is_floating(kind.value_type) or pa.types.is_integer(kind.value_type))
        require(numeric, f"{where}: type", str(kind), "lists of numbers")
        flat = column.flatten()
        dim = len(flat) // len(table) if len(table) else 1
        if not pa.types.is_fixed_size_list(kind) and len(table):
            lengths = column.value_lengths().to_numpy(zero_copy_only=False)
            require(bool((lengths == dim).all()), f"{where}: lengths", sorted({*lengths.tolist()})[:5], "one length")
        require(column.null_count + flat.null_count == 0, f"{where}: nulls", "some", "a vector each")
        require(1 <= dim <= MAX_DIM, f"{where}: length", dim, f"1 to {MAX_DIM}")
        vectors: Floats = flat.to_numpy(zero_copy_only=False).astype(np.float32).reshape(len(table), dim)
        require(bool(np.isfinite(vectors).all()), where, "NaN or an infinite number", "finite numbers")
        return vectors


def _read(path: Path) -> pa.Table:
    """The observable columns of the file."""
    wanted = ("article_id", *_TIMES, *_IDS, "text", *_PROXIES, "breaking")
    with opened(path, ARTICLES_NAME) as file:
        schema, rows = file.schema_arrow, file.metadata.num_rows
        require(0 <= rows <= MAX_ARTICLES, f"{path}: rows", rows, f"at most {MAX_ARTICLES:,} articles")
        lacking = [name for name in ("article_id", *_TIMES) if name not in schema.names]
        require(not lacking, f"{path}: columns", schema.names[:20], f"also {lacking}")
        if "text" in schema.names:
            size = getattr(schema.field("text").type, "list_size", 1)
            require(1 <= size <= MAX_DIM, f"{path}: column 'text': length", size, f"1 to {MAX_DIM}")
        table = file.read(columns=[name for name in wanted if name in schema.names])
    require(len(table) == rows, f"{path}: rows", len(table), f"{rows}, as the file says")
    return table

"""The newsroom that replays what a real site published.

Times come from the file, and what else it holds; all the rest is drawn by noise keyed by (seed, what is
drawn, the article's own id). So an article keeps what was drawn for it whatever other rows the file has.
Equations of what is drawn: docs/mathematics.md 9.1, as the synthetic newsroom draws it.
The file: docs/guide/real_articles.md.
Shapes: m articles, T topics, D dimensions. Time is in hours; hour 0 is the midnight that begins the first day.
"""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from feedgym.env.arrays import Bools, Doubles, Floats, Ints, SmallInts
from feedgym.env.checks import require
from feedgym.env.config import NewsroomConfig
from feedgym.env.newsroom.articles import ArticleTable
from feedgym.env.newsroom.read_articles import ArticleRows, read_articles
from feedgym.env.newsroom.synthetic import expiry, stream, topic_centers, unit
from feedgym.env.noise import Noise, mix

_CHARACTER = np.uint64(0x9E3779B97F4A7C15)
STORY_SD = 0.8
"""Standard deviation of quality and of clickbait within a publisher (docs/mathematics.md 9.1)."""


class ReplayNewsroom:
    """Publishes the articles of a real site at their real times.

    Weekdays mean nothing to it: whatever day of the week the file begins on, its first midnight is hour 0, and
    readers whose week begins on a Monday are not shifted to the file's calendar.

    Args:
        articles: path of a ``.csv``, ``.csv.gz`` or ``.parquet`` file, or a table in memory
            (docs/guide/real_articles.md).
        config: how what the file lacks is drawn; its rates and profiles of publication are not used.
        seed: the world's seed; the times, and all else that the file holds, do not depend on it.

    Raises:
        FileNotFoundError: no such file.
        ValueError: whatever is wrong in the file, naming file, row, column, value and what is allowed.
    """

    def __init__(self, articles: Any, config: NewsroomConfig | None = None, seed: int = 0) -> None:
        require(isinstance(seed, int | np.integer) and seed >= 0, "seed", seed, "an integer >= 0")
        self.config = config if config is not None else NewsroomConfig()
        self._rows = rows = read_articles(articles)
        self.source = rows.source
        """The file, for reports."""
        self.topic_names = rows.topic_names
        """Names of the topics by their ids; empty where the file has none."""
        has_vector: Bools = np.asarray(rows.vector.any(axis=1))
        self._counts = {
            "topic": int(np.count_nonzero(rows.topic >= 0)),
            "popularity": int(np.count_nonzero(~np.isnan(rows.popularity))),
            "read_time_s": int(np.count_nonzero(~np.isnan(rows.read_time_s))),
            "vector": int(np.count_nonzero(has_vector)),
        }
        published = opening_stock_at_hour_0(rows.published_hours)
        noise = Noise(int(seed), article_keys(rows.original_id).astype(np.int64))
        topic, self._centers = _topics(rows, has_vector, self.config, noise)
        table = _write(rows, published, topic, has_vector, self._centers, self.config, int(seed), noise)
        order = np.argsort(published, kind="stable")
        # Gone before anyone could see it: such an article gets no id, as in any newsroom's day -1.
        order = order[table.expires_hours[order] > 0.0]
        self._table = table.take(order)
        self._original_id = rows.original_id[order]
        span = float(published.max() - rows.published_hours.min())
        self._days = max(1, math.ceil(span / 24.0))

    @property
    def centers(self) -> Floats:
        """Centres of the topics, (T, D): means of the given vectors, else those of the synthetic newsroom."""
        return self._centers

    @property
    def num_publishers(self) -> int:
        """Publisher ids are below this."""
        return self.config.num_publishers

    @property
    def num_authors(self) -> int:
        """Author ids are below this."""
        return self.config.num_authors

    @property
    def days(self) -> int:
        """Days from the first publication to the last, rounded up. Beyond, the newsroom is quiet."""
        return self._days

    @property
    def given(self) -> tuple[str, ...]:
        """What the file holds, for all or for some of the articles."""
        return ("published", *(name for name, count in self._counts.items() if count > 0))

    @property
    def drawn(self) -> tuple[str, ...]:
        """What was drawn, for all of the articles or for those whose cell is empty."""
        total = len(self._rows.original_id)
        # No popularity here: where it is missing appeal is 0, as of every article of the synthetic newsroom.
        needs = {"topic": "topic", "vector": "vector", "quality": "read_time_s"}
        gaps = tuple(name for name, column in needs.items() if self._counts[column] < total)
        return (*gaps, "publisher", "author", "clickbait", "half_life", "observation_noise")

    def __len__(self) -> int:
        """Articles that are published over the whole file."""
        return len(self._table)

    def original_id(self, article_id: Ints) -> NDArray[np.str_]:
        """The site's own ids, as text, of these articles, any shape."""
        return self._original_id[article_id]

    def summary(self) -> str:
        """What was given and what was drawn, in a few sentences for a report."""
        total = len(self._rows.original_id)
        given = [f"{name} ({count:,} of {total:,})" for name, count in self._counts.items() if count > 0]
        lines = [
            f"{total:,} articles over {self.days} days from {self.source}.",
            f"Given: {', '.join(['publication time', *given])}.",
            f"Drawn by noise keyed by the article: {', '.join(self.drawn)}.",
        ]
        if self._counts["popularity"] < total:
            lines.append("Where popularity is missing, the article's own appeal is 0, that of a mean article.")
        if self._rows.unread:
            lines.append(f"Columns not read: {', '.join(self._rows.unread)}.")
        return " ".join(lines)

    def plan_day(self, day: int) -> ArticleTable:
        """Articles published in ``[24 day, 24 day + 24)``; day -1: those from before hour 0 still live then."""
        start = 24.0 * day if day >= 0 else -np.inf
        first, last = np.searchsorted(self._table.published_hours, [start, 24.0 * day + 24.0])
        return self._table.take(np.arange(first, last))


def opening_stock_at_hour_0(published_hours: Doubles) -> Doubles:
    """Publication times (m,) in hours, with the stock that a site had when its file begins put at hour 0.

    A log knows of older articles only that they were there when it began: they all carry its first time (407 of
    the shipped file do). Left there, the site would be empty until then. One article alone at the first time is
    no stock and stays; so does everything in a file whose times begin before hour 0.
    """
    first = published_hours.min()
    stock = published_hours == first
    if first < 0.0 or np.count_nonzero(stock) < 2:
        return published_hours
    moved: Doubles = np.where(stock, 0.0, published_hours)
    return moved


def article_keys(original_id: NDArray[np.str_]) -> NDArray[np.uint64]:
    """64 bits of each id (m,), that depend on the id alone: not on its row or on the length of other ids."""
    width = original_id.dtype.itemsize // 4
    characters = np.ascontiguousarray(original_id).view(np.uint32).reshape(len(original_id), width)
    key = np.zeros(len(original_id), dtype=np.uint64)
    for place in range(width):  # over the characters of the longest id; each pass does all articles
        letter = characters[:, place].astype(np.uint64)
        key = np.where(letter > 0, mix(key + letter * _CHARACTER), key)
    return key


def appeal_of(popularity: Doubles) -> Floats:
    """Log-odds of a click that are the article's own: ``log((p + m) / (2 m))``, m the mean popularity, (m,).

    0 at the mean and where popularity is missing (NaN), never below ``-log 2``: with few readers behind the
    counts, a 0 says little. It rises with the log of popularity far above the mean.
    """
    known = popularity[~np.isnan(popularity)]
    mean = float(known.mean()) if len(known) else 0.0
    if mean == 0.0:
        return np.zeros(len(popularity), dtype=np.float32)
    appeal: Floats = np.log((popularity + mean) / (2.0 * mean)).astype(np.float32)
    return np.nan_to_num(appeal, nan=0.0)


def quality_of(read_time_s: Doubles, drawn: Doubles, sd: float) -> Doubles:
    """Quality (m,): log read time, centred and scaled to ``sd``; as ``drawn`` (m,) where missing (NaN)."""
    log_time = np.log1p(read_time_s)
    known = ~np.isnan(log_time)
    if not known.any():
        return drawn
    spread = float(log_time[known].std())
    scaled = (log_time - log_time[known].mean()) * (sd / spread if spread > 0 else 0.0)
    quality: Doubles = np.where(known, scaled, drawn)
    return quality


def _topics(rows: ArticleRows, has_vector: Bools, config: NewsroomConfig, noise: Noise) -> tuple[SmallInts, Floats]:
    """Each article's topic (m,), and the centres (T, D)."""
    dim = rows.vector.shape[1] or config.dim
    num_topics = len(rows.topic_names) or config.num_topics
    centers = topic_centers(num_topics, dim)
    drawn = np.minimum(noise.uniform("newsroom/topic", "reader") * num_topics, num_topics - 1)
    topic = np.where(rows.topic >= 0, rows.topic, drawn.astype(np.int32)).astype(np.int32)
    if not has_vector.any():
        return topic, centers
    if not rows.topic_names:
        # Topics that say nothing of the vectors would have the same mean: the nearest fixed direction does.
        # Real vectors lie in a narrow cone, in which without the centring one direction would win all.
        apart = rows.vector - rows.vector[has_vector].mean(axis=0)
        topic = np.where(has_vector, (apart @ centers.T).argmax(axis=1), topic).astype(np.int32)
    sums = np.zeros(centers.shape)
    np.add.at(sums, topic[has_vector], rows.vector[has_vector].astype(np.float64))
    means = unit(sums)
    return topic, np.where(means.any(axis=1, keepdims=True), means, centers)


def _write(
    rows: ArticleRows,
    published_hours: Doubles,
    topic: SmallInts,
    has_vector: Bools,
    centers: Floats,
    c: NewsroomConfig,
    seed: int,
    noise: Noise,
) -> ArticleTable:
    """All articles of the file, in its order, as the synthetic newsroom writes them where nothing is given."""
    m, dim = len(topic), centers.shape[1]
    per_axis = 1.0 / math.sqrt(dim)

    def normal(name: str, size: int | None = None) -> Any:
        return noise.normal(f"newsroom/{name}", "reader", size=size)

    def integers(name: str, below: int) -> SmallInts:
        drawn = np.floor(noise.uniform(f"newsroom/{name}", "reader") * below)
        return np.minimum(drawn, below - 1).astype(np.int32)

    publishers = stream(seed, "publishers", -1)
    publisher_quality = c.publisher_sd * publishers.standard_normal(c.num_publishers)
    publisher_clickbait = c.publisher_sd * publishers.standard_normal(c.num_publishers)
    publisher = integers("publisher", c.num_publishers)
    drawn_quality = publisher_quality[publisher] + STORY_SD * normal("quality")
    quality = quality_of(rows.read_time_s, drawn_quality, math.hypot(c.publisher_sd, STORY_SD))
    clickbait = publisher_clickbait[publisher] - 0.2 * quality + STORY_SD * normal("clickbait")
    shares = np.cumsum([kind.share for kind in c.half_lives])
    kind = np.minimum(np.searchsorted(shares, noise.uniform("newsroom/kind", "reader"), side="right"), len(shares) - 1)
    median = np.array([half.median_hours for half in c.half_lives])[kind]
    half_life = median * np.exp(c.half_life_log_sd * normal("half_life"))
    vector = unit(centers[topic] + c.spread * per_axis * normal("vector", dim))
    text = vector + c.vector_noise * per_axis * normal("text", dim)
    if rows.vector.shape[1]:
        vector = np.where(has_vector[:, None], rows.vector, vector)
        # What the site knows of such an article is the vector itself.
        text = np.where(has_vector[:, None], rows.vector, text)
    return ArticleTable(
        published_hours=published_hours,
        expires_hours=expiry(published_hours, half_life, c),
        topic=topic,
        publisher=publisher,
        author=integers("author", c.num_authors),
        text=text.astype(np.float32),
        clickbait_proxy=(clickbait + c.clickbait_noise * normal("clickbait_proxy")).astype(np.float32),
        quality_proxy=(quality + c.quality_noise * normal("quality_proxy")).astype(np.float32),
        breaking=np.zeros(m, dtype=np.bool_),
        vector=vector,
        quality=quality.astype(np.float32),
        clickbait=clickbait.astype(np.float32),
        half_life_hours=half_life,
        appeal=appeal_of(rows.popularity),
    )

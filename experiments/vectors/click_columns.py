"""Columns of a click model from a run's log: what a site counts, without any embedding.

Each row knows what was known before its tick, and nothing later. Shapes: R rows (impressions) in the log's order, K
positions, T topics. Time is in hours.
"""

from typing import NamedTuple

import numpy as np

from feedgym.env.arrays import AnyArray, Arrays, Bools, Doubles, Floats, Ints

LOG = ("reader_id", "tick", "time_hours", "position", "article_id", "clicked")
ARTICLES = ("published_hours", "topic", "clickbait_proxy", "quality_proxy", "breaking")
_PRIOR_SHOWN, _PRIOR_RATE = 20.0, 0.1
"""Impressions, and the click rate in them, that each click rate starts with."""


def count_before(key: Ints, tick: Ints, value: AnyArray) -> Doubles:
    """Sum of ``value`` over the rows of the same ``key`` at earlier ticks, (R,)."""
    order = np.lexsort((tick, key))
    key, tick, summed = key[order], tick[order], np.concatenate([[0.0], np.cumsum(value[order], dtype=np.float64)])
    new_key = np.concatenate([[True], key[1:] != key[:-1]])
    new_tick = new_key | np.concatenate([[True], tick[1:] != tick[:-1]])
    rows = np.arange(len(key))
    # Where each row's key, and its tick within the key, begin.
    key_start = np.maximum.accumulate(np.where(new_key, rows, 0))
    tick_start = np.maximum.accumulate(np.where(new_tick, rows, 0))
    before: Doubles = np.empty(len(key))
    before[order] = summed[tick_start] - summed[key_start]
    return before


class SiteColumns(NamedTuple):
    """What a site has without embeddings, from the plainest on."""

    plain: Floats
    """Position, topic, log age, (R, K + T + 1)."""
    counters: Floats
    """Impressions and click rate so far, of the article and of the reader, (R, 4)."""
    by_hand: Floats
    """What takes work: proxies of the article's content, the reader's counters on its topic, (R, 5)."""
    article_shown: Doubles
    """Impressions of the article so far, (R,)."""


def site_columns(log: Arrays, articles: Arrays) -> SiteColumns:
    """Columns of each row of a log.

    Args:
        log: columns ``LOG`` of rows that show an article, (R,) each, by tick.
        articles: columns ``ARTICLES``, a row for each article id.
    """
    at = {name: articles[name][log["article_id"]] for name in ARTICLES}
    topics, positions = int(articles["topic"].max()) + 1, int(log["position"].max()) + 1
    topic, age = at["topic"].astype(np.int64), log["time_hours"] - at["published_hours"]
    article, reader, tick, clicked = (log[name] for name in ("article_id", "reader_id", "tick", "clicked"))
    of_article, of_reader = _counters(article, tick, clicked), _counters(reader, tick, clicked)
    of_topic = _counters(reader * topics + topic, tick, clicked)
    proxies = np.stack([at[name] for name in ARTICLES[2:]], axis=1).astype(np.float32)
    return SiteColumns(
        plain=np.hstack(
            [_one_hot(log["position"], positions), _one_hot(topic, topics), np.log1p(age)[:, None].astype(np.float32)]
        ),
        counters=np.hstack([of_article, of_reader]),
        by_hand=np.hstack([proxies, of_topic]),
        article_shown=count_before(article, tick, np.ones(len(article))),
    )


def _counters(key: Ints, tick: Ints, clicked: Bools) -> Floats:
    """Log of impressions so far, and log-odds of the smoothed click rate so far, (R, 2)."""
    shown = count_before(key, tick, np.ones(len(key)))
    clicks = count_before(key, tick, clicked)
    # The prior is a constant: this log's mean rate would tell each row of the future.
    rate = (clicks + _PRIOR_RATE * _PRIOR_SHOWN) / (shown + _PRIOR_SHOWN)
    columns: Floats = np.stack([np.log1p(shown), np.log(rate / (1.0 - rate))], axis=1).astype(np.float32)
    return columns


def _one_hot(values: AnyArray, size: int) -> Floats:
    columns: Floats = (values[:, None] == np.arange(size)).astype(np.float32)
    return columns

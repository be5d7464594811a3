"""A log of format 1: by a policy whose positions explored, and without the columns that came later."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from feedgym.env import Feed
from feedgym.env.arrays import Doubles, Ints
from feedgym.env.log.columns import COLUMNS
from feedgym.env.log.files import VERSION_KEY
from feedgym.env.log.writer import ImpressionLog, write_articles
from helpers.logs.small import Slates

Drawn = tuple[Ints, Doubles, Doubles]
"""Articles, their draw weights, t*."""


def draw_weights(logits: Doubles, listed: int, epsilon: float) -> Doubles:
    """``w = eps / N + (1 - eps) p``, p the softmax of the first ``listed`` of N logits, (n, N)."""
    p = np.zeros_like(logits)
    p[:, :listed] = np.exp(logits[:, :listed])
    w: Doubles = epsilon / logits.shape[1] + (1.0 - epsilon) * p / p.sum(axis=1, keepdims=True)
    return w


def time_of(w: Doubles, slate_size: int) -> Doubles:
    """``t*`` by bisection: when ``slate_size`` arrivals are expected, (n,)."""
    low, high = np.zeros(len(w)), np.full(len(w), 1e4)
    for _ in range(80):
        middle = (low + high) / 2
        short = -np.expm1(-w * middle[:, None]).sum(axis=1) < slate_size
        low, high = np.where(short, middle, low), np.where(short, high, middle)
    return low


def older_log(folder: Path, feed: Feed, epsilon: float = 0.3, listed: int = 30) -> list[Drawn]:
    """A feed served to its end into ``folder``; what was drawn at each tick with visits."""
    config = feed.config
    log = ImpressionLog(config, run_id="older", policy="by positions", config={"seed": 3})
    rng, drawn = np.random.default_rng(1), []
    while not feed.done:
        live, n, size = feed.catalogue.article_id[::-1], len(feed.visits), config.slate_size
        logits = 2.0 * rng.normal(size=(n, len(live)))
        w = draw_weights(logits, listed, epsilon)
        column = np.argsort(rng.exponential(size=w.shape) / w, axis=1)[:, :size]
        own, ids = np.take_along_axis(w, column, axis=1), live[column]
        slot = own / (1.0 - (np.cumsum(own, axis=1) - own))
        logit = np.where(column < listed, np.take_along_axis(logits, column, axis=1), np.nan)
        slates = Slates(
            *(ids, logit, column < listed, slot, np.log(slot).sum(axis=1), np.zeros(n, dtype=bool), np.zeros(n)),
            num_live=len(live),
            epsilon=epsilon,
            shortlist_size=listed,
        )
        visits, time = feed.visits, time_of(w, size)
        outcome = feed.serve(ids)
        if n:
            log.append(visits, outcome, slates, {"inclusion_time": time})
            drawn.append((ids, own, time))
    path = folder / "impressions" / "day-0000.parquet"
    log.flush(path)
    as_of_format_1(path)
    write_articles(folder / "articles.parquet", feed.catalogue.archive)
    return drawn


def as_of_format_1(path: Path) -> None:
    """A part file without the columns that format 1 did not have, and with its version."""
    table = pq.read_table(path).drop_columns([column.name for column in COLUMNS if column.since > 1])
    metadata: dict[Any, Any] = {**table.schema.metadata, VERSION_KEY: b"1"}
    pq.write_table(table.replace_schema_metadata(metadata), path)

"""What the default reader makes of articles that no slate showed: search, push, social networks, the front page.

Such an open changes the reader as a click does, in all that is about articles and topics: satiation, the exposure
memory, whatever further effects there are. It is no visit: trust, the session and its value, the next visit, leaving
and subscribing are left as they are (docs/mathematics.md 9.5).
Shapes: m opens, C articles that each of them chooses from, N articles, D dimensions; position-major (C, m).
"""

from collections.abc import Sequence

import numpy as np

from feedgym.env.arrays import Arrays, Doubles, Floats, Ints
from feedgym.env.newsroom import Archive, Scoring
from feedgym.env.noise import Noise
from feedgym.env.readers.dwell import Dwell
from feedgym.env.readers.effects import Effect, Reaction, Shown
from feedgym.env.readers.reader_rows import PACKED, put_rows, take_rows


def common_log_odds(archive: Archive, article_id: Ints, coefficients: Floats) -> tuple[Doubles, Doubles]:
    """Log-odds of articles (N,) that are the same for all readers, and what their age takes: (N,) each.

    Args:
        archive: all articles.
        article_id: (N,).
        coefficients: what a scoring row is multiplied with, (D + 6,), of a reader without any taste.
    """
    terms = archive.scoring.take(article_id, axis=0).astype(np.float64) * coefficients
    own: Doubles = terms[:, Scoring.CLICKBAIT] + terms[:, Scoring.QUALITY] + terms[:, Scoring.APPEAL]
    aging: Doubles = terms[:, Scoring.RATE_PUBLISHED] + terms[:, Scoring.RATE]
    return own, aging


def taste_log_odds(archive: Archive, article_id: Ints, interest: Floats, taste: np.float32) -> Floats:
    """Log-odds that the match of readers (m, D) and articles (C, m) adds, float32 (C, m)."""
    vectors = archive.scoring.take(article_id, axis=0)[..., Scoring.VECTOR]
    matched: Floats = taste * np.einsum("cmd,md->cm", vectors, interest)
    return matched


def read_elsewhere(
    state: Arrays,
    rows: Ints,
    archive: Archive,
    article_id: Ints,
    now: float,
    noise: Noise,
    effects: Sequence[Effect],
    dwell: Dwell,
) -> Floats:
    """Readers ``rows`` (m,), each once, open an article each, (m,): minutes read, float32 (m,). Changes the state."""
    reader = take_rows(state[PACKED], rows)
    articles = archive.scoring.take(article_id, axis=0)
    topic = articles[:, Scoring.TOPIC].astype(np.int64)[None]
    shown = Shown(article_id[None], topic, rows, reader, state, archive, now)
    yes, visit = np.ones((1, len(rows)), dtype=np.bool_), np.arange(len(rows))
    nowhere = np.zeros(yes.shape, dtype=np.float32)  # no log-odds are asked for: the article is open
    reaction = Reaction(yes, yes, visit)
    found = [effect.oppose(shown, nowhere) for effect in effects]
    for effect, what in zip(effects, found, strict=True):
        effect.after(shown, what, reaction)
    interest = np.ascontiguousarray(reader["interest"])
    minutes = dwell.minutes(articles, interest, visit, np.zeros(len(rows), dtype=np.int64), noise)
    # What fades is as of now; the last visit is not moved otherwise.
    reader["seen_hours"] = now
    put_rows(state[PACKED], rows, reader)
    return minutes

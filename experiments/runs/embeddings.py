"""What a finished run keeps of its agent's towers: the vectors of articles and readers at the run's end.

One small file, ``embeddings.npz``: some 80 bytes for each article and reader at 16 dimensions. ``feedgym embed``
turns it into tables.
Shapes: A articles, R readers, d dimensions.
"""

from pathlib import Path

import numpy as np

from feedgym.agents.agent import Agent
from feedgym.agents.two_tower import Embedding
from feedgym.env.arrays import Arrays, nest
from feedgym.env.feed import Feed
from feedgym.experiments.runs.checkpoint import save_arrays

EMBEDDINGS = "embeddings.npz"


def embeddings_of(agent: Embedding, feed: Feed) -> Arrays:
    """The agent's vectors, with what a site knows of whom they are of.

    Returns:
        ``article/``: article_id int64, published_hours float64, topic and publisher int32, is_live bool, bias float32,
        (A,) each, and vector float32 (A, d). ``reader/``: reader_id, visits and clicks int64, last_visit_hours
        float64, (R,) each, and vector float32 (R, d).
    """
    found = agent.vectors()
    archive, records = feed.catalogue.archive, feed.records
    of_articles = {
        name: archive.column(name)[found.article_id] for name in ("published_hours", "topic", "publisher", "is_live")
    }
    readers: Arrays = {
        "reader_id": feed.population.reader_id(found.row),
        "visits": records.visit_count[found.row].astype(np.int64),
        "clicks": records.click_count[found.row].astype(np.int64),
        "last_visit_hours": found.hours,
        "vector": found.reader,
    }
    articles = {"article_id": found.article_id, **of_articles, "bias": found.bias, "vector": found.article}
    return nest("article", articles) | nest("reader", readers)


def save_embeddings(folder: Path, agent: Agent, feed: Feed) -> None:
    """Write the file of a run that is at its end; an agent without towers has none."""
    if isinstance(agent, Embedding):
        save_arrays(folder / EMBEDDINGS, embeddings_of(agent, feed))

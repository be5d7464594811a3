"""A run lived through again, with its vectors exported on the way: what each impression could know of them.

Shapes: R rows (impressions), n visits of a tick, K positions, d dimensions. Time is in hours.
"""

import math
from dataclasses import fields
from typing import Any, NamedTuple

import numpy as np

from feedgym.agents.two_tower import Embedding, Vectors
from feedgym.env.arrays import Bools, Floats, Ints
from feedgym.env.checks import require
from feedgym.env.config import RewardConfig
from feedgym.env.readers import Outcome
from feedgym.experiments.runs import RunConfig, make_drive, one_thread


class Exported(NamedTuple):
    """The export's columns of impressions, 0 where there was no vector yet."""

    product: Floats
    """u * v, (R, d)."""
    other: Floats
    """The same with another reader's u, (R, d)."""
    rest: Floats
    """Item bias, whether the article had a vector, whether the reader had one, (R, 3)."""


def run_config_of(settings: dict[str, Any]) -> RunConfig:
    """The config that these settings of a run (``config.json``) stand for.

    Raises:
        ValueError: the run's newsroom replayed a file, of which the settings keep no more than the name.
    """
    require(settings["articles"] is None, "run", settings["articles"], "a run without a file of articles")
    names = {f.name for f in fields(RunConfig)} & settings.keys()
    return RunConfig(**{name: settings[name] for name in names} | {"reward": RewardConfig(**settings["reward"])})


@one_thread("torch", "faiss")
def replay(config: RunConfig, export_every_hours: float, seed: int) -> tuple[Ints, Exported]:
    """Live through a run again, and look up each impression's vectors in the last export before it.

    Returns:
        Articles as served, (R,), in the log's order, and the exported columns of them.
    """
    drive = make_drive(config)
    agent = config.plan().start(drive.feed)
    require(isinstance(agent, Embedding), "agent", config.agent, "an agent with towers")
    assert isinstance(agent, Embedding)
    # Each reader's stand-in: the next in a random circle, so never herself.
    circle = np.random.default_rng(seed).permutation(config.readers)
    other = np.empty_like(circle)
    other[circle] = np.roll(circle, 1)
    served, parts, due = [], [], 0.0
    vectors = agent.vectors()
    while not drive.feed.done:
        visits, now = drive.visits, drive.feed.now
        if now >= due:
            # Before this tick's visits: what follows has happened by then for none of its rows.
            vectors = agent.vectors()
            due = export_every_hours * (math.floor(now / export_every_hours) + 1)
        slates = agent.act(visits, drive.catalogue).article_id
        outcome = drive.serve(slates)
        agent.learn(Outcome(clicks=outcome.clicks, dwell_minutes=outcome.dwell_minutes, subscribed=outcome.subscribed))
        article, row = slates.reshape(-1).copy(), np.repeat(visits.rows, slates.shape[1])
        served.append(article)
        # A newcomer's stand-in is one of the first readers too, who have been there as long as there are vectors.
        parts.append(look_up(vectors, article, row, other[row % config.readers]))
    return np.concatenate(served), Exported(*(np.concatenate(part) for part in zip(*parts, strict=True)))


def look_up(vectors: Vectors, article: Ints, row: Ints, other: Ints) -> Exported:
    """Exported columns of articles (R,) shown to the readers at ``row`` (R,), with stand-ins ``other`` (R,)."""
    place, has_article = _find(vectors.article_id, article)
    (of_reader, has_reader), (of_other, has_other) = _find(vectors.row, row), _find(vectors.row, other)

    def product(reader: Ints, known: Bools) -> Floats:
        if len(vectors.article) == 0 or len(vectors.reader) == 0:
            return np.zeros((len(article), vectors.article.shape[1]), dtype=np.float32)
        u_v: Floats = vectors.reader[reader] * vectors.article[place] * (known & has_article)[:, None]
        return u_v

    bias = vectors.bias[place] * has_article if len(vectors.bias) else np.zeros(len(article))
    rest = np.stack([bias, has_article, has_reader], axis=1).astype(np.float32)
    return Exported(product(of_reader, has_reader), product(of_other, has_other), rest)


def _find(ids: Ints, wanted: Ints) -> tuple[Ints, Bools]:
    """Places of ``wanted`` (R,) in rising ``ids``, and whether they are there; 0 where not."""
    place = np.searchsorted(ids, wanted)
    place[place == len(ids)] = 0
    there: Bools = ids[place] == wanted if len(ids) else np.zeros(len(wanted), dtype=np.bool_)
    return place, there

"""What a second stage needs of an agent: sources, what readers have been shown, trees, and a check of the settings."""

import numpy as np
import torch

from feedgym.agents.agent import Site
from feedgym.agents.learners import Crossing, Foretelling, Learner, Learning, Logarithmic
from feedgym.agents.serving import Acted
from feedgym.agents.two_tower.second_stage import Boosting, PairMemory, Sources, TreeRanker
from feedgym.agents.two_tower.settings import TwoTowerAgentConfig
from feedgym.env.arrays import Floats
from feedgym.env.checks import require
from feedgym.env.readers import Outcome
from feedgym.towers.interface import Towers

_AT_ONCE = 4096
"""Visits that are embedded together."""


def check_second_stage(config: TwoTowerAgentConfig, learner: Learner) -> None:
    """Refuse a second stage that makes no sense with this learner, or with readers served by less than what is known.

    Raises:
        ValueError: with what would do.
    """
    stage, reranker = config.second_stage, config.towers.reranker
    words, lags = stage.crosses, config.serving.clocks.readers_lag
    if stage.cross_names:
        used = reranker is not None or stage.grows_trees or isinstance(learner, Crossing)
        allowed = "'none' for this learner, which fits none, but with prediction=logistic or mlp, or ranker=gbdt"
        require(used, "crosses", words, allowed)
        require(not lags, "crosses", words, "'none' where readers lag: crosses are those of the request")
    if stage.grows_trees:
        require(reranker is None, "prediction", reranker, "'dot' or 'cosine' with ranker=gbdt: one second stage")
        clicks = isinstance(learner, Foretelling) and (learner.foretells or "").startswith("click")
        logs = isinstance(learner, Logarithmic) and learner.logarithmic
        allowed = "'none' for this learner: trees correct logarithms of minutes (loss=hurdle, poisson) or log-odds"
        require(logs or clicks, "ranker", stage.ranker, allowed)
        require(not lags, "ranker", stage.ranker, "'none' where readers lag: it ranks at request")


def sources_of(config: TwoTowerAgentConfig) -> Sources | None:
    """The sources beside the towers that the settings ask for; None: the towers alone."""
    stage = config.second_stage
    return Sources(stage.other_sources, stage.source_size) if stage.other_sources else None


def pairs_of(site: Site, config: TwoTowerAgentConfig, sources: Sources | None) -> PairMemory | None:
    """The memory that the settings ask for; None where no cross is told to anybody."""
    names = config.second_stage.cross_names
    return PairMemory(names, site.category_sizes, sources) if names else None


def trees_of(config: TwoTowerAgentConfig) -> TreeRanker | None:
    """The ranker of trees that the settings ask for; None without."""
    stage = config.second_stage
    if not stage.grows_trees:
        return None
    boosting = Boosting(trees=stage.ranker_trees, leaves=stage.ranker_leaves)
    return TreeRanker(boosting, stage.ranker_target, len(stage.cross_names), with_vectors=stage.ranker_vectors)


def fit_trees(trees: TreeRanker, learning: Learning[Towers]) -> None:
    """Grow the trees anew from the visits kept; vectors, where they are asked for, are those after the training."""
    vectors = (_reader_vectors(learning), learning.store.vector) if trees.with_vectors else None
    trees.fit(learning.replay, learning.store.published_hours, vectors)


@torch.no_grad()
def _reader_vectors(learning: Learning[Towers]) -> Floats:
    """Readers of all visits kept, (V, d)."""
    replay = learning.replay
    parts = np.array_split(np.arange(len(replay)), max(len(replay) // _AT_ONCE, 1))
    found: Floats = np.concatenate([learning.users(replay.take(rows)).vector.numpy() for rows in parts])
    return found


def note_outcome(pairs: PairMemory, acted: Acted, outcome: Outcome | None = None) -> None:
    """Remember what a tick's readers were shown, and what they did where that is known."""
    article_id = acted.served.article_id
    opened = np.zeros(article_id.shape, dtype=np.bool_) if outcome is None else outcome.clicks
    minutes = np.zeros(article_id.shape, dtype=np.float32) if outcome is None else outcome.dwell_minutes
    pairs.note(acted.row, article_id, opened, minutes, acted.now)

"""What a second stage needs of an agent: what readers have been shown, trees, and a check of the settings."""

import numpy as np

from feedgym.agents.agent import Site
from feedgym.agents.learners import Crossing, Foretelling, Learner, Logarithmic
from feedgym.agents.serving import Acted
from feedgym.agents.two_tower.second_stage import Boosting, PairMemory, TreeRanker
from feedgym.agents.two_tower.settings import TwoTowerAgentConfig
from feedgym.env.checks import require
from feedgym.env.readers import Outcome


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


def pairs_of(site: Site, config: TwoTowerAgentConfig) -> PairMemory | None:
    """The memory that the settings ask for; None where no cross is told to anybody."""
    names = config.second_stage.cross_names
    return PairMemory(names, site.category_sizes) if names else None


def trees_of(config: TwoTowerAgentConfig) -> TreeRanker | None:
    """The ranker of trees that the settings ask for; None without."""
    stage = config.second_stage
    if not stage.grows_trees:
        return None
    boosting = Boosting(trees=stage.ranker_trees, leaves=stage.ranker_leaves)
    return TreeRanker(boosting, stage.ranker_target, len(stage.cross_names))


def note_outcome(pairs: PairMemory, acted: Acted, outcome: Outcome | None = None) -> None:
    """Remember what a tick's readers were shown, and what they did where that is known."""
    article_id = acted.served.article_id
    opened = np.zeros(article_id.shape, dtype=np.bool_) if outcome is None else outcome.clicks
    minutes = np.zeros(article_id.shape, dtype=np.float32) if outcome is None else outcome.dwell_minutes
    pairs.note(acted.row, article_id, opened, minutes, acted.now)

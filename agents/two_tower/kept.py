"""What an agent keeps of a tick once its outcome is known: rows of the replay, and what readers were shown.

Shapes: n visits, K positions, M shortlist, X crosses.
"""

import numpy as np

from feedgym.agents.agent import Site
from feedgym.agents.learners import Crossing, Foretelling, Learner, Learning, Logarithmic, VisitBatch
from feedgym.agents.serving import Acted
from feedgym.agents.two_tower.second_stage import Boosting, PairMemory, TreeRanker
from feedgym.agents.two_tower.settings import TwoTowerAgentConfig
from feedgym.agents.two_tower.through_link import level_of
from feedgym.env.arrays import Floats, Ints
from feedgym.env.checks import require
from feedgym.env.readers import Outcome
from feedgym.towers.interface import Towers


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


def visit_batch(
    acted: Acted,
    outcome: Outcome,
    *,
    inclusions: bool,
    shortlist_size: int,
    pairs: PairMemory | None,
    scored_by: Learning[Towers] | None,
) -> VisitBatch:
    """A tick's visits as rows of the replay.

    Args:
        acted: how they were served, by the agent or, as a log has it, by somebody else.
        outcome: what became of them.
        inclusions: keep the chances of what is shown to stand anywhere on the slate.
        shortlist_size: M, keep shortlists; 0 does not.
        pairs: as it was when they were served.
        scored_by: as it was then, to keep the first stage's scores; None: do not.
    """
    article_id = acted.served.article_id
    return VisitBatch(
        now=np.full(len(acted.row), acted.now),
        row=acted.row,
        reader=acted.reader,
        history_id=acted.history_id,
        article_id=article_id,
        clicks=outcome.clicks,
        dwell_minutes=outcome.dwell_minutes,
        subscribed=outcome.subscribed,
        slot_propensity=acted.served.slot_propensity.astype(np.float32),
        history_minutes=acted.history_minutes,
        inclusion=acted.inclusion.astype(np.float32) if inclusions else None,
        shortlist=_padded(acted.served.draw.shortlist, shortlist_size) if shortlist_size else None,
        crosses=None if pairs is None else pairs.told(acted.row, article_id, acted.now),
        score=None if scored_by is None else _scores(acted, scored_by),
    )


def _scores(acted: Acted, learning: Learning[Towers]) -> Floats:
    """The first stage's scores of what was shown, float32 (n, K)."""
    assert acted.factor is not None
    model, store = learning.model, learning.store
    vectors = store.augmented[np.maximum(acted.served.article_id, 0), : model.augmented_dim]
    product = np.einsum("ne,nke->nk", acted.queries[:, : model.augmented_dim], vectors)
    score: Floats = (product / acted.factor[:, None] + level_of(model)).astype(np.float32)
    return score


def note_outcome(pairs: PairMemory, acted: Acted, outcome: Outcome | None = None) -> None:
    """Remember what a tick's readers were shown, and what they did where that is known."""
    article_id = acted.served.article_id
    opened = np.zeros(article_id.shape, dtype=np.bool_) if outcome is None else outcome.clicks
    minutes = np.zeros(article_id.shape, dtype=np.float32) if outcome is None else outcome.dwell_minutes
    pairs.note(acted.row, article_id, opened, minutes, acted.now)


def _padded(shortlist: Ints, size: int) -> Ints:
    """Shortlists (n, M') with M columns, -1 where there were fewer."""
    rows: Ints = np.full((len(shortlist), size), -1, dtype=np.int64)
    rows[:, : shortlist.shape[1]] = shortlist
    return rows

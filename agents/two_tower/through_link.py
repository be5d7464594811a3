"""From scores to what they foretell: log-odds of a click become its chance, logarithms minutes; minutes stay."""

import numpy as np
import torch

from feedgym.agents.learners import LARGEST_LOG, Crossing, Foretelling, Learner, Learning, Logarithmic
from feedgym.agents.serving import Acted, embed_readers
from feedgym.agents.two_tower.second_stage import PairMemory
from feedgym.env.arrays import Doubles
from feedgym.towers.interface import Towers
from feedgym.towers.two_tower import TwoTower


def level_of(model: Towers) -> float:
    """What all scores of a model have in common, which retrieval leaves out; of a sum of two models 0."""
    return float(model.level.detach()) if isinstance(model, TwoTower) else 0.0


def through_link(score: Doubles, learner: Learner, model: Towers, slate_size: int) -> Doubles:
    """Chances of a click once examined, where clicks are what is learned; minutes of logarithms; else the scores.

    Args:
        score: what retrieval searches by, any shape. It lacks what all scores have in common, which is added here, and
            with a linear age decay a number that is alike for all articles of a reader, which is left out.
        learner: who trains the towers.
        model: the towers.
        slate_size: K.
    """
    if not isinstance(model, TwoTower):
        return score
    logits = torch.from_numpy(score) + level_of(model)
    if isinstance(learner, Logarithmic) and learner.logarithmic:
        foretold: Doubles = logits.clamp(max=LARGEST_LOG).exp().numpy()
        return foretold
    if isinstance(learner, Foretelling) and learner.click_examination(slate_size) is not None:
        chance: Doubles = torch.sigmoid(logits).numpy()
        return chance
    return score


@torch.no_grad()
def click_chances(
    acted: Acted, learner: Learner, learning: Learning[Towers], pairs: PairMemory | None, slate_size: int
) -> Doubles | None:
    """Predicted chance of a click on each entry of served slates, (n, K), NaN where nothing is shown.

    Args:
        acted: how they were served.
        learner: who trains the towers; None comes back unless clicks are what is learned.
        learning: the towers and what is kept of articles, as they were then.
        pairs: what the second stage is told, as it was then; None: nothing.
        slate_size: K.
    """
    theta = learner.click_examination(slate_size) if isinstance(learner, Foretelling) else None
    if theta is None:
        return None
    model, store, ids = learning.model, learning.store, acted.served.article_id
    shown = ids >= 0
    known = np.where(shown, ids, 0)
    now = np.full(len(ids), acted.now)
    user = embed_readers(model, store, acted.history_id, acted.history_minutes, acted.reader, now)
    items, age = torch.from_numpy(store.vector[known]), learning.ages(ids, now)
    score = model.score(user, items, torch.from_numpy(store.bias[known]), age)
    told = None if pairs is None else torch.from_numpy(pairs.told(acted.row, ids, acted.now))
    weights = learner.cross_weights if isinstance(learner, Crossing) else None
    if model.two_stages:
        # The second stage is told the position: examination is in its prediction.
        score, theta = model.rerank(score, user, items, age, torch.arange(ids.shape[1]), told), np.ones(len(theta))
    elif told is not None and weights is not None:
        score = score + told @ torch.from_numpy(weights)
    chance: Doubles = torch.sigmoid(score.double()).numpy() * theta
    return np.where(shown, chance, np.nan)

"""From scores to what they foretell: log-odds of a click become its chance, logarithms minutes; minutes stay."""

import torch

from feedgym.agents.learners import LARGEST_LOG, Foretelling, Learner, Logarithmic
from feedgym.env.arrays import Doubles
from feedgym.towers.interface import Towers
from feedgym.towers.two_tower import TwoTower


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
    logits = torch.from_numpy(score) + model.level.detach().double()
    if isinstance(learner, Logarithmic) and learner.logarithmic:
        foretold: Doubles = logits.clamp(max=LARGEST_LOG).exp().numpy()
        return foretold
    if isinstance(learner, Foretelling) and learner.click_examination(slate_size) is not None:
        chance: Doubles = torch.sigmoid(logits).numpy()
        return chance
    return score

"""From scores to what they foretell: log-odds of a click become its chance, minutes stay minutes."""

import torch

from feedgym.agents.learners import Foretelling, Learner
from feedgym.env.arrays import Doubles
from feedgym.towers.interface import Towers
from feedgym.towers.two_tower import TwoTower


def through_link(score: Doubles, learner: Learner, model: Towers, slate_size: int) -> Doubles:
    """Chances of a click once examined, where clicks are what is learned; else the scores.

    Args:
        score: what retrieval searches by, any shape. It lacks the global bias, which is added here, and with a linear
            age decay a number that is alike for all articles of a reader, which is left out.
        learner: who trains the towers.
        model: the towers.
        slate_size: K.
    """
    of_clicks = isinstance(learner, Foretelling) and learner.click_examination(slate_size) is not None
    if not of_clicks or not isinstance(model, TwoTower):
        return score
    chance: Doubles = torch.sigmoid(torch.from_numpy(score) + model.prediction.global_bias.detach().double()).numpy()
    return chance

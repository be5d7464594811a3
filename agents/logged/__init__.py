"""A log as a site: learning from what somebody else served, estimating what another policy would have earned.

May import every other room of ``agents`` but ``registry``. Names are looked up late: torch.
"""

from typing import TYPE_CHECKING

from feedgym.env.late_names import late_names

if TYPE_CHECKING:
    from feedgym.agents.logged.behaviour import FittedBehaviour, fit_behaviour
    from feedgym.agents.logged.evaluation import check_drawn_now, evaluate_on_log
    from feedgym.agents.logged.learning import learn_from_log
    from feedgym.agents.logged.reward_model import RewardModel, fit_reward_model
    from feedgym.agents.logged.site import LoggedSite

__all__ = [
    "FittedBehaviour",
    "LoggedSite",
    "RewardModel",
    "check_drawn_now",
    "evaluate_on_log",
    "fit_behaviour",
    "fit_reward_model",
    "learn_from_log",
]

__getattr__ = late_names(
    __name__,
    {
        "FittedBehaviour": "behaviour",
        "fit_behaviour": "behaviour",
        "check_drawn_now": "evaluation",
        "evaluate_on_log": "evaluation",
        "learn_from_log": "learning",
        "RewardModel": "reward_model",
        "fit_reward_model": "reward_model",
        "LoggedSite": "site",
    },
)

"""Behind ``feedgym offline`` and ``feedgym export``: estimates, deployment, truth, episodes, Open Bandit.

May import ``runs`` and what is below it.
"""

from feedgym.experiments.logs.episodes import Episode, episodes_of, steps_of
from feedgym.experiments.logs.offline_estimates import Kept, start, with_estimates
from feedgym.experiments.logs.offline_plot import draw_estimates
from feedgym.experiments.logs.offline_result import OfflineResult, result_text
from feedgym.experiments.logs.offline_world import changed_world, deploy, feed_of, simulated_run

__all__ = [
    "Episode",
    "Kept",
    "OfflineResult",
    "changed_world",
    "deploy",
    "draw_estimates",
    "episodes_of",
    "feed_of",
    "result_text",
    "simulated_run",
    "start",
    "steps_of",
    "with_estimates",
]

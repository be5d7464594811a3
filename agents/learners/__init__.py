"""How towers are trained: each learner is a loss on logged visits. Settings and the replay live here too.

May import ``serving``, ``ope``, ``slate_policy``, ``feedgym.towers`` and ``feedgym.env``. Names are looked up late:
learners import torch, their settings do not.
"""

from typing import TYPE_CHECKING

from feedgym.env.late_names import late_names

if TYPE_CHECKING:
    from feedgym.agents.learners.contrastive import ContrastiveLearner
    from feedgym.agents.learners.gradients.advantages import ADVANTAGES, Earned
    from feedgym.agents.learners.gradients.candidates import LearnedPolicy
    from feedgym.agents.learners.gradients.direct import DirectLearner
    from feedgym.agents.learners.gradients.policy_gradient import (
        ESTIMATORS,
        Estimator,
        Logged,
        Shown,
        Terms,
        log_slots,
        log_slots_of_kinds,
    )
    from feedgym.agents.learners.gradients.reinforce import ReinforceLearner
    from feedgym.agents.learners.learner import (
        Beginning,
        Counting,
        Crossing,
        Finishing,
        Following,
        Foretelling,
        Gathering,
        Inspecting,
        Learner,
        Logarithmic,
        Observing,
        OwnColumns,
        Parts,
        Preparing,
        Reporting,
        Trained,
        new_rows,
    )
    from feedgym.agents.learners.learning import Learning
    from feedgym.agents.learners.regression import RegressionLearner
    from feedgym.agents.learners.regressions import LARGEST_LOG, REGRESSIONS, Impressions, Regression
    from feedgym.agents.learners.replay import Replay, VisitBatch
    from feedgym.agents.learners.returns.ltv import LtvLearner
    from feedgym.agents.learners.returns.planning import Planning
    from feedgym.agents.learners.settings import (
        ContrastiveConfig,
        DirectConfig,
        FutureConfig,
        LtvConfig,
        RegressionConfig,
        ReinforceConfig,
        ReturnConfig,
    )
    from feedgym.agents.learners.wide.linear import LinearLearner

__all__ = [
    "ADVANTAGES",
    "ESTIMATORS",
    "LARGEST_LOG",
    "REGRESSIONS",
    "Beginning",
    "ContrastiveConfig",
    "ContrastiveLearner",
    "Counting",
    "Crossing",
    "DirectConfig",
    "DirectLearner",
    "Earned",
    "Estimator",
    "Finishing",
    "Following",
    "Foretelling",
    "FutureConfig",
    "Gathering",
    "Impressions",
    "Inspecting",
    "LearnedPolicy",
    "Learner",
    "Learning",
    "LinearLearner",
    "Logarithmic",
    "Logged",
    "LtvConfig",
    "LtvLearner",
    "Observing",
    "OwnColumns",
    "Parts",
    "Planning",
    "Preparing",
    "Regression",
    "RegressionConfig",
    "RegressionLearner",
    "ReinforceConfig",
    "ReinforceLearner",
    "Replay",
    "Reporting",
    "ReturnConfig",
    "Shown",
    "Terms",
    "Trained",
    "VisitBatch",
    "log_slots",
    "log_slots_of_kinds",
    "new_rows",
]

__getattr__ = late_names(
    __name__,
    {
        "ContrastiveLearner": "contrastive",
        "DirectLearner": "gradients.direct",
        "ADVANTAGES": "gradients.advantages",
        "Earned": "gradients.advantages",
        "LearnedPolicy": "gradients.candidates",
        "ESTIMATORS": "gradients.policy_gradient",
        "Estimator": "gradients.policy_gradient",
        "Logged": "gradients.policy_gradient",
        "Shown": "gradients.policy_gradient",
        "Terms": "gradients.policy_gradient",
        "log_slots": "gradients.policy_gradient",
        "log_slots_of_kinds": "gradients.policy_gradient",
        "ReinforceLearner": "gradients.reinforce",
        "LinearLearner": "wide.linear",
        "LtvLearner": "returns.ltv",
        "Planning": "returns.planning",
        "Beginning": "learner",
        "Counting": "learner",
        "Crossing": "learner",
        "Finishing": "learner",
        "Following": "learner",
        "Foretelling": "learner",
        "Gathering": "learner",
        "Inspecting": "learner",
        "Learner": "learner",
        "Logarithmic": "learner",
        "Observing": "learner",
        "OwnColumns": "learner",
        "Parts": "learner",
        "Preparing": "learner",
        "Reporting": "learner",
        "Trained": "learner",
        "new_rows": "learner",
        "Learning": "learning",
        "RegressionLearner": "regression",
        "LARGEST_LOG": "regressions",
        "REGRESSIONS": "regressions",
        "Impressions": "regressions",
        "Regression": "regressions",
        "Replay": "replay",
        "VisitBatch": "replay",
        "ContrastiveConfig": "settings",
        "DirectConfig": "settings",
        "FutureConfig": "settings",
        "LtvConfig": "settings",
        "RegressionConfig": "settings",
        "ReinforceConfig": "settings",
        "ReturnConfig": "settings",
    },
)

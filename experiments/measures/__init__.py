"""What a run measures besides its curves: ranking, calibration, regret, what is personal, and the editor's view.

May import ``feedgym.agents`` and ``feedgym.env``.
"""

from feedgym.experiments.measures.editor_sums import GROUPS, NAMES, SHARES, editor_tag
from feedgym.experiments.measures.editor_view import EditorView
from feedgym.experiments.measures.evaluation import AGES, CLICKED, METRICS, Evaluation
from feedgym.experiments.measures.personal import NEW_VISITS, PERSONAL, WINDOW_NAMES, personal_tag
from feedgym.experiments.measures.regret import examination_of, expected_slate_reward
from feedgym.experiments.measures.reliability import ReliabilityBin

__all__ = [
    "AGES",
    "CLICKED",
    "GROUPS",
    "METRICS",
    "NAMES",
    "NEW_VISITS",
    "PERSONAL",
    "SHARES",
    "WINDOW_NAMES",
    "EditorView",
    "Evaluation",
    "ReliabilityBin",
    "editor_tag",
    "examination_of",
    "expected_slate_reward",
    "personal_tag",
]

"""About how long a run takes, so that a study can say so before it starts.

From short runs on one core of a rented machine: 3 or 6 days, 500 to 2,000 readers on ``vivid`` and ``measured``, with
the agents of the table on seed 101; and 28 days with 1,000 readers, on which the pace of learners was corrected. Take
it for half to twice of what comes.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from feedgym.experiments.runs import RunConfig

START_SECONDS = 2.0
"""Of a run: libraries, first articles, files."""


@dataclass(frozen=True)
class Pace:
    """CPU seconds of one core."""

    a_day: float
    """For each simulated day, whoever comes."""
    a_thousand: float
    """For each day of 1,000 readers."""


BASELINE, ORACLE, LEARNER = Pace(0.2, 0.15), Pace(0.3, 0.65), Pace(0.8, 2.3)
PACES: Mapping[str, Pace] = {
    "regression": Pace(1.0, 0.6),
    "regression-dwell": Pace(1.0, 0.6),
    "regression-click": Pace(1.0, 0.9),
    "linear": Pace(0.6, 0.7),
    "one-list-now": Pace(0.8, 0.8),
    "one-list-planning": Pace(0.8, 0.8),
    "contrastive": Pace(0.6, 0.4),
    "contrastive-uniform": Pace(0.6, 0.6),
}
"""By the name of the agent; all others have the pace of their kind."""
WORLD_FACTORS = {"measured": 3.0}
"""How much more a day of 1,000 readers takes than on ``vivid``: they come more often."""


def run_minutes(config: RunConfig) -> float:
    """Minutes of one core that a run takes, about."""
    plan = config.plan()
    kind = LEARNER if plan.learns else ORACLE if plan.is_oracle else BASELINE
    pace = PACES.get(plan.name, kind)
    thousands = config.readers / 1000 * WORLD_FACTORS.get(config.world, 1.0)
    return (START_SECONDS + config.horizon_days * (pace.a_day + thousands * pace.a_thousand)) / 60

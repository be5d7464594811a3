"""``feedgym benchmark``: speed, as ratios within one run. May import ``runs`` and what is below it."""

from typing import TYPE_CHECKING

from feedgym.env.late_names import late_names

if TYPE_CHECKING:
    from feedgym.experiments.benchmarks.agent import Stopwatch
    from feedgym.experiments.benchmarks.feed import LIVE_AT_400_PER_DAY
    from feedgym.experiments.benchmarks.serving import WARM_DAYS, ServingFigures, measure

__all__ = ["LIVE_AT_400_PER_DAY", "WARM_DAYS", "ServingFigures", "Stopwatch", "measure"]

__getattr__ = late_names(
    __name__,
    {
        "Stopwatch": "agent",
        "LIVE_AT_400_PER_DAY": "feed",
        "ServingFigures": "serving",
        "WARM_DAYS": "serving",
        "measure": "serving",
    },
)

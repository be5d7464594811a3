"""Study: does learning from returns pay, when, and why (docs/mathematics.md 3.6).

28 days of ``vivid``. All settings were chosen on seeds 100 to 102 and frozen before these seeds were run: those of
``AGENTS``, and for dwell regression the sharpness that was best there over 28 days (1, as the two others have).
Two controls: without the future term in learning, and in a world without delayed effects. Beside ``reinforce``
stands the prototype's single-slot ratio, which is biased (docs/mathematics.md 3.2).
"""

from pathlib import Path

from feedgym.env.readers import NewsReader, NewsReaderConfig
from feedgym.experiments.compare import CompareConfig
from feedgym.experiments.studies.study import Part

SEEDS = (300, 301, 302, 303, 304, 305, 306, 307)
READERS, DAYS = 2000, 28.0
REGRESSION = "regression:sharpness=1.0"
SINGLE_SLOT = "feedgym.experiments.studies.single_slot.REINFORCE"
NO_FUTURE = "reinforce:use_future=False"
LTV_NO_FUTURE = "ltv:use_future=False"
NO_DELAYED_EFFECTS = NewsReader(NewsReaderConfig(delayed_effects=False))
"""Readers of ``vivid`` whom nothing that is served brings back sooner, or drives away."""


def parts(out: Path) -> tuple[Part, ...]:
    """The world as it is, and without delayed effects."""
    return (
        Part(
            title="vivid",
            config=CompareConfig(
                agents=("recent", REGRESSION, "reinforce", NO_FUTURE, SINGLE_SLOT, "ltv", LTV_NO_FUTURE),
                out=out / "vivid",
                seeds=SEEDS,
                readers=READERS,
                days=DAYS,
                log=False,
            ),
            claims=(
                ("reinforce", REGRESSION, "REINFORCE beats dwell regression"),
                ("ltv", REGRESSION, "long-term-value regression beats dwell regression"),
                ("ltv", "reinforce", "it beats REINFORCE"),
                ("reinforce", NO_FUTURE, "REINFORCE: the future term is what helps"),
                (NO_FUTURE, REGRESSION, "REINFORCE without a future term still beats dwell regression"),
                ("ltv", LTV_NO_FUTURE, "long-term value: the future term is what helps"),
                ("reinforce", SINGLE_SLOT, "the inclusion estimator beats the biased single-slot ratio"),
                (SINGLE_SLOT, REGRESSION, "even the single-slot ratio beats dwell regression"),
            ),
            daily=(("reinforce", REGRESSION), ("ltv", REGRESSION)),
        ),
        Part(
            title="without delayed effects",
            config=CompareConfig(
                agents=(REGRESSION, "reinforce", "ltv"),
                reader_model="feedgym.experiments.studies.long_term:NO_DELAYED_EFFECTS",
                out=out / "without-delayed-effects",
                seeds=SEEDS,
                readers=READERS,
                days=DAYS,
                log=False,
            ),
            claims=(
                ("reinforce", REGRESSION, "REINFORCE beats dwell regression where nothing is delayed"),
                ("ltv", REGRESSION, "long-term-value regression does where nothing is delayed"),
            ),
            daily=(("reinforce", REGRESSION), ("ltv", REGRESSION)),
        ),
    )

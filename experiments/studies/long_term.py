"""Study: does learning from returns pay, when, and why (docs/mathematics.md 3.6).

14 days of ``vivid``. Agents that ship are named by their defaults, whatever these are when the study is run: settings
are chosen on other seeds and frozen, with everything here, before these seeds are run. Two controls: without the future
term in learning, and in a world without delayed effects. Beside ``reinforce`` stands the prototype's single-slot ratio,
which is biased (docs/mathematics.md 3.2).
"""

from pathlib import Path

from feedgym.env.readers import NewsReader, NewsReaderConfig
from feedgym.experiments.compare import CompareConfig
from feedgym.experiments.studies.study import Part

SEEDS = (7200, 7201, 7202, 7203, 7204)
READERS, DAYS = 600, 14.0
REGRESSION = "regression-dwell"
SINGLE_SLOT = "feedgym.experiments.studies.single_slot.REINFORCE"
NO_FUTURE = "reinforce:use_future=False"
LTV_NO_FUTURE = "ltv:use_future=False"
# So strong a prior around 0 that no effect on returns is found: what is left is the regression of minutes.
RETURN_NO_FUTURE = "return:ridge=1000000000.0"
NO_DELAYED_EFFECTS = NewsReader(NewsReaderConfig(delayed_effects=False))
"""Readers of ``vivid`` whom nothing that is served brings back sooner, or drives away."""
RETURNS = ("reinforce", "ltv", "return")
"""Who learns from what readers bring later."""
DAILY = tuple((agent, REGRESSION) for agent in RETURNS)


def parts(out: Path) -> tuple[Part, ...]:
    """The world as it is, and without delayed effects."""
    return (
        Part(
            title="vivid",
            config=CompareConfig(
                agents=("recent", REGRESSION, *RETURNS, NO_FUTURE, SINGLE_SLOT, LTV_NO_FUTURE, RETURN_NO_FUTURE),
                out=out / "vivid",
                seeds=SEEDS,
                readers=READERS,
                days=DAYS,
                log=False,
            ),
            claims=(
                ("reinforce", REGRESSION, "REINFORCE beats dwell regression"),
                ("ltv", REGRESSION, "long-term-value regression beats dwell regression"),
                ("return", REGRESSION, "the model of returns beats dwell regression"),
                ("ltv", "reinforce", "long-term-value regression beats REINFORCE"),
                ("return", "ltv", "the model of returns beats long-term-value regression"),
                ("reinforce", NO_FUTURE, "REINFORCE: the future term is what helps"),
                (NO_FUTURE, REGRESSION, "REINFORCE without a future term still beats dwell regression"),
                ("ltv", LTV_NO_FUTURE, "long-term value: the future term is what helps"),
                ("return", RETURN_NO_FUTURE, "model of returns: the future term is what helps"),
                (RETURN_NO_FUTURE, REGRESSION, "the same agent without it still beats dwell regression"),
                ("reinforce", SINGLE_SLOT, "the inclusion estimator beats the biased single-slot ratio"),
                (SINGLE_SLOT, REGRESSION, "even the single-slot ratio beats dwell regression"),
            ),
            daily=DAILY,
        ),
        Part(
            title="without delayed effects",
            config=CompareConfig(
                agents=(REGRESSION, *RETURNS),
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
                ("return", REGRESSION, "the model of returns does where nothing is delayed"),
            ),
            daily=DAILY,
        ),
    )

"""Study: who learns what on ``vivid``: minutes, clicks, which article was clicked, what brings readers back.

Agents that ship are named by their defaults, whatever these are when the study is run: settings are chosen on other
seeds and frozen, with everything here, before these seeds are run. Beside them stand contrastive agents as the textbook
has them, each with one suspected cause of their failure taken away: ``propensity_cap``: clicks weighed by 1 / slot
propensity (capped), so that being shown often does not count as being liked; then ``dwell_weight`` on top: minutes
instead of clicks. Oracles and the two that serve one list to everybody know what no site can: they say how much is left
to win, and how much of it takes lists of readers' own.
"""

from pathlib import Path

from feedgym.experiments.compare import CompareConfig

SEEDS = (7100, 7101, 7102, 7103, 7104)
READERS, DAYS = 1000, 10.0
# As the textbook has them. Passes of these count clicks: 30 of them.
TEXTBOOK = "task=click,negatives_live=False,sharpness=8.0,passes=30.0,wide_part=False,content_channel=False"
IN_BATCH = f"contrastive:{TEXTBOOK},propensity_cap=None"
UNIFORM = f"contrastive-uniform:{TEXTBOOK},propensity_cap=None"
WEIGHED = f"contrastive-uniform:{TEXTBOOK},propensity_cap=300.0"
BY_MINUTES = f"{WEIGHED},dwell_weight=True"
AGENTS = (
    *("random", "recent", "popular"),
    *("linear", "regression-dwell", "regression-click", "contrastive", "contrastive-uniform", "ltv", "return"),
    *(IN_BATCH, UNIFORM, WEIGHED, BY_MINUTES),
    *("one-list-now", "one-list-planning", "oracle-click", "oracle-dwell", "oracle-planning"),
)


def config(out: Path) -> CompareConfig:
    """The comparison."""
    return CompareConfig(agents=AGENTS, seeds=SEEDS, days=DAYS, readers=READERS, out=out, log=False)


CLAIMS = (
    ("regression-dwell", "random", "dwell regression beats random"),
    ("regression-dwell", "popular", "dwell regression beats popular"),
    ("regression-dwell", "recent", "dwell regression beats recent"),
    ("regression-dwell", "regression-click", "minutes are a better target than clicks"),
    ("regression-dwell", "linear", "dwell regression with towers beats a linear one"),
    ("return", "regression-dwell", "learning who comes back beats learning minutes"),
    ("return", "ltv", "it beats long-term-value regression"),
    ("ltv", "regression-dwell", "long-term-value regression beats learning minutes"),
    (UNIFORM, IN_BATCH, "textbook: uniform negatives help"),
    (WEIGHED, UNIFORM, "taking exposure out of the clicks helps"),
    (BY_MINUTES, WEIGHED, "weighing by minutes helps"),
    (BY_MINUTES, "recent", "then contrastive learning beats recent"),
    ("contrastive", IN_BATCH, "contrastive as it ships beats the textbook's"),
    ("contrastive-uniform", UNIFORM, "so does contrastive-uniform"),
    ("contrastive-uniform", "recent", "contrastive-uniform as it ships beats recent"),
    ("contrastive-uniform", "regression-dwell", "it beats dwell regression"),
    ("oracle-planning", "oracle-dwell", "the planning oracle is above the dwell oracle"),
    ("oracle-planning", "oracle-click", "the planning oracle is above the click oracle"),
    ("oracle-planning", "regression-dwell", "the planning oracle is above what learns minutes"),
    ("one-list-planning", "one-list-now", "one list for all: planning beats minutes now"),
    ("one-list-planning", "return", "one list by the true rule beats what is learned"),
    ("oracle-planning", "one-list-planning", "lists of readers' own beat one list"),
)
"""(agent, other, what is claimed): each is a paired difference, reported whatever it is."""

"""Whether slates are served at the chances that are stated: chi-square of whole slates."""

import numpy as np
from scipy import stats

from feedgym.env.arrays import Doubles, Ints

Joint = dict[tuple[int, ...], float]
"""The chance of every slate that may be served."""


def pooled(slates: Ints, joint: Joint) -> tuple[Doubles, Doubles]:
    """Observed and expected counts of each slate; cells that expect fewer than 5 become one."""
    seen, counts = np.unique(slates, axis=0, return_counts=True)
    count_of = dict(zip(map(tuple, seen.tolist()), counts.tolist(), strict=True))
    expected = np.array(list(joint.values())) * len(slates)
    observed = np.array([count_of.get(slate, 0) for slate in joint], dtype=np.float64)
    rare = expected < 5
    if not rare.any():
        return observed, expected
    return (
        np.append(observed[~rare], observed[rare].sum()),
        np.append(expected[~rare], expected[rare].sum()),
    )


def p_value(slates: Ints, joint: Joint) -> float:
    """Of slates (n, K); 0 where one was served that has no chance, 1 where only one has any."""
    if any(joint.get(slate, 0.0) == 0.0 for slate in map(tuple, np.unique(slates, axis=0).tolist())):
        return 0.0
    observed, expected = pooled(slates, joint)
    some = expected > 0
    return float(stats.chisquare(observed[some], expected[some]).pvalue) if some.sum() > 1 else 1.0


def binomial_interval(trials: int, chance: float, level: float = 0.999) -> tuple[int, int]:
    """Smallest and largest count that a binomial of ``trials`` shows with chance ``level``, tails alike."""
    low, high = stats.binom.interval(level, trials, chance)
    return int(low), int(high)

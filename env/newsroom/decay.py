"""How an article's appeal fades: ``2^(-age / h)`` in odds, for a half-life of h hours.

In log-odds that is linear in age, so it stays one more term of an inner product (docs/mathematics.md 9.1).
"""

import numpy as np

from feedgym.env.arrays import Doubles

LN2 = float(np.log(2.0))


def decay_rate(half_life_hours: Doubles) -> Doubles:
    """Log-odds lost per hour of age, (n,), for half-lives (n,) in hours."""
    return LN2 / half_life_hours

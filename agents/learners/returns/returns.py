"""Returns of readers' visits, discounted by the hour (docs/mathematics.md 3.5 and 4).

Visits of many readers stand in one array, in chain order: reader by reader, each in order of time. Recursions along
the chains are scans by doubling, log2(n) passes over all visits at once.
Shapes: n visits. Time is in hours.
"""

import numpy as np

from feedgym.env.arrays import Bools, Doubles, Ints
from feedgym.env.checks import require


def chain_order(reader: Ints, time_hours: Doubles) -> tuple[Ints, Bools]:
    """Chain order of visits.

    Args:
        reader: who, int (n,).
        time_hours: when, (n,).

    Returns:
        ``order`` int64 (n,): indices of the visits, reader by reader, each by time; ``last`` bool (n,), in that
        order: no later visit of this reader is known.
    """
    order: Ints = np.lexsort((time_hours, reader))
    last: Bools = np.ones(len(order), dtype=np.bool_)
    last[:-1] = reader[order[1:]] != reader[order[:-1]]
    return order, last


def scan_back(addend: Doubles, factor: Doubles) -> Doubles:
    """``x_i = addend_i + factor_i * x_{i+1}`` from the end of the array, (n,); a factor of 0 ends a chain."""
    total, carry = addend.astype(np.float64), factor.astype(np.float64)
    if len(carry):
        carry[-1] = 0.0
    shift = 1
    while shift < len(total) and carry.any():
        total[:-shift] = total[:-shift] + carry[:-shift] * total[shift:]
        carry[:-shift] = carry[:-shift] * carry[shift:]
        carry[-shift:] = 0.0
        shift *= 2
    return total


def running_mean(values: Doubles, first: Bools, rate: float) -> Doubles:
    """Of each visit, the exponentially weighted mean of its reader's *earlier* values, (n,); 0 where there are none.

    Args:
        values: (n,), in chain order.
        first: starts a chain, bool (n,).
        rate: weight of the newest value, in (0, 1].
    """
    keep = np.where(first, 0.0, 1.0 - rate)
    weighted = scan_forward(np.where(first, 0.0, _shifted(values)), keep)
    weight = scan_forward(np.where(first, 0.0, 1.0), keep)
    mean: Doubles = weighted / np.maximum(weight, 1e-12)
    return mean


def _shifted(values: Doubles) -> Doubles:
    before = np.empty_like(values, dtype=np.float64)
    before[:1] = 0.0
    before[1:] = values[:-1]
    return before


def scan_forward(addend: Doubles, factor: Doubles) -> Doubles:
    """``x_i = addend_i + factor_i * x_{i-1}`` from the start of the array, (n,); a factor of 0 starts a chain."""
    return scan_back(addend[::-1], factor[::-1])[::-1]


def lambda_returns(
    reward: Doubles,
    value: Doubles,
    gap_hours: Doubles,
    last: Bools,
    end: Doubles,
    discount_per_hour: float,
    trace: float = 1.0,
) -> Doubles:
    """``G_i = r_i + g^gap_i [(1 - trace) V_{i+1} + trace G_{i+1}]``, and ``r_i + end_i`` at the end of a chain.

    Args:
        reward: r, (n,), in chain order.
        value: V at each visit, (n,).
        gap_hours: hours to the reader's next visit, (n,); ignored where ``last``.
        last: ends a chain, bool (n,).
        end: discounted value of what follows, (n,): ``g^(t_end - t) V(x_end)`` where the window closes before the
            next visit, 0 where the reader has left for good; ignored but where ``last``.
        discount_per_hour: g, in (0, 1].
        trace: lambda, in [0, 1]: 1 is Monte Carlo, 0 one step.

    Returns:
        float64 (n,).
    """
    require(0.0 < discount_per_hour <= 1.0, "discount_per_hour", discount_per_hour, "in (0, 1]")
    require(0.0 <= trace <= 1.0, "trace", trace, "between 0 and 1")
    if len(reward) == 0:
        return np.zeros(0)
    discount = np.where(last, 0.0, discount_per_hour ** np.where(last, 0.0, gap_hours))
    following = np.append(value[1:], 0.0)
    addend = reward + np.where(last, end, discount * (1.0 - trace) * following)
    return scan_back(addend, discount * trace)

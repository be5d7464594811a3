"""Recall: what share of the true top k an index finds.

A figure belongs to a distribution of vectors, so it is measured on the agent's own (docs/mathematics.md 7.4).
"""

import math

from feedgym.env.arrays import Ints


def recall_at_k(found: Ints, true: Ints) -> float:
    """Share of the true articles that were found, over all rows.

    Args:
        found: article ids that a search returned, int64 (B, k), -1 pads.
        true: those that it should have returned, int64 (B, k), distinct in a row, -1 pads.

    Returns:
        Recall between 0 and 1; NaN where there is nothing to find.
    """
    wanted = true >= 0
    if not wanted.any():
        return math.nan
    hit = (true[:, :, None] == found[:, None, :]).any(axis=2) & wanted
    return float(hit.sum() / wanted.sum())

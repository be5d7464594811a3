"""A boost for new articles: what nobody has seen yet has no clicks to be found by.

The boost is added to logits after the temperature, in nats, and the softmax is taken of the sum: propensities stay
exact, and the logged logit is the boosted one. Time is in hours.
"""

import numpy as np

from feedgym.env.arrays import Bools, Ints
from feedgym.env.feed import Catalogue


def is_new(catalogue: Catalogue, article_id: Ints, hours: float, impressions: int) -> Bools:
    """Which articles are younger than ``hours``, or were shown fewer than ``impressions`` times.

    Args:
        catalogue: with its clock and counters.
        article_id: published articles, int64 of any shape; -1 is none, and never new.
        hours: an article of exactly this age is not new any more; 0 asks for no age.
        impressions: 0 asks for no impressions.

    Returns:
        bool, of the shape of ``article_id``.
    """
    known = article_id >= 0
    ids: Ints = np.where(known, article_id, 0)
    new: Bools = np.zeros(article_id.shape, dtype=np.bool_)
    if not known.any():
        return new
    if hours > 0:
        new |= catalogue.now - catalogue.published_hours_of(ids) < hours
    if impressions > 0:
        new |= catalogue.impressions_of(ids) < impressions
    return new & known

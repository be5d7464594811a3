"""Which clicks are examples, and how many of them go to an article.

Shapes: c clicks, m articles.
"""

import numpy as np

from feedgym.env.arrays import Bools, Doubles, Ints


def shares_of(
    article_id: Ints, clicked: Ints, hours: Doubles | None = None, life: tuple[Doubles, Doubles] | None = None
) -> Doubles:
    """Share of ``clicked`` (c,) that each of ``article_id`` (m,) takes, float64 (m,); 0 if none.

    A uniform negative may never have been clicked, so no log q was recorded for it at that time: it is counted
    among the clicks around the batch. Its frequency of today would be wrong by .4 on average, at most 4.6.

    Args:
        article_id: whose share.
        clicked: articles of the clicks.
        hours: when these were, rising, (c,).
        life: since when and until when each article was live, (m,) each: its share is of the clicks in between, as a
            frequency recorded at a click is; of all clicks without.
    """
    names, counts = np.unique(clicked, return_counts=True)
    place = np.minimum(np.searchsorted(names, article_id), len(names) - 1)
    found = np.where(names[place] == article_id, counts[place], 0)
    if hours is None or life is None:
        share: Doubles = found / len(clicked)
        return share
    since, until = life
    rows = np.searchsorted(hours, until) - np.searchsorted(hours, since)
    # At most 1, whatever a careless log says of clicks on what was not live.
    within: Doubles = np.minimum(found / np.maximum(rows, 1), 1.0)
    return within


def newest_of_each_reader(reader: Ints, most: int) -> Bools:
    """The newest clicks of each reader, at most so many: bool (c,).

    With as many examples of each reader, those who click a lot do not outweigh the rest (Covington et al., RecSys 2016,
    3.4).

    Args:
        reader: who made each click, oldest first, (c,).
        most: examples of a reader.
    """
    order = np.argsort(reader, kind="stable")  # of each reader, oldest first
    _, first, count = np.unique(reader[order], return_index=True, return_counts=True)
    from_newest = np.repeat(first + count, count) - 1 - np.arange(len(reader))
    kept: Bools = np.zeros(len(reader), dtype=np.bool_)
    kept[order] = from_newest < most
    return kept

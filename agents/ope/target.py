"""A new policy's propensities of logged slates (docs/mathematics.md 2.4 and 2.5).

Shapes: n visits, M columns of a shortlist (-1 pads), K positions.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from feedgym.agents.ope.live_sets import ArticleTimes, check_live_sets, check_shortlist
from feedgym.agents.ope.logged import LoggedSlates, TargetPropensities
from feedgym.agents.slate_policy import Draw, slate_chances, slate_marginals
from feedgym.env.checks import require


def target_propensities(
    log: LoggedSlates,
    logits: npt.ArrayLike,
    shortlist: npt.ArrayLike,
    epsilon: npt.ArrayLike,
    *,
    articles: ArticleTimes | None,
    marginals: bool = True,
) -> TargetPropensities:
    """Chances of logged slates under epsilon-Plackett-Luce with new logits and shortlists.

    A caller with many visits hands in blocks of them (``log.select``) and concatenates: (n, M) is held at once.

    Args:
        log: with ``made_hours`` and ``num_live``.
        logits: of the new policy in the logged states, float (n, M); as in ``sample_slates``.
        shortlist: what the new policy retrieves among the articles live when the slate was made, integers (n, M).
        epsilon: of the new policy, a scalar or (n,).
        articles: times of the log's articles, against which log and shortlists are checked.
        marginals: whether slot marginals and inclusion probabilities are wanted, most of the work.

    Raises:
        ValueError: missing or changed live sets (``live_sets``); shortlists that were not live; what
            ``slate_log_propensity`` refuses.
    """
    times = check_live_sets(log, articles)
    assert log.num_live is not None
    listed = np.asarray(shortlist, dtype=np.int64)
    require(listed.ndim == 2 and len(listed) == log.num_visits, "shortlist", listed.shape, f"({log.num_visits}, M)")
    check_shortlist(listed, log, times)
    draw = Draw.of(logits, listed, log.num_live, epsilon, log.article_id.shape[1])
    _, slot = slate_chances(log.article_id, draw)
    if not marginals:
        return TargetPropensities(slot_propensity=slot, num_live=log.num_live)
    found = slate_marginals(log.article_id, draw)
    return TargetPropensities(
        slot_propensity=slot,
        # A quadrature may leave 1 by its own error.
        slot_marginal=np.minimum(found.slot_marginal, 1.0),
        inclusion=np.minimum(found.inclusion, 1.0),
        num_live=log.num_live,
    )

"""What REINFORCE keeps of a visit besides the replay: the policy's candidates and their prior logits.

The live articles of a visit are kept as a head (the shortlist, and what exploration showed from outside it) and
uniform draws from the rest, shared by the visits of a tick: enough for the full softmax of that moment without
embedding anything anew. The prior's part of a logit is frozen as it was served; it carries no policy gradient.
Shapes: n visits, B of a batch, M shortlist, K positions, H = M + K, m draws.
"""

import numpy as np
import numpy.typing as npt

from feedgym.agents.learners.ring import Ring
from feedgym.agents.serving import Acted
from feedgym.agents.slate_policy import columns_in_shortlist
from feedgym.env.arrays import Arrays, Bools, Floats, Ints


def candidate_ring(
    capacity: int, shortlist_size: int, slate_size: int, draws: int, num_reader: int, history_length: int
) -> Ring:
    """An empty ring; ``history_length`` 0 keeps no histories."""
    head = shortlist_size + slate_size
    columns: dict[str, tuple[tuple[int, ...], npt.DTypeLike]] = {
        "now": ((), np.float64),
        "row": ((), np.int32),
        "reader": ((num_reader,), np.float32),
        "history_id": ((history_length,), np.int32),
        "article_id": ((slate_size,), np.int32),
        "clicks": ((slate_size,), np.bool_),
        "slot_reward": ((slate_size,), np.float32),
        "head_id": ((head,), np.int32),
        "head_prior": ((head,), np.float32),
        "tail_id": ((draws,), np.int32),
        "tail_prior": ((draws,), np.float32),
        "num_live": ((), np.int32),
        "inclusion": ((slate_size,), np.float64),
        "first": ((slate_size,), np.float64),
        "time": ((), np.float64),
        "slot_propensity": ((slate_size,), np.float64),
        "slot_marginal": ((slate_size,), np.float64),
    }
    return Ring(capacity, columns)


def candidates_of(
    acted: Acted,
    augmented: Floats,
    own_columns: int,
    shortlist_size: int,
    draws: int,
    rng: np.random.Generator,
    *,
    with_marginals: bool,
) -> Arrays:
    """The ring's columns of one tick, but ``clicks`` and ``slot_reward``.

    Args:
        acted: the tick's visits.
        augmented: v' of all articles, float32 (A, E + X).
        own_columns: X, the learner's: what is left without them is the prior.
        shortlist_size: M, of the ring; shorter shortlists are padded.
        draws: m.
        rng: the agent's stream.
        with_marginals: the exact slot marginals too, which only one estimator needs.
    """
    served, n = acted.served, len(acted.row)
    shown = served.article_id
    width = acted.queries.shape[1] - own_columns
    prior_queries = acted.queries[:, :width]

    def prior(ids: Ints) -> Floats:
        """Prior logits of articles (n, C), whatever where the id is -1."""
        vectors = augmented[:, :width].take(np.maximum(ids, 0), axis=0)
        logits = np.einsum("nd,ncd->nc", prior_queries, vectors) - acted.offset[:, None]
        single: Floats = logits.astype(np.float32)
        return single

    head_id: Ints = np.full((n, shortlist_size + shown.shape[1]), -1, dtype=np.int64)
    head_id[:, : served.draw.shortlist.shape[1]] = served.draw.shortlist
    explored = (shown >= 0) & ~served.in_shortlist
    head_id[:, shortlist_size:] = np.where(explored, shown, -1)

    live = acted.live
    tail_id: Ints = np.full((n, draws), -1, dtype=np.int64)
    tail_prior = np.zeros((n, draws))
    if len(live):
        drawn = live if len(live) <= draws else live[rng.choice(len(live), draws, replace=False)]
        m = len(drawn)
        tail_id[:, :m] = np.where(_within(drawn, head_id), -1, drawn)
        # einsum: a matrix product may round a row by the number of its rows.
        tail_prior[:, :m] = np.einsum("nd,md->nm", prior_queries, augmented[drawn, :width]) - acted.offset[:, None]
    columns: Arrays = {
        "now": np.full(n, acted.now),
        "row": acted.row,
        "reader": acted.reader,
        "history_id": acted.history_id,
        "article_id": shown,
        "head_id": head_id,
        "head_prior": prior(head_id) if len(live) else np.zeros(head_id.shape, dtype=np.float32),
        "tail_id": tail_id,
        "tail_prior": tail_prior.astype(np.float32),
        "num_live": np.full(n, len(live)),
        "slot_propensity": served.slot_propensity,
        "slot_marginal": np.ones(shown.shape),
    }
    columns |= served.chances._asdict()
    if with_marginals:
        columns["slot_marginal"] = served.slot_marginal
    return columns


def _within(drawn: Ints, head_id: Ints) -> Bools:
    """Which of the draws (m,) each row's head (n, H) holds, bool (n, m)."""
    place: Ints = np.full(max(int(head_id.max(initial=0)), int(drawn.max())) + 2, -1, dtype=np.int64)
    place[drawn] = np.arange(len(drawn))
    hit = place[head_id]  # -1, a pad, looks at the last entry, which no id has
    row, column = np.nonzero(hit >= 0)
    within: Bools = np.zeros((len(head_id), len(drawn)), dtype=np.bool_)
    within[row, hit[row, column]] = True
    return within


def shown_columns(article_id: Ints, head_id: Ints) -> Ints:
    """Where the head (B, H) holds each shown article (B, K); -1 where nothing was shown."""
    return columns_in_shortlist(article_id, head_id)

"""A log as Open Bandit Pipeline's dict: its estimators on our logs.

Keys and their meaning: Saito, Aihara, Matsutani & Narita, "Open Bandit Dataset and Pipeline", NeurIPS Datasets and
Benchmarks 2021, and the package's documentation (``OffPolicyEvaluation``, ``SlateOffPolicyEvaluation``).
Shapes: R impressions, n slates, K positions, A articles.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from feedgym.env.checks import require

if TYPE_CHECKING:
    import pyarrow as pa

COLUMNS = (
    *("time_hours", "visit_id", "slate_id", "visit", "position", "article_id"),
    *("greedy", "slot_propensity", "slot_marginal", "reward"),
)
"""Columns of the log that are read."""


def open_bandit_feedback(log: pa.Table, *, slates: bool = False) -> dict[str, Any]:
    """The log as ``bandit_feedback``: an entry for each impression that showed something, slate by slate.

    Args:
        log: of ``read_impressions``, all of it or some visits, with ``COLUMNS`` at least.
        slates: for ``SlateOffPolicyEvaluation``, whose ``pscore`` is the chance of the whole slate; else, for
            ``OffPolicyEvaluation``, it is the chance of the article at its position, as in the Open Bandit Dataset.

    Returns:
        ``n_rounds`` (R; n with ``slates``), ``n_actions`` (A) and, (R,) each, ``action`` (0 to A - 1), ``position``,
        ``reward`` (of the position: a subscription is not in it), ``pscore``, ``slate_id``, ``pscore_item_position``,
        ``pscore_cascade`` (of this position and those above); ``context`` (R, 3): the hour's sine and cosine, and the
        root of the visits before; ``article_id`` (A,), whose actions are. Of a slate that was shown in several visits,
        the first one only (docs/mathematics.md 2.7).

    Raises:
        ValueError: columns that lack, greedy visits, unknown propensities.
    """
    lacking = sorted(set(COLUMNS) - set(log.column_names))
    require(not lacking, "log", f"no {lacking}", "a table of read_impressions with these columns")
    c = {name: log[name].to_numpy() for name in COLUMNS}
    require(not c["greedy"].any(), "greedy", "visits served greedily", "a log by a policy that explores (feedgym log)")
    shown = c["article_id"] >= 0
    for name in ("slot_propensity", "slot_marginal"):
        unknown = int(np.isnan(c[name][shown]).sum())
        require(not unknown, name, f"{unknown} unknown", "known for every article shown (feedgym log writes both)")
    _, first, slate = np.unique(c["slate_id"], return_index=True, return_inverse=True)
    kept = np.flatnonzero(shown & (c["visit_id"] == c["visit_id"][first][slate]))
    kept = kept[np.lexsort((c["position"][kept], slate[kept]))]
    c, slate = {name: values[kept] for name, values in c.items()}, slate[kept]
    chance = np.ones((len(first), int(c["position"].max(initial=0)) + 1))
    chance[slate, c["position"]] = c["slot_propensity"]
    # In order of position; what was not shown has the chance 1.
    cascade = np.cumprod(chance, axis=1)
    article_id, action = np.unique(c["article_id"], return_inverse=True)
    angle = 2.0 * np.pi * (c["time_hours"] % 24.0) / 24.0
    return {
        "n_rounds": len(np.unique(slate)) if slates else len(action),
        "n_actions": len(article_id),
        "action": action,
        "position": c["position"].astype(np.int64),
        "reward": c["reward"].astype(np.float64),
        "pscore": cascade[slate, -1] if slates else c["slot_marginal"],
        "context": np.stack([np.sin(angle), np.cos(angle), np.sqrt(c["visit"])], axis=1),
        "slate_id": slate,
        "pscore_item_position": c["slot_marginal"],
        "pscore_cascade": cascade[slate, c["position"]],
        "article_id": article_id,
    }

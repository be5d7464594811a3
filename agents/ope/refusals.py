"""When a log cannot answer, and what to do then (docs/mathematics.md 2.4).

Shapes: n visits, K positions.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from feedgym.agents.ope.estimators import ESTIMATORS, Inputs, Need
from feedgym.agents.ope.logged import LoggedSlates, ModelValues, TargetPropensities
from feedgym.env.checks import require

FEW_READERS = 50
"""Below this, percentiles of a bootstrap over readers are too narrow."""


def check_support(log: LoggedSlates, estimators: Sequence[str]) -> None:
    """Refuse estimators that weigh by propensities where the logger had articles that it could not show.

    Args:
        log: what served.
        estimators: names of those that weigh.

    Raises:
        ValueError: greedy slates; ``epsilon = 0``.
    """
    if not estimators:
        return
    if log.greedy is not None and log.greedy.any():
        raise ValueError(
            f"log: got {int(log.greedy.sum())} greedy slates of {log.num_visits}, needs sampled ones for "
            f"{estimators[0]}: no weight says what the articles that were never shown would earn. Drop these visits "
            "(log.select(~log.greedy), where greedy depends on the reader alone), log with epsilon > 0, or take dm "
            "alone, which extrapolates"
        )
    if log.epsilon is not None and not (log.epsilon > 0).all():
        raise ValueError(
            f"log: got epsilon = 0 in {int((log.epsilon <= 0).sum())} of {log.num_visits} visits, needs epsilon > 0 "
            f"for {estimators[0]}: articles outside the logger's shortlist had no chance, and no weight brings them "
            "back. Log with epsilon > 0, drop these visits (log.select(log.epsilon > 0), where epsilon is the "
            "reader's alone), or take dm alone, which extrapolates"
        )


def check_pair(log: LoggedSlates, target: TargetPropensities | None, model: ModelValues | None) -> None:
    """Refuse a target (or a model) that is not of these visits, and a log that shows a slate twice.

    Raises:
        ValueError: other shapes; another number of live articles; a ``slate_id`` twice.
    """
    shape = log.article_id.shape
    if target is not None:
        require(target.slot_propensity.shape == shape, "target", target.slot_propensity.shape, f"{shape}, as the log")
    if model is not None:
        require(model.q.shape == shape, "model", model.q.shape, f"{shape}, as the log")
    first = log.first_visits()
    if len(first) < log.num_visits:
        twice = log.num_visits - len(first)
        allowed = "each slate once: take log.select(log.first_visits()), and the target's propensities of the same rows"
        require(False, "slate_id", f"{twice} visits that show an earlier slate again", allowed)
    if log.num_live is not None and target is not None and target.num_live is not None:
        other = log.num_live != target.num_live
        row = int(np.argmax(other))
        seen = f"{target.num_live[row]} live articles in row {row}, where {log.num_live[row]} were logged"
        allowed = "propensities over the articles live when the slate was made: the catalogue has changed since"
        require(not other.any(), "target", seen, allowed)


def missing(name: str, inputs: Inputs) -> list[Need]:
    """What an estimator lacks."""
    return [need for need in ESTIMATORS[name].needs if not inputs.has(need)]


def notes(log: LoggedSlates, estimators: Sequence[str], num_readers: int) -> tuple[str, ...]:
    """Sentences for a report."""
    said = []
    weighs = any(ESTIMATORS[name].weighs for name in estimators)
    if log.estimated and weighs:
        said.append("propensities are estimated: their errors are not in the intervals")
    if log.epsilon is None and weighs:
        said.append("the log does not say epsilon: whether every article could be shown is not known")
    if "dm" in estimators:
        said.append("dm extrapolates: its interval holds the model fixed, and says nothing of the model's own error")
    if num_readers < FEW_READERS:
        said.append(f"{num_readers} readers: intervals over so few are too narrow")
    return tuple(said)

"""Evaluation of one target on one log: estimates, intervals over readers, diagnostics (docs/mathematics.md 5.3).

Horizon: one visit, on the logger's states. Products of weights over many visits explode; long-term value is what
running a policy in the simulator is for. Shapes: n visits, R readers, B replicates, E estimators.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from feedgym.agents.ope.estimators import DEFAULT, ESTIMATORS, Inputs
from feedgym.agents.ope.formulas.diagnostics import Diagnostics, diagnose
from feedgym.agents.ope.logged import LoggedSlates, ModelValues, TargetPropensities
from feedgym.agents.ope.refusals import check_pair, check_support, missing, notes
from feedgym.agents.ope.resampling import ReaderSums, bootstrap, interval, reader_codes
from feedgym.env.arrays import Doubles
from feedgym.env.checks import require


@dataclass(frozen=True)
class Row:
    """An estimator's line."""

    estimator: str
    unbiased_when: str
    value: float
    low: float
    high: float
    standard_error: float
    """Of the bootstrap over readers: the sd of its replicates."""
    diagnostics: Diagnostics


@dataclass(frozen=True)
class Evaluation:
    """What a log says of a target policy's reward a visit."""

    rows: tuple[Row, ...]
    logged: float
    """Mean reward a visit of the policy that logged."""
    num_visits: int
    num_readers: int
    level: float
    notes: tuple[str, ...]
    """What the reader of the numbers has to know; warnings of single estimators stand in their rows."""
    replicates: Doubles
    """float64 (B, E), a column for each row, from the same draws: differences have intervals too."""


def evaluate(
    log: LoggedSlates,
    target: TargetPropensities | None,
    model: ModelValues | None = None,
    *,
    rng: np.random.Generator,
    estimators: Sequence[str] | None = None,
    replicates: int = 1000,
    level: float = 0.95,
) -> Evaluation:
    """Estimate the target's value a visit.

    Estimators pass one at a time, and of each only its sums by reader are kept: memory is that of the log and of one.

    Args:
        log: first visits of slates only (``log.select(log.first_visits())``).
        target: propensities of the same visits; None, where only ``dm`` is asked for.
        model: of rewards, for ``cascade_dr`` and ``dm``.
        rng: of the bootstrap.
        estimators: names from ``ESTIMATORS``; None takes those of ``DEFAULT`` for which all is there.
        replicates: B.
        level: of the intervals.

    Raises:
        ValueError: greedy slates or ``epsilon = 0`` with an estimator that weighs; a slate twice; another N or other
            shapes; what a named estimator lacks. Each says what to do.
    """
    inputs = Inputs(log, target, model)
    check_pair(log, target, model)
    names = tuple(estimators) if estimators is not None else tuple(n for n in DEFAULT if not missing(n, inputs))
    require(len(names) > 0, "estimators", names, f"at least one for which all is there, of {tuple(ESTIMATORS)}")
    for name in names:
        require(name in ESTIMATORS, "estimators", name, f"names of {tuple(ESTIMATORS)}")
        lacks = missing(name, inputs)
        require(
            not lacks, name, f"no {', '.join(lacks)}", "it in the log and of the target; or leave the estimator out"
        )
    check_support(log, [name for name in names if ESTIMATORS[name].weighs])
    code, num_readers = reader_codes(log.reader_id)
    visits = np.bincount(code, minlength=num_readers)
    values, found, sums = [], [], []
    for name in names:
        estimate = ESTIMATORS[name].compute(inputs)
        values.append(estimate.value)
        found.append(diagnose(estimate.terms.weight, pooled=estimate.terms.pooled))
        sums.append(ReaderSums.of(estimate.terms, code, num_readers))
    drawn = bootstrap(rng, sums, visits, replicates)
    low, high = interval(drawn, level)
    rows = tuple(
        Row(name, ESTIMATORS[name].unbiased_when, values[e], float(low[e]), float(high[e]), _sd(drawn[:, e]), found[e])
        for e, name in enumerate(names)
    )
    logged = float(log.reward.sum(axis=1).mean())
    return Evaluation(rows, logged, log.num_visits, num_readers, level, notes(log, names, num_readers), drawn)


def _sd(replicates: Doubles) -> float:
    known = replicates[~np.isnan(replicates)]
    return float(known.std(ddof=1)) if len(known) > 1 else float("nan")

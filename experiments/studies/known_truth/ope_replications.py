"""Replications of one seed: estimates, intervals and diagnostics of logs that were drawn at its states.

A replication is a log of some 10,000 visits: readers are drawn with replacement from those of the kept day, each with
all of their visits. It consists of ten cells, logs of 1,000 visits of other readers. An estimator is made of sums over
visits (``Terms``), so the sums of cells are kept, and logs of any larger size are put together from them.
Shapes: P policies, T targets, H kinds of readers, E estimators, J ratios of an estimator, C cells, B replications.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from feedgym.agents.ope import (
    ESTIMATORS,
    Diagnostics,
    Estimator,
    Inputs,
    ReaderSums,
    Terms,
    bootstrap,
    diagnose,
    iips,
    interval,
)
from feedgym.env.arrays import AnyArray, Arrays, Doubles, Ints
from feedgym.env.worlds import WORLDS
from feedgym.experiments.studies.known_truth.ope_draws import READERS, Drawn, RewardModel, draw, reader_models, truth_of
from feedgym.experiments.studies.known_truth.ope_states import LOGGER, StatesConfig, logged_states

WRONG = "single slots"
STUDIED: Mapping[str, Estimator] = {
    **{name: estimator for name, estimator in ESTIMATORS.items() if name != "pseudo_inverse"},
    WRONG: Estimator(("slot_propensity",), "never", lambda i: iips(i.rho, i.log.reward)),
}
"""Those that ship, and one that is wrong for everybody, to see that it is found out. The pseudo-inverse takes
catalogues of K N <= 2,000; here K N is 6,600."""
MOST_RATIOS = 8
"""J at most: a ratio for each position."""
WARNINGS = ("mean weight", "effective sample size")
"""How the warnings of ``diagnose`` begin."""
_KEY = 0x09E


@dataclass(frozen=True, kw_only=True)
class ReplicationConfig:
    """How much is drawn for each seed."""

    states: StatesConfig = field(default_factory=StatesConfig)
    """The world, its logger and the targets."""
    cell_visits: int = 1000
    """Visits of a cell, about: it holds whole readers."""
    cells: int = 10
    """Of a replication."""
    replications: int = 20
    """Of a seed."""
    at_once: int = 4
    """Replications that are in memory at once."""
    truth_slates: int = 200
    """That a policy draws at each state for its truth."""
    bootstrap: int = 1000
    """Replicates of each interval."""


@dataclass(frozen=True)
class SeedResult:
    """What is kept of a seed."""

    truth: Doubles
    """Expected reward a visit, (P, H); the logger's first."""
    truth_error: Doubles
    """Standard error of that, (P, H)."""
    count: Doubles
    """Visits, (C,)."""
    base: Doubles
    """Sums of ``Terms``, (T, H, E, C)."""
    numerator: Doubles
    """(T, H, E, C, J)"""
    denominator: Doubles
    """(T, H, E, C, J); 1 for ratios that an estimator does not have."""
    low: Doubles
    """Ends of the 95 % interval, (T, H, E, B)."""
    high: Doubles
    size: Doubles
    """Effective sample size, as a share of the visits, (T, E, B)."""
    mean_weight: Doubles
    """(T, E, B)"""
    top_share: Doubles
    """(T, E, B)"""
    warned: AnyArray
    """Whether each of ``WARNINGS`` was given, bool (T, E, B, 2)."""

    def estimates(self, cells: int) -> Doubles:
        """Of logs of so many cells, one after the other, (T, H, E, logs)."""
        count, base = (joined(values, cells) for values in (self.count, self.base))
        top, bottom = (joined(values, cells, axis=3) for values in (self.numerator, self.denominator))
        ratio: Doubles = np.full(top.shape, np.nan)
        np.divide(top, bottom, out=ratio, where=bottom != 0)
        value: Doubles = base / count + ratio.sum(axis=-1)
        return value


def joined(values: Doubles, cells: int, axis: int = -1) -> Doubles:
    """Sums over so many neighbours along an axis; those that are left over at the end are dropped."""
    moved = np.moveaxis(values, axis, 0)
    whole = len(moved) // cells
    total = moved[: whole * cells].reshape(whole, cells, *moved.shape[1:]).sum(axis=1)
    summed: Doubles = np.moveaxis(total, 0, axis)
    return summed


def replicate(config: ReplicationConfig, seed: int) -> SeedResult:
    """All replications of one seed."""
    states = logged_states(config.states, seed)
    models = reader_models(WORLDS[config.states.world].reader, states.centers)
    seeds = iter(np.random.SeedSequence(seed, spawn_key=(_KEY,)).generate_state(1000, np.uint64).tolist())
    names = tuple(config.states.policies)
    truths = {name: truth_of(states, models, name, config.truth_slates, next(seeds)) for name in names}
    targets = {name: truth for name, truth in truths.items() if name != LOGGER}
    rng = np.random.default_rng(next(seeds))
    readers = max(1, round(config.cell_visits * states.num_readers / states.first[-1]))  # of a cell

    def drawn(cells: int) -> Drawn:
        visits, entry = states.visits_of(rng.integers(0, states.num_readers, cells * readers))
        return draw(states, models, targets, visits, entry, next(seeds))

    fitting = drawn(config.cells)
    lines = {kind: RewardModel.fitted(fitting.score, fitting.reward[kind]) for kind in READERS}
    parts = []
    for start in range(0, config.replications, config.at_once):
        many = min(config.at_once, config.replications - start)
        log = drawn(many * config.cells)
        edges = np.searchsorted(log.log.reader_id, np.arange(many + 1) * config.cells * readers)
        for first, last in pairwise(edges):
            cell = (log.log.reader_id[first:last] // readers) % config.cells
            parts.append(replication(log, lines, np.arange(first, last), cell, config, rng))
    reward, error = (
        np.array([[getattr(truths[name], side)[kind] for kind in READERS] for name in names])
        for side in ("reward", "error")
    )
    joint = {name: np.concatenate([part[name] for part in parts], axis=axis) for name, axis in _AXES.items()}
    return SeedResult(truth=reward, truth_error=error, **joint)


_AXES = {
    **dict.fromkeys(("base", "numerator", "denominator", "low", "high"), 3),
    **dict.fromkeys(("size", "mean_weight", "top_share", "warned"), 2),
    "count": 0,
}
"""Arrays of a replication, and along which axis those of several are joined."""


def replication(
    drawn: Drawn,
    lines: Mapping[str, RewardModel],
    rows: Ints,
    cell: Ints,
    config: ReplicationConfig,
    rng: np.random.Generator,
) -> Arrays:
    """One replication: ``rows`` (n,) of what was drawn, each in its ``cell`` (n,). Arrays as in ``SeedResult``."""
    terms: list[Terms] = []
    found: list[Diagnostics] = []
    for name in drawn.targets:
        for kind in READERS:
            inputs = inputs_of(drawn, lines[kind], name, kind, rows)
            terms += [estimator.compute(inputs).terms for estimator in STUDIED.values()]
        # Weights are the same for all kinds of readers.
        found += [diagnose(one.weight, pooled=one.pooled) for one in terms[-len(STUDIED) :]]
    t, h, e = len(drawn.targets), len(READERS), len(STUDIED)
    reader, code = np.unique(drawn.log.reader_id[rows], return_inverse=True)
    # One bootstrap for all: each replicate draws the same readers for everybody.
    sums = [ReaderSums.of(one, code, len(reader)) for one in terms]
    low, high = interval(bootstrap(rng, sums, np.bincount(code), config.bootstrap))
    by_cell = [ReaderSums.of(one, cell, config.cells) for one in terms]
    ratios = (t, h, e, config.cells, MOST_RATIOS)
    return {
        "count": np.bincount(cell, minlength=config.cells).astype(np.float64),
        "base": np.stack([s.base for s in by_cell]).reshape(t, h, e, config.cells),
        "numerator": np.stack([_widened(s.numerator, 0.0) for s in by_cell]).reshape(ratios),
        "denominator": np.stack([_widened(s.denominator, 1.0) for s in by_cell]).reshape(ratios),
        "low": low.reshape(t, h, e, 1),
        "high": high.reshape(t, h, e, 1),
        "size": np.array([d.effective_sample_size / d.num_visits for d in found]).reshape(t, e, 1),
        "mean_weight": np.array([d.mean_weight for d in found]).reshape(t, e, 1),
        "top_share": np.array([d.top_share for d in found]).reshape(t, e, 1),
        "warned": np.array([[_warns(d, word) for word in WARNINGS] for d in found]).reshape(t, e, 1, len(WARNINGS)),
    }


def inputs_of(drawn: Drawn, line: RewardModel, target: str, kind: str, rows: Ints) -> Inputs:
    """What estimators of a target see of some rows, with the reward model of this kind of readers."""
    model = line.values(drawn.score[rows], drawn.scored[target].select(rows))
    return Inputs(drawn.logged(kind).select(rows), drawn.targets[target].select(rows), model)


def _widened(ratios: Doubles, value: float) -> Doubles:
    """(C, J) to ``MOST_RATIOS`` columns."""
    wide: Doubles = np.full((len(ratios), MOST_RATIOS), value)
    wide[:, : ratios.shape[1]] = ratios
    return wide


def _warns(found: Diagnostics, word: str) -> bool:
    return any(warning.startswith(word) for warning in found.warnings)

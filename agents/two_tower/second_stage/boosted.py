"""Gradient-boosted trees over reader, article and crosses: the ranker that many teams run, as a correction of a score.

Scores are logarithms of what they foretell. The trees learn, by the Poisson loss, what it has to be multiplied by: with
the exposure ``exp(score)``, a target ``y`` is fitted as ``y / exposure`` with that weight, the same likelihood.
Scikit-learn is imported when there is something to fit, and nothing is kept of it but arrays: no pickle is ever read.
Shapes: R rows, F columns, T trees.
"""

import importlib.util
from dataclasses import dataclass
from typing import Any

import numpy as np

from feedgym.env.arrays import AnyArray, Arrays, Doubles, Floats

NEEDS = "scikit-learn: not installed; needs the extra: pip install 'feedgym[downstream]'"
"""What a user without the extra is told."""
_SPREAD = 6.0
"""Exposures are within so much of their mean, on the scale of a logarithm: else a few rows would be all that counts."""


def check_installed() -> None:
    """Before anything long is done.

    Raises:
        RuntimeError: scikit-learn is not installed.
    """
    if importlib.util.find_spec("sklearn") is None:
        raise RuntimeError(NEEDS)


_QUANTILES = 64


@dataclass(frozen=True, kw_only=True)
class Boosting:
    """How trees are grown, in scikit-learn's words."""

    trees: int = 60
    """``max_iter``"""
    leaves: int = 15
    """``max_leaf_nodes``"""
    learning_rate: float = 0.1
    """``learning_rate``"""
    least_rows: int = 200
    """``min_samples_leaf``"""


def _rounded(columns: Floats) -> Floats:
    """Columns (R, F), each value as the nearest of some 64 quantiles.

    Else scikit-learn (1.8 and later) sorts the column anew for each of 255 weighted quantiles: 20 s for 100,000 rows.
    Its thresholds stand half-way between values, so that rows that are not rounded fall on the side of theirs.
    """
    rounded = np.empty_like(columns)
    for j, column in enumerate(columns.T):
        values = np.unique(np.quantile(column, np.linspace(0.0, 1.0, _QUANTILES)).astype(np.float32))
        rounded[:, j] = values[np.searchsorted((values[1:] + values[:-1]) / 2, column)]
    return rounded


class Boosted:
    """Trees that correct a score; none before the first fit.

    Args:
        boosting: how they are grown.
    """

    def __init__(self, boosting: Boosting) -> None:
        check_installed()
        self._boosting = boosting
        self._nodes: list[AnyArray] = []
        self._base = 0.0
        self._predictors: list[Any] = []

    def fit(self, columns: Floats, log_exposure: Doubles, target: Doubles) -> None:
        """Grow all trees anew.

        Args:
            columns: (R, F), finite.
            log_exposure: the score, (R,).
            target: what came of it, >= 0, (R,).
        """
        from sklearn.ensemble import HistGradientBoostingRegressor
        from threadpoolctl import threadpool_limits

        if not (target > 0).any():
            return
        centre = float(log_exposure.mean())
        exposure = np.exp(np.clip(log_exposure - centre, -_SPREAD, _SPREAD))
        b = self._boosting
        model = HistGradientBoostingRegressor(
            loss="poisson",
            max_iter=b.trees,
            max_leaf_nodes=b.leaves,
            learning_rate=b.learning_rate,
            min_samples_leaf=b.least_rows,
            early_stopping=False,
            random_state=0,
        )
        # One thread: sums over several are of another order each time.
        with threadpool_limits(limits=1, user_api="openmp"):
            model.fit(_rounded(columns), target / exposure, sample_weight=exposure)
        self._take(
            [iteration[0].nodes for iteration in model._predictors], float(model._baseline_prediction.item()) - centre
        )

    def _take(self, nodes: list[AnyArray], base: float) -> None:
        from sklearn.ensemble._hist_gradient_boosting.predictor import TreePredictor

        none = np.zeros((0, 8), dtype=np.uint32)
        self._nodes, self._base = nodes, base
        self._predictors = [TreePredictor(tree, none, none) for tree in nodes]

    def correction(self, columns: Floats) -> Floats:
        """What is added to the score, float32 (R,); 0 before the first fit."""
        if not self._predictors:
            return np.zeros(len(columns), dtype=np.float32)
        rows, place = columns.astype(np.float64), np.zeros(columns.shape[1], dtype=np.uint32)
        total: Doubles = np.full(len(columns), self._base)
        for tree in self._predictors:
            total += tree.predict(rows, np.zeros((0, 8), dtype=np.uint32), place, 1)
        return total.astype(np.float32)

    def snapshot(self) -> Arrays:
        """All trees: bytes of their nodes one after the other, and how many each has."""
        sizes = np.array([len(tree) for tree in self._nodes], dtype=np.int64)
        nodes = np.concatenate(self._nodes).view(np.uint8) if self._nodes else np.zeros(0, dtype=np.uint8)
        return {"sizes": sizes, "nodes": nodes, "base": np.asarray(self._base)}

    def restore(self, snapshot: Arrays) -> None:
        """Become the trees of a snapshot."""
        self._nodes, self._predictors = [], []
        sizes = snapshot["sizes"]
        if len(sizes):
            from sklearn.ensemble._hist_gradient_boosting.common import PREDICTOR_RECORD_DTYPE

            nodes = np.ascontiguousarray(snapshot["nodes"]).view(PREDICTOR_RECORD_DTYPE)
            trees = [tree.copy() for tree in np.split(nodes, np.cumsum(sizes)[:-1])]
            self._take(trees, float(snapshot["base"]))

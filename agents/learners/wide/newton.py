"""A linear model of many rows by Newton steps: rows that share an article share its columns (mathematics 6.11).

The design is never built: of R rows with A article columns, all sums run over rows once for each column that is a row's
own, and over the U articles for the rest. Shapes: R rows, U articles, A columns of an article, C of a row, K positions.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from feedgym.env.arrays import Doubles, Ints

Link = Literal["identity", "logit", "log"]
LINKS: tuple[Link, ...] = ("identity", "logit", "log")
"""What the linear score is of the mean: itself (squared error), its log-odds (BCE), its logarithm (Poisson)."""
RIDGE = 3.0
"""Precision of the weights around 0, on the scale of a logarithm: a spread of .58."""
FIRST_VARIANCE = 0.1
"""Of articles' own effects, on the scale of a logarithm, before anything is known."""
_LEAST_VARIANCE = 1e-4
_STEPS, _EM_STEPS = 25, 25
_LARGEST = 30.0


@dataclass(frozen=True, kw_only=True)
class Rows:
    """What is known of impressions, and what came of them."""

    article: Ints
    """Which of the U articles, (R,)."""
    z: Doubles
    """Columns of the articles, (U, A)."""
    own: Doubles
    """Columns of the rows, one after the other, (C, R)."""
    position: Ints
    """(R,), 0 on top."""
    num_positions: int
    """K; 1: positions are ignored."""
    target: Doubles
    """y, (R,)."""


@dataclass(frozen=True)
class Fit:
    """Weights of a linear model."""

    level: float
    """Of all rows."""
    article: Doubles
    """(A,)"""
    own: Doubles
    """(C,)"""
    position: Doubles
    """(K,), 0 on top."""
    effect: Doubles
    """What is each article's own, beyond its columns, (U,)."""
    variance: float
    """Of these effects; 0: there are none."""

    def scores(self, rows: Rows) -> Doubles:
        """The linear score of rows, (R,)."""
        of_article = self.level + rows.z @ self.article + self.effect
        return of_article[rows.article] + self.own @ rows.own + self.position[rows.position]


def fit_rows(rows: Rows, link: Link, start: Fit | None = None, *, effects: bool = False) -> Fit:
    """Penalised maximum quasi-likelihood.

    The ridge is divided by the dispersion of the rows (Pearson's), and on the scale of a logarithm: minutes, of which a
    few are large, are believed less than clicks, and a target in hours is fitted as one in minutes.

    Args:
        rows: at least one.
        link: of the mean to the score.
        start: weights to begin with, such as those of the latest fit.
        effects: let each article differ from what its columns say, by a normal deviate whose variance is found by EM.

    Returns:
        The weights.
    """
    model = _Model(rows, link)
    weights = model.start(start)
    if effects:
        model.variance = start.variance if start is not None and start.variance > 0 else FIRST_VARIANCE
    for _ in range(_STEPS):
        value = model.objective(weights)
        step = model.step(weights)
        size = 1.0
        while size > 1e-4:
            tried = weights + size * step
            new = model.objective(tried)
            if new >= value - 1e-9 * abs(value):
                break
            size *= 0.5
        else:
            break
        weights, gained = tried, new - value
        moved = model.renew_variance(weights)
        if gained < 1e-7 * (1.0 + abs(value)) and moved < 1e-2:
            break
    return model.as_fit(weights)


def fit_share(offset: Doubles, column: Doubles, target: Doubles, link: Link, prior: float) -> float:
    """How much of a further score belongs to an offset: the weight in [0, 1] under which rows are likeliest.

    Args:
        offset: scores to start from, (R,).
        column: what is to be added in part, (R,).
        target: y, (R,).
        link: of the mean to the score.
        prior: strength of the belief in 0, as that many units of information.

    Returns:
        The share.
    """
    share = 0.0
    dispersion = _dispersion(float(target.mean()), float(target.var()), link)
    for _ in range(_STEPS):
        mean, slope = _mean_of(offset + share * column, link)
        information = float((slope * column**2).sum()) / dispersion + prior
        step = (float(((target - mean) * column).sum()) / dispersion - prior * share) / information
        before, share = share, min(max(share + step, 0.0), 1.0)
        if abs(share - before) < 1e-6:
            break
    return share


def _em(variance: float, known: Doubles, pull: Doubles, unit: float) -> float:
    """A step of EM: the mean square of the effects, and of what is not known of them."""
    bends = known + 1.0 / (variance * unit)
    return max(float(((pull / bends) ** 2 + 1.0 / bends).mean()) / unit, _LEAST_VARIANCE)


def _dispersion(mean: float, spread: float, link: Link) -> float:
    """Variance of the rows over what the link's likelihood takes it to be; 1 where nothing varies."""
    if spread <= 0.0 or link == "logit":
        return 1.0
    return spread if link == "identity" else max(spread / max(mean, 1e-12), 1.0)


def _mean_of(score: Doubles, link: Link) -> tuple[Doubles, Doubles]:
    """Means of linear scores, and their slopes."""
    if link == "identity":
        return score, np.ones_like(score)
    score = np.clip(score, -_LARGEST, _LARGEST)
    if link == "log":
        mean: Doubles = np.exp(score)
        return mean, mean
    mean = 1.0 / (1.0 + np.exp(-score))
    return mean, mean * (1.0 - mean)


class _Model:
    """Likelihood of one set of rows.

    Weights lie flat as [level, article (A), own (C), positions from the second on (K - 1), effects (U)]. Effects of
    articles touch only their own rows: they are eliminated from each step, at a cost in proportion to U.
    """

    def __init__(self, rows: Rows, link: Link) -> None:
        self._rows, self._link = rows, link
        self._num_articles, self._a = rows.z.shape
        self._c, self._k = len(rows.own), rows.num_positions
        self._z = np.hstack([np.ones((self._num_articles, 1)), rows.z])
        self._cell = rows.article * self._k + rows.position
        mean = float(rows.target.mean())
        self._mean = mean if link == "identity" else max(mean, 0.5 / len(rows.target))
        if link == "logit":
            self._mean = min(self._mean, 1.0 - 0.5 / len(rows.target))
        spread = float(np.square(rows.target - self._mean).mean())
        # A weight of one on the scale of a logarithm moves a mean of so much by so much.
        unit = max(abs(self._mean), 0.1 * spread**0.5, 1e-12) if link == "identity" else 1.0
        self._dispersion, self._unit = _dispersion(self._mean, spread, link), unit
        self.variance = 0.0
        self._ridge = np.full(1 + self._a + self._c + self._k - 1, RIDGE / unit**2)
        self._ridge[0] = 1e-9 * self._ridge[1] if len(self._ridge) > 1 else 0.0

    def start(self, start: Fit | None) -> Doubles:
        """Weights to begin with."""
        weights = np.zeros(len(self._ridge) + self._num_articles)
        links: dict[Link, Callable[[float], float]] = {
            "identity": lambda m: m,
            "logit": lambda m: float(np.log(m / (1.0 - m))),
            "log": lambda m: float(np.log(m)),
        }
        weights[0] = links[self._link](self._mean)
        fits = start is not None and len(start.article) == self._a and len(start.own) == self._c
        if fits and start is not None and self._link != "identity":
            warm = np.concatenate([[start.level], start.article, start.own, start.position[1 : self._k]])
            warm = np.append(warm, np.zeros(self._num_articles))
            if len(warm) == len(weights) and self.objective(warm) > self.objective(weights):
                return warm
        return weights

    def as_fit(self, weights: Doubles) -> Fit:
        """The weights by name."""
        a, c, e = 1 + self._a, 1 + self._a + self._c, len(self._ridge)
        return Fit(
            level=float(weights[0]),
            article=weights[1:a],
            own=weights[a:c],
            position=np.concatenate([[0.0], weights[c:e]]),
            effect=weights[e:],
            variance=self.variance,
        )

    def _score(self, weights: Doubles) -> Doubles:
        a, c, e = 1 + self._a, 1 + self._a + self._c, len(self._ridge)
        of_cell = (self._z @ weights[:a] + weights[e:])[:, None] + np.concatenate([[0.0], weights[c:e]])
        score: Doubles = of_cell.ravel()[self._cell]
        for column, weight in zip(self._rows.own, weights[a:c], strict=True):
            score += weight * column
        return np.clip(score, -_LARGEST, _LARGEST) if self._link != "identity" else score

    def objective(self, weights: Doubles) -> float:
        """Penalised log-likelihood over the dispersion."""
        s, y = self._score(weights), self._rows.target
        if self._link == "identity":
            fit = -0.5 * float(np.square(y - s).sum())
        elif self._link == "log":
            fit = float((y * s - np.exp(s)).sum())
        else:
            fit = float((y * s - np.logaddexp(0.0, s)).sum())
        e = len(self._ridge)
        penalty = float((self._ridge * weights[:e] ** 2).sum())
        if self.variance > 0:
            penalty += float((weights[e:] ** 2).sum()) / self._spread
        return fit / self._dispersion - 0.5 * penalty

    @property
    def _spread(self) -> float:
        """Variance of effects on the scale of the score."""
        return self.variance * self._unit**2

    def step(self, weights: Doubles) -> Doubles:
        """Newton's step, of the same length."""
        s, e = self._score(weights), len(self._ridge)
        mean, slope = _mean_of(s, self._link)
        error = (self._rows.target - mean) / self._dispersion
        gradient = self._sums(error) - self._ridge * weights[:e]
        hessian, across, own = self._products(slope / self._dispersion)
        hessian[np.diag_indices_from(hessian)] += self._ridge
        if self.variance == 0:
            return np.append(np.linalg.solve(hessian, gradient), np.zeros(self._num_articles))
        own = own + 1.0 / self._spread
        of_effects = self._by_cell(error).sum(axis=1) - weights[e:] / self._spread
        shared = across / own
        first = np.linalg.solve(hessian - shared @ across.T, gradient - shared @ of_effects)
        self._bends = own
        return np.append(first, (of_effects - across.T @ first) / own)

    def renew_variance(self, weights: Doubles) -> float:
        """EM's variance of the effects; by how much, relative to itself, it moved."""
        if self.variance == 0:
            return 0.0
        before, e, unit = self.variance, len(self._ridge), self._unit**2
        known, pull = self._bends - 1.0 / self._spread, self._bends * weights[e:]
        # With all other weights held, as a step of Newton costs as much as hundreds of these; but not far from them:
        # where effects have barely begun to move, the end of EM is none at all, and it would not come back.
        for _ in range(_EM_STEPS):
            once = _em(self.variance, known, pull, unit)
            twice = _em(once, known, pull, unit)
            bent = twice - 2.0 * once + self.variance
            # EM alone creeps; what its steps tend to, by how they shrink (Steffensen), within what is near.
            last = self.variance
            leap = last - (once - last) ** 2 / bent if bent != 0.0 else twice
            if (leap - last) * (once - last) <= 0.0:
                leap = twice  # steps that grow tend to nothing yet
            self.variance = min(max(leap, 0.5 * twice, before / 3.0, _LEAST_VARIANCE), 2.0 * twice, 3.0 * before)
            if abs(twice / last - 1.0) < 1e-4:
                break
        return abs(self.variance / before - 1.0)

    def _by_cell(self, values: Doubles) -> Doubles:
        """Sums over rows of each article and position, (U, K)."""
        size = self._num_articles * self._k
        sums: Doubles = np.bincount(self._cell, weights=values, minlength=size).astype(np.float64, copy=False)
        return sums.reshape(-1, self._k)

    def _sums(self, values: Doubles) -> Doubles:
        """X' values."""
        cells = self._by_cell(values)
        own = self._rows.own @ values
        return np.concatenate([self._z.T @ cells.sum(axis=1), own, cells.sum(axis=0)[1:]])

    def _products(self, weight: Doubles) -> tuple[Doubles, Doubles, Doubles]:
        """X' diag(weight) X, (W, W); the same between columns and articles, (W, U); and of articles, (U,)."""
        a, c = 1 + self._a, 1 + self._a + self._c
        total = np.zeros((len(self._ridge), len(self._ridge)))
        across = np.zeros((len(self._ridge), self._num_articles))
        cells = self._by_cell(weight)
        across[:a] = self._z.T * cells.sum(axis=1)
        across[c:] = cells[:, 1:].T
        total[:a, :a] = self._z.T @ (self._z * cells.sum(axis=1)[:, None])
        total[:a, c:] = self._z.T @ cells[:, 1:]
        total[range(c, len(total)), range(c, len(total))] = cells.sum(axis=0)[1:]
        for j, column in enumerate(self._rows.own):
            weighed = weight * column
            of_cells = self._by_cell(weighed)
            across[a + j] = of_cells.sum(axis=1)
            total[:a, a + j] = self._z.T @ across[a + j]
            total[a + j, c:] = of_cells.sum(axis=0)[1:]
            for i in range(j, self._c):
                total[a + j, a + i] = weighed @ self._rows.own[i]
        upper = np.triu(total)
        return upper + np.triu(upper, 1).T, across, cells.sum(axis=1)

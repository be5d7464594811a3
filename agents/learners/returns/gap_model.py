"""What opening an article is worth in later minutes: a model of the gaps between sessions, fitted to what a site sees.

Gaps are one step away from what was opened, future minutes carry tastes, articles and hours besides: the same question
asked of gaps is answered several times more exactly (docs/mathematics.md 3.7).
Shapes: t sessions, m articles, P columns of sessions. Time is in hours.
"""

import math

import numpy as np

from feedgym.agents.learners.returns.gap_likelihood import (
    BETA,
    LOG_NU,
    MU,
    Gaps,
    Prior,
    R,
    bends,
    eliminated,
    exponents,
    objective,
    slopes,
    step,
)
from feedgym.agents.learners.returns.sessions import NEWEST, Sessions
from feedgym.agents.learners.settings import ReturnConfig
from feedgym.env.arrays import Arrays, Doubles, Ints, copied, put_back

FEWEST_GAPS = 50
"""Closed gaps below which nothing is fitted."""
_RECENT_HOURS = 48.0
"""Minutes of a session are those of so long ago at most: they follow what is served."""
_FEWEST_LEFT, _OF_GAPS = 0.5, 50.0
"""Readers taken to have left beforehand, and in how many gaps."""
_LEAST_VARIANCE = 1e-4
_CLOSE = 1e-5
_HALVINGS = 12
_KEPT = ("_theta", "_covariance", "_effect", "_variance", "_left", "_gap_hours", "_minutes", "is_fitted")


class ReturnModel:
    """How sessions shorten the gaps after them, and what that is worth.

    Args:
        config: prior, guard, discount.
        names: of the sessions' columns, (P,).
    """

    def __init__(self, config: ReturnConfig, names: tuple[str, ...]) -> None:
        self._config, self.names = config, names
        self._theta: Doubles = np.zeros(BETA + len(names))
        self._theta[[LOG_NU, R]] = math.log(1.3), 0.5
        self._covariance: Doubles = np.eye(len(self._theta))
        self._effect: Doubles = np.zeros(0)
        """b of the readers, by row of the population."""
        self._variance, self._left = 0.25, 0.01
        self._gap_hours, self._minutes = 0.0, 0.0
        self.is_fitted = False

    # Fitting

    def fit(self, sessions: Sessions, now: float) -> None:
        """Maximise the penalised likelihood of all gaps known at ``now``, on from the last fit."""
        closed = ~sessions.is_open
        if np.count_nonzero(closed) < FEWEST_GAPS:
            return
        # An open gap ends its reader's chain.
        first = np.flatnonzero(np.append(True, sessions.is_open[:-1]))
        gaps = Gaps(
            log_gap=np.log(sessions.gap),
            closed=closed.astype(np.float64),
            x=sessions.x,
            slow=sessions.slow,
            start=np.power(1.0 - NEWEST, sessions.place + 1.0, dtype=np.float64),
            first=first,
        )
        if not self.is_fitted:
            self._theta[MU] = gaps.log_gap[closed].mean() + 0.5
        rows = sessions.row[first]
        if rows[-1] >= len(self._effect):
            self._effect = np.concatenate([self._effect, np.zeros(int(rows[-1]) + 1 - len(self._effect))])
        self._maximise(gaps, rows)
        stayed = self._stayed(gaps, self._effect[rows])
        self._gap_hours = float((stayed * sessions.gap_hours).sum() / gaps.closed.sum())
        recent = sessions.start >= now - _RECENT_HOURS
        if recent.any():
            self._minutes = float(sessions.minutes[recent].mean())
        self.is_fitted = True

    def _maximise(self, gaps: Gaps, rows: Ints) -> None:
        """Newton's steps, between them what is expected of who has left and of how readers differ (EM)."""
        theta, effect = self._theta, self._effect[rows]
        for _ in range(self._config.steps):
            prior, uncertain = self._expected(gaps, theta, effect)
            before = theta, self._variance
            theta, effect = _improved(theta, effect, gaps, prior)
            self._variance = max(float((effect**2 + uncertain).mean()), _LEAST_VARIANCE)
            moved = max(float(np.abs(theta - before[0]).max()), abs(self._variance - before[1]))
            if moved < _CLOSE:
                break
        prior, _ = self._expected(gaps, theta, effect)
        _, hessian = eliminated(slopes(theta, effect, gaps, prior, exact=False))
        self._theta, self._effect[rows] = theta, effect
        self._covariance = np.linalg.inv(hessian).astype(np.float64)

    def _expected(self, gaps: Gaps, theta: Doubles, effect: Doubles) -> tuple[Prior, Doubles]:
        """What the next step holds fixed, and the variance of each reader's effect given her gaps, (R,)."""
        stayed = self._stayed(gaps, effect, theta)
        self._left = float(((1.0 - stayed).sum() + _FEWEST_LEFT) / (len(stayed) + _OF_GAPS))
        uncertain: Doubles = 1.0 / (bends(theta, effect, gaps, stayed) + 1.0 / self._variance)
        freedom = float((1.0 - uncertain / self._variance).sum())
        return Prior(stayed=stayed, variance=self._variance, freedom=freedom, ridge=self._config.ridge), uncertain

    def _stayed(self, gaps: Gaps, effect: Doubles, theta: Doubles | None = None) -> Doubles:
        """Chance that the reader of each gap has not left for good, (n,)."""
        lasts = np.exp(-np.exp(exponents(self._theta if theta is None else theta, effect, gaps)))
        stays = (1.0 - self._left) * lasts
        stayed: Doubles = np.where(gaps.closed > 0.0, 1.0, stays / (self._left + stays))
        return stayed

    # What it says

    @property
    def beta(self) -> Doubles:
        """Log of the factor by which each column shortens the next gap, (P,)."""
        return self._theta[BETA:]

    @property
    def beta_covariance(self) -> Doubles:
        """Of ``beta``, (P, P)."""
        return self._covariance[BETA:, BETA:]

    @property
    def slow_share(self) -> float:
        """r: what the slow state adds, as a share of ``beta``."""
        return float(self._theta[R])

    @property
    def shape(self) -> float:
        """Of the gaps' Weibull distribution: nu."""
        return float(np.exp(self._theta[LOG_NU]))

    @property
    def reader_sd(self) -> float:
        """Standard deviation of log gaps between readers."""
        return math.sqrt(self._variance)

    @property
    def guard(self) -> float:
        """Share of the effects that is believed: ``max(0, 1 - P / (beta' Cov^-1 beta))`` (James & Stein 1961)."""
        if not self._config.guard:
            return 1.0
        found = float(self.beta @ np.linalg.solve(self.beta_covariance, self.beta))
        return max(0.0, 1.0 - len(self.names) / found) if found > 0.0 else 0.0

    @property
    def later(self) -> float:
        """``(1 + r s) D``: what an effect on the next gap comes to over all gaps, discounted."""
        late, factor = discounts(self._config.discount_per_hour, self._gap_hours, 1.0 - self._left)
        return max(1.0 + self.slow_share * late, 0.0) * factor

    def value(self, x: Doubles) -> Doubles:
        """Later minutes that opening an article is worth, (m,); 0 before the first fit.

        Args:
            x: of sessions that open this article alone, (m, P).
        """
        if not self.is_fitted:
            return np.zeros(len(x))
        worth: Doubles = self.guard * self._minutes * self.later * (x @ self.beta)
        return worth

    def metrics(self, live: Doubles) -> dict[str, float]:
        """Numbers for the run's curves; ``live`` (m, P) as in :meth:`value`, of the live articles."""
        if not self.is_fitted:
            return {}
        errors = np.sqrt(np.diag(self._covariance))
        told = {
            "return/slow_share": self.slow_share,
            "return/slow_share_error": float(errors[R]),
            "return/shape": self.shape,
            "return/reader_sd": self.reader_sd,
            "return/left_per_gap": self._left,
            "return/gap_hours": self._gap_hours,
            "return/minutes_per_session": self._minutes,
            "return/guard": self.guard,
        }
        for name, effect, error in zip(self.names, self.beta, errors[BETA:], strict=True):
            told[f"return/beta_{name}"], told[f"return/error_{name}"] = float(effect), float(error)
        if len(live):
            worth = self.value(live)
            told["return/worth_best"], told["return/worth_worst"] = float(worth.max()), float(worth.min())
        return told

    def snapshot(self) -> Arrays:
        """Everything: the next fit goes on from here."""
        return copied(self, _KEPT)

    def restore(self, snapshot: Arrays) -> None:
        """Become the model of a snapshot."""
        put_back(self, _KEPT, snapshot)


def _improved(theta: Doubles, effect: Doubles, gaps: Gaps, prior: Prior) -> tuple[Doubles, Doubles]:
    """One step downhill: Newton's where the Hessian is positive, else Gauss and Newton's; halved until it helps."""
    found = step(slopes(theta, effect, gaps, prior)) or step(slopes(theta, effect, gaps, prior, exact=False))
    if found is None:
        return theta, effect
    here, share = objective(theta, effect, gaps, prior), 1.0
    for _ in range(_HALVINGS):
        there = theta + share * found[0], effect + share * found[1]
        if objective(*there, gaps, prior) <= here:
            return there
        share *= 0.5
    return theta, effect


def discounts(discount_per_hour: float, gap_hours: float, stays: float) -> tuple[float, float]:
    """What a shorter gap is worth beyond itself: s and D.

    Args:
        discount_per_hour: g, in (0, 1].
        gap_hours: the mean gap, >= 0.
        stays: chance not to leave for good in a gap.

    Returns:
        ``s = a / (1 - (1 - a) q)`` with ``q = g^gap stays``: what the slow state, of which a session makes up the share
        a, passes on to later gaps; and ``D = -log(g) gap q' / (1 - q')`` with ``q' = g^gap``, the sum of all later
        sessions' discounts over that of a perpetuity. Without discount both are 1.
    """
    rate = -math.log(discount_per_hour) * gap_hours
    if rate <= 0.0:
        return 1.0, 1.0
    kept = math.exp(-rate)
    return NEWEST / (1.0 - (1.0 - NEWEST) * kept * stays), rate * kept / -math.expm1(-rate)

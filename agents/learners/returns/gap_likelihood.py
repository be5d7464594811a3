"""Likelihood of the gaps between sessions: Weibull, readers' own lengths, open gaps, some readers gone for good.

    log H = mu + b_reader - l + (1/nu) log Exp(1),    l = beta . (x + r slow) + delta start

so that ``z = nu (log H - mu - b + l)`` is the log of an exponential draw. Penalties stand for priors: b normal with the
readers' variance, beta normal around 0, r normal around .5, delta normal around 0 (docs/mathematics.md 3.7).
Readers' effects are eliminated by blocks: of the Hessian's part in b only the diagonal is not 0.
Shapes: n gaps, sorted by reader; R readers; P columns of sessions; Q = P + 4 parameters: mu, log nu, r, delta, beta.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from feedgym.env.arrays import Doubles, Ints

MU, LOG_NU, R, DELTA = range(4)
"""Places of the parameters; beta comes after them."""
BETA = 4
_R_MEAN, _R_PRECISION = 0.5, 4.0
"""How far the slow state acts is hard to tell from gaps: a prior of .5 +- .5."""
_DELTA_PRECISION = 1.0
_LARGEST = 40.0
"""z is cut there: exp(z) of a step too far must not overflow. Steps that far are not taken."""


@dataclass(frozen=True)
class Gaps:
    """What is known of the gaps."""

    log_gap: Doubles
    """(n,)"""
    closed: Doubles
    """1 where the reader came back, else 0, (n,)."""
    x: Doubles
    """(n, P)"""
    slow: Doubles
    """(n, P)"""
    start: Doubles
    """What is left of the slow state that the reader came with, as a share, (n,)."""
    first: Ints
    """Where each reader's gaps begin, (R,), rising from 0."""

    @property
    def reader(self) -> Ints:
        """Whose gap, (n,)."""
        return np.repeat(np.arange(len(self.first)), np.diff(np.append(self.first, len(self.log_gap))))

    def sums(self, values: Doubles) -> Doubles:
        """Of (n,) or (n, m) values, sums by reader."""
        total: Doubles = np.add.reduceat(values, self.first, axis=0)
        return total


@dataclass(frozen=True)
class Prior:
    """What is held fixed during a step."""

    stayed: Doubles
    """Chance that the reader has not left for good, (n,); 1 where closed."""
    variance: float
    """Of b."""
    freedom: float
    """Readers' effects that the gaps have fitted, in degrees of freedom: what log nu is held back by. A plain joint
    maximum takes the scatter that they explain for regularity, as a variance divided by n instead of n - 1 does."""
    ridge: float
    """Precision of beta."""


def exponents(theta: Doubles, effect: Doubles, gaps: Gaps) -> Doubles:
    """z, (n,).

    Args:
        theta: parameters, (Q,).
        effect: b, (R,).
        gaps: n of them.
    """
    beta = theta[BETA:]
    pull = (gaps.x + theta[R] * gaps.slow) @ beta + theta[DELTA] * gaps.start
    z: Doubles = np.exp(theta[LOG_NU]) * (gaps.log_gap - theta[MU] - effect[gaps.reader] + pull)
    return np.minimum(z, _LARGEST)


def objective(theta: Doubles, effect: Doubles, gaps: Gaps, prior: Prior) -> float:
    """Negative log-likelihood and penalties; arguments as in :func:`exponents`."""
    z = exponents(theta, effect, gaps)
    fit = (prior.stayed * np.exp(z) - gaps.closed * (theta[LOG_NU] + z)).sum()
    penalty = prior.ridge * (theta[BETA:] ** 2).sum() + _DELTA_PRECISION * theta[DELTA] ** 2
    penalty += _R_PRECISION * (theta[R] - _R_MEAN) ** 2 + (effect**2).sum() / prior.variance
    return float(fit + 0.5 * penalty + prior.freedom * theta[LOG_NU])


def bends(theta: Doubles, effect: Doubles, gaps: Gaps, stayed: Doubles) -> Doubles:
    """Second derivatives of the negative log-likelihood in each reader's effect, (R,); ``stayed`` as in ``Prior``."""
    bend: Doubles = np.exp(2.0 * theta[LOG_NU]) * gaps.sums(stayed * np.exp(exponents(theta, effect, gaps)))
    return bend


class Slopes(NamedTuple):
    """First and second derivatives of the objective."""

    theta: Doubles
    """(Q,)"""
    effect: Doubles
    """(R,)"""
    own: Doubles
    """Second, in theta twice, (Q, Q)."""
    mixed: Doubles
    """In b and theta, (R, Q)."""
    diagonal: Doubles
    """In b twice, (R,): nothing between two readers."""


def slopes(theta: Doubles, effect: Doubles, gaps: Gaps, prior: Prior, *, exact: bool = True) -> Slopes:
    """Derivatives at a point; not ``exact``: of second ones the part that is never negative (Gauss-Newton)."""
    nu, r, beta = float(np.exp(theta[LOG_NU])), float(theta[R]), theta[BETA:]
    z = exponents(theta, effect, gaps)
    bend: Doubles = prior.stayed * np.exp(z)
    pull = bend - gaps.closed
    part = np.empty((len(z), BETA + len(beta)))  # of z in theta
    part[:, MU] = -nu
    part[:, LOG_NU] = z
    part[:, R] = nu * (gaps.slow @ beta)
    part[:, DELTA] = nu * gaps.start
    np.multiply(nu, gaps.x + r * gaps.slow, out=part[:, BETA:])
    of_theta: Doubles = pull @ part
    of_theta[LOG_NU] += prior.freedom - gaps.closed.sum()
    own: Doubles = part.T @ (bend[:, None] * part)
    mixed = -nu * gaps.sums(bend[:, None] * part)
    by_reader = gaps.sums(pull)
    if exact:
        curve: Doubles = pull @ part
        own[LOG_NU] += curve
        own[:, LOG_NU] += curve
        own[LOG_NU, LOG_NU] -= curve[LOG_NU]
        cross = nu * (pull @ gaps.slow)
        own[R, BETA:] += cross
        own[BETA:, R] += cross
        mixed[:, LOG_NU] -= nu * by_reader
    weight = np.concatenate([[0.0, 0.0, _R_PRECISION, _DELTA_PRECISION], np.full(len(beta), prior.ridge)])
    off = theta.copy()
    off[R] -= _R_MEAN
    of_theta += weight * off
    own[np.diag_indices_from(own)] += weight
    return Slopes(
        theta=of_theta,
        effect=effect / prior.variance - nu * by_reader,
        own=own,
        mixed=mixed,
        diagonal=nu * nu * gaps.sums(bend) + 1.0 / prior.variance,
    )


def eliminated(found: Slopes) -> tuple[Doubles, Doubles]:
    """Gradient (Q,) and Hessian (Q, Q) in theta, with each reader's effect where it is best for that theta."""
    scaled = found.mixed / found.diagonal[:, None]
    return found.theta - scaled.T @ found.effect, found.own - found.mixed.T @ scaled


def step(found: Slopes) -> tuple[Doubles, Doubles] | None:
    """Newton's step of theta (Q,) and of the readers' effects (R,); None where the Hessian is not positive."""
    gradient, hessian = eliminated(found)
    try:
        np.linalg.cholesky(hessian)
    except np.linalg.LinAlgError:
        return None
    of_theta: Doubles = -np.linalg.solve(hessian, gradient).astype(np.float64)
    of_effect: Doubles = -(found.effect + found.mixed @ of_theta) / found.diagonal
    return of_theta, of_effect

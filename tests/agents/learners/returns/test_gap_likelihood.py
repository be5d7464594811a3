"""The likelihood of gaps equals one written down gap by gap, and its derivatives those of differences."""

import math

import numpy as np
import pytest

from feedgym.agents.learners.returns.gap_likelihood import (
    BETA,
    Gaps,
    Prior,
    bends,
    eliminated,
    objective,
    slopes,
    step,
)
from feedgym.env.arrays import Doubles

R, P = 7, 3


def some(seed: int = 0) -> tuple[Doubles, Doubles, Gaps, Prior]:
    """A small problem, at a point that is not its optimum."""
    rng = np.random.default_rng(seed)
    count = rng.integers(1, 6, R)
    n = int(count.sum())
    first = np.cumsum(count) - count
    closed = np.ones(n)
    closed[np.cumsum(count) - 1] = 0.0
    gaps = Gaps(
        log_gap=rng.normal(2.0, 0.7, n),
        closed=closed,
        x=rng.normal(size=(n, P)),
        slow=0.4 * rng.normal(size=(n, P)),
        start=np.power(0.8, rng.integers(1, 6, n), dtype=np.float64),
        first=first,
    )
    prior = Prior(stayed=np.where(closed > 0, 1.0, rng.random(n)), variance=0.3, freedom=2.5, ridge=4.0)
    theta = np.concatenate([[2.1, 0.4, 0.7, -0.2], rng.normal(0.0, 0.3, P)])
    return theta, rng.normal(0.0, 0.4, R), gaps, prior


def plain(theta: Doubles, effect: Doubles, gaps: Gaps, prior: Prior) -> float:
    """The same, one gap at a time, from densities: of ``log H``, and of a gap that lasts longer still."""
    mu, log_nu, r, delta = theta[:4]
    nu, total = math.exp(log_nu), 0.0
    ends = [*gaps.first[1:].tolist(), len(gaps.log_gap)]
    for reader, (begin, end) in enumerate(zip(gaps.first.tolist(), ends, strict=True)):
        for i in range(begin, end):
            pull = delta * gaps.start[i]
            for j in range(P):
                pull += theta[BETA + j] * (gaps.x[i, j] + r * gaps.slow[i, j])
            scale = math.exp(mu + effect[reader] - pull)
            share = (math.exp(gaps.log_gap[i]) / scale) ** nu
            total -= math.log(nu * share) - share if gaps.closed[i] else -prior.stayed[i] * share
    total += 0.5 * prior.ridge * sum(b * b for b in theta[BETA:]) + (r - 0.5) ** 2 / (2 * 0.5**2) + 0.5 * delta**2
    return total + sum(b * b for b in effect) / (2 * prior.variance) + prior.freedom * log_nu


def differences(theta: Doubles, effect: Doubles, gaps: Gaps, prior: Prior) -> tuple[Doubles, Doubles]:
    """Gradient and Hessian of ``plain`` in theta and b, by central differences."""
    point, width = np.concatenate([theta, effect]), 1e-4
    at = lambda p: plain(p[: len(theta)], p[len(theta) :], gaps, prior)
    unit = width * np.eye(len(point))
    gradient = np.array([(at(point + u) - at(point - u)) / (2 * width) for u in unit])
    hessian = np.array(
        [[at(point + u + v) - at(point + u - v) - at(point - u + v) + at(point - u - v) for v in unit] for u in unit]
    ) / (4 * width**2)
    return gradient, hessian


@pytest.mark.parametrize("seed", [0, 1])
def test_likelihood_gradient_and_hessian(seed: int) -> None:
    problem = some(seed)
    theta, _, gaps, prior = problem
    assert objective(*problem) == pytest.approx(plain(*problem), rel=1e-12)
    gradient, hessian = differences(*problem)
    q, found = len(theta), slopes(*problem)
    np.testing.assert_allclose(found.theta, gradient[:q], atol=1e-5)
    np.testing.assert_allclose(found.effect, gradient[q:], atol=1e-5)
    np.testing.assert_allclose(found.own, hessian[:q, :q], atol=2e-4)
    np.testing.assert_allclose(found.mixed, hessian[q:, :q], atol=2e-4)
    np.testing.assert_allclose(np.diag(found.diagonal), hessian[q:, q:], atol=2e-4)
    np.testing.assert_allclose(
        bends(theta, problem[1], gaps, prior.stayed) + 1.0 / prior.variance, found.diagonal, rtol=1e-12
    )


def test_elimination_is_the_whole_newton_step() -> None:
    problem = some()
    found = slopes(*problem, exact=False)
    q = len(found.theta)
    whole = np.block([[found.own, found.mixed.T], [found.mixed, np.diag(found.diagonal)]])
    expected = -np.linalg.solve(whole, np.concatenate([found.theta, found.effect]))
    taken = step(found)
    assert taken is not None
    np.testing.assert_allclose(np.concatenate(taken), expected, rtol=1e-8)
    # What is left of the Hessian is the inverse of the parameters' covariance.
    np.testing.assert_allclose(np.linalg.inv(eliminated(found)[1]), np.linalg.inv(whole)[:q, :q], rtol=1e-8)


def test_gauss_and_newtons_part_is_positive_where_the_hessian_is_not() -> None:
    theta, effect, gaps, prior = some()
    theta[0] = 6.0  # far from the optimum
    assert step(slopes(theta, effect, gaps, prior)) is None
    taken = step(slopes(theta, effect, gaps, prior, exact=False))
    assert taken is not None
    share = 2.0**-7
    there = objective(theta + share * taken[0], effect + share * taken[1], gaps, prior)
    assert there < objective(theta, effect, gaps, prior)

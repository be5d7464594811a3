"""Estimators of one article a visit: docs/mathematics.md 10.4, by enumeration, by sampling, and on real logs."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from feedgym.agents import off_policy
from feedgym.agents.ope import Estimate, dm, dr, dros, ips, sips, sndr, snips, switch_dr
from feedgym.env.arrays import Doubles

STATE = np.array([0.4, 0.6])
BETA = np.array([[0.6, 0.3, 0.1], [0.2, 0.2, 0.6]])
PI = np.array([[0.1, 0.3, 0.6], [0.7, 0.2, 0.1]])
MU = np.array([[0.1, 0.2, 0.5], [0.6, 0.3, 0.1]])
Q = MU + np.array([[0.1, -0.1, 0.05], [0.0, 0.1, -0.05]])
Q_PI = (PI * Q).sum(axis=1)
TRUE = 0.442
CASES: dict[str, tuple[Callable[[Doubles, Doubles, Doubles, Doubles], Estimate], float, float | None]] = {
    "ips": (lambda w, r, q, q_pi: ips(w, r), 0.442, 1.211735),
    "capped": (lambda w, r, q, q_pi: ips(w, r, cap=2.0), 0.254, 0.604277),
    "snips": (lambda w, r, q, q_pi: snips(w, r), 0.442, 0.900910),
    "dm": (lambda w, r, q, q_pi: dm(q_pi), 0.455, None),
    "dr": (dr, 0.442, 0.876398),
    "sndr": (sndr, 0.442, None),
    "switch_dr": (lambda w, r, q, q_pi: switch_dr(w, r, q, q_pi, tau=2.0), 0.454, 0.223698),
    "dros": (lambda w, r, q, q_pi: dros(w, r, q, q_pi, lam=5.0), 0.45254211, 0.267359),
}


def rows(state: Any, action: Any, reward: Any) -> tuple[Doubles, Doubles, Doubles, Doubles]:
    return PI[state, action] / BETA[state, action], np.asarray(reward, float), Q[state, action], Q_PI[state]


def enumerated() -> tuple[tuple[Doubles, Doubles, Doubles, Doubles], Doubles]:
    state, action, reward = (x.ravel() for x in np.meshgrid(range(2), range(3), range(2), indexing="ij"))
    chance = np.where(reward == 1, MU[state, action], 1 - MU[state, action])
    return rows(state, action, reward), STATE[state] * BETA[state, action] * chance


def drawn(n: int, seed: int) -> tuple[Doubles, Doubles, Doubles, Doubles]:
    rng = np.random.default_rng(seed)
    state = (rng.random(n) < STATE[1]).astype(int)
    action = (rng.random(n)[:, None] > BETA[state].cumsum(axis=1)[:, :2]).sum(axis=1)
    return rows(state, action, rng.random(n) < MU[state, action])


@pytest.mark.parametrize("name", list(CASES))
def test_expectations(name: str) -> None:
    compute, mean, sd = CASES[name]
    log, p = enumerated()
    assert STATE @ (PI * MU).sum(axis=1) == pytest.approx(TRUE, abs=1e-12)
    terms = compute(*log).terms
    assert terms.value(p) == pytest.approx(mean, abs=1e-8)
    if sd is not None:
        assert np.sqrt(p @ np.square(terms.influence(p))) == pytest.approx(sd, abs=1e-6)


def test_weights() -> None:
    (w, *_), p = enumerated()
    assert p @ w == pytest.approx(1.0, abs=1e-12)
    assert p @ np.square(w) == pytest.approx(3.1666667, abs=1e-7)
    log = drawn(100_000, 5)
    assert ips(*log[:2]).effective_sample_size / 100_000 == pytest.approx(0.3157895, rel=0.02)
    assert ips(*log[:2]).max_weight == pytest.approx(6.0)
    assert dm(log[3]).effective_sample_size == 100_000


@pytest.mark.parametrize("name", list(CASES))
def test_sampled(name: str) -> None:
    compute, mean, sd = CASES[name]
    found = compute(*drawn(100_000, 5))
    assert abs(found.value - mean) < 4 * found.standard_error
    if sd is not None:
        assert found.standard_error == pytest.approx(sd / np.sqrt(100_000), rel=0.05)
        assert abs(found.value - mean) < 4 * sd / np.sqrt(100_000)


def test_limits() -> None:
    """The knobs end where their papers say."""
    log = drawn(500, 2)
    w, r, q, q_pi = log
    exact: dict[str, Any] = {"rel": 1e-12}
    assert ips(w, r, cap=1e9).value == pytest.approx(ips(w, r).value, **exact)
    assert switch_dr(*log, tau=0.0).value == pytest.approx(dm(q_pi).value, **exact)
    assert switch_dr(*log, tau=1e9).value == pytest.approx(dr(*log).value, **exact)
    assert dros(*log, lam=0.0).value == pytest.approx(dm(q_pi).value, **exact)
    assert dros(*log, lam=np.inf).value == pytest.approx(dr(*log).value, **exact)
    assert dr(w, r, 0 * q, 0 * q_pi).value == pytest.approx(ips(w, r).value, **exact)
    assert sndr(w, r, 0 * q, 0 * q_pi).value == pytest.approx(snips(w, r).value, **exact)
    assert snips(w, r + 5.0).value == pytest.approx(snips(w, r).value + 5.0, **exact)
    assert abs(ips(w, r + 5.0).value - ips(w, r).value - 5.0) > 1e-3  # unlike snips
    assert sips(w[:, None], r[:, None]).value == pytest.approx(ips(w, r).value, **exact)
    zero_weight = dros([0.0, 1.0], [1.0, 1.0], [0.0, 0.0], [0.0, 0.0], lam=0.0)
    assert zero_weight.value == 0.0


def test_names_of_the_design() -> None:
    """The public names: both faces offer the same functions."""
    names = "ips snips dm dr sndr switch_dr dros sips rips iips inclusion_ips snsips snrips sniips cascade_dr"
    for name in (*names.split(), "Estimate", "importance_weight", "top_k_multiplier"):
        assert name in off_policy.__all__
        assert callable(getattr(off_policy, name))
    found = off_policy.ips([1.0, 2.0], [0.5, 0.25])
    assert (found.value, found.max_weight, found.mean_weight) == (0.5, 2.0, 1.5)
    assert found.effective_sample_size == pytest.approx(1.8)
    assert found.standard_error == 0.0
    assert np.isnan(off_policy.ips([1.0], [0.5]).standard_error)


def test_nothing_of_the_target_was_shown() -> None:
    found = snips([0.0, 0.0], [1.0, 0.0])
    assert np.isnan(found.value)
    assert found.mean_weight == 0.0
    assert ips([0.0, 0.0], [1.0, 0.0]).value == 0.0


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: ips([1.0], [1.0, 2.0]), r"r: got \(2,\), needs shape \(1,\)"),
        (lambda: ips([-1.0], [1.0]), "w: got -1.0, needs >= 0"),
        (lambda: ips([np.nan], [1.0]), "w: got 'nan in row 0', needs finite"),
        (lambda: ips([1.0, 1.0], [1.0, np.inf]), "r: got 'inf in row 1', needs finite"),
        (lambda: ips([], []), "w: got .*at least one visit"),
        (lambda: ips([[1.0]], [[1.0]]), "w: got .*1 axes"),
        (lambda: ips([1.0], [1.0], cap=0.0), "cap: got 0.0"),
        (lambda: dr([1.0], [1.0], [np.nan], [1.0]), "q: got"),
        (lambda: dr([1.0], [1.0], [1.0], [1.0, 1.0]), "q_pi: got"),
        (lambda: switch_dr([1.0], [1.0], [1.0], [1.0], tau=-1.0), "tau: got -1.0"),
        (lambda: dros([1.0], [1.0], [1.0], [1.0], lam=-1.0), "lam: got -1.0"),
        (lambda: sips([1.0], [1.0]), r"rho: got \(1,\), needs 2 axes"),
    ],
)
def test_refuses(call: Callable[[], Estimate], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        call()


# A real log


OPEN_BANDIT = Path("../shared/data/open_bandit")


def open_bandit(name: str) -> dict[str, Doubles]:
    columns: Any = ("item_id", "position", "click", "propensity_score")
    table: Any = np.genfromtxt(OPEN_BANDIT / name, delimiter=",", names=True, usecols=columns)
    return {column: table[column] for column in table.dtype.names}


@pytest.mark.skipif(not OPEN_BANDIT.exists(), reason="no open_bandit beside the repository")
@pytest.mark.parametrize("campaign", ["all", "men"])
def test_open_bandit(campaign: str) -> None:
    """Bernoulli Thompson sampling's log has true propensities: weights to a uniform policy have mean 1, and its click
    rate is that of the log that a uniform policy collected."""
    bts, uniform = open_bandit(f"bts_{campaign}.csv.gz"), open_bandit(f"random_{campaign}.csv.gz")
    chance = uniform["propensity_score"][0]
    assert (uniform["propensity_score"] == chance).all()
    w, r = chance / bts["propensity_score"], bts["click"]
    found, online = snips(w, r), uniform["click"]
    spread = np.hypot(found.standard_error, online.std() / np.sqrt(len(online)))
    assert abs(found.value - online.mean()) < 3 * spread
    assert abs(found.mean_weight - 1.0) < 4 * w.std() / np.sqrt(len(w))
    assert found.effective_sample_size < 0.9 * len(w)
    upside_down = 1.0 / w
    assert abs(upside_down.mean() - 1.0) > 4 * upside_down.std() / np.sqrt(len(w))  # the check can fail

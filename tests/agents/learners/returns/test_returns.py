"""Returns along chains of visits: docs/mathematics.md 10.5, and plain loops that the scans must equal."""

from typing import Any, cast

import numpy as np
import pytest

from feedgym.agents.learners.returns.returns import chain_order, lambda_returns, running_mean, scan_back
from feedgym.env.arrays import Bools, Doubles

DISCOUNT = 2.0 ** (-1 / 24)
VISIT_RATE = 0.1
POISSON_VALUE = VISIT_RATE / -np.log(DISCOUNT)
"""Of a reader who visits at this rate and earns 1 a visit, at any time (docs/mathematics.md 4.3)."""
SIZES = [0, 1, 2, 3, 7, 8, 9, 64, 1000]
"""Around the powers of two, by which the scans double."""


def plain_scan(addend: Doubles, factor: Doubles) -> Doubles:
    total, later = np.zeros(len(addend)), 0.0
    for i in reversed(range(len(addend))):
        total[i] = later = addend[i] + factor[i] * later
    return total


def plain_returns(
    reward: Doubles, value: Doubles, gap: Doubles, last: Bools, end: Doubles, discount: float, trace: float
) -> Doubles:
    total = np.zeros(len(reward))
    for i in reversed(range(len(reward))):
        if last[i]:
            total[i] = reward[i] + end[i]
        else:
            total[i] = reward[i] + discount ** gap[i] * ((1 - trace) * value[i + 1] + trace * total[i + 1])
    return total


def random_chains(seed: int, size: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    last = rng.random(size) < 0.2
    last[-1:] = True
    return {
        "reward": rng.normal(size=size),
        "value": rng.normal(size=size),
        "gap_hours": rng.exponential(10.0, size),
        "last": last,
        "end": rng.normal(size=size),
    }


# The row of four visits


FOUR_VISITS, FOUR_REWARDS = np.array([0.0, 3.0, 30.0, 31.0]), np.array([1.0, 0.0, 2.0, 1.0])


@pytest.mark.parametrize(
    ("end", "expected"),
    [
        (DISCOUNT ** (48 - 31) * 3.0, (2.999375279, 2.180334202, 4.755342614, 2.836080315)),
        (0.0, (2.249375279, 1.362453402, 2.971531941, 1.0)),
    ],
    ids=["truncated", "terminated"],
)
def test_four_visits(end: float, expected: tuple[float, ...]) -> None:
    last = np.array([False, False, False, True])
    gap = np.append(np.diff(FOUR_VISITS), np.inf)  # nobody knows of a next visit
    got = lambda_returns(FOUR_REWARDS, np.full(4, 9.0), gap, last, np.full(4, end), DISCOUNT)
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-9)


# Poisson readers, whose value is known in closed form


def poisson_returns(window: float, bootstrap: bool, leaving_rate: float = 0.0, readers: int = 20_000) -> Doubles:
    """Returns from hour 0, (readers,): of a visit there that earns nothing, then visits that earn 1 each."""
    rng = np.random.default_rng(5)
    left = rng.exponential(1 / leaving_rate, readers) if leaving_rate else np.full(readers, np.inf)
    until = np.minimum(left, window)
    count = rng.poisson(VISIT_RATE * until)
    reader = np.concatenate([np.repeat(np.arange(readers), count), np.arange(readers)])
    time = np.concatenate([rng.random(count.sum()) * np.repeat(until, count), np.zeros(readers)])
    reward = np.concatenate([np.ones(count.sum()), np.zeros(readers)])
    shuffled = rng.permutation(len(reader))
    reader, time, reward = reader[shuffled], time[shuffled], reward[shuffled]
    order, last = chain_order(reader, time)
    reader, time, reward = reader[order], time[order], reward[order]
    value = VISIT_RATE / (leaving_rate - np.log(DISCOUNT))
    end = np.where(left[reader] < window, 0.0, DISCOUNT ** (window - time) * value * bootstrap)
    gap = np.append(np.diff(time), np.nan)  # across readers it means nothing, and must not be looked at
    gap[last] = np.nan
    returns = lambda_returns(reward, np.full(len(time), value), gap, last, end, DISCOUNT)
    first = np.append(True, last[:-1])
    assert (time[first] == 0).all()
    return returns[first]


@pytest.mark.parametrize(
    ("bootstrap", "leaving_rate", "expected"),
    [(True, 0.0, 3.462468), (False, 0.0, 3.029660), (True, 0.01, 2.57194154)],
    ids=["bootstrap", "cut off", "readers who leave"],
)
def test_poisson_readers(bootstrap: bool, leaving_rate: float, expected: float) -> None:
    returns = poisson_returns(72.0, bootstrap, leaving_rate)
    error = returns.std(ddof=1) / np.sqrt(len(returns))
    assert 0.008 < error < 0.012
    assert abs(returns.mean() - expected) < 4 * error


def test_the_cut_is_far_outside_the_band() -> None:
    """The test above tells the two apart: what is lost at the end of the window is 40 standard errors."""
    returns = poisson_returns(72.0, bootstrap=False)
    error = returns.std(ddof=1) / np.sqrt(len(returns))
    assert abs(returns.mean() - POISSON_VALUE) > 40 * error


# Scans against loops


@pytest.mark.parametrize("trace", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("size", SIZES)
def test_lambda_returns_equal_the_loop(size: int, trace: float) -> None:
    chains = random_chains(size, size)
    expected = plain_returns(*cast("Any", [*chains.values(), 0.9, trace]))
    kept = {name: array.copy() for name, array in chains.items()}
    got = lambda_returns(**chains, discount_per_hour=0.9, trace=trace)
    assert got.dtype == np.float64
    assert got.shape == (size,)
    np.testing.assert_allclose(got, expected, rtol=1e-11, atol=1e-12)
    for name, array in kept.items():
        np.testing.assert_array_equal(array, chains[name], err_msg=name)


def test_trace_makes_a_difference() -> None:
    chains = random_chains(4, 64)
    one_step, monte_carlo = (lambda_returns(**chains, discount_per_hour=0.9, trace=trace) for trace in (0.0, 1.0))
    assert np.abs(one_step - monte_carlo)[~chains["last"]].max() > 0.1
    np.testing.assert_array_equal(one_step[chains["last"]], monte_carlo[chains["last"]])


def test_undiscounted() -> None:
    reward, last = np.ones(100), np.arange(100) % 10 == 9
    got = lambda_returns(reward, np.zeros(100), np.full(100, 1e6), last, np.zeros(100), 1.0)
    np.testing.assert_allclose(got, np.tile(np.arange(10, 0, -1), 10), rtol=1e-13)


@pytest.mark.parametrize("factor", ["ordinary", "mostly zero", "zero", "one"])
@pytest.mark.parametrize("size", SIZES)
def test_scan_back_equals_the_loop(size: int, factor: str) -> None:
    rng = np.random.default_rng(size)
    addend, factors = rng.normal(size=size), rng.uniform(-1, 1, size)
    if factor == "mostly zero":
        factors[rng.random(size) < 0.7] = 0.0
    elif factor != "ordinary":
        factors[:] = factor == "one"
    kept = addend.copy(), factors.copy()
    np.testing.assert_allclose(scan_back(addend, factors), plain_scan(addend, factors), rtol=1e-11, atol=1e-11)
    np.testing.assert_array_equal(addend, kept[0])
    np.testing.assert_array_equal(factors, kept[1])


def test_scan_back_does_not_look_past_a_zero() -> None:
    """Chains are apart: what one holds cannot be seen in another, not even by rounding."""
    rng = np.random.default_rng(3)
    addend, factor = rng.normal(size=50), np.full(50, 0.99)
    factor[19] = 0.0
    before = scan_back(addend, factor)
    addend[20:] = 1e12
    np.testing.assert_array_equal(scan_back(addend, factor)[:20], before[:20])


@pytest.mark.parametrize("rate", [0.2, 0.9, 1.0])
@pytest.mark.parametrize("size", SIZES)
def test_running_mean_equals_the_loop(size: int, rate: float) -> None:
    rng = np.random.default_rng(size)
    values, first = rng.normal(size=size), rng.random(size) < 0.2
    first[:1] = True
    expected = np.zeros(size)
    earlier: list[float] = []
    for i in range(size):
        if first[i]:
            earlier = []
        weight = [(1 - rate) ** (len(earlier) - 1 - j) for j in range(len(earlier))]
        if earlier:
            expected[i] = sum(w * v for w, v in zip(weight, earlier, strict=True)) / sum(weight)
        earlier.append(values[i])
    np.testing.assert_allclose(running_mean(values, first, rate), expected, rtol=1e-10, atol=1e-12)


def test_running_mean_of_one_value_is_that_value() -> None:
    first = np.array([True, False, False, True, False])
    got = running_mean(np.array([3.0, 3.0, 3.0, -2.0, -2.0]), first, 0.3)
    np.testing.assert_allclose(got, [0.0, 3.0, 3.0, 0.0, -2.0], rtol=1e-14)


def test_chain_order() -> None:
    reader = np.array([7, 2, 7, 2, 9, 7])
    time = np.array([5.0, 1.0, 2.0, 0.5, 3.0, 2.5])
    order, last = chain_order(reader, time)
    assert order.tolist() == [3, 1, 2, 5, 0, 4]
    assert last.tolist() == [False, True, False, False, True, True]


@pytest.mark.parametrize("size", SIZES)
def test_chain_order_equals_sorting(size: int) -> None:
    rng = np.random.default_rng(size)
    reader, time = rng.integers(0, size // 5 + 1, size), rng.random(size)
    order, last = chain_order(reader, time)
    expected = sorted(range(size), key=lambda i: (reader[i], time[i]))
    assert order.tolist() == expected
    ends = [i == size - 1 or reader[expected[i + 1]] != reader[expected[i]] for i in range(size)]
    assert last.tolist() == ends


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({"discount_per_hour": 0.0}, "discount_per_hour"),
        ({"discount_per_hour": 1.01}, "discount_per_hour"),
        ({"discount_per_hour": 0.9, "trace": -0.1}, "trace"),
        ({"discount_per_hour": 0.9, "trace": 1.1}, "trace"),
    ],
)
def test_refuses(settings: dict[str, Any], name: str) -> None:
    with pytest.raises(ValueError, match=f"{name}: got "):
        lambda_returns(**cast("Any", random_chains(0, 5)), **settings)

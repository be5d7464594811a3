"""The return-time model recovers what made the gaps, open ones included."""

import numpy as np
import pytest

from feedgym.agents.learners.returns.return_time import ReturnTime

SHAPE, WEIGHTS, BASE = 0.8, np.array([0.7, -0.4]), np.log(20.0)
HOURS = 72.0
DISCOUNT = 0.98


@pytest.fixture(scope="module")
def gaps() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features, gaps as seen when the window closes after 72 h at the most, and which are open."""
    rng = np.random.default_rng(3)
    features = rng.normal(size=(20_000, 2)).astype(np.float32)
    whole = np.exp(features @ WEIGHTS + BASE) * rng.exponential(size=20_000) ** (1 / SHAPE)
    window = HOURS * rng.random(20_000)
    return features, np.minimum(whole, window), whole > window


def truth(features: np.ndarray, elapsed: float) -> float:
    rng = np.random.default_rng(4)
    y = (elapsed / np.exp(features @ WEIGHTS + BASE)) ** SHAPE + rng.exponential(size=400_000)
    return float(np.mean(DISCOUNT ** (np.exp(features @ WEIGHTS + BASE) * y ** (1 / SHAPE))))


def test_expected_discount_of_open_gaps(gaps: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    model = ReturnTime(2)
    model.fit(*gaps, max_iterations=100)
    for features in (np.zeros(2), np.array([1.0, 0.5]), np.array([-1.0, 1.0])):
        for elapsed in (0.0, 10.0, 60.0):
            found = model.expected_discount(features[None].astype(np.float32), np.array([elapsed]), DISCOUNT)
            assert found[0] == pytest.approx(truth(features, elapsed), abs=0.02)


def test_leaving_open_gaps_out_would_be_biased(gaps: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    features, gap, is_open = gaps
    model = ReturnTime(2)
    closed = ~is_open
    model.fit(features[closed], gap[closed], is_open[closed], max_iterations=100)
    found = model.expected_discount(np.zeros((1, 2), dtype=np.float32), np.zeros(1), DISCOUNT)
    assert found[0] > truth(np.zeros(2), 0.0) + 0.05


def test_few_gaps_fit_nothing_and_a_snapshot_is_complete(gaps: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    features, gap, is_open = gaps
    model = ReturnTime(2)
    model.fit(features[:5], gap[:5], is_open[:5])
    assert not model.is_fitted
    model.fit(*gaps)
    other = ReturnTime(2)
    other.restore(model.snapshot())
    some = features[:9], gap[:9], DISCOUNT
    np.testing.assert_array_equal(other.expected_discount(*some), model.expected_discount(*some))
    other.fit(*gaps)
    model.fit(*gaps)
    np.testing.assert_array_equal(other.expected_discount(*some), model.expected_discount(*some))

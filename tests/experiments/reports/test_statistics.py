"""Paired differences, bands and the t quantile, against scipy and against docs/mathematics.md 10.5."""

import numpy as np
import pytest
from scipy import stats

from feedgym.experiments.reports.statistics import (
    band,
    paired_difference,
    pairing_gain,
    t_quantile,
    unpaired_standard_error,
    variance_factor,
)

# docs/mathematics.md 10.5.
A = np.array([1, 1.4, 0.8, 1.2, 1.1])
B = np.array([0.9, 1.2, 0.7, 1.1, 0.9])


@pytest.mark.parametrize("dof", [1, 2, 3, 4, 5, 9, 10, 29, 30, 99, 200])
@pytest.mark.parametrize("probability", [0.5, 0.6, 0.9, 0.95, 0.975, 0.995, 0.9999])
def test_t_quantile_is_scipys(dof: int, probability: float) -> None:
    assert t_quantile(probability, dof) == pytest.approx(stats.t.ppf(probability, dof), rel=1e-9, abs=1e-12)


def test_the_row_of_the_page() -> None:
    paired = paired_difference(A, B)
    assert paired.mean == pytest.approx(0.14)
    assert paired.sd == pytest.approx(0.0547723, abs=5e-8)
    assert (paired.low, paired.high) == pytest.approx((0.0719913, 0.2080087), abs=5e-8)
    assert unpaired_standard_error(A, B) == pytest.approx(0.1326650, abs=5e-8)
    # var D = .003, var A + var B = .05 + .038.
    assert paired.pairing_gain == pytest.approx(1 - 0.003 / 0.088)
    assert variance_factor(paired.pairing_gain) == pytest.approx(0.088 / 0.003)


def test_the_interval_covers_as_often_as_it_says() -> None:
    rng = np.random.default_rng(5)
    trials, num_seeds = 4000, 5
    luck = rng.normal(size=(trials, num_seeds))
    a = 0.3 + luck + 0.4 * rng.normal(size=(trials, num_seeds))
    covered = sum(p.low <= 0.3 <= p.high for p in (paired_difference(x, y) for x, y in zip(a, luck, strict=True)))
    assert stats.binomtest(covered, trials, 0.95).pvalue > 1e-3
    assert stats.binomtest(covered, trials, 0.93).pvalue < 1e-3  # the check can fail


def test_pairing_gain_is_what_the_seeds_share() -> None:
    rng = np.random.default_rng(3)
    luck, a, b = rng.normal(size=(3, 20_000))
    # var D = 2 s^2, var A + var B = 2 (1 + s^2), with s = .5: gain 1 / 1.25.
    assert pairing_gain(luck + 0.5 * a, luck + 0.5 * b) == pytest.approx(0.8, abs=0.01)
    assert pairing_gain(a, b) == pytest.approx(0.0, abs=0.02)
    assert pairing_gain(a, -a) == pytest.approx(-1.0)


def test_one_seed_has_no_interval() -> None:
    paired = paired_difference(A[:1], B[:1])
    assert paired.mean == pytest.approx(0.1)
    assert np.isnan([paired.low, paired.high, paired.sd, paired.pairing_gain]).all()
    mean, lower, upper = band(np.array([[1.0, 2.0]]))
    assert mean.tolist() == [1.0, 2.0]
    assert np.isnan(lower).all()
    assert np.isnan(upper).all()


def test_band_is_the_t_interval_at_each_point() -> None:
    values = np.random.default_rng(0).normal(size=(6, 4))
    mean, lower, upper = band(values)
    for t in range(4):
        column = values[:, t]
        expected = stats.t.interval(0.95, 5, loc=column.mean(), scale=stats.sem(column))
        assert (lower[t], upper[t]) == pytest.approx(expected)
        assert mean[t] == pytest.approx(column.mean())


def test_equal_runs_differ_by_exactly_nothing() -> None:
    paired = paired_difference(A, A)
    assert (paired.mean, paired.low, paired.high, paired.pairing_gain) == (0, 0, 0, 1)
    assert np.isnan(pairing_gain(np.ones(3), np.ones(3)))


def test_bad_input_is_named() -> None:
    with pytest.raises(ValueError, match=r"b: got \(4,\), needs shape \(5,\)"):
        paired_difference(A, B[:4])
    with pytest.raises(ValueError, match=r"values: got \(5,\)"):
        band(A)
    with pytest.raises(ValueError, match="dof: got 0"):
        t_quantile(0.9, 0)
    with pytest.raises(ValueError, match=r"probability: got 1\.0"):
        t_quantile(1.0, 3)

"""Bias, coverage and slope of the study of off-policy estimates, against plain sums; what passes and what fails."""

import json
from typing import Any

import numpy as np
import pytest

from feedgym.env.arrays import Doubles
from feedgym.experiments.studies.known_truth.ope_draws import READERS
from feedgym.experiments.studies.known_truth.ope_replications import STUDIED, SeedResult
from feedgym.experiments.studies.known_truth.ope_scores import (
    Score,
    SeedSummary,
    bias,
    covers,
    scores,
    slope,
    slope_error,
    summary,
)


def made_up(error: Doubles, low: Doubles, high: Doubles) -> SeedResult:
    """A seed whose estimators are all off by ``error`` (C,) in cells of 10 visits, around a truth of 2."""
    cells, many = len(error), len(low)
    shape = (1, len(READERS), len(STUDIED))
    zero = np.zeros((*shape, cells, 8))
    return SeedResult(
        truth=np.full((2, len(READERS)), 2.0),
        truth_error=np.zeros((2, len(READERS))),
        count=np.full(cells, 10.0),
        base=np.broadcast_to(10.0 * (2.0 + error), (*shape, cells)),
        numerator=zero,
        denominator=zero + 1.0,
        low=np.broadcast_to(low, (*shape, many)),
        high=np.broadcast_to(high, (*shape, many)),
        size=np.ones((1, len(STUDIED), many)),
        mean_weight=np.ones((1, len(STUDIED), many)),
        top_share=np.ones((1, len(STUDIED), many)),
        warned=np.broadcast_to(
            np.array([[False, False], [False, True]] + [[False, False]] * (many - 2)), (1, len(STUDIED), many, 2)
        ),
    )


def test_scores_against_plain_sums() -> None:
    rng = np.random.default_rng(3)
    errors = rng.normal(0.1, 1.0, size=(3, 8))
    low, high = np.array([1.0, 2.1, 2.0, 1.0]), np.array([3.0, 3.0, 2.5, 1.9])  # covers: yes, no, yes, no
    sizes = (1, 2, 4)
    made = [summary(made_up(error, low, high), sizes).as_json() for error in errors]
    found = scores([SeedSummary.from_json(json.loads(json.dumps(one))) for one in made], 2, sizes)
    score = found[0, "cascade", "iips"]
    logs = [np.mean(e[i : i + 2]) for e in errors for i in range(0, 8, 2)]
    assert score.bias == pytest.approx(np.mean(logs))
    assert score.distance == pytest.approx(np.mean(logs) / (np.std(logs, ddof=1) / np.sqrt(12)))
    assert score.rmse == pytest.approx(np.sqrt(np.mean(np.square(logs))))
    assert (score.covered, score.replications) == (6, 12)
    assert (score.quiet, score.covered_quiet, score.warned) == (9, 6, 0.25)
    by_size = [
        np.sqrt(np.mean([np.mean(e[i : i + m]) ** 2 for e in errors for i in range(0, 8, m)])) for m in (1, 2, 4)
    ]
    assert score.rmse_by_size == pytest.approx(by_size)
    assert score.slope == pytest.approx(np.polyfit(np.log([1, 2, 4]), np.log(by_size), 1)[0])


def test_slopes() -> None:
    sizes = (1000.0, 5000.0, 100_000.0)
    assert slope(sizes, [3.0 * n**-0.5 for n in sizes]) == pytest.approx(-0.5)
    assert slope(sizes, [0.2, 0.2, 0.2]) == pytest.approx(0.0)
    same = np.tile([1.0 / n for n in sizes], (4, 1))
    assert slope_error(sizes, same) == pytest.approx(0.0, abs=1e-12)
    assert np.isnan(slope_error(sizes, same[:1]))
    # A mean's standard error, where the slope is all but linear in the squared errors.
    rng = np.random.default_rng(0)
    noisy = same * (1.0 + 0.01 * rng.normal(size=(4, 3)))
    slopes = [slope(sizes, np.sqrt(of_seed)) for of_seed in noisy]
    assert slope_error(sizes, noisy) == pytest.approx(np.std(slopes, ddof=1) / 2.0, rel=0.02)


def test_bias_and_coverage_count() -> None:
    errors = np.array([[1.0, 2.0], [3.0, 2.0]])
    found = bias(errors.mean(axis=1), np.square(errors).mean(axis=1), 2)
    assert found == pytest.approx((2.0, 2.0 / (np.sqrt(2 / 3) / 2)))
    with pytest.raises(ValueError, match="logs"):
        bias(np.array([1.0]), np.array([1.0]), 1)
    ends = np.array([1.0, 2.0, 2.1, np.nan]), np.array([1.9, 2.0, 3.0, 3.0])
    assert covers(*ends, np.array(2.0)).tolist() == [False, True, False, False]


@pytest.mark.parametrize(
    ("change", "failed"),
    [
        ({}, ()),
        ({"covered": 180}, ()),
        ({"covered": 198}, ()),
        ({"covered": 179}, ("coverage",)),
        ({"covered": 199}, ("coverage",)),
        ({"distance": -4.1}, ("bias",)),
        ({"slope": -0.39}, ("slope",)),
        ({"slope": -0.61, "distance": float("nan")}, ("bias", "slope")),
    ],
)
def test_what_5_5_asks_for(change: dict[str, Any], failed: tuple[str, ...]) -> None:
    values: dict[str, Any] = {"bias": 0.0, "distance": 0.5, "rmse": 0.1, "covered": 190, "replications": 200}
    values |= {"slope": -0.5, "slope_error": 0.0, "rmse_by_size": np.ones(1)}
    values |= {"warned": 0.0, "covered_quiet": 0, "quiet": 0}
    assert Score(**(values | change)).failures() == failed

"""Reliability tables: bins of equal size, sums that keep everything, and a wrong model that shows."""

import numpy as np
import pytest

from feedgym.experiments.measures.reliability import Reliability


def test_tenths_of_known_predictions() -> None:
    chance = np.linspace(0.05, 0.95, 1000)
    clicks = np.zeros(1000, dtype=np.bool_)
    clicks[500:] = True
    found = Reliability()
    found.add(chance[:700], clicks[:700])
    found.add(chance[700:], clicks[700:])
    table = found.table()
    assert len(table) == 10
    assert sum(one.impressions for one in table) == 1000
    for place, one in enumerate(table):
        assert one.impressions == pytest.approx(100, abs=15)
        assert one.prediction == pytest.approx(0.095 + 0.09 * place, abs=0.006)
    assert [round(one.click_rate) for one in table] == [0] * 5 + [1] * 5
    overall = found.overall()
    assert overall is not None
    assert (overall.prediction, overall.click_rate) == pytest.approx((0.5, 0.5))


def test_true_predictions_come_true_and_sharpened_ones_do_not() -> None:
    rng = np.random.default_rng(3)
    chance = rng.beta(1.0, 6.0, (50_000, 2))
    clicks = rng.random(chance.shape) < chance
    odds = (chance / (1 - chance)) ** 1.5
    worst = []
    for claimed in (chance, odds / (1 + odds)):
        found = Reliability()
        found.add(claimed, clicks)
        worst.append(max(abs(b.prediction - b.click_rate) * np.sqrt(b.impressions) for b in found.table()))
    assert worst[0] < 4 * 0.5  # a chance's deviation is 0.5 at most
    assert worst[1] > 4


def test_what_was_not_shown_does_not_count_and_ends_have_bins() -> None:
    found = Reliability()
    assert found.table() == []
    assert found.overall() is None
    found.add(np.array([[np.nan, 0.0, 1.0, 1e-9]]), np.array([[True, False, True, False]]))
    overall = found.overall()
    assert overall is not None
    assert overall.impressions == 3
    assert overall.click_rate == pytest.approx(1 / 3)
    again = Reliability()
    again.restore(found.snapshot())
    assert again.table() == found.table()


def test_bad_input_is_named() -> None:
    with pytest.raises(ValueError, match="chance: got array"):
        Reliability().add(np.array([0.5, 1.5]), np.zeros(2, dtype=np.bool_))
    with pytest.raises(ValueError, match=r"clicks: got \(3,\), needs \(2,\)"):
        Reliability().add(np.array([0.5, 0.5]), np.zeros(3, dtype=np.bool_))

"""What towers may count: as much as has paid on rows that they foretold."""

import numpy as np
import pytest

from feedgym.agents.learners.wide.newton import LINKS, Link
from feedgym.agents.learners.wide.trust import ROWS, Trust
from feedgym.env.arrays import Doubles


def shares(link: Link, *, truth: float, num: int = 8000, seeds: int = 8) -> Doubles:
    """Shares over seeds where the towers say ``truth`` times what is left, and as much noise as would be left."""
    found = []
    for seed in range(seeds):
        rng = np.random.default_rng(seed)
        without = 0.5 * rng.standard_normal(num) - 2.0
        left = 0.4 * rng.standard_normal(num)
        towers = truth * left if truth else 0.4 * rng.standard_normal(num)
        score = without + left
        if link == "identity":
            target = score + rng.standard_normal(num)
        elif link == "log":
            target = rng.poisson(np.exp(score)).astype(np.float64)
        else:
            target = (rng.random(num) < 1 / (1 + np.exp(-score))).astype(np.float64)
        trust = Trust()
        for part in range(4):  # as trainings bring it
            rows = slice(part * num // 4, (part + 1) * num // 4)
            trust.add(without[rows], towers[rows], target[rows])
        found.append(trust.share(link))
    return np.asarray(found)


@pytest.mark.parametrize("link", LINKS)
def test_noise_is_not_trusted_and_truth_is(link: Link) -> None:
    noise, truth, twice = shares(link, truth=0.0), shares(link, truth=1.0), shares(link, truth=2.0)
    assert noise.max() < 0.25
    assert noise.mean() < 0.08
    assert truth.min() > 0.75
    assert truth.mean() > 0.85
    assert twice.mean() == pytest.approx(0.5, abs=0.05)  # towers that say too much count for less


def test_what_points_the_wrong_way_counts_for_nothing() -> None:
    assert shares("logit", truth=-1.0).max() == 0.0


def test_of_little_little_is_believed() -> None:
    few = shares("log", truth=1.0, num=200)
    assert few.mean() < 0.5 * shares("log", truth=1.0).mean()
    assert Trust().share("log") == 0.0


def test_only_the_latest_rows_count() -> None:
    rng = np.random.default_rng(0)
    towers = rng.standard_normal(ROWS)
    trust = Trust()
    trust.add(np.zeros(ROWS), towers, towers)
    assert trust.share("identity") > 0.95
    for _ in range(2):
        trust.add(np.zeros(ROWS // 2), rng.standard_normal(ROWS // 2), rng.standard_normal(ROWS // 2))
    assert trust.share("identity") < 0.05
    again = Trust()
    again.restore(trust.snapshot())
    assert again.share("identity") == trust.share("identity")
    assert again.snapshot()["rows"].shape == (3, ROWS)
    kept = trust.snapshot()
    trust.add(np.zeros(9), np.ones(9), np.ones(9))
    assert np.array_equal(kept["rows"], again.snapshot()["rows"])  # a snapshot is a copy

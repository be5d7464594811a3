"""The table of what readers were shown, against counting one showing after the other."""

import numpy as np
import pytest

from feedgym.agents.two_tower.second_stage import ShownTable
from helpers.plain.pairs import PlainPairs


@pytest.mark.parametrize("slots", [3, 7, 16])
def test_it_counts_as_the_plain_one_evictions_included(slots: int) -> None:
    rng = np.random.default_rng(1)
    table, plain = ShownTable(slots), PlainPairs({"key": slots})
    now, evicted = 0.0, 0
    for _ in range(60):
        now += float(rng.exponential(5.0))
        rows = rng.permutation(9)[: rng.integers(1, 6)]
        asked = rng.integers(-1, 16, (len(rows), 20))
        found = np.stack(table.of(rows, asked, now), axis=-1)
        expected = np.zeros_like(found)
        for i, j in np.ndindex(*asked.shape):
            nothing = (0.0, 0.0, 0.0, np.inf)
            expected[i, j] = plain.counts(int(rows[i]), "key", int(asked[i, j]), now) if asked[i, j] >= 0 else nothing
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
        evicted += int(np.isinf(expected[..., 3]).sum())
        keys = rng.integers(-1, 16, (len(rows), 5))
        opened, minutes = rng.random(keys.shape) < 0.3, rng.exponential(2.0, keys.shape).astype(np.float32)
        table.note(rows, keys, opened, minutes, now)
        for i, row in enumerate(rows.tolist()):
            slate = zip(keys[i].tolist(), opened[i].tolist(), minutes[i].tolist(), strict=True)
            plain.note(row, "key", [entry for entry in slate if entry[0] >= 0], now)
    assert evicted > 100


def test_it_goes_on_from_a_snapshot() -> None:
    table, again = ShownTable(4), ShownTable(4)
    table.note(np.array([2]), np.array([[5, 6]]), np.array([[True, False]]), np.ones((1, 2), dtype=np.float32), 1.0)
    again.restore(table.snapshot())
    for one, two in zip(*(t.of(np.array([2, 0]), np.array([[5], [5]]), 3.0) for t in (table, again)), strict=True):
        assert one.tobytes() == two.tobytes()
    shown, opened, _, since = again.of(np.array([2]), np.array([[5, 6, 1]]), 25.0)
    np.testing.assert_allclose(shown, [[0.5, 0.5, 0.0]])  # a day ago counts half
    np.testing.assert_allclose(opened, [[0.5, 0.0, 0.0]])
    np.testing.assert_allclose(since, [[24.0, 24.0, np.inf]])

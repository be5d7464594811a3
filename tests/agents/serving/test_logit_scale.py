"""The logit scale equals a plain pass over all live articles, whatever came and went."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feedgym.agents.serving.logit_scale import LogitScale

DIM = 4
USERS = np.random.default_rng(5).normal(size=(6, DIM)).astype(np.float32)


def plain(columns: np.ndarray, users: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and deviation of all scores, by a pass over them in long double."""
    scores = users.astype(np.longdouble) @ columns.astype(np.longdouble).T
    mean = scores.mean(axis=1)
    return mean, np.sqrt(((scores - mean[:, None]) ** 2).mean(axis=1))


def assert_equal(scale: LogitScale, columns: np.ndarray, users: np.ndarray = USERS, rtol: float = 1e-9) -> None:
    mean, sd = scale.mean_and_sd(users)
    expected_mean, expected_sd = plain(columns, users)
    np.testing.assert_allclose(sd, expected_sd.astype(float), rtol=rtol)
    # A mean near 0 has no relative size of its own: that of the scores counts.
    np.testing.assert_array_less(np.abs(mean - expected_mean), rtol * (np.abs(expected_mean) + expected_sd))


@given(
    seed=st.integers(0, 2**32 - 1),
    steps=st.lists(st.tuples(st.sampled_from(["add", "remove", "reset"]), st.integers(0, 12)), max_size=25),
)
@settings(max_examples=80, deadline=None)
def test_equals_a_plain_pass_after_any_churn(seed: int, steps: list[tuple[str, int]]) -> None:
    rng = np.random.default_rng(seed)
    centre = rng.normal(scale=3.0, size=DIM)
    scale, live = LogitScale(DIM), np.zeros((0, DIM), dtype=np.float32)
    for kind, size in [("add", 8), *steps, ("add", 3)]:
        if kind == "add":
            new = (centre + rng.normal(size=(size, DIM))).astype(np.float32)
            scale.add(new)
            live = np.concatenate([live, new])
        elif kind == "remove":
            order = rng.permutation(len(live))
            scale.remove(live[order[:size]])
            live = live[order[size:]]
        else:
            live = (live + rng.normal(size=DIM)).astype(np.float32)  # as after a training
            scale.reset(live)
        if len(live) >= 3:
            assert_equal(scale, live)


@pytest.mark.parametrize("start", ["reset", "add"])
def test_a_far_origin_does_not_lose_the_variance(start: str) -> None:
    rng = np.random.default_rng(0)
    far = np.array([1e4, -3e4, 0.0, 2e4])
    columns = (rng.normal(size=(300, DIM)) + far).astype(np.float32)
    scale = LogitScale(DIM)
    getattr(scale, start)(columns[:200])
    scale.add(columns[200:])
    scale.remove(columns[:50])
    assert_equal(scale, columns[50:])
    # The check can fail: sums of raw squares would be off by more.
    raw = USERS.astype(float) @ columns[50:].T.astype(float)
    naive = np.sqrt((raw**2).mean(axis=1) - raw.mean(axis=1) ** 2)
    assert np.abs(naive / plain(columns[50:], USERS)[1] - 1).max() > 1e-9


def test_age_columns_that_have_grown_do_not_hide_the_rest() -> None:
    """exp((published - t_ref) / 2 h) a day after the last training, beside u' that has shrunk as much."""
    rng = np.random.default_rng(1)
    columns = rng.normal(size=(500, DIM)).astype(np.float32)
    columns[:, -1] = np.exp(rng.uniform(0, 20, size=500))
    users = USERS.copy()
    users[:, -1] *= np.float32(np.exp(-20))
    scale = LogitScale(DIM)
    scale.reset(columns)
    assert_equal(scale, columns, users)


def test_a_reader_does_not_depend_on_who_else_visits() -> None:
    rng = np.random.default_rng(2)
    scale, users = LogitScale(20), rng.normal(size=(37, 20)).astype(np.float32)
    scale.add(rng.normal(size=(100, 20)).astype(np.float32))
    mean, sd = scale.mean_and_sd(users)
    for rows in (slice(0, 1), slice(3, 20), slice(36, 37)):
        alone = scale.mean_and_sd(users[rows])
        assert alone[0].tobytes() == mean[rows].tobytes()
        assert alone[1].tobytes() == sd[rows].tobytes()


def test_articles_that_score_alike_have_deviation_one() -> None:
    scale, row = LogitScale(DIM), np.array([[0.3, -7.1, 2.2, 0.9]], dtype=np.float32)
    scale.add(np.repeat(row, 9, axis=0))
    mean, sd = scale.mean_and_sd(USERS)
    assert (sd == 1.0).all()
    np.testing.assert_allclose(mean, USERS @ row[0], rtol=1e-6)
    # Columns that differ where this reader does not look: what rounding leaves of the variance is no spread.
    columns = np.random.default_rng(4).normal(size=(50, DIM)).astype(np.float32)
    columns[:, 1] = -3 * columns[:, 0]
    blind = LogitScale(DIM)
    blind.add(columns)
    reader = np.array([[0.9, 0.3, 0.0, 0.0]], dtype=np.float32)
    assert blind.mean_and_sd(reader)[1] == 1.0
    scale.add(row + np.float32(1e-3))
    assert (scale.mean_and_sd(USERS)[1] < 0.01).all()  # a true spread, however small, is kept


def test_a_snapshot_goes_on_byte_for_byte() -> None:
    rng = np.random.default_rng(3)
    columns = rng.normal(size=(40, DIM)).astype(np.float32)
    scale, other = LogitScale(DIM), LogitScale(DIM)
    scale.reset(columns[:30])
    other.restore(scale.snapshot())
    for each in (scale, other):
        each.add(columns[30:])
        each.remove(columns[:7])
    assert [a.tobytes() for a in scale.mean_and_sd(USERS)] == [a.tobytes() for a in other.mean_and_sd(USERS)]
    assert_equal(other, columns[7:])

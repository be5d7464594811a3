"""The replay ring equals a plain deque."""

from collections import deque

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feedgym.agents.learners.replay import Replay, VisitBatch

K, L, R = 3, 4, 2
NAMES = (
    *("now", "row", "reader", "history_id", "article_id"),
    *("clicks", "dwell_minutes", "subscribed", "slot_propensity"),
)


def visits(rng: np.random.Generator, first: int, n: int) -> VisitBatch:
    """n visits whose time is their running number."""
    clicks = rng.random((n, K)) < 0.4
    return VisitBatch(
        now=np.arange(first, first + n, dtype=float),
        row=rng.integers(0, 9, n),
        reader=rng.normal(size=(n, R)).astype(np.float32),
        history_id=rng.integers(-1, 50, (n, L)),
        article_id=rng.integers(-1, 50, (n, K)),
        clicks=clicks,
        dwell_minutes=np.where(clicks, rng.exponential(size=(n, K)), 0).astype(np.float32),
        subscribed=rng.random(n) < 0.5,
        slot_propensity=rng.random((n, K)).astype(np.float32),
    )


def rows_of(batch: VisitBatch) -> list[tuple[bytes, ...]]:
    return [tuple(np.asarray(getattr(batch, name)[i]).tobytes() for name in NAMES) for i in range(len(batch.now))]


def assert_equal(replay: Replay, plain: "deque[tuple[VisitBatch, int]]") -> None:
    assert len(replay) == len(plain)
    kept = replay.take(np.arange(len(replay)))
    in_order = rows_of(replay.take(np.argsort(kept.now)))
    assert in_order == [rows_of(batch)[i] for batch, i in plain]
    slots, positions = replay.clicked()
    clicks = [(batch.now[i], k) for batch, i in plain for k in range(K) if batch.clicks[i, k]]
    assert list(zip(kept.now[slots], positions, strict=True)) == clicks  # oldest first
    for name in NAMES:
        np.testing.assert_array_equal(replay.column(name), getattr(kept, name))


@given(
    capacity=st.integers(1, 12),
    sizes=st.lists(st.integers(0, 15), max_size=12),
    restore_at=st.integers(0, 12),
    seed=st.integers(0, 999),
)
@settings(max_examples=80, deadline=None)
def test_equals_a_deque_also_after_a_restore(capacity: int, sizes: list[int], restore_at: int, seed: int) -> None:
    rng, total = np.random.default_rng(seed), 0
    replay: Replay = Replay(capacity, K, L, R)
    plain: deque[tuple[VisitBatch, int]] = deque(maxlen=capacity)
    for step, n in enumerate(sizes):
        if step == restore_at:
            snapshot, replay = replay.snapshot(), Replay(capacity, K, L, R)
            replay.restore(snapshot)
        batch = visits(rng, total, n)
        replay.append(batch)
        plain.extend((batch, i) for i in range(n))
        total += n
        assert replay.total == total
        assert_equal(replay, plain)


def test_growth_beyond_the_first_allocation() -> None:
    rng, replay = np.random.default_rng(0), Replay(3000, K, L, R)
    plain: deque[tuple[VisitBatch, int]] = deque(maxlen=3000)
    for first in range(0, 4500, 900):
        batch = visits(rng, first, 900)
        replay.append(batch)
        plain.extend((batch, i) for i in range(900))
    assert replay.column("now").min() == 1500
    kept = replay.take(np.argsort(replay.column("now")))
    np.testing.assert_array_equal(kept.article_id, [batch.article_id[i] for batch, i in plain])


def test_a_batch_is_a_copy() -> None:
    rng, replay = np.random.default_rng(0), Replay(4, K, L, R)
    replay.append(visits(rng, 0, 4))
    taken = replay.take(np.array([0, 0, 3]))
    before = rows_of(taken)
    replay.append(visits(rng, 4, 4))
    assert rows_of(taken) == before
    assert before[0] == before[1] != before[2]


def test_a_restore_replaces_what_was_there() -> None:
    rng, used, other = np.random.default_rng(0), Replay(6, K, L, R), Replay(6, K, L, R)
    used.append(visits(rng, 0, 9))
    used.clicked()
    batch = visits(rng, 0, 4)
    other.append(batch)
    used.restore(other.snapshot())
    assert_equal(used, deque((batch, i) for i in range(4)))


def test_capacity_is_checked() -> None:
    with pytest.raises(ValueError, match="capacity: got 0"):
        Replay(0, K, L, R)

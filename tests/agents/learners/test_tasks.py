"""Surrogate tasks: their names and weights, and what each visit's reader did before and next, by plain loops."""

import numpy as np
import pytest

from feedgym.agents.learners.replay import Replay, VisitBatch
from feedgym.agents.learners.tasks import TASKS, first_clicks, next_clicks, parse_tasks, previous_visits, targets

SIZE = 3
READERS = 7


def test_sums_of_tasks_are_parsed_with_their_weights() -> None:
    assert parse_tasks("dwell") == (("dwell", 1.0),)
    assert parse_tasks("click+0.5*dwell") == (("click", 1.0), ("dwell", 0.5))
    assert parse_tasks(" next + 2*subscription+.25*click ") == (("next", 1.0), ("subscription", 2.0), ("click", 0.25))
    assert TASKS == ("click", "dwell", "subscription", "next", "completed")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "target: got '', needs click, dwell, subscription, next, completed, or a sum such as"),
        ("clicks", "target: got 'clicks', needs click, dwell"),
        ("click+", "target: got 'click.', needs click, dwell"),
        ("click*2", r"target: got 'click\*2', needs click, dwell"),
        ("half*dwell", r"target: got 'half\*dwell', needs weights > 0"),
        ("*dwell", r"target: got '\*dwell', needs click, dwell"),
        ("click+0*dwell", "target: got 'click.0.dwell', needs weights > 0"),
        ("-1*click", "target: got '-1.click', needs weights > 0"),
        ("nan*click", "target: got 'nan.click', needs weights > 0"),
        ("dwell+click+2*dwell", "target: got 'dwell.click.2.dwell', needs each task once"),
    ],
)
def test_what_is_no_task_is_named(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_tasks(text)


def random_replay(seed: int, capacity: int, ticks: int = 25, click_rate: float = 0.2) -> Replay:
    """Visits of some readers at each tick, once each."""
    rng = np.random.default_rng(seed)
    replay = Replay(capacity, SIZE, history_length=2, num_reader=1)
    for tick in range(ticks):
        row = rng.permutation(READERS)[: rng.integers(0, READERS)]
        n = len(row)
        shown = rng.permuted(np.tile(np.arange(40), (n, 1)), axis=1)[:, :SIZE]
        clicks = rng.random((n, SIZE)) < click_rate
        shown[(rng.random((n, SIZE)) < 0.1) & ~clicks] = -1
        replay.append(
            VisitBatch(
                now=np.full(n, 0.5 * tick),
                row=row,
                reader=np.zeros((n, 1), dtype=np.float32),
                history_id=np.full((n, 2), -1),
                article_id=shown,
                clicks=clicks,
                dwell_minutes=np.where(clicks, rng.random((n, SIZE)), 0).astype(np.float32),
                subscribed=rng.random(n) < 0.3,
                slot_propensity=np.ones((n, SIZE), dtype=np.float32),
            )
        )
    return replay


REPLAYS = [(seed, capacity, rate) for seed in (0, 1) for capacity in (23, 500) for rate in (0.0, 0.08, 0.4)]


@pytest.mark.parametrize(("seed", "capacity", "click_rate"), REPLAYS)
def test_next_clicks_and_previous_visits_are_those_of_plain_loops(seed: int, capacity: int, click_rate: float) -> None:
    replay = random_replay(seed, capacity, click_rate=click_rate)
    assert (replay.total > len(replay)) == (capacity == 23)  # wrapped, and not at a whole round
    assert replay.total % capacity != 0
    every = replay.take(np.arange(len(replay)))
    following, first = [], []
    before: list[int | None] = []
    for slot in range(len(replay)):
        own = [s for s in range(len(replay)) if every.row[s] == every.row[slot]]
        later = sorted((every.now[s], s) for s in own if every.now[s] >= every.now[slot])
        earlier = sorted((every.now[s], s) for s in own if every.now[s] < every.now[slot])
        clicked = [int(every.article_id[s, k]) for _, s in later for k in range(SIZE) if every.clicks[s, k]]
        here = [int(every.article_id[slot, k]) for k in range(SIZE) if every.clicks[slot, k]]
        following.append(clicked[0] if clicked else -1)
        first.append(here[0] if here else -1)
        before.append(earlier[-1][1] if earlier else None)
    np.testing.assert_array_equal(first_clicks(replay), first)
    np.testing.assert_array_equal(next_clicks(replay), following)
    slots, known = previous_visits(replay)
    assert known.tolist() == [b is not None for b in before]
    assert slots[known].tolist() == [b for b in before if b is not None]
    if click_rate:
        # What is found is not always at hand: some of it is at a later visit, some nowhere.
        assert {(a == b, b >= 0) for a, b in zip(first, following, strict=True)} >= {(True, True), (False, True)}
    assert 0 < known.sum() < len(known)


def test_an_empty_replay_has_no_next_clicks() -> None:
    empty = Replay(5, SIZE, 2, 1)
    assert next_clicks(empty).shape == (0,)
    assert [a.shape for a in previous_visits(empty)] == [(0,), (0,)]


def test_targets_of_each_task() -> None:
    batch = VisitBatch(
        now=np.array([1.0, 2.0, 3.0]),
        row=np.array([0, 1, 2]),
        reader=np.zeros((3, 1), dtype=np.float32),
        history_id=np.full((3, 1), -1),
        article_id=np.array([[4, 5, -1], [6, 7, 4], [8, -1, -1]]),
        clicks=np.array([[True, True, False], [False, False, True], [False, False, False]]),
        dwell_minutes=np.array([[0.5, 2, 0], [0, 0, 1.5], [0, 0, 0]], dtype=np.float32),
        subscribed=np.array([False, True, False]),
        slot_propensity=np.ones((3, 3), dtype=np.float32),
    )
    next_id = np.array([4, 7, -1])
    wanted = {
        "click": [[1, 1, 0], [0, 0, 1], [0, 0, 0]],
        "dwell": [[0.5, 2, 0], [0, 0, 1.5], [0, 0, 0]],
        "subscription": [[0, 0, 0], [0, 0, 1], [0, 0, 0]],
        # Not shown (-1) is not the next article, also where no next one is known (-1).
        "next": [[1, 0, 0], [0, 1, 0], [0, 0, 0]],
        "completed": [[0, 1, 0], [0, 0, 1], [0, 0, 0]],
    }
    for task in TASKS:
        found = targets(task, batch, next_id)
        assert found.dtype == np.float32
        assert found.tolist() == wanted[task], task

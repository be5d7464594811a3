"""``check_reader_model`` finds luck that does not come from ``noise``, and state beside the state."""

import dataclasses
import random
import time
from collections import Counter
from typing import Any

import numpy as np
import pytest

from helpers.check_reader import METHODS, Good, Uncopyable, drawing, only, rehearse

GLOBAL = {
    "numpy": lambda n: np.random.rand(n),  # noqa: NPY002
    "python": lambda n: np.full(n, random.random()),
}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("source", GLOBAL)
def test_global_randomness(method: str, source: str) -> None:
    found = only(rehearse(drawing(method, GLOBAL[source])()), method, "global randomness")
    assert "noise." in found.hint


def test_seeding_the_global_state_is_no_way_out() -> None:
    def seeded(n: int) -> Any:
        np.random.seed(0)  # noqa: NPY002
        return np.random.rand(n)  # noqa: NPY002

    only(rehearse(drawing("respond", seeded)()), "respond", "global randomness")


@pytest.mark.parametrize("method", METHODS)
def test_global_randomness_that_covers_its_tracks(method: str) -> None:
    def put_back(n: int) -> Any:
        state = np.random.get_state()  # noqa: NPY002
        drawn = np.random.rand(n)  # noqa: NPY002
        np.random.set_state(state)  # noqa: NPY002
        return drawn

    seen = only(rehearse(drawing(method, put_back)()), method, "global randomness").seen
    assert "under another np.random.seed" in seen


def test_the_callers_own_global_random_state_is_left_alone() -> None:
    np.random.seed(3)  # noqa: NPY002
    random.seed(3)
    expected = np.random.RandomState(3).rand(), random.Random(3).random()
    rehearse(drawing("respond", GLOBAL["numpy"])())
    rehearse(drawing("respond", GLOBAL["python"])())
    assert (np.random.rand(), random.random()) == expected  # noqa: NPY002


CALLS: Counter[str] = Counter()


def count_calls(n: int) -> Any:
    CALLS["all"] += 1
    return np.full(n, CALLS["all"] % 2)


ENTROPY = {
    "an unseeded generator": lambda n: np.random.default_rng().random(n),
    "the clock": lambda n: (time.perf_counter_ns() % 10**9 * 40_503 + 7_919 * np.arange(n)) % 997 / 997.0,
    "a variable of the module": count_calls,
}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("source", ENTROPY)
def test_not_deterministic(method: str, source: str) -> None:
    only(rehearse(drawing(method, ENTROPY[source])()), method, "not deterministic")


class OwnGenerator(Good):
    def __init__(self) -> None:
        self.rng = np.random.default_rng(0)

    def next_visit(self, state: Any, rows: Any, outcome: Any, now: float, noise: Any) -> Any:
        return 8.0 * self.rng.random(len(rows))


class KeepsTasteFromSpawn(Good):
    def spawn(self, reader_ids: Any, noise: Any) -> Any:
        self.mood = noise.uniform("mood", "reader")
        return super().spawn(reader_ids, noise)

    def first_visit(self, state: Any, rows: Any, noise: Any) -> Any:
        return self.mood[rows]


class CountsOnSelf(Good):
    """Tires with every visit, by a table of its own."""

    def __init__(self) -> None:
        self.seen: Counter[int] = Counter()

    def respond(self, state: Any, rows: Any, slate: Any, now: float, noise: Any) -> Any:
        outcome = super().respond(state, rows, slate, now, noise)
        tired = np.array([self.seen[row] > 1 for row in rows.tolist()])
        self.seen.update(rows.tolist())
        clicks = outcome.clicks & ~tired[:, None]
        return dataclasses.replace(outcome, clicks=clicks, dwell_minutes=outcome.dwell_minutes * clicks)


class RemembersTheLastVisit(Good):
    """Written twice it is the same: only a fresh model tells."""

    def __init__(self) -> None:
        self.last: dict[int, float] = {}

    def next_visit(self, state: Any, rows: Any, outcome: Any, now: float, noise: Any) -> Any:
        since = np.array([now - self.last.get(row, now) for row in rows.tolist()])
        for row in rows.tolist():
            self.last.setdefault(row, now)
        return 4.0 + 0.1 * since


class HandsOverOnSelf(Good):
    def respond(self, *args: Any) -> Any:
        outcome = super().respond(*args)
        self.mood = outcome.clicks.sum(axis=1)
        return outcome

    def next_visit(self, state: Any, rows: Any, outcome: Any, now: float, noise: Any) -> Any:
        return 8.0 / (1.0 + self.mood)


@pytest.mark.parametrize(
    ("model", "method"),
    [
        (OwnGenerator, "next_visit"),
        (KeepsTasteFromSpawn, "first_visit"),
        (CountsOnSelf, "respond"),
        (RemembersTheLastVisit, "next_visit"),
        (HandsOverOnSelf, "next_visit"),
    ],
)
def test_state_that_a_snapshot_does_not_hold(model: type, method: str) -> None:
    user_model = model()
    before = repr(vars(user_model))
    found = only(rehearse(user_model), method, "hidden state")
    assert "state" in found.hint
    assert repr(vars(user_model)) == before


def test_a_model_that_cannot_be_copied_is_judged_all_the_same() -> None:
    class Broken(OwnGenerator, Uncopyable):
        def __init__(self) -> None:
            OwnGenerator.__init__(self)
            Uncopyable.__init__(self)

    assert {p.check for p in rehearse(Broken()).problems} == {"not deterministic"}


def test_the_state_that_was_spawned_is_kept_on_self() -> None:
    class Broken(Good):
        def spawn(self, reader_ids: Any, noise: Any) -> Any:
            self.state = super().spawn(reader_ids, noise)
            return {name: column.copy() for name, column in self.state.items()}

        def respond(self, state: Any, rows: Any, slate: Any, now: float, noise: Any) -> Any:
            return super().respond(self.state, rows, slate, now, noise)

    only(rehearse(Broken()), "respond", "hidden state")

"""``check_reader_model`` finds a reader that depends on the batch or on her row."""

from typing import Any

import numpy as np
import pytest

from helpers.check_reader import METHODS, Good, drawing, kinds, only, rehearse


def by_order(n: int) -> Any:
    return np.random.default_rng(0).random(n)


def crowd(n: int) -> Any:
    """Nobody clicks, and all come late, in a crowd."""
    return np.full(n, 1.0 if n > 2 else 0.0)


@pytest.mark.parametrize("method", METHODS)
def test_dependence_on_the_order_of_the_batch(method: str) -> None:
    assert (method, "batch order") in kinds(rehearse(drawing(method, by_order)()))


@pytest.mark.parametrize("method", METHODS)
def test_dependence_on_the_split_of_the_batch(method: str) -> None:
    assert "three batches" in only(rehearse(drawing(method, crowd)()), method, "batch split").seen


def test_a_missing_axis() -> None:
    class Broken(Good):
        def next_visit(self, state: Any, rows: Any, outcome: Any, now: float, noise: Any) -> Any:
            return super().next_visit(state, rows, outcome, now, noise) / (1.0 + outcome.clicks.mean())

    only(rehearse(Broken()), "next_visit", "batch split")


def test_readers_who_infect_each_other() -> None:
    class Broken(Good):
        def respond(self, state: Any, rows: Any, slate: Any, now: float, noise: Any) -> Any:
            outcome = super().respond(state, rows, slate, now, noise)
            state["liking"][rows] = state["liking"][rows].mean()
            return outcome

    only(rehearse(Broken()), "respond", "batch split")


def test_a_batch_of_one_that_breaks() -> None:
    class Broken(Good):
        def next_visit(self, state: Any, rows: Any, outcome: Any, now: float, noise: Any) -> Any:
            return super().next_visit(state, rows, outcome, now, noise)[np.squeeze(outcome.clicks).sum(axis=1) >= 0]

    assert "asked for 1 row" in only(rehearse(Broken()), "next_visit", "batch split").seen


class ByRow(Good):
    def next_visit(self, state: Any, rows: Any, outcome: Any, now: float, noise: Any) -> Any:
        return 4.0 + rows % 7


class TableOfTaste(Good):
    def __init__(self) -> None:
        self.table = np.random.default_rng(0).random(60)

    def first_visit(self, state: Any, rows: Any, noise: Any) -> Any:
        return self.table[rows]


@pytest.mark.parametrize(("model", "method"), [(ByRow, "next_visit"), (TableOfTaste, "first_visit")])
def test_dependence_on_the_row(model: type, method: str) -> None:
    only(rehearse(model()), method, "reader row")


def test_spawn_by_place_instead_of_by_reader() -> None:
    class Broken(Good):
        def spawn(self, reader_ids: Any, noise: Any) -> Any:
            return super().spawn(reader_ids, noise) | {"mood": np.arange(len(reader_ids))}

    assert kinds(rehearse(Broken())) == {("spawn", "batch order"), ("spawn", "batch split")}


def test_a_width_that_depends_on_the_readers_asked_for() -> None:
    class Broken(Good):
        def spawn(self, reader_ids: Any, noise: Any) -> Any:
            n = len(reader_ids)
            return super().spawn(reader_ids, noise) | {"friends": np.zeros((n, n))}

    assert "three batches" in only(rehearse(Broken()), "spawn", "batch split").seen


def test_rounding_is_a_note_and_no_problem() -> None:
    class Rounded(Good):
        def observe(self, state: Any, rows: Any) -> Any:
            liking = super().observe(state, rows)
            return liking * np.float32(1.0 + 1e-6 * (len(rows) > 1))

    report = rehearse(Rounded())
    assert report.ok
    assert [(p.method, p.check) for p in report.notes] == [("observe", "batch split")]
    assert "a note, no problem" in str(report)

"""``check_reader_model`` finds methods that are missing, do not fit or raise."""

from typing import Any

import numpy as np
import pytest

from helpers.check_reader import Good, kinds, only, rehearse, returning


@pytest.mark.parametrize("method", ["spawn", "first_visit", "respond", "next_visit"])
def test_a_missing_method(method: str) -> None:
    found = only(rehearse(type("Broken", (Good,), {method: None})()), method, "missing")
    assert f"{method}(self, " in found.needed


def test_a_model_that_is_nothing_of_the_kind() -> None:
    for thing in (None, 3, "NewsReader", object(), lambda: None):
        assert {p.check for p in rehearse(thing).problems} == {"missing"}


def test_a_class_instead_of_an_object() -> None:
    found = only(rehearse(Good), "__init__", "instance")
    assert "Good()" in found.needed


def test_observe_without_names_and_names_without_observe() -> None:
    assert (
        "no observable_names"
        in only(rehearse(type("B", (Good,), {"observable_names": None})()), "observe", "names").seen
    )
    assert "no observe" in only(rehearse(type("B", (Good,), {"observe": None})()), "observe", "names").seen
    text = type("B", (Good,), {"observable_names": "liking"})()
    assert "a str" in only(rehearse(text), "observe", "names").seen


def test_observe_with_one_name_too_many() -> None:
    found = only(rehearse(type("B", (Good,), {"observable_names": ("a", "b", "c")})()), "observe", "shape")
    assert "a, b, c" in found.hint


def test_observe_is_asked_when_nobody_comes() -> None:
    class Broken(Good):
        def observe(self, state: Any, rows: Any) -> Any:
            return super().observe(state, rows) + 0 * rows.max()

    assert "0 rows" in only(rehearse(Broken()), "observe", "exception").seen


class Entering(Good):
    def enter(self, world: Any) -> Any:
        return None


def test_enter() -> None:
    assert "NoneType" in only(rehearse(Entering()), "enter", "returned").seen

    class Raising(Good):
        def enter(self, world: Any) -> Any:
            raise RuntimeError("no such world")

    assert "no such world" in only(rehearse(Raising()), "enter", "exception").seen


@pytest.mark.parametrize("method", ["spawn", "first_visit", "respond", "next_visit", "observe", "expected_response"])
def test_an_exception_is_a_problem_with_its_text(method: str) -> None:
    def fail(self: Any, *args: Any) -> Any:
        raise KeyError("patience")

    found = only(rehearse(type("Broken", (Good,), {method: fail})()), method, "exception")
    assert "KeyError: 'patience'" in found.seen
    assert "in fail, line" in found.seen
    assert 'raise KeyError("patience")' in found.seen


def test_a_wrong_signature() -> None:
    class Broken(Good):
        def respond(self, state: Any, rows: Any, slate: Any) -> Any:  # type: ignore[override]
            raise AssertionError

    found = only(rehearse(Broken()), "respond", "exception")
    assert "positional arguments" in found.seen
    assert "respond(self, state, rows, slate, now, noise)" in found.needed


def test_noise_per_visit_where_there_is_no_visit() -> None:
    class Broken(Good):
        def first_visit(self, state: Any, rows: Any, noise: Any) -> Any:
            return noise.uniform("first visit")

    assert "'reader'" in only(rehearse(Broken()), "first_visit", "exception").hint


def test_a_property_that_raises() -> None:
    class Broken(Good):
        @property
        def observable_names(self) -> Any:
            raise RuntimeError("later")

    assert kinds(rehearse(Broken())) == {("observe", "names")}


def test_an_outcome_that_raises() -> None:
    class Lazy:
        @property
        def clicks(self) -> Any:
            raise RuntimeError("not yet")

    assert "not yet" in only(rehearse(returning("respond", lambda o: Lazy())()), "respond", "exception").seen


def test_one_exception_late_in_life() -> None:
    class Broken(Good):
        def next_visit(self, state: Any, rows: Any, outcome: Any, now: float, noise: Any) -> Any:
            return 8.0 / (np.arange(10)[state["visits"][rows]])

    assert "IndexError" in only(rehearse(Broken(), days=20.0), "next_visit", "exception").seen

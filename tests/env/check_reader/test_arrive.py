"""The check of what a reader model says of newcomers."""

from typing import Any

import numpy as np

from feedgym.env import NewsReader
from helpers.check_reader import Good, kinds, only, rehearse


class Joining(Good):
    """Good, and can be told of newcomers."""

    def arrive(self, state: Any, rows: Any, joined: Any, noise: Any) -> Any:
        return joined + self.first_visit(state, rows, noise)


def arriving(arrive: Any) -> Any:
    return type("Broken", (Good,), {"arrive": arrive})()


def test_models_that_are_right_pass() -> None:
    assert rehearse(Joining()).ok
    assert rehearse(NewsReader()).ok


def test_hours_that_count_from_joining_are_named() -> None:
    early = arriving(lambda self, state, rows, joined, noise: self.first_visit(state, rows, noise))
    found = only(rehearse(early), "arrive", "before joining")
    assert "joins at" in found.seen
    assert "60 visits" in found.seen


def test_what_else_can_be_wrong_is_named_as_of_the_other_methods() -> None:
    ragged = arriving(lambda self, state, rows, joined, noise: joined[:-1])
    assert ("arrive", "shape") in kinds(rehearse(ragged))
    no_number = arriving(lambda self, state, rows, joined, noise: joined + np.nan)
    assert ("arrive", "NaN") in kinds(rehearse(no_number))
    by_row = arriving(lambda self, state, rows, joined, noise: joined + rows)
    assert ("arrive", "reader row") in kinds(rehearse(by_row))
    by_luck = arriving(lambda self, state, rows, joined, noise: joined + np.random.default_rng().random(len(rows)))
    assert ("arrive", "not deterministic") in kinds(rehearse(by_luck))


def test_the_hours_are_the_models_to_keep() -> None:
    def later(self: Any, state: Any, rows: Any, joined: Any, noise: Any) -> Any:
        joined += 1.0
        return joined

    assert rehearse(arriving(later)).ok

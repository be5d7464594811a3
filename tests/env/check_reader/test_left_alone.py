"""``check_reader_model`` finds inputs and state that are changed where they must be left alone."""

import dataclasses
from typing import Any

import numpy as np
import pytest

from helpers.check_reader import Good, kinds, only, rehearse


class SpoilsRows(Good):
    def next_visit(self, state: Any, rows: Any, outcome: Any, now: float, noise: Any) -> Any:
        hours = super().next_visit(state, rows, outcome, now, noise)
        rows += 1
        return hours


class SpoilsSlate(Good):
    def respond(self, state: Any, rows: Any, slate: Any, now: float, noise: Any) -> Any:
        outcome = super().respond(state, rows, slate, now, noise)
        slate.valid[:, -1] = False
        slate.article_id[:] = 0
        return outcome


class SpoilsOutcome(Good):
    def next_visit(self, state: Any, rows: Any, outcome: Any, now: float, noise: Any) -> Any:
        outcome.clicks[:] = False
        return super().next_visit(state, rows, outcome, now, noise)


class SpoilsReaderIds(Good):
    def spawn(self, reader_ids: Any, noise: Any) -> Any:
        reader_ids[:] = 0
        return super().spawn(reader_ids, noise)


class SpoilsArchive(Good):
    def expected_response(self, state: Any, rows: Any, archive: Any, article_id: Any, now: float) -> Any:
        archive.column("quality")[0] += 1.0
        return super().expected_response(state, rows, archive, article_id, now)


@pytest.mark.parametrize(
    ("model", "method", "names"),
    [
        (SpoilsRows, "next_visit", ["rows"]),
        (SpoilsSlate, "respond", ["slate.valid", "slate.article_id"]),
        (SpoilsOutcome, "next_visit", ["outcome.clicks"]),
        (SpoilsReaderIds, "spawn", ["reader_ids"]),
        (SpoilsArchive, "expected_response", ["archive column 'quality'"]),
    ],
)
def test_inputs_changed_in_place(model: type, method: str, names: list[str]) -> None:
    seen = only(rehearse(model()), method, "input changed").seen
    for name in names:
        assert name in seen


@pytest.mark.parametrize("method", ["observe", "expected_response"])
def test_state_changed_by_who_should_only_look(method: str) -> None:
    def looks(self: Any, state: Any, rows: Any, *args: Any) -> Any:
        returned = getattr(Good, method)(self, state, rows, *args)
        state["visits"][rows] += 1
        return returned

    found = only(rehearse(type("Broken", (Good,), {method: looks})()), method, "state")
    assert "visits" in found.seen
    assert "nothing" in found.needed


def test_state_of_readers_who_are_not_there() -> None:
    class Broken(Good):
        def next_visit(self, state: Any, rows: Any, outcome: Any, now: float, noise: Any) -> Any:
            state["liking"] *= 0.9
            return super().next_visit(state, rows, outcome, now, noise)

    report = rehearse(Broken())
    assert ("next_visit", "state of others") in kinds(report)
    assert {method for method, _ in kinds(report)} == {"next_visit"}


STATE_LOST = {
    "a new array": lambda state: state.update(mood=np.zeros(len(state["taste"]))),
    "an array less": lambda state: state.pop("visits"),
    "another dtype": lambda state: state.update(visits=state["visits"].astype(np.float32)),
    "another shape": lambda state: state.update(liking=state["liking"][:, None]),
    "a list": lambda state: state.update(liking=state["liking"].tolist()),
}


@pytest.mark.parametrize("how", STATE_LOST)
def test_state_that_is_no_more_what_spawn_made(how: str) -> None:
    class Broken(Good):
        def next_visit(self, state: Any, rows: Any, outcome: Any, now: float, noise: Any) -> Any:
            hours = super().next_visit(state, rows, outcome, now, noise)
            STATE_LOST[how](state)
            return hours

    only(rehearse(Broken()), "next_visit", "state")


def test_a_buffer_used_again() -> None:
    class Broken(Good):
        def __init__(self) -> None:
            self.buffer = np.zeros((6, 256))

        def respond(self, state: Any, rows: Any, slate: Any, now: float, noise: Any) -> Any:
            outcome = super().respond(state, rows, slate, now, noise)
            minutes = self.buffer[:, : len(rows)].T
            minutes[:] = outcome.dwell_minutes
            return dataclasses.replace(outcome, dwell_minutes=minutes)

    only(rehearse(Broken()), "respond", "reused array")

"""What a reader model returns to the Feed: what it must not be is named, and the tick is not served."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from feedgym.env import NewsReader, NewsReaderConfig, Outcome
from helpers.small_feed import CLICKERS, assert_unmoved, good_slates, site, to_a_visit


class Broken(NewsReader):
    """The default reader, until one of its answers is spoiled."""

    def __init__(
        self, spoil: dict[str, Callable[[Any], Any]], config: NewsReaderConfig = CLICKERS, **parts: Any
    ) -> None:
        super().__init__(config, **parts)
        self.spoil = spoil
        self.armed = False

    def enter(self, world: Any) -> "Broken":
        return Broken(self.spoil, self.config, centers=world.centers)

    def respond(self, *asked: Any) -> Outcome:
        if self.armed and "raise in respond" in self.spoil:
            raise ZeroDivisionError("of the reader model's own")
        outcome = super().respond(*asked)
        if self.armed:
            for name in ("clicks", "dwell_minutes", "subscribed"):
                if name in self.spoil:
                    setattr(outcome, name, self.spoil[name](np.array(getattr(outcome, name))))
        return outcome

    def next_visit(self, *asked: Any) -> Any:
        if self.armed and "raise in next_visit" in self.spoil:
            raise ZeroDivisionError("of the reader model's own")
        hours = super().next_visit(*asked)
        return self.spoil["hours"](hours) if self.armed and "hours" in self.spoil else hours


def put(value: Any) -> Callable[[Any], Any]:
    def spoiled(array: Any) -> Any:
        array[(1,) * array.ndim] = value
        return array

    return spoiled


SPOILED: list[tuple[str, Callable[[Any], Any], str]] = [
    ("clicks", lambda a: a.astype(np.float32), "clicks: got dtype.'float32'., needs bool"),
    ("clicks", lambda a: a.T, r"clicks: got \(5, \d+\), needs \(\d+, 5\)"),
    ("clicks", lambda a: a | True, "clicks: got 'a click on an entry that shows nothing', needs clicks only where"),
    ("dwell_minutes", lambda a: a[:, :-1], r"dwell_minutes: got \(\d+, 4\), needs \(\d+, 5\)"),
    ("dwell_minutes", put(np.nan), "dwell_minutes: got .*nan.*, needs finite minutes >= 0"),
    ("dwell_minutes", put(-1.0), r"dwell_minutes: got \(-1\.0, .*needs finite minutes >= 0"),
    ("dwell_minutes", put(np.inf), "dwell_minutes: got .*inf.*, needs finite minutes >= 0"),
    (
        "dwell_minutes",
        lambda a: a + 1.0,
        "dwell_minutes: got 'minutes on an entry that was not clicked', needs 0 where",
    ),
    ("subscribed", lambda a: a.tolist(), "subscribed: got 'list', needs a numpy array"),
    ("subscribed", lambda a: a.astype(float), r"subscribed: got dtype\('float64'\), needs bool"),
    ("subscribed", lambda a: a[:-1], r"subscribed: got \(\d+,\), needs \(\d+,\)"),
    ("hours", lambda a: a[:, None], r"next_visit: got \(\d+, 1\), needs \(\d+,\)"),
    ("hours", put(-0.5), "next_visit: got -0.5, needs hours >= 0, or inf"),
    ("hours", put(np.nan), "next_visit: got nan, needs hours >= 0, or inf"),
    ("hours", put(-np.inf), "next_visit: got -inf, needs hours >= 0, or inf"),
]


@pytest.mark.parametrize(("part", "spoil", "message"), SPOILED)
def test_what_a_reader_model_must_not_return(part: str, spoil: Callable[[Any], Any], message: str) -> None:
    feed = to_a_visit(site(Broken({part: spoil})), ticks=30)
    slates = good_slates(feed)
    slates[:, -1] = -1  # where nothing may be clicked or read
    before = feed.snapshot()
    feed.reader_model.armed = True  # type: ignore[attr-defined]
    with pytest.raises(ValueError, match=message):
        feed.serve(slates)
    # The Feed stands where it stood; what the model has done to its own state is the model's.
    assert_unmoved(feed, before, but="state/")
    feed.reader_model.armed = False  # type: ignore[attr-defined]
    feed.serve(slates)
    assert feed.tick == int(before["tick"]) + 1


@pytest.mark.parametrize("where", ["raise in respond", "raise in next_visit"])
def test_an_exception_of_a_reader_model_propagates_and_the_tick_is_not_served(where: str) -> None:
    feed, twin = (to_a_visit(site(Broken({where: put(0)})), ticks=30) for _ in range(2))
    before, rows = feed.snapshot(), feed.visits.rows.copy()
    feed.reader_model.armed = True  # type: ignore[attr-defined]
    for _ in range(2):
        with pytest.raises(ZeroDivisionError, match="of the reader model's own"):
            feed.serve(good_slates(feed))
    assert_unmoved(feed, before, but="state/")
    np.testing.assert_array_equal(feed.visits.rows, rows)
    assert feed.visits.history_id.shape == (len(rows), 50)  # still readable
    feed.reader_model.armed = False  # type: ignore[attr-defined]
    # From the snapshot of before the tick it goes on as if nothing had been.
    feed.restore(before)
    for _ in range(40):
        one, other = feed.serve(good_slates(feed)), twin.serve(good_slates(twin))
        np.testing.assert_array_equal(one.dwell_minutes, other.dwell_minutes)
    assert_unmoved(feed, twin.snapshot())


class BadBirth(NewsReader):
    def __init__(self, how: str, **parts: Any) -> None:
        super().__init__(CLICKERS, **parts)
        self.how = how

    def enter(self, world: Any) -> "BadBirth":
        return BadBirth(self.how, centers=world.centers)

    def spawn(self, *asked: Any) -> Any:
        state = super().spawn(*asked)
        if self.how == "rows":
            state["trust"] = state["trust"][:-1]
        if self.how == "objects":
            state["trust"] = np.array([None] * len(state["trust"]))
        return state

    def first_visit(self, *asked: Any) -> Any:
        hours = super().first_visit(*asked)
        return hours - 100.0 if self.how == "hours" else hours


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("rows", r"spawn\['trust'\]: got \(79,\), needs an array with 80 rows"),
        ("objects", r"spawn\['trust'\]: got dtype.'O'., needs numbers or booleans"),
        ("hours", "first_visit: got -.*, needs hours >= 0, or inf"),
    ],
)
def test_bad_births_are_named(how: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        site(BadBirth(how))

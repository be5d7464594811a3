"""``check_reader_model`` finds a method that returns something of another form."""

import re
from typing import Any

import numpy as np
import pytest

from feedgym.env import (
    FeedConfig,
    check_reader_model,
)
from helpers.check_reader import Good, in_respond, only, rehearse, returning, with_column


def spoil(array: Any, value: Any) -> Any:
    """Some values, wherever they stand."""
    return np.where(np.minimum(array, 1e6) % 0.1 < 0.03, value, array)


def read_all(dwell: Any, slate: Any, noise: Any) -> Any:
    return np.where(slate.valid, 1.0, 0.0)


FORM = {
    "clicks transposed": (in_respond(clicks=lambda c, *_: c.T), "respond", "clicks shape", "(n|needs).*"),
    "clicks per visit": (in_respond(clicks=lambda c, *_: c[:, 0]), "respond", "clicks shape", "array"),
    "clicks as numbers": (in_respond(clicks=lambda c, *_: c.astype(np.float32)), "respond", "clicks dtype", "float32"),
    "clicks a list": (in_respond(clicks=lambda c, *_: c.tolist()), "respond", "clicks shape", "a list"),
    "clicks on nothing": (in_respond(clicks=lambda c, s, _: c | ~s.valid), "respond", "click on nothing", "visits"),
    "dwell shape": (in_respond(dwell_minutes=lambda d, *_: d.sum(axis=1)), "respond", "dwell_minutes shape", "array"),
    "dwell of objects": (
        in_respond(dwell_minutes=lambda d, *_: d.astype(object)),
        "respond",
        "dwell_minutes dtype",
        "object",
    ),
    "dwell NaN": (
        in_respond(dwell_minutes=lambda d, s, _: np.where(d > 0, np.nan, 0)),
        "respond",
        "NaN",
        "NaN minutes",
    ),
    "dwell inf": (in_respond(dwell_minutes=lambda d, s, _: np.where(d > 0, np.inf, 0)), "respond", "NaN", "infinite"),
    "dwell negative": (in_respond(dwell_minutes=lambda d, *_: -d), "respond", "negative dwell", r"-\d"),
    "dwell without click": (in_respond(dwell_minutes=read_all), "respond", "dwell without click", "not clicked"),
    "subscribed per impression": (
        in_respond(subscribed=lambda s, *_: s[:, None]),
        "respond",
        "subscribed shape",
        ", 1",
    ),
    "subscribed as numbers": (in_respond(subscribed=lambda s, *_: 1 * s), "respond", "subscribed dtype", "int64"),
    "a tuple": (
        returning("respond", lambda o: (o.clicks, o.dwell_minutes, o.subscribed)),
        "respond",
        "outcome",
        "tuple",
    ),
    "nothing": (returning("respond", lambda o: None), "respond", "outcome", "NoneType"),
    "first visit scalar": (returning("first_visit", lambda h: 3.0), "first_visit", "shape", "float"),
    "first visit column": (returning("first_visit", lambda h: h[:, None]), "first_visit", "shape", ", 1"),
    "first visit text": (returning("first_visit", lambda h: ["soon"] * len(h)), "first_visit", "dtype", "list"),
    "first visit NaN": (returning("first_visit", lambda h: spoil(h, np.nan)), "first_visit", "NaN", r"\d of \d"),
    "first visit negative": (returning("first_visit", lambda h: h - 1.0), "first_visit", "negative gap", r"-\d"),
    "first visit never": (returning("first_visit", lambda h: h + np.inf), "first_visit", "no visits", "nobody"),
    "first visit in years": (returning("first_visit", lambda h: h + 1e6), "first_visit", "no visits", "1.5 days"),
    "gap NaN": (returning("next_visit", lambda h: h * np.nan), "next_visit", "NaN", "NaN hours"),
    "gap negative": (returning("next_visit", lambda h: 0.5 - np.minimum(h, 9.0)), "next_visit", "negative gap", r"-\d"),
    "gap minus infinity": (returning("next_visit", lambda h: spoil(h, -np.inf)), "next_visit", "negative gap", "-inf"),
    "gap scalar": (returning("next_visit", lambda h: 8.0), "next_visit", "shape", "float"),
    "gap of all": (returning("next_visit", lambda h: np.append(h, 1.0)), "next_visit", "shape", "array"),
    "state no dict": (returning("spawn", lambda s: list(s.values())), "spawn", "state", "a list"),
    "state a number": (returning("spawn", with_column(mood=1.0)), "spawn", "state", "mood.*float"),
    "state a row": (returning("spawn", with_column(mood=np.zeros(5))), "spawn", "state", r"mood.*\(5,\)"),
    "state no rows": (returning("spawn", with_column(mood=np.zeros(()))), "spawn", "state", r"mood.*\(\)"),
    "state of lists": (
        returning("spawn", lambda s: s | {"read": np.array([None] * len(s["taste"]))}),
        "spawn",
        "state",
        "object",
    ),
    "state key": (returning("spawn", lambda s: s | {3: s["taste"]}), "spawn", "state", "key 3"),
    "state NaN": (
        returning("spawn", lambda s: s | {"mood": spoil(s["taste"], np.nan)}),
        "spawn",
        "NaN in state",
        r"mood.* \d+ rows",
    ),
    "observe shape": (returning("observe", lambda f: f[:, :1]), "observe", "shape", ", 1"),
    "observe one axis": (returning("observe", lambda f: f[:, 0]), "observe", "shape", "array"),
    "observe NaN": (returning("observe", lambda f: f * np.nan), "observe", "NaN", "NaN"),
    "observe text": (returning("observe", lambda f: f.astype(str) + "x"), "observe", "dtype", "<U"),
    "expected one": (returning("expected_response", lambda e: e[0]), "expected_response", "shape", "array"),
    "expected transposed": (
        returning("expected_response", lambda e: (e[0].T, e[1])),
        "expected_response",
        "shape",
        "chance",
    ),
    "expected log-odds": (
        returning("expected_response", lambda e: (e[0] - 1, e[1])),
        "expected_response",
        "range of chance",
        "-",
    ),
    "expected NaN": (
        returning("expected_response", lambda e: (e[0] * np.nan, e[1])),
        "expected_response",
        "range of chance",
        "nan",
    ),
    "expected minutes": (
        returning("expected_response", lambda e: (e[0], -e[1])),
        "expected_response",
        "range of minutes",
        "-1",
    ),
}


@pytest.mark.parametrize("name", FORM)
def test_what_a_method_returns(name: str) -> None:
    model, method, check, seen = FORM[name]
    found = only(rehearse(model()), method, check)
    assert re.search(seen, found.seen), found
    for text in (found.needed, found.hint):
        assert text.strip()


def test_a_visit_of_three_articles_by_three_readers_does_not_hide_a_transposed_array() -> None:
    config = FeedConfig(num_readers=16, slate_size=16, days=5.0)
    report = check_reader_model(in_respond(clicks=lambda c, *_: c.T)(), config=config)
    assert not report.ok


def test_clicks_beside_what_is_shown() -> None:
    """Not on slates that show nothing at all, only on the gaps of others."""

    def click(clicks: Any, slate: Any, noise: Any) -> Any:
        return clicks | (~slate.valid & slate.valid.any(axis=1)[:, None])

    only(rehearse(in_respond(clicks=click)()), "respond", "click on nothing")


def test_a_slate_that_shows_nothing_at_all() -> None:
    class Broken(Good):
        def respond(self, state: Any, rows: Any, slate: Any, now: float, noise: Any) -> Any:
            state["liking"][rows] += 0.1 * np.log(slate.valid.sum(axis=1) / 6.0)
            return super().respond(state, rows, slate, now, noise)

    with np.errstate(divide="ignore", invalid="ignore"):
        report = rehearse(Broken())
    assert not report.ok

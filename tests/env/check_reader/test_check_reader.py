"""``check_reader_model``: every defect that it must find, each in a small broken model; and good models pass."""

import dataclasses
import random
import re
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from feedgym.env import (
    CascadeReader,
    Feed,
    FeedConfig,
    NewsReader,
    NewsReaderConfig,
    Outcome,
    ReaderProblem,
    ReaderReport,
    SyntheticNewsroom,
    check_reader_model,
)
from feedgym.env.check_reader.rehearsal import _SITE

README = (Path(__file__).parents[3] / "README.md").read_text()


class Good:
    """Learns to like the site, comes back sooner for it, leaves at times."""

    observable_names: Any = ("liking", "visits")

    def spawn(self, reader_ids: Any, noise: Any) -> Any:
        n = len(reader_ids)
        return {"taste": noise.uniform("taste", "reader"), "liking": np.zeros(n), "visits": np.zeros(n, dtype=np.int64)}

    def first_visit(self, state: Any, rows: Any, noise: Any) -> Any:
        return 24.0 * noise.uniform("first visit", "reader")

    def respond(self, state: Any, rows: Any, slate: Any, now: float, noise: Any) -> Any:
        appeal = state["taste"][rows][:, None] + state["liking"][rows][:, None] - 0.02 * slate.age_hours
        clicks = slate.valid & (noise.uniform("click", "impression") < appeal)
        minutes = np.where(clicks, noise.exponential("dwell", "impression"), 0.0)
        state["liking"][rows] += 0.01 * clicks.sum(axis=1)
        state["visits"][rows] += 1
        return Outcome(clicks=clicks, dwell_minutes=minutes, subscribed=noise.uniform("subscribe") < 0.01)

    def next_visit(self, state: Any, rows: Any, outcome: Any, now: float, noise: Any) -> Any:
        hours = noise.exponential("gap") * 8.0 / (1.0 + state["liking"][rows])
        return np.where(noise.uniform("leave") < 0.02, np.inf, hours)

    def observe(self, state: Any, rows: Any) -> Any:
        return np.stack([state["liking"][rows], state["visits"][rows]], axis=1).astype(np.float32)

    def expected_response(self, state: Any, rows: Any, archive: Any, article_id: Any, now: float) -> Any:
        age = now - archive.column("published_hours")[article_id]
        chance = np.clip((state["taste"] + state["liking"])[rows][:, None] - 0.02 * age, 0.0, 1.0)
        return chance.astype(np.float32), np.ones(chance.shape, dtype=np.float32)


def rehearse(model: Any) -> ReaderReport:
    """On a site that is smaller than the default, for time."""
    return check_reader_model(model, config=dataclasses.replace(_SITE, num_readers=60, days=20.0))


def kinds(report: ReaderReport) -> set[tuple[str, str]]:
    return {(p.method, p.check) for p in report.problems}


def only(report: ReaderReport, method: str, check: str) -> ReaderProblem:
    assert kinds(report) == {(method, check)}, str(report)
    assert not report.ok
    return report.problems[0]


# Good models


class Bare:
    """The four methods and no state; the shortest model that there is."""

    def spawn(self, reader_ids: Any, noise: Any) -> Any:
        return {}

    def first_visit(self, state: Any, rows: Any, noise: Any) -> Any:
        return np.zeros(len(rows))

    def respond(self, state: Any, rows: Any, slate: Any, now: float, noise: Any) -> Any:
        clicks = slate.valid & (slate.latent("quality") > 0.0)
        return Outcome(clicks=clicks, dwell_minutes=1.0 * clicks, subscribed=np.zeros(len(rows), dtype=bool))

    def next_visit(self, state: Any, rows: Any, outcome: Any, now: float, noise: Any) -> Any:
        return np.full(len(rows), 12.0)


@dataclasses.dataclass(kw_only=True)
class WithMood(Outcome):
    mood: Any


class Moody(Good):
    """Hands more to ``next_visit`` than an Outcome has."""

    def respond(self, *args: Any) -> Any:
        outcome = super().respond(*args)
        return WithMood(**vars(outcome), mood=outcome.clicks.sum(axis=1))

    def next_visit(self, state: Any, rows: Any, outcome: Any, now: float, noise: Any) -> Any:
        return 8.0 / (1.0 + outcome.mood)


class Weekly(Good):
    """Comes once a week: time in the rehearsal must jump."""

    def next_visit(self, state: Any, rows: Any, outcome: Any, now: float, noise: Any) -> Any:
        return 168.0 * noise.uniform("gap")


class Uncopyable(Good):
    def __init__(self) -> None:
        self.lock = threading.Lock()


class ReplacesColumns(Good):
    """New arrays in the same dict, of the same kind."""

    def respond(self, state: Any, rows: Any, slate: Any, now: float, noise: Any) -> Any:
        state["visits"] = state["visits"].copy()
        return super().respond(state, rows, slate, now, noise)


def readme_reader() -> Any:
    names: dict[str, Any] = {}
    (reader,) = re.findall(r"```python\n(# night_owl.py\n.*?)```", README, re.DOTALL)
    exec(reader, names)
    return names["NightOwl"]()


GOOD = [Good, Bare, Moody, Weekly, Uncopyable, ReplacesColumns, NewsReader, CascadeReader, readme_reader]


@pytest.mark.parametrize("make", GOOD, ids=lambda make: make.__name__)
def test_a_good_model_has_no_problem(make: Any) -> None:
    report = check_reader_model(make())
    assert report.ok, str(report)
    assert report.problems == report.notes == ()
    assert report.num_visits > 500
    assert "no problem" in str(report)


@pytest.mark.parametrize("seed", [1, 2])
def test_another_seed_site_and_newsroom(seed: int) -> None:
    config = FeedConfig(num_readers=40, slate_size=3, days=20.0)
    newsroom = SyntheticNewsroom(config.newsroom, seed)
    report = check_reader_model(NewsReader(), config=config, newsroom=newsroom, seed=seed)
    assert report.ok, str(report)
    assert report.num_visits > 200


SWITCHES = [f.name for f in dataclasses.fields(NewsReaderConfig) if isinstance(f.default, bool)]


def test_the_default_reader_passes_with_any_mechanism_off() -> None:
    for switch in SWITCHES:
        report = rehearse(NewsReader(NewsReaderConfig(**{switch: False})))
        assert report.ok, str(report)


# Form


def in_respond(**changes: Any) -> type:
    """Good, but for some of the arrays of its outcome: each a function of (good one, slate, noise)."""

    class Broken(Good):
        def respond(self, state: Any, rows: Any, slate: Any, now: float, noise: Any) -> Any:
            outcome = super().respond(state, rows, slate, now, noise)
            new = {name: change(getattr(outcome, name), slate, noise) for name, change in changes.items()}
            return dataclasses.replace(outcome, **new)

    return Broken


def returning(method: str, change: Any) -> type:
    """Good, but what one method returns goes through ``change``."""

    def changed(self: Any, *args: Any) -> Any:
        return change(getattr(Good, method)(self, *args))

    return type("Broken", (Good,), {method: changed})


def spoil(array: Any, value: Any) -> Any:
    """Some values, wherever they stand."""
    return np.where(np.minimum(array, 1e6) % 0.1 < 0.03, value, array)


def read_all(dwell: Any, slate: Any, noise: Any) -> Any:
    return np.where(slate.valid, 1.0, 0.0)


def with_column(**columns: Any) -> Any:
    return lambda state: state | columns


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
    "first visit in years": (returning("first_visit", lambda h: h + 1e6), "first_visit", "no visits", "20 days"),
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


# What is there


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


# Exceptions


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
        def observable_names(self) -> Any:  # type: ignore[override]
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

    assert "IndexError" in only(rehearse(Broken()), "next_visit", "exception").seen


# Randomness


def drawing(method: str, draw: Any) -> type:
    """Good, but one method adds what ``draw(n)`` gives to what it returns."""

    def changed(self: Any, *args: Any) -> Any:
        returned = getattr(Good, method)(self, *args)
        if method == "spawn":
            returned["taste"] += draw(len(returned["taste"]))
        elif method == "respond":
            keep = draw(len(returned.clicks)) < 0.5
            returned.clicks &= keep[:, None] if np.ndim(keep) else keep
            returned.dwell_minutes *= returned.clicks
        elif method == "expected_response":
            returned = (returned[0], returned[1] + draw(len(returned[1]))[:, None].astype(np.float32))
        elif method == "observe":
            returned[:, 0] += draw(len(returned))
        else:
            returned = returned + draw(len(returned))
        return returned

    return type("Broken", (Good,), {method: changed})


METHODS = ["spawn", "first_visit", "respond", "next_visit", "observe", "expected_response"]
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


# State beside the state


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


# Dependence on the batch and on the row


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


# What must be left alone


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


# All at once


def test_all_that_is_wrong_is_told_at_once() -> None:
    class Broken(Good):
        def spawn(self, reader_ids: Any, noise: Any) -> Any:
            return super().spawn(reader_ids, noise) | {"luck": np.random.default_rng().random(len(reader_ids))}

        def first_visit(self, state: Any, rows: Any, noise: Any) -> Any:
            return noise.normal("first visit", "reader")

        def respond(self, state: Any, rows: Any, slate: Any, now: float, noise: Any) -> Any:
            outcome = super().respond(state, rows, slate, now, noise)
            return dataclasses.replace(outcome, clicks=~slate.valid, dwell_minutes=-1.0 * slate.valid)

        def next_visit(self, state: Any, rows: Any, outcome: Any, now: float, noise: Any) -> Any:
            return super().next_visit(state, rows, outcome, now, noise) - rows

        def observe(self, state: Any, rows: Any) -> Any:
            raise RuntimeError("no")

    report = rehearse(Broken())
    assert kinds(report) == {
        ("spawn", "not deterministic"),
        ("first_visit", "negative gap"),
        ("respond", "click on nothing"),
        ("respond", "negative dwell"),
        ("respond", "dwell without click"),
        ("next_visit", "negative gap"),
        ("next_visit", "reader row"),
        ("observe", "exception"),
    }
    text = str(report)
    assert text.startswith("Broken: 8 problems found in ")
    for found in report.problems:
        assert str(found) in text
    assert max(len(line) for line in text.splitlines()) <= 120


def test_two_columns_of_state_are_both_told() -> None:
    model = returning("spawn", with_column(one=1.0, two=np.zeros(2)))()
    assert [p.seen.split(" is ")[0] for p in rehearse(model).problems] == ["state['one']", "state['two']"]


def test_what_passes_lives_in_the_feed_and_goes_on_from_a_snapshot() -> None:
    """What the check promises, of the model that it passes."""

    def days(feed: Feed) -> list[bytes]:
        told = []
        while not feed.done:
            live = np.sort(feed.catalogue.article_id)[-4:]
            outcome = feed.serve(np.tile(live, (len(feed.visits), 1)))
            told += [outcome.clicks.tobytes(), outcome.dwell_minutes.tobytes(), outcome.hours_to_next_visit.tobytes()]
        return told

    config = FeedConfig(num_readers=30, days=2.0, slate_size=4)
    feed, other = Feed(config, Good()), Feed(config, Good())
    while feed.tick < 60:
        feed.serve(np.full((len(feed.visits), 4), -1))
    other.restore(feed.snapshot())
    assert days(feed) == days(other)


def test_a_negative_seed_is_refused() -> None:
    with pytest.raises(ValueError, match=r"seed: got -1, needs >= 0"):
        check_reader_model(Good(), seed=-1)

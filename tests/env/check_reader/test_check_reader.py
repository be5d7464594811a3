"""``check_reader_model``: good models pass, and all that is wrong with a broken one is told at once."""

import dataclasses
import re
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
    SyntheticNewsroom,
    check_reader_model,
)
from helpers.check_reader import Good, Uncopyable, kinds, rehearse, returning, with_column

README = (Path(__file__).parents[3] / "README.md").read_text()


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
        report = rehearse(NewsReader(NewsReaderConfig(**dict[str, Any]({switch: False}))))
        assert report.ok, str(report)


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

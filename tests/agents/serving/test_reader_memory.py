"""Readers as known at an earlier moment: against every visit written down and replayed by plain loops."""

import math
from typing import Any, NamedTuple

import numpy as np
import pytest

from feedgym.agents.serving import reader_memory
from feedgym.agents.serving.clocks import Clocks
from feedgym.agents.serving.reader_memory import ReaderMemory, history_before
from feedgym.agents.serving.requests import Requests
from feedgym.agents.serving.serving import Serving
from feedgym.env import Feed, FeedConfig
from feedgym.env.feed.visits import ReaderRecords
from feedgym.env.readers.protocol import Outcome

LENGTH, SLATE = 6, 5
SITE = FeedConfig(num_readers=25, days=3.0, tick_hours=0.25, slate_size=SLATE, history_length=LENGTH)


class Busy:
    """Readers who come every other hour, click a lot, and show how often they have come, and a number of their own."""

    observable_names = ("visits", "number")

    def spawn(self, reader_ids: Any, noise: Any) -> dict[str, Any]:
        return {"visits": np.zeros(len(reader_ids)), "number": noise.uniform("number", "reader")}

    def observe(self, state: Any, rows: Any) -> Any:
        return np.stack([state["visits"][rows], state["number"][rows]], axis=1).astype(np.float32)

    def first_visit(self, state: Any, rows: Any, noise: Any) -> Any:
        return noise.exponential("first", "reader") * 12.0

    def respond(self, state: Any, rows: Any, slate: Any, now: float, noise: Any) -> Outcome:
        state["visits"][rows] += 1
        clicks = (noise.uniform("click", "impression") < 0.3) & slate.valid
        minutes = np.where(clicks, 3 * noise.uniform("minutes", "impression"), 0).astype(np.float32)
        return Outcome(clicks=clicks, dwell_minutes=minutes, subscribed=np.zeros(len(rows), dtype=bool))

    def next_visit(self, state: Any, rows: Any, outcome: Any, now: float, noise: Any) -> Any:
        # Sessions: every third visit is followed by one a tick later.
        short = noise.uniform("short", "visit") < 0.3
        return np.where(short, 0.2, 3.0 * noise.exponential("gap", "visit"))


class Visit(NamedTuple):
    hours: float
    clicked: list[tuple[int, float]]
    features: list[float]


def plain(past: list[Visit], now: float, own: list[float], clocks: Clocks, remembered: int) -> dict[str, Any]:
    """What is known of a reader, from all her visits before now in order of time."""
    every = clocks.reader_refresh_hours
    made = now if every == 0 else math.floor(now / every + 1e-9) * every
    before = made - clocks.feature_lag_hours
    unknown = [v for v in past[-remembered:] if v.hours >= before]
    known = past[: len(past) - len(unknown)]
    # The site's ring holds the latest clicks only, known or not.
    ring = [c for v in past for c in v.clicked][::-1][:LENGTH]
    history = ring[sum(len(v.clicked) for v in unknown) :]
    # Of forgotten visits nobody knows when they were.
    last = (before if len(unknown) == remembered else known[-1].hours) if known else made
    features = own if clocks.reader_refresh_hours == 0 else past[-1].features if past else [0.0, 0.0]
    angle = 2 * math.pi * (made % 24) / 24
    minutes = [math.log1p(m) for _, m in history]
    mean = sum(minutes) / len(minutes) if minutes else 0.0
    columns = [math.log1p(made - last), math.log1p(len(known)), math.sin(angle), math.cos(angle)]
    return {
        "history": history + [(-1, 0.0)] * (LENGTH - len(history)),
        "reader": [*columns, math.log1p(len(history)), mean, *features],
    }


def check(requests: Requests, rows: list[int], expected: list[dict[str, Any]]) -> None:
    assert requests.row.tolist() == rows
    for i, wanted in enumerate(expected):
        assert requests.history_id[i].tolist() == [a for a, _ in wanted["history"]]
        np.testing.assert_allclose(requests.history_minutes[i], [m for _, m in wanted["history"]], rtol=1e-3)
        np.testing.assert_allclose(requests.reader[i], wanted["reader"], rtol=1e-3, atol=1e-5)


CLOCKS = {
    "a lag": {"feature_lag_hours": 1.5},
    "a lag of ticks and a bit": {"feature_lag_hours": 0.6},
    "a clock": {"reader_refresh_hours": 4.0},
    "a clock that ticks miss": {"reader_refresh_hours": 0.7},
    "both": {"reader_refresh_hours": 6.0, "feature_lag_hours": 3.0},
    "a lag of more than a period": {"reader_refresh_hours": 0.5, "feature_lag_hours": 20.0},
    "more than there is": {"reader_refresh_hours": 48.0, "feature_lag_hours": 60.0},
    "nightly": {"reader_refresh_hours": 24.0, "slates_ahead": True},
    "nightly, of an earlier state": {"reader_refresh_hours": 24.0, "feature_lag_hours": 5.0, "slates_ahead": True},
}


@pytest.mark.parametrize("remembered", [32, 3, 1])
@pytest.mark.parametrize("clocks", CLOCKS)
def test_requests_are_what_a_plain_replay_of_all_visits_knows(
    clocks: str, remembered: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader_memory, "VISITS", remembered)
    config = Clocks(**CLOCKS[clocks])  # type: ignore[arg-type]
    feed = Feed(SITE, Busy(), seed=remembered)
    serving = Serving(config, 2, LENGTH, example_age=False)
    rng = np.random.default_rng(0)
    past: list[list[Visit]] = [[] for _ in range(SITE.num_readers)]
    compared = overflown = 0
    while not feed.done:
        visits, now = feed.visits, feed.now
        rows = visits.rows.tolist()
        if config.slates_ahead:
            if serving.slates_due(now):
                blocks = list(serving.known_readers(visits.records, now))
                assert len(blocks) <= 1
                wanted = [
                    r for r in range(SITE.num_readers) if knows(past[r], now - config.feature_lag_hours, remembered)
                ]
                for requests in blocks:
                    # Slates drawn ahead: everybody as of this moment.
                    check(requests, wanted, [plain(past[r], now, [], config, remembered) for r in wanted])
                    compared += len(wanted)
                assert sum(map(len, blocks)) == len(wanted)
        else:
            own = visits.features.tolist()
            expected = [plain(past[r], now, own[i], config, remembered) for i, r in enumerate(rows)]
            check(serving.requests(visits), rows, expected)
            compared += len(rows)
        features = visits.features.copy()
        overflown += sum(len([v for v in past[r] if v.hours >= now - 4.0]) > remembered for r in rows)
        shown = rng.permuted(np.tile(feed.catalogue.article_id, (len(rows), 1)), axis=1)[:, :SLATE]
        outcome = feed.serve(shown)
        for i, row in enumerate(rows):
            clicked = [
                (int(shown[i, k]), float(outcome.dwell_minutes[i, k])) for k in np.flatnonzero(outcome.clicks[i])
            ]
            past[row].append(Visit(now, clicked, features[i].tolist()))
        serving.note(visits.rows, visits.reader_id, now, outcome.clicks.sum(axis=1), features)
    assert compared > (30 if config.slates_ahead else 400)
    assert (overflown > 20) == (remembered < 32)


def knows(past: list[Visit], before: float, remembered: int) -> bool:
    """Whether some visit counts as known."""
    return len([v for v in past[-remembered:] if v.hours >= before]) < len(past)


def test_at_once_everything_is_known_as_the_visits_have_it() -> None:
    feed = Feed(SITE, Busy(), seed=0)
    serving = Serving(Clocks(), 2, LENGTH, example_age=False)
    while not feed.done:
        visits = feed.visits
        requests = serving.requests(visits)
        assert requests.now == feed.now
        np.testing.assert_array_equal(requests.history_id, visits.history_id)
        np.testing.assert_array_equal(requests.reader[:, -2:], visits.features)
        np.testing.assert_allclose(requests.reader[:, 0], np.log1p(visits.gap_hours), rtol=1e-6)
        np.testing.assert_allclose(requests.reader[:, 1], np.log1p(visits.visit), rtol=1e-6)
        feed.serve(np.tile(feed.catalogue.article_id[:SLATE], (len(visits), 1)))


def test_of_who_came_too_often_the_forgotten_visits_count_as_known() -> None:
    memory = ReaderMemory(0)
    row, none = np.array([4]), np.zeros((1, 0), dtype=np.float32)
    for k in range(40):
        memory.note(row, row, 100.0 + k / 8, np.array([2]), none)
    count, last, clicks = memory.before(row, 90.0)
    # All 32 kept are later than that: 8 visits are known, of an unknown hour before.
    assert (count.tolist(), last.tolist(), clicks.tolist()) == ([8], [90.0], [64])
    count, last, clicks = memory.before(row, 104.0)
    assert (count.tolist(), last.tolist(), clicks.tolist()) == ([32], [103.875], [16])
    count, last, clicks = memory.before(np.array([1, 700]), 104.0)
    assert (count.tolist(), last.tolist(), clicks.tolist()) == ([0, 0], [104.0, 104.0], [0, 0])
    assert memory.known(90.0).tolist() == memory.known(200.0).tolist() == [4]
    assert memory.num_visits[4] == 40


def test_a_history_without_its_latest_clicks_is_shorter() -> None:
    records = ReaderRecords(3, 4)
    for article in range(6):
        shown, clicks = np.array([[article]]), np.array([[True]])
        records.record_clicks(np.array([1]), shown, clicks, np.array([[article / 2]], dtype=np.float32))
    rows = np.array([1, 1, 1, 2])
    ids, minutes = history_before(records, rows, np.array([0, 1, 9, 0]))
    assert ids.tolist() == [[5, 4, 3, 2], [4, 3, 2, -1], [-1] * 4, [-1] * 4]
    assert minutes.tolist() == [[2.5, 2.0, 1.5, 1.0], [2.0, 1.5, 1.0, 0.0], [0.0] * 4, [0.0] * 4]


def test_times_of_years_are_told_apart_and_a_reader_takes_216_bytes() -> None:
    memory = ReaderMemory(3)
    rows, features = np.arange(1000), np.ones((1000, 3), dtype=np.float32)
    hours = 2 * 365 * 24.0 - 1.0
    for tick in range(8):
        memory.note(rows, rows, hours + tick / 12, np.ones(1000, dtype=np.int64), features)
    for tick in range(8):
        count, _, clicks = memory.before(rows, hours + tick / 12)
        assert (count == tick).all()
        assert (clicks == 8 - tick).all()
    snapshot = memory.snapshot()
    assert sum(values.nbytes for values in snapshot.values()) / 1000 < 32 * 6 + 8 + 4 + 3 * 4 + 1
    other = ReaderMemory(3)
    other.restore(snapshot)
    other.note(rows, rows, hours + 1.0, np.ones(1000, dtype=np.int64), features)
    assert (memory.num_visits == 8).all()  # a copy
    assert (other.num_visits == 9).all()

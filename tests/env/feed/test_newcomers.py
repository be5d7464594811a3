"""Newcomers: who joins after hour 0, when, and that nothing which is served, sharded or sampled in time moves it."""

import dataclasses
import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from feedgym.env import CascadeReader, Feed, FeedConfig, NewsReader, NewsReaderConfig, NewsroomConfig
from feedgym.env.config import SINE_DAY
from feedgym.env.feed import most_readers
from feedgym.env.feed.arrivals import Arrivals
from helpers.check_reader import Good

K = 5
SITE = FeedConfig(
    num_readers=50, newcomers_per_day=0.2, days=4.0, slate_size=K, newsroom=NewsroomConfig(articles_per_day=60.0)
)
EAGER = NewsReaderConfig(base_log_odds=1.0, gap_median_hours=3.0, leaving_per_day=0.3)


class GoodAtJoining(Good):
    """A reader model of one's own that can be told of newcomers."""

    def arrive(self, state: Any, rows: Any, joined: Any, noise: Any) -> Any:
        return joined + 24.0 * noise.uniform("first visit", "reader")


def site(seed: int = 5, model: Any = None, **changes: Any) -> Feed:
    return Feed(dataclasses.replace(SITE, **changes), NewsReader(EAGER) if model is None else model, seed)


def newest(feed: Feed) -> Any:
    return np.tile(np.sort(feed.catalogue.article_id)[::-1][:K], (len(feed.visits), 1))


def nothing(feed: Feed) -> Any:
    return np.full((len(feed.visits), K), -1)


def live(feed: Feed, slates: Callable[[Feed], Any] = newest, ticks: int | None = None) -> dict[int, tuple[Any, ...]]:
    """Serve, and note who came first at which tick with which observables, by id."""
    first: dict[int, tuple[Any, ...]] = {}
    last = feed.config.num_ticks if ticks is None else feed.tick + ticks
    while feed.tick < last:
        visits = feed.visits
        for reader in visits.reader_id[visits.visit == 0].tolist():
            first[reader] = (feed.tick,)
        feed.serve(slates(feed))
    return first


def assert_same(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert one.keys() == other.keys()
    assert [name for name in one if one[name].tobytes() != other[name].tobytes()] == []


def test_newcomers_are_the_same_at_the_same_hours_whatever_is_served() -> None:
    one, other, third = site(), site(), site(seed=6)
    first = [live(one), live(other, nothing), live(third)]
    assert one.num_left != other.num_left, "what was served does matter"
    assert first[0] == first[1] != first[2]
    new = [reader for reader in first[0] if reader >= 50]
    assert 25 < len(new) <= 40
    assert sorted(new) == [reader for reader in range(50, 90) if reader in first[0]]
    for name in ("interest", "base_gap_hours"):
        np.testing.assert_array_equal(one.state[name][50:], other.state[name][50:])
    np.testing.assert_array_equal(one.population.joined_hours, other.population.joined_hours)
    assert not np.array_equal(one.population.joined_hours, third.population.joined_hours)


def test_a_newcomer_has_the_luck_of_her_id() -> None:
    """As if she had been there from the start: born by the same draws, clicking by the same numbers."""
    later, before = site(), site(num_readers=90, newcomers_per_day=0.0)
    live(later)
    for name in ("interest", "base_gap_hours"):
        np.testing.assert_array_equal(later.state[name], before.state[name][: later.population.num_rows])


@pytest.mark.parametrize("tick_hours", [0.5, 1.0, 4.0])
def test_the_tick_moves_nobodys_joining(tick_hours: float) -> None:
    quarter, other = site(), site(tick_hours=tick_hours)
    live(quarter, nothing)
    live(other, nothing)
    np.testing.assert_array_equal(quarter.population.joined_hours, other.population.joined_hours)


def test_one_joins_in_each_stretch_at_a_uniform_moment() -> None:
    arrivals = Arrivals(dataclasses.replace(SITE, num_readers=1000), seed=3)
    ids, hours = arrivals.between(0, 10)
    assert ids.tolist() == list(range(1000, 3000))
    moment = hours / (24.0 / 200.0) - np.arange(2000)
    assert 0.0 <= moment.min() < moment.max() <= 1.0
    assert abs(moment.mean() - 0.5) < 4.0 / np.sqrt(12 * 2000)
    assert abs(moment.std() - 12**-0.5) < 0.01
    days = [arrivals.between(day, day + 1) for day in range(10)]
    np.testing.assert_array_equal(np.concatenate([hours for _, hours in days]), hours)


@pytest.mark.parametrize("rate", [0.0, 0.0126, 0.3])
def test_how_many_rows_a_run_takes_is_known_before_there_is_a_seed(rate: float) -> None:
    for first, size, days in ((0, 50, 3.5), (10, 20, 6.0), (49, 1, 6.0)):
        config = dataclasses.replace(
            SITE, first_reader_id=first, num_readers=size, population=50, newcomers_per_day=rate, days=days
        )
        for seed in range(4):
            joined = len(Arrivals(config, seed).between(0, int(np.ceil(days)))[0])
            most = most_readers(config, NewsReader()) - size
            assert joined <= most <= joined + 1


def test_shards_share_all_newcomers_between_them() -> None:
    whole = dict(zip(*Arrivals(SITE, 2).between(0, 30), strict=True))
    found: dict[Any, Any] = {}
    for first, size in ((0, 20), (20, 29), (49, 1)):
        shard = dataclasses.replace(SITE, first_reader_id=first, num_readers=size, population=50)
        own = dict(zip(*Arrivals(shard, 2).between(0, 30), strict=True))
        assert len(own) == pytest.approx(300 * size / 50, abs=4.0 * np.sqrt(300 * size / 50))
        assert not found.keys() & own.keys()
        found |= own
    assert found == whole


def test_newcomers_change_nothing_for_who_is_there() -> None:
    with_them, without = site(), site(newcomers_per_day=0.0)
    while not without.done:
        old = with_them.visits.rows < 50
        np.testing.assert_array_equal(with_them.visits.rows[old], without.visits.rows)
        here, there = with_them.serve(newest(with_them)), without.serve(newest(without))
        np.testing.assert_array_equal(np.array(here.clicks)[old], there.clicks)
        np.testing.assert_array_equal(np.array(here.reward)[old], there.reward)
    assert with_them.population.num_rows > 85
    both, only = with_them.snapshot(), without.snapshot()
    for name in ("next_tick", "state/packed", "state/memory", "records/id"):
        assert both[name][:50].tobytes() == only[name].tobytes(), name


def operational(clock: float) -> float:
    """Hours of even traffic up to a moment, hour by hour."""
    total, rate = 0.0, [24.0 * weight / sum(SINE_DAY) for weight in SINE_DAY]
    for hour in range(int(clock)):
        total += rate[hour % 24]
    return total + (clock - int(clock)) * rate[int(clock) % 24]


def test_a_first_visit_comes_part_of_a_gap_after_joining_in_the_hours_of_the_day() -> None:
    feed = site(newcomers_per_day=1.0, tick_hours=1.0 / 60.0, days=1.0)
    first = live(feed, nothing)
    gaps, joined = feed.state["base_gap_hours"], feed.population.joined_hours
    shares = []
    for row in range(50, feed.population.num_rows):
        if row in first:
            (tick,) = first[row]
            passed = operational(tick / 60.0) - operational(float(joined[row - 50]))
            shares.append(passed / float(gaps[row]))
            assert -1e-6 < passed < float(gaps[row]) + 1.6 / 60.0
    assert len(shares) > 30
    assert 0.3 < np.mean(shares) < 0.65  # long gaps end after the horizon


def test_who_is_there_is_who_has_joined_and_not_left() -> None:
    feed, left = site(), 0
    while not feed.done:
        joined = int((feed.population.joined_hours <= feed.now).sum())
        assert feed.num_there == 50 + joined - left
        left += int(feed.serve(newest(feed)).left.sum())
    assert left == feed.num_left == feed.has_left.sum() > 10
    assert len(feed.has_left) == feed.population.num_rows


@pytest.mark.parametrize(
    ("short", "model"), [(2.0, NewsReader(EAGER)), (2.4, NewsReader(EAGER)), (2.0, GoodAtJoining())]
)
def test_a_snapshot_at_a_horizon_goes_on_in_a_longer_run(short: float, model: Any) -> None:
    """The newcomers of the day that begins at the horizon are not in it, and join all the same."""
    whole, begun = site(model=model), site(model=model, days=short)
    live(whole, ticks=begun.config.num_ticks)
    live(begun)
    longer = site(model=model)
    longer.restore(begun.snapshot())
    assert_same(whole.snapshot(), longer.snapshot())
    assert live(whole) == live(longer)
    assert_same(whole.snapshot(), longer.snapshot())


def test_a_snapshot_with_other_newcomers_is_refused() -> None:
    feed = site()
    live(feed, ticks=100)
    snapshot = feed.snapshot()
    snapshot["next_tick"] = snapshot["next_tick"][:-1]
    with pytest.raises(ValueError, match=r"snapshot\['next_tick'\]: got \d+, needs \d+ readers"):
        site().restore(snapshot)


def test_room_grows_by_an_eighth_and_keeps_what_stands_there() -> None:
    feed = site(newcomers_per_day=1.0, days=6.0)
    sizes = set()
    while not feed.done:
        before = {name: column[:50].copy() for name, column in feed.state.items()}
        others = np.setdiff1d(np.arange(50), feed.visits.rows)
        feed.serve(newest(feed))
        for name, column in feed.state.items():
            assert column[others].tobytes() == before[name][others].tobytes()
            assert len(column) == feed.population.num_rows
        sizes.add(len(feed.records.visit_count))
    assert feed.population.num_rows == 350
    for small, large in itertools.pairwise(sorted(sizes)):
        assert small < large <= (small + 50) * 9 // 8 + 1  # a day brings 50


class Replacing(GoodAtJoining):
    """Puts arrays of its own in the place of those that it was shown."""

    def respond(self, state: Any, rows: Any, slate: Any, now: float, noise: Any) -> Any:
        state["liking"] = state["liking"].copy()
        return super().respond(state, rows, slate, now, noise)


def test_a_model_may_put_arrays_of_its_own_into_the_state() -> None:
    plain, replacing = site(model=GoodAtJoining()), site(model=Replacing())
    assert live(plain) == live(replacing)
    assert_same(plain.snapshot(), replacing.snapshot())
    assert plain.state["liking"].max() > 0.0


def test_a_model_that_cannot_be_told_has_no_newcomers() -> None:
    feed = site(model=Good())
    assert max(live(feed)) < 50
    assert feed.population.num_rows == most_readers(feed.config, Good()) == 50
    assert max(live(site(model=GoodAtJoining()))) > 50
    assert max(live(site(model=CascadeReader(EAGER)))) > 50


def test_bad_first_visits_of_newcomers_are_refused_by_name() -> None:
    class Early(Good):
        def arrive(self, state: Any, rows: Any, joined: Any, noise: Any) -> Any:
            return joined - 1.0

    class Ragged(Good):
        def arrive(self, state: Any, rows: Any, joined: Any, noise: Any) -> Any:
            return joined[:-1]

    with pytest.raises(ValueError, match=r"arrive: got .*, needs hours (not before those of joining|>= 0)"):
        live(site(model=Early()))
    with pytest.raises(ValueError, match=r"arrive: got \(\d+,\), needs \(\d+,\)"):
        live(site(model=Ragged()))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"newcomers_per_day": -0.1}, r"newcomers_per_day: got -0.1, needs between 0 and 1"),
        ({"newcomers_per_day": float("nan")}, r"newcomers_per_day: got nan, needs between 0 and 1"),
        ({"first_reader_id": 10, "population": 59}, r"population: got 59, needs at least 60"),
    ],
)
def test_settings_that_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(SITE, **settings)

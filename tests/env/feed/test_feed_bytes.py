"""Same seed, same bytes: twice, after a restore, at any horizon, in any batch order, split, block or shard."""

import dataclasses
import io
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feedgym.env import Feed, FeedConfig, NewsReader, NewsReaderConfig, NewsroomConfig, RewardConfig, ServedOutcome
from feedgym.env.feed import feed as feed_module
from feedgym.env.newsroom.articles import Archive
from feedgym.env.newsroom.synthetic import SyntheticNewsroom
from feedgym.env.noise import Noise
from feedgym.env.readers.protocol import SlateView

K = 10  # past 8 a pairwise sum and a running sum of float32 round differently
SITE = FeedConfig(
    num_readers=60,
    newcomers_per_day=0.2,
    days=3.0,
    slate_size=K,
    reward=RewardConfig(click=0.37, dwell_minutes=1.0, subscription=2.0),
    newsroom=NewsroomConfig(articles_per_day=60.0),
)
# Eager readers: many clicks, so that rounding shows; some leave, some subscribe, some enrol within the run.
EAGER = NewsReaderConfig(
    base_log_odds=1.0,
    gap_median_hours=3.0,
    leaving_per_day=0.2,
    subscribe_hazard=0.1,
    enrolment_share=0.3,
    enrolment_window_hours=60.0,
    memory_slots=16,
)


def site(seed: int = 5, **changes: Any) -> Feed:
    return Feed(dataclasses.replace(SITE, **changes), NewsReader(EAGER), seed)


def personal_slates(feed: Feed) -> Any:
    """Slates that depend on reader, visit number and what is live only; some entries show nothing."""
    live = np.sort(feed.catalogue.article_id)
    slates = np.full((len(feed.visits), feed.config.slate_size), -1, dtype=np.int64)
    for row, (reader, visit) in enumerate(zip(feed.visits.reader_id, feed.visits.visit, strict=True)):
        rng = np.random.default_rng((int(reader), int(visit)))
        slates[row] = rng.choice(live, feed.config.slate_size, replace=False)
        if rng.random() < 0.3:
            slates[row, 3] = slates[row, 0]
            slates[row, 5] = -1
    return slates


def newest_slates(feed: Feed) -> Any:
    newest = np.sort(feed.catalogue.article_id)[::-1][: feed.config.slate_size]
    return np.tile(newest, (len(feed.visits), 1))


def as_dict(outcome: ServedOutcome) -> dict[str, Any]:
    return {f.name: np.array(getattr(outcome, f.name)) for f in dataclasses.fields(outcome)}


def assert_same(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert one.keys() == other.keys()
    for name, value in one.items():
        assert value.dtype == other[name].dtype, name
        np.testing.assert_array_equal(value, other[name], err_msg=name)
        assert value.tobytes() == other[name].tobytes(), name  # also tells -0.0 from 0.0


def run(feed: Feed, slates: Any = personal_slates, ticks: int | None = None) -> list[dict[str, Any]]:
    """What each tick showed and returned, until the horizon or for so many ticks."""
    story: list[dict[str, Any]] = []
    while not feed.done and (ticks is None or len(story) < ticks):
        visits = feed.visits
        seen = {
            "reader_id": visits.reader_id.copy(),
            "visit": visits.visit.copy(),
            "gap_hours": visits.gap_hours.copy(),
            "history_id": visits.history_id,
            "history_dwell": visits.history_dwell,
            "live": feed.catalogue.article_id.copy(),
            "arrived": feed.catalogue.arrived.copy(),
            "departed": feed.catalogue.departed.copy(),
        }
        story.append(seen | as_dict(feed.serve(slates(feed))))
    return story


def assert_same_story(one: list[dict[str, Any]], other: list[dict[str, Any]]) -> None:
    assert len(one) == len(other)
    for tick, other_tick in zip(one, other, strict=True):
        assert_same(tick, other_tick)


def by_visit(stories: list[list[dict[str, Any]]]) -> dict[tuple[int, int], Any]:
    """All outcomes, keyed by (reader, visit)."""
    names = [f.name for f in dataclasses.fields(ServedOutcome)] + ["history_id", "history_dwell", "gap_hours"]
    found = {}
    for tick in (tick for story in stories for tick in story):
        for row, key in enumerate(zip(tick["reader_id"].tolist(), tick["visit"].tolist(), strict=True)):
            found[key] = tuple(tick[name][row].tobytes() for name in names)
    return found


def test_the_same_seed_gives_the_same_bytes_twice_and_another_seed_does_not() -> None:
    one, other, third = site(), site(), site(seed=6)
    stories = [run(one), run(other), run(third)]
    assert_same_story(stories[0], stories[1])
    assert_same(one.snapshot(), other.snapshot())
    assert sum(len(tick["reader_id"]) for tick in stories[0]) > 500
    assert 0 < one.num_left < 60
    assert not np.array_equal(one.snapshot()["next_tick"], third.snapshot()["next_tick"])


@pytest.mark.parametrize("ticks", [0, 1, 97, 200, 288])
def test_a_restored_feed_goes_on_byte_for_byte(ticks: int) -> None:
    whole = site()
    run(whole, ticks=ticks)
    file = io.BytesIO()
    np.savez(file, **whole.snapshot())  # type: ignore[arg-type]
    file.seek(0)
    resumed = site()
    run(resumed, newest_slates, ticks=31)  # another past leaves no trace
    with np.load(file, allow_pickle=False) as arrays:
        resumed.restore(dict(arrays))
    assert resumed.tick == whole.tick == ticks
    assert_same(whole.snapshot(), resumed.snapshot())
    assert_same_story(run(whole), run(resumed))
    assert_same(whole.snapshot(), resumed.snapshot())


def test_a_snapshot_is_a_copy() -> None:
    feed = site()
    run(feed, ticks=50)
    snapshot = feed.snapshot()
    before = {name: value.copy() for name, value in snapshot.items()}
    run(feed, ticks=20)
    assert_same(snapshot, before)
    resumed = site()
    resumed.restore(snapshot)
    run(resumed, ticks=20)
    assert_same(snapshot, before)
    assert_same(feed.snapshot(), resumed.snapshot())


@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("seed", {"seed": 6}),
        ("num_readers", {"num_readers": 61}),
        ("first_reader_id", {"first_reader_id": 60}),
        ("ticks_per_day", {"tick_hours": 0.5}),
        ("history_length", {"history_length": 49}),
        ("newcomers_per_day", {"newcomers_per_day": 0.1}),
        ("whole_population", {"population": 70}),
    ],
)
def test_restore_refuses_the_snapshot_of_another_feed(name: str, other: dict[str, Any]) -> None:
    snapshot = site(**other).snapshot()
    with pytest.raises(ValueError, match=rf"snapshot\['{name}'\]: got [\d.]+, needs [\d.]+"):
        site().restore(snapshot)


def test_restore_refuses_another_version_another_model_and_no_snapshot_at_all() -> None:
    snapshot = site().snapshot()
    with pytest.raises(ValueError, match=r"snapshot\['version'\]: got 999, needs 3"):
        site().restore(snapshot | {"version": np.asarray(999)})
    with pytest.raises(ValueError, match=r"snapshot\['version'\]: got None"):
        site().restore({})
    del snapshot["state/packed"]
    with pytest.raises(ValueError, match="snapshot state"):
        site().restore(snapshot)


def test_a_short_run_begins_like_a_long_one() -> None:
    short, long = site(days=1.5), site(days=3.0)
    story = run(short)
    assert len(story) == 144
    assert_same_story(story, run(long, ticks=144))
    assert_same(short.snapshot(), long.snapshot() | {"tick": np.asarray(144)})


def test_a_short_snapshot_goes_on_in_a_longer_run() -> None:
    short, long = site(days=1.5), site(days=3.0)
    run(short)
    longer = site(days=3.0)
    longer.restore(short.snapshot())
    run(long, ticks=144)
    assert_same_story(run(long), run(longer))


def test_the_newsroom_and_the_first_visits_are_the_same_under_two_policies() -> None:
    stories = [run(site(), slates) for slates in (personal_slates, newest_slates)]
    for one, other in zip(*stories, strict=True):
        for name in ("live", "arrived", "departed"):
            np.testing.assert_array_equal(one[name], other[name])
    firsts = [
        [(t, r) for t, tick in enumerate(story) for r in tick["reader_id"][tick["visit"] == 0].tolist()]
        for story in stories
    ]
    assert firsts[0] == firsts[1]
    assert len(firsts[0]) > 50
    assert by_visit([stories[0]]).keys() != by_visit([stories[1]]).keys()  # policies do change what follows


def test_another_tick_meets_the_same_newsroom() -> None:
    quarter, hour = site(days=2.0), site(days=2.0, tick_hours=1.0)
    for tick in range(48):
        np.testing.assert_array_equal(
            np.sort(quarter.catalogue.article_id), np.sort(hour.catalogue.article_id), err_msg=f"hour {tick}"
        )
        for _ in range(4):
            quarter.serve(np.full((len(quarter.visits), K), -1))
        hour.serve(np.full((len(hour.visits), K), -1))
    m = hour.catalogue.archive.published
    for name in ("published_hours", "expires_hours", "text", "vector", "quality", "clickbait", "topic", "author"):
        np.testing.assert_array_equal(
            quarter.catalogue.archive.column(name)[:m], hour.catalogue.archive.column(name)[:m], err_msg=name
        )


@pytest.mark.parametrize("shards", [((0, 60), (60, 40)), ((0, 1), (1, 98), (99, 1))])
def test_shards_of_a_population_equal_the_whole(shards: tuple[tuple[int, int], ...]) -> None:
    whole = by_visit([run(site(num_readers=100))])
    parts = by_visit([run(site(first_reader_id=first, num_readers=size, population=100)) for first, size in shards])
    assert whole.keys() == parts.keys()
    assert len(whole) > 1000
    different = [key for key, outcome in whole.items() if parts[key] != outcome]
    assert different == []


@pytest.mark.parametrize("block", [1, 7])
def test_the_size_of_a_block_changes_no_byte(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = site()
    story = run(whole)
    monkeypatch.setattr(feed_module, "BLOCK", block)
    small = site()
    assert_same_story(story, run(small))
    assert_same(whole.snapshot(), small.snapshot())


# The reader model alone: batch order and batch split

N = 48


def archive_of(seed: int) -> Archive:
    newsroom = SyntheticNewsroom(NewsroomConfig(articles_per_day=150.0), seed)
    archive = Archive(16)
    for day in (-1, 0):
        archive.plan(newsroom.plan_day(day))
    archive.published = archive.planned
    return archive


ARCHIVE = archive_of(3)
MODEL = NewsReader(EAGER)


def respond_in(batches: list[Any], slates: list[Any], valid: list[Any], *, states: bool) -> list[Any]:
    """Three visits of each of N readers, the batch of each time split into ``batches``."""
    ids = 1000 + 7 * np.arange(N, dtype=np.int64)
    state = MODEL.spawn(ids, Noise(1, ids))
    story: list[Any] = []
    for visit, (article_id, ok, now) in enumerate(zip(slates, valid, (26.0, 27.25, 40.5), strict=True)):
        clicks, dwell = np.zeros((N, K), dtype=np.bool_), np.zeros((N, K), dtype=np.float32)
        subscribed, hours = np.zeros(N, dtype=np.bool_), np.zeros(N)
        for rows in batches:
            shown = np.ascontiguousarray(article_id[rows].T).T
            mask = np.ascontiguousarray(ok[rows].T).T
            noise = Noise(1, ids[rows], np.full(len(rows), visit), shown)
            outcome = MODEL.respond(state, rows, SlateView(ARCHIVE, shown, mask, now), now, noise)
            clicks[rows], dwell[rows], subscribed[rows] = outcome.clicks, outcome.dwell_minutes, outcome.subscribed
            hours[rows] = MODEL.next_visit(state, rows, outcome, now, noise)
        story += [clicks, dwell, subscribed, hours]
    return story + ([state[name].copy() for name in sorted(state)] if states else [])


@settings(max_examples=40, deadline=None, derandomize=True)
@given(data=st.data())
def test_batch_order_and_batch_split_change_no_byte_of_the_reader_model(data: Any) -> None:
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1), label="slates"))
    slates = [rng.integers(0, ARCHIVE.published, (N, K)) for _ in range(3)]
    slates[2][: N // 2] = slates[1][: N // 2]  # seen before: fatigue and memory take part
    valid = [rng.random((N, K)) < 0.9 for _ in range(3)]
    slates = [np.where(ok, ids, 0) for ids, ok in zip(slates, valid, strict=True)]
    order = np.array(data.draw(st.permutations(range(N)), label="order"))
    cuts = data.draw(st.sets(st.integers(1, N - 1), min_size=1, max_size=12), label="cuts")
    whole = respond_in([np.arange(N)], slates, valid, states=True)
    split = respond_in(np.split(order, sorted(cuts)), slates, valid, states=True)
    assert sum(part.sum() for part in whole[0:12:4]) > 100  # clicks
    for one, other in zip(whole, split, strict=True):
        assert one.dtype == other.dtype
        assert one.tobytes() == other.tobytes()


def test_single_readers_equal_the_batch() -> None:
    rng = np.random.default_rng(0)
    slates = [rng.integers(0, ARCHIVE.published, (N, K)) for _ in range(3)]
    valid = [np.ones((N, K), dtype=np.bool_)] * 3
    whole = respond_in([np.arange(N)], slates, valid, states=True)
    singles = respond_in([np.array([row]) for row in range(N)], slates, valid, states=True)
    for one, other in zip(whole, singles, strict=True):
        assert one.tobytes() == other.tobytes()


def test_spawn_is_the_same_for_one_reader_and_for_many() -> None:
    ids = np.arange(300, dtype=np.int64)
    whole = MODEL.spawn(ids, Noise(2, ids))
    first = MODEL.first_visit(whole, ids, Noise(2, ids))
    for part in ([3], [0, 1], [299, 7, 150]):
        rows = np.array(part)
        some = MODEL.spawn(rows, Noise(2, rows))
        for name, column in some.items():
            assert column.tobytes() == whole[name][rows].tobytes(), name
        hours = MODEL.first_visit(some, np.arange(len(rows)), Noise(2, rows))
        assert hours.tobytes() == first[rows].tobytes()

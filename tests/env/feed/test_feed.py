"""The Feed at its edges: bad slates, empty ticks and catalogues, bad reader models, and what a tick costs."""

import dataclasses
import math
from collections import Counter, defaultdict
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from feedgym.env import Feed, FeedConfig, NewsReader, NewsroomConfig, RewardConfig
from helpers.small_feed import CLICKERS, SITE, K, assert_unmoved, good_slates, live, site, to_a_visit


def test_entries_that_show_nothing() -> None:
    feed = to_a_visit(site(), ticks=120)
    archive, ids = feed.catalogue.archive, live(feed)
    expired = int(np.flatnonzero(~archive.is_live[: archive.published])[0])
    planned = archive.published  # of today, but not out yet
    slates = good_slates(feed)
    cases = {
        "good": [ids[0], ids[1], ids[2], ids[3], ids[4]],
        "repeated": [ids[0], ids[0], ids[1], ids[0], ids[1]],
        "expired": [expired, ids[0], expired, ids[1], ids[2]],
        "planned": [ids[0], planned, ids[1], planned + 1, ids[2]],
        "unknown": [2**62, ids[0], 10**9, ids[1], 2**63 - 1],
        "absent": [-1, -1, ids[0], -1, -1],
        "negative": [-2, -(2**63), ids[0], -(2**40), ids[1]],
        "nothing": [-1] * K,
    }
    shows = {
        "good": [1, 1, 1, 1, 1],
        "repeated": [1, 0, 1, 0, 0],
        "expired": [0, 1, 0, 1, 1],
        "planned": [1, 0, 1, 0, 1],
        "unknown": [0, 1, 0, 1, 0],
        "absent": [0, 0, 1, 0, 0],
        "negative": [0, 0, 1, 0, 1],
        "nothing": [0] * K,
    }
    assert len(slates) >= 2
    for name, slate in cases.items():
        snapshot = feed.snapshot()
        mixed = slates.copy()
        mixed[1] = slate
        before = feed.catalogue.impressions_of(np.arange(archive.published))
        outcome = feed.serve(mixed)
        shown = np.array(shows[name], dtype=bool)
        assert outcome.valid[1].tolist() == shown.tolist(), name
        assert outcome.clicks[1].tolist() == shown.tolist(), name  # these readers click all that they see
        assert np.all(outcome.dwell_minutes[1][~shown] == 0.0), name
        assert np.all(outcome.slot_reward[1][~shown] == 0.0), name
        assert outcome.reward[1] == pytest.approx(float(outcome.dwell_minutes[1].sum()), rel=1e-6), name
        assert outcome.valid[0].all(), name
        assert feed.invalid_entries == int(snapshot["invalid_entries"]) + int((~shown).sum()), name
        counted = feed.catalogue.impressions_of(np.arange(len(before))) - before
        expected: Counter[int] = Counter(mixed[np.array(outcome.valid)].tolist())
        assert {int(i): int(counted[i]) for i in np.flatnonzero(counted)} == dict(expected), name
        feed.restore(snapshot)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ("repeated", r"slates\[1, 2\]: got article \d+, which stands higher on the same slate; needs live articles"),
        ("expired", r"slates\[1, 2\]: got article 0, which expired at \d+\.\d\d h \(now \d+\.\d\d h\)"),
        ("unknown", r"slates\[1, 2\]: got article 1000000, which was never published"),
        ("absent", r"slates\[1, 2\]: got article -1, which is absent"),
    ],
)
def test_strict_names_the_entry(bad: str, message: str) -> None:
    feed = to_a_visit(site(strict=True), ticks=150)
    slates = good_slates(feed)
    slates[1, 2] = {"repeated": slates[1, 0], "expired": 0, "unknown": 10**6, "absent": -1}[bad]
    before = feed.snapshot()
    with pytest.raises(ValueError, match=message):
        feed.serve(slates)
    assert_unmoved(feed, before)
    feed.serve(good_slates(feed))  # and goes on


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.astype(np.float64), "slates: got dtype.'float64'., needs an integer dtype"),
        (lambda s: s > 0, "slates: got dtype.'bool'., needs an integer dtype"),
        (lambda s: s.astype(object), "slates: got dtype.'O'., needs an integer dtype"),
        (lambda s: s[:, :-1], r"slates: got \(\d+, 4\), needs \(\d+, 5\): a row per visit, slate_size columns"),
        (lambda s: s[:-1], r"slates: got \(\d+, 5\), needs \(\d+, 5\)"),
        (lambda s: s.T.copy(), r"slates: got \(5, \d+\), needs"),
        (lambda s: s[0], r"slates: got \(5,\), needs"),
        (lambda s: s[None], r"slates: got \(1, \d+, 5\), needs"),
    ],
)
def test_slates_of_the_wrong_dtype_or_shape(change: Callable[[Any], Any], message: str) -> None:
    feed = to_a_visit(site())
    while len(feed.visits) == K:  # where a transposed slate has the right shape
        feed.serve(good_slates(feed))
    before = feed.snapshot()
    with pytest.raises(ValueError, match=message):
        feed.serve(change(good_slates(feed)))
    assert_unmoved(feed, before)


@pytest.mark.parametrize("dtype", [np.int32, np.int64, np.uint16, np.uint64])
@pytest.mark.parametrize("order", ["C", "F"])
def test_any_integer_dtype_and_memory_order_serve_alike(dtype: Any, order: Any) -> None:
    one, other = to_a_visit(site()), to_a_visit(site())
    slates = good_slates(one).astype(dtype, order=order)
    np.testing.assert_array_equal(one.serve(slates).dwell_minutes, other.serve(good_slates(other)).dwell_minutes)
    assert_unmoved(one, other.snapshot())


def test_the_caller_may_reuse_the_slates() -> None:
    one, other = to_a_visit(site()), to_a_visit(site())
    slates = np.asfortranarray(good_slates(one))
    one.serve(slates)
    slates[:] = -7
    other.serve(good_slates(other))
    assert_unmoved(one, other.snapshot())


def test_more_positions_than_live_articles() -> None:
    feed = Feed(FeedConfig(num_readers=30, days=1.0, slate_size=40, newsroom=NewsroomConfig(articles_per_day=3.0)))
    seen_short = False
    while not feed.done:
        ids = live(feed)[:40]
        seen_short |= len(ids) < 40 and len(feed.visits) > 0
        slates = np.full((len(feed.visits), 40), -1)
        slates[:, : len(ids)] = ids
        outcome = feed.serve(slates)
        assert not outcome.valid[:, len(ids) :].any()
        assert outcome.valid[:, : len(ids)].all()
    assert seen_short
    assert feed.invalid_entries > 0


def test_an_empty_catalogue() -> None:
    feed = site(newsroom=NewsroomConfig(articles_per_day=0.0))
    visits = 0
    while not feed.done:
        assert feed.catalogue.features.shape == (0, 19)
        visits += len(feed.visits)
        rng = np.random.default_rng(feed.tick)
        outcome = feed.serve(rng.integers(-3, 3, (len(feed.visits), K)))
        assert not outcome.valid.any()
        assert not outcome.clicks.any()
        assert not outcome.reward.any()
    assert visits > 50
    assert feed.invalid_entries == visits * K


def test_a_tick_without_visits() -> None:
    feed = site(NewsReader(dataclasses.replace(CLICKERS, gap_median_hours=40.0)), num_readers=2)
    empty = 0
    while not feed.done:
        if len(feed.visits) == 0:
            empty += 1
            with pytest.raises(ValueError, match=r"slates: got \(1, 5\), needs \(0, 5\)"):
                feed.serve(np.zeros((1, K), dtype=np.int64))
            outcome = feed.serve(np.zeros((0, K), dtype=np.int64))
            assert outcome.clicks.shape == outcome.valid.shape == outcome.dwell_minutes.shape == (0, K)
            assert outcome.reward.shape == outcome.left.shape == outcome.hours_to_next_visit.shape == (0,)
        else:
            feed.serve(good_slates(feed))
    assert empty > 100


def test_the_horizon() -> None:
    feed = site(days=0.5)
    while not feed.done:
        feed.serve(good_slates(feed))
    assert feed.tick == 48
    assert feed.now == 12.0
    assert len(feed.visits) == 0
    with pytest.raises(RuntimeError, match=r"serve: the horizon of 0\.5 days is reached; needs a new Feed"):
        feed.serve(np.zeros((0, K), dtype=np.int64))


@pytest.mark.parametrize("seed", [-1, 1.5, "7", None])
def test_bad_seeds(seed: Any) -> None:
    with pytest.raises(ValueError, match=r"seed: got .*, needs an integer >= 0"):
        Feed(SITE, seed=seed)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_readers": 0}, "num_readers: got 0, needs >= 1"),
        ({"tick_hours": 0.7}, "tick_hours: got 0.7, needs a divisor of 24 hours"),
        ({"tick_hours": 0.0}, "tick_hours: got 0.0"),
        ({"days": math.nan}, "days: got nan"),
        ({"slate_size": 0}, "slate_size: got 0"),
        ({"history_length": 3}, r"history_length: got 3, needs >= slate_size \(8\)"),
        ({"first_reader_id": -1}, "first_reader_id: got -1"),
    ],
)
def test_bad_settings_are_named(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        FeedConfig(**settings)


def test_reward_is_the_stated_sum() -> None:
    weights = RewardConfig(click=2.0, dwell_minutes=0.5, subscription=10.0)
    feed = site(NewsReader(dataclasses.replace(CLICKERS, subscribe_hazard=0.2)), reward=weights)
    subscribed = 0
    while not feed.done:
        o = feed.serve(good_slates(feed))
        slot = 2.0 * o.clicks + 0.5 * o.dwell_minutes
        np.testing.assert_allclose(o.slot_reward, slot, rtol=1e-6)
        np.testing.assert_allclose(o.reward, slot.sum(axis=1) + 10.0 * o.subscribed, rtol=1e-5)
        subscribed += int(o.subscribed.sum())
    assert subscribed > 5


def test_visits_equal_plain_bookkeeping() -> None:
    """Counts, gaps and histories, against lists kept here; a reader has at most one visit per tick."""
    readers = NewsReader(dataclasses.replace(CLICKERS, base_log_odds=0.0))
    feed = site(readers, history_length=8, newcomers_per_day=0.2)
    history: dict[int, list[tuple[int, float]]] = defaultdict(list)
    last: dict[int, float] = {}
    count: Counter[int] = Counter()
    due: dict[int, float] = {}
    wrapped = False
    while not feed.done:
        visits, now = feed.visits, feed.now
        assert np.all(np.diff(visits.rows) > 0)
        for row, reader in enumerate(visits.reader_id.tolist()):
            assert visits.visit[row] == count[reader]
            assert visits.gap_hours[row] == pytest.approx(now - last[reader] if reader in last else 0.0)
            if reader in due:
                assert now == pytest.approx(due.pop(reader))
            newest = history[reader][::-1][:8]
            assert visits.history_id[row].tolist() == [a for a, _ in newest] + [-1] * (8 - len(newest))
            minutes = [m for _, m in newest] + [0.0] * (8 - len(newest))
            np.testing.assert_allclose(visits.history_dwell[row], minutes, rtol=1e-3)
            wrapped |= len(history[reader]) > 12
        assert all(when > now - 1e-9 for when in due.values())
        slates = np.random.default_rng(feed.tick).choice(feed.catalogue.article_id, (len(visits), K))
        outcome = feed.serve(slates)
        for row, reader in enumerate(visits.reader_id.tolist()):
            count[reader] += 1
            last[reader] = now
            if not outcome.left[row]:
                due[reader] = now + float(outcome.hours_to_next_visit[row])
            for k in np.flatnonzero(outcome.clicks[row]):
                history[reader].append((int(slates[row, k]), float(outcome.dwell_minutes[row, k])))
    assert wrapped
    assert sum(reader >= 80 for reader in count) > 15
    assert 0 < feed.num_left == feed.has_left.sum() == sum(r not in due for r in count)


def test_histories_of_a_served_tick_are_not_read_late() -> None:
    feed = to_a_visit(site())
    stale = feed.visits
    feed.serve(good_slates(feed))
    with pytest.raises(RuntimeError, match="this tick has been served; read histories before serve"):
        _ = stale.history_id
    kept = to_a_visit(feed).visits
    early = kept.history_id
    feed.serve(good_slates(feed))
    assert kept.history_id is early

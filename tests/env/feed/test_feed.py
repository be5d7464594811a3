"""The Feed at its edges: bad slates, empty ticks and catalogues, bad reader models, and what a tick costs."""

import dataclasses
import math
import sys
from collections import Counter
from collections.abc import Callable
from types import FrameType
from typing import Any

import numpy as np
import pytest

from feedgym.agents import make_agent
from feedgym.env import Feed, FeedConfig, NewsReader, NewsReaderConfig, NewsroomConfig, Outcome, RewardConfig
from feedgym.env.feed.catalogue import Catalogue
from feedgym.env.newsroom.synthetic import SyntheticNewsroom

K = 5
SITE = FeedConfig(num_readers=80, days=2.0, slate_size=K, newsroom=NewsroomConfig(articles_per_day=60.0))
# Clicks whatever is shown: a click that must not be would be made.
CLICKERS = NewsReaderConfig(base_log_odds=30.0, position_bias=False, enrolment_share=0.0, gap_median_hours=1.0)


def site(model: Any = None, seed: int = 1, **changes: Any) -> Feed:
    return Feed(dataclasses.replace(SITE, **changes), NewsReader(CLICKERS) if model is None else model, seed)


def live(feed: Feed) -> Any:
    return np.sort(feed.catalogue.article_id)


def good_slates(feed: Feed) -> Any:
    return np.tile(live(feed)[-K:], (len(feed.visits), 1))


def to_a_visit(feed: Feed, ticks: int = 0) -> Feed:
    """Serve until a tick with at least two visits, after so many ticks."""
    while len(feed.visits) < 2 or feed.tick < ticks:
        feed.serve(good_slates(feed))
    return feed


# Slates


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


def assert_unmoved(feed: Feed, before: dict[str, Any], *, but: str = "\0") -> None:
    after = feed.snapshot()
    assert before.keys() == after.keys()
    for name, value in before.items():
        if not name.startswith(but):
            np.testing.assert_array_equal(after[name], value, err_msg=name)


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


# What the site remembers


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
    feed = site(NewsReader(dataclasses.replace(CLICKERS, base_log_odds=0.0)), history_length=8)
    history: dict[int, list[tuple[int, float]]] = {i: [] for i in range(80)}
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
    assert 0 < feed.num_left == feed.has_left.sum() == sum(count.values() and 1 for r in count if r not in due)


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


# Reader models that break


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


# No Python loop over visits, readers or articles: lines executed, counted


def lines_of(call: Callable[[], Any]) -> int:
    """Python lines executed by ``call``, in all frames."""
    count = 0

    def local(frame: FrameType, event: str, arg: Any) -> Any:
        nonlocal count
        count += event == "line"
        return local

    old = sys.gettrace()
    sys.settrace(lambda frame, event, arg: local)
    try:
        call()
    finally:
        sys.settrace(old)
    return count


def crowded(num_readers: int, agent: str = "recent", **settings: Any) -> tuple[Feed, Any]:
    """A feed after some ticks, at one where every reader asks for a slate."""
    # Nobody leaves, habits do not vary: all readers come at each tick.
    model = NewsReader(NewsReaderConfig(gap_median_hours=1e-6, gap_log_sd=0.0, leaving=False, enrolment_share=0.0))
    feed = Feed(FeedConfig(num_readers=num_readers, tick_hours=1.0, days=3.0), model, seed=2)
    started = make_agent(agent, **settings).start(feed)
    for _ in range(4):
        started.learn(feed.serve(started.act(feed.visits, feed.catalogue).article_id))
    assert len(feed.visits) == num_readers
    return feed, started


def test_the_count_sees_a_loop() -> None:
    def loop(n: int) -> int:
        total = 0
        for i in range(n):
            total += i
        return total

    assert lines_of(lambda: loop(2000)) > 5 * lines_of(lambda: loop(200))


# Both sizes take one block of visits and, of articles, one position at a time: below 1,025 visits several positions
# are read at once, which is fewer passes over the batch, not a loop over visits.
FEW, MANY = 1200, 4000


def test_serving_three_times_the_visits_runs_as_many_lines() -> None:
    lines = []
    for n in (FEW, MANY):
        feed, agent = crowded(n)
        slates = agent.act(feed.visits, feed.catalogue).article_id
        lines.append(lines_of(lambda feed=feed, slates=slates: feed.serve(slates)))  # type: ignore[misc]
    assert lines[0] > 100
    assert abs(lines[1] / lines[0] - 1.0) < 0.03, lines


def test_visits_are_read_without_a_loop() -> None:
    lines = []
    for n in (200, 2000):
        feed, _ = crowded(n)
        lines.append(lines_of(lambda feed=feed: feed.visits.history_id))  # type: ignore[misc]
    assert lines[0] == lines[1]


@pytest.mark.parametrize("name", ["random", "recent", "popular", "regression"])
def test_agents_act_and_learn_without_a_loop_over_visits(name: str) -> None:
    # A training comes at every sixth hour and takes so many steps at most.
    settings = {"train_every_hours": 6.0, "max_steps": 1} if name == "regression" else {}
    lines = []
    for n in (FEW, FEW, MANY):  # the first one imports what torch imports late
        feed, agent = crowded(n, name, **settings)

        def three_ticks(feed: Feed = feed, agent: Any = agent) -> None:
            for _ in range(3):  # hours 4, 5 and 6: with a training
                served = agent.act(feed.visits, feed.catalogue)
                agent.learn(feed.serve(served.article_id))

        lines.append(lines_of(three_ticks))
        if name == "regression":
            assert agent.policy_version == 1
    assert lines[1] > 100
    assert abs(lines[2] / lines[1] - 1.0) < 0.1, lines


def test_a_catalogue_of_a_hundred_times_the_articles_runs_as_many_lines() -> None:
    lines = []
    for per_day in (40.0, 400.0, 4000.0):
        catalogue = Catalogue(SyntheticNewsroom(NewsroomConfig(articles_per_day=per_day), 1), 4)
        for tick in range(20):
            catalogue.advance(tick, 6.0 * tick)
        lines.append(lines_of(lambda c=catalogue: [c.advance(t, 6.0 * t) for t in range(20, 52)]))  # type: ignore[misc]
        assert len(catalogue) > per_day
    # Few articles leave some ticks and days without any that is due, and the calendar has a list for each.
    assert lines[0] > 100
    assert abs(lines[2] / lines[1] - 1.0) < 0.1, lines
    assert abs(lines[2] / lines[0] - 1.0) < 0.25, lines

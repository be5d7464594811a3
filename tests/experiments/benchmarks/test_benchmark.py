"""The benchmark measures what it says; no assertion here depends on the machine's speed."""

import functools
import json
from pathlib import Path

import numpy as np
import pytest

from feedgym.env.feed import Feed, ServedOutcome
from feedgym.experiments.benchmarks import benchmark, indexes, serving, training
from feedgym.experiments.benchmarks import feed as benchmark_feed
from feedgym.experiments.benchmarks.agent import Stopwatch, measure
from feedgym.experiments.benchmarks.benchmark import SECTIONS, BenchmarkConfig
from feedgym.experiments.benchmarks.feed import SLATE_SIZE, FeedBench, FeedCase, feed_cases, random_slates
from feedgym.experiments.benchmarks.floor import Floor

SMALL = FeedCase(readers=300, live=400, tick_hours=1.0, arrivals=4.0, ticks=5, warm_ticks=30)


def test_slates_are_of_different_live_articles() -> None:
    live = np.arange(100, 150)
    slates = random_slates(np.random.default_rng(0), live, 2000)
    assert slates.shape == (2000, SLATE_SIZE)
    assert np.isin(slates, live).all()
    assert all(len(set(row)) == SLATE_SIZE for row in slates.tolist())
    counts = np.bincount(slates.ravel() - 100, minlength=50)
    assert counts.min() > 0.8 * counts.mean()


def test_the_floor_serves_the_very_visits_of_the_feed(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: dict[str, list[tuple[list[int], list[list[int]]]]] = {"feed": [], "floor": []}
    plain_floor, plain_feed = Floor.serve, Feed.serve

    def floor(self: Floor, rows: np.ndarray, slates: np.ndarray) -> np.ndarray:
        shown["floor"].append((rows.tolist(), slates.tolist()))
        return plain_floor(self, rows, slates)

    def feed(self: Feed, slates: np.ndarray) -> ServedOutcome:
        shown["feed"].append((self.visits.rows.tolist(), slates.tolist()))
        return plain_feed(self, slates)

    bench = FeedBench(SMALL)
    before = int(bench.feed.records.visit_count.sum())
    monkeypatch.setattr(Floor, "serve", floor)
    monkeypatch.setattr(Feed, "serve", feed)
    bench.round()
    bench.round()
    assert len(shown["feed"]) == 2 * SMALL.ticks == bench.feed.tick - SMALL.warm_ticks
    assert shown["floor"] == shown["feed"]
    assert bench.visits == int(bench.feed.records.visit_count.sum()) - before > 100
    assert bench.feed.invalid_entries == 0


def test_the_floor_clicks_now_and_then_and_remembers() -> None:
    floor, rows = Floor(50, 100), np.arange(50)
    slates = random_slates(np.random.default_rng(1), np.arange(1000, 1100), 50)
    clicks = floor.serve(rows, slates)
    assert clicks.shape == (SLATE_SIZE, 50)
    assert 0 < clicks.sum() < 100
    assert np.isin(slates[7], floor._memory[7]).any()


def test_figures_are_medians_of_cpu_time_per_visit() -> None:
    bench = FeedBench(SMALL)
    bench.visits = 600
    bench.per_visit, bench.floor_per_visit = [2e-6, 9e-6, 4e-6], [1e-6, 3e-6, 1e-6]
    figures = bench.figures([1e-6, 3e-6, 8e-6])
    assert figures.microseconds_per_visit == pytest.approx(4.0)
    assert figures.visits_per_second == pytest.approx(250_000)
    assert figures.floor_ratio == pytest.approx(3.0)  # of 2, 3, 4: within a round, not of the medians
    assert figures.first_ratio == pytest.approx(2.0)  # of 2, 3, .5
    assert figures.visits_per_tick == pytest.approx(600 / (3 * SMALL.ticks))


def test_live_articles_are_what_the_case_asks_for() -> None:
    for world in ("vivid", "measured"):
        for arrivals in (4.0, 40.0):
            live = len(FeedCase(**{**vars(SMALL), "arrivals": arrivals, "world": world}).make_feed().catalogue)
            assert live == pytest.approx(SMALL.live, rel=0.25)


def test_a_reader_takes_what_its_arrays_take() -> None:
    small, large = (FeedCase(**{**vars(SMALL), "readers": p}).make_feed() for p in (300, 900))
    bytes_each = benchmark_feed.bytes_per_reader(small)
    assert bytes_each == pytest.approx(benchmark_feed.bytes_per_reader(large), rel=1e-6)
    # 50 clicks of 6 bytes, three counters, the next tick; three cache lines, 64 words of 8, enrolment.
    assert bytes_each == 50 * 6 + 3 * 4 + 4 + 3 * 64 + 64 * 8 + 8 <= 1126  # the budget of 1.1 KB


def test_a_reader_of_measured_remembers_four_times_as_many_articles() -> None:
    bytes_each = benchmark_feed.bytes_per_reader(FeedCase(**{**vars(SMALL), "world": "measured"}).make_feed())
    # Three cache lines less than vivid's would be: only the last click sates.
    assert 256 * 8 <= bytes_each < 256 * 8 + 500


def test_sizes_are_those_of_the_budget() -> None:
    target, few, many, tenth, tenfold, *_ = feed_cases()
    assert {case.world for case in feed_cases()} == {"vivid", "measured"}
    assert (target.readers, target.live) == (100_000, 10_000)
    assert (few.live, many.live) == (1_000, 100_000)
    assert few.arrivals == many.arrivals == target.arrivals
    assert (tenth.readers, tenfold.readers) == (10_000, 1_000_000)
    for case in (tenth, tenfold):  # about the same visits in a tick
        assert case.readers * case.tick_hours == pytest.approx(target.readers * target.tick_hours, rel=0.7)
    for case in feed_cases(0.003):
        case.make_feed()  # a tick must divide the day


def test_exclusive_times_do_not_count_a_part_twice() -> None:
    class Work:
        def outer(self) -> None:
            self.inner()
            self.spin(30_000)

        def inner(self) -> None:
            self.spin(90_000)

        def spin(self, count: int) -> None:
            for _ in range(count):
                pass

    work, watch = Work(), Stopwatch()
    watch.wrap(work, "outer", "outside")
    watch.wrap(work, "inner", "inside")
    for _ in range(20):
        work.outer()
    # Inclusive times would put the outside above the inside.
    assert 0 < watch.seconds["outside"] < watch.seconds["inside"]


def test_shares_sum_to_one_and_name_the_parts() -> None:
    figures = measure("small", 150, None, 0.75)
    assert sum(figures.shares.values()) == pytest.approx(1.0)
    assert {"the Feed", "training", "retrieval", "user tower"} <= set(figures.shares)
    assert all(share >= 0 for share in figures.shares.values())
    from feedgym.agents.slate_policy import policy
    from feedgym.agents.two_tower import drawing

    assert vars(drawing)["serve"] is policy.serve  # put back


def test_the_command_writes_its_tables(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """All sections; smaller still where ``scale`` leaves batches, warm days and towers as they are."""
    plain = functools.partial(training.measure, batch=64, rounds=1, visits=300, readers=60)
    monkeypatch.setattr(indexes, "BATCHES", (1, 8))
    monkeypatch.setattr(serving, "measure", functools.partial(serving.measure, warm_days=0))
    monkeypatch.setattr(training, "measure", lambda widths, dim, *_: plain([w // 16 for w in widths], dim))
    benchmark.main(["--scale", "0.003", "--rounds", "1", "--out", str(tmp_path)])
    text = (tmp_path / "benchmark.md").read_text()
    assert capsys.readouterr().out == text
    assert all(title in text for title in ("The Feed alone", "An agent in the loop", "Retrieval", "Slates"))
    figures = json.loads((tmp_path / "benchmark.json").read_text())
    assert set(figures) == set(SECTIONS)
    assert all(row["faiss_ms"] > 0 for row in figures["retrieval"])
    # More work in the same run takes longer: the ratios stand in the right columns.
    assert all(0 < row["sampling"] < row["with_marginals"] for row in figures["slates"])
    assert all(row["step_ms"] > 0 for row in figures["learning"])
    assert {row["ratio"] for row in figures["learning"] if row["learner"] == "contrastive-uniform"} == {1.0}


def test_unknown_sections_are_refused() -> None:
    with pytest.raises(ValueError, match=r"sections: got 'fast', needs of feed, agent, retrieval, slates, learning"):
        BenchmarkConfig(sections=("fast",))

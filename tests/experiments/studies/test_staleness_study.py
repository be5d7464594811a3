"""The study of staleness, and the benchmark of serving that it counts with."""

import dataclasses
import functools
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from feedgym.agents import parse_agent
from feedgym.env.feed.feed import Feed
from feedgym.experiments.benchmarks import serving as benchmark_serving
from feedgym.experiments.benchmarks.serving import Bench, Tally, measure
from feedgym.experiments.reports.curves import Curves, Run
from feedgym.experiments.runs.run_config import RunConfig
from feedgym.experiments.studies.freshness import staleness, staleness_tables
from feedgym.experiments.studies.freshness import staleness_settings as study_settings
from feedgym.experiments.studies.freshness.staleness_settings import CLOCKS, SETTINGS
from feedgym.experiments.studies.freshness.staleness_tables import (
    cost_table,
    counts,
    hours_table,
    line,
    pairs_table,
    reward_per_visit,
    reward_table,
    rewards,
)

NAMED = {setting.name: setting for setting in SETTINGS}


def cells(table: str) -> list[list[str]]:
    """The rows of a Markdown table, without its head."""
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in table.splitlines()[2:]]


def lived(name: str, seed: int, daily: list[float]) -> Run:
    """A run with these rewards per reader on its days, all of it in the first six hours; a visit a reader and bin."""
    curves = Curves(10, float(len(daily)))
    curves.totals["reward"][::4] = 10.0 * np.array(daily)
    curves.totals["visits"][:] = 10.0
    return Run(NAMED[name].label, seed, False, curves)


# Settings


def test_one_clock_at_a_time_and_every_mode() -> None:
    plain = parse_agent("regression-dwell").settings
    for setting in SETTINGS:
        varied = [name for name, _ in parse_agent(setting.agent).settings if (name, _) not in plain]
        if setting.group in ("items", "readers", "lag", "training"):
            assert len(varied) == 1
            assert dict(parse_agent(setting.agent).settings)[varied[0]] == setting.hours
        assert parse_agent(setting.reference).label in {s.label for s in SETTINGS if s.is_reference}
    assert sum(len(values) for values in CLOCKS.values()) == sum(s.hours is not None for s in SETTINGS)
    assert {"realtime", "streaming", "batch", "recent", "popular"} <= NAMED.keys()
    assert len({s.label for s in SETTINGS}) == len(SETTINGS)


# Arithmetic of the tables


def test_differences_are_paired_by_seed_whatever_the_order_of_the_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(staleness_tables, "WARM_DAYS", 3)
    runs = [lived("realtime", s, [2.0 + s] * 4) for s in (1, 2, 0)]
    runs += [lived("batch", s, [2.0 + s - 0.9 - 0.1 * s] * 3 + [2.0 + s]) for s in (0, 1, 2)]
    assert rewards(runs, NAMED["realtime"].label).tolist() == [2.0, 3.0, 4.0]
    found = line(runs, NAMED["batch"])
    # By hand: -.9, -1, -1.1 on three of four days; t(.975, 2) = 4.303.
    assert found.versus is not None
    assert found.versus.mean == pytest.approx(-0.75)
    half = 4.3027 * 0.075 / np.sqrt(3)
    assert (found.versus.low, found.versus.high) == pytest.approx((-0.75 - half, -0.75 + half), rel=1e-4)
    assert found.percent == pytest.approx(-25.0)
    assert found.seeds_below == 3
    # The fourth day alone.
    assert found.late is not None
    assert found.late.mean == pytest.approx(0.0)
    row = cells(reward_table(runs, [NAMED["realtime"], NAMED["batch"]]))
    assert row[0][2:] == ["3.000", "-", "-", "-", "-", "-"]
    assert row[1][:6] == ["mode", "batch", "2.250", "-0.750 [-0.936, -0.564]", "-25.0", "3 of 3"]


def test_an_agent_is_compared_with_itself_in_real_time() -> None:
    runs = [lived("realtime", s, [9.0] * 4) for s in range(2)]
    runs += [lived("reinforce realtime", s, [4.0 + s] * 4) for s in range(2)]
    runs += [lived("reinforce batch", s, [3.0 + s] * 4) for s in range(2)]
    found = line(runs, NAMED["reinforce batch"])
    assert found.versus is not None
    assert found.versus.mean == pytest.approx(-1.0)
    with pytest.raises(ValueError, match="label: got 'popular', needs one that was run"):
        line(runs, NAMED["popular"])


def test_steps_are_differences_of_what_was_run() -> None:
    runs = [lived("items 24 h", s, [2.0 + s] * 4) for s in range(3)]
    runs += [lived("training 24 h", s, [2.5 + s] * 4) for s in range(3)]
    rows = cells(pairs_table(runs, [NAMED["items 24 h"], NAMED["training 24 h"]]))
    assert [row[1:] for row in rows] == [["items 24 h - training 24 h", "-0.500 [-0.500, -0.500]", "-14.3"]]


def test_reward_per_visit_by_hours_of_the_later_days(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(staleness_tables, "WARM_DAYS", 3)

    def with_bins(name: str, seed: int, bins: list[float]) -> Run:
        run = lived(name, seed, [100.0, 0.0, 0.0, 0.0, 0.0])
        run.curves.totals["reward"][12:] = [20.0 * value for value in bins * 2]
        run.curves.totals["visits"][16:] = 30.0
        return run

    runs = [with_bins("realtime", s, [2.0, 2.0, 2.0, 2.0]) for s in range(3)]
    runs += [with_bins("batch", s, [2.0, 1.5, 1.0, 0.5 + 0.1 * s]) for s in range(3)]
    # Two days of 20 a bin, 10 and 30 visits: 40 / 40.
    assert reward_per_visit(runs[0]).tolist() == [2.0, 2.0, 2.0, 2.0]
    row = cells(hours_table(runs, [NAMED["realtime"], NAMED["batch"]]))[0]
    assert [cell.split("%")[0].strip() for cell in row[1:]] == ["+0", "-25", "-50", "-70"]
    half = 100.0 * 4.3027 * 0.1 / np.sqrt(3) / 2.0
    assert row[4] == f"-70 % [{-70 - half:+.0f}, {-70 + half:+.0f}]"


def test_counts_are_means_over_seeds_for_a_thousand_visits() -> None:
    names = ("reader_embeddings", "item_embeddings", "index_writes", "queries", "slates", "expired")

    def counted(seed: int, visits: int, readers: int) -> Run:
        return dataclasses.replace(
            lived("batch", seed, [1.0]),
            # An older run, which counts less.
            serving={"visits": visits, "age_minutes": 90 * visits, **dict.fromkeys(names, 0)}
            | {"reader_embeddings": readers},
        )

    runs = [counted(0, 2000, 1000), counted(1, 500, 500), lived("recent", 0, [1.0])]
    assert counts(runs, NAMED["batch"].label)["reader_embeddings"] == pytest.approx(750.0)
    assert counts(runs, "recent") == {}
    rows = cells(cost_table(runs, [NAMED["batch"], NAMED["recent"]], {}))
    assert rows[0] == ["batch", "750", "0", "0", "0", "0", "1.5", "0", "0", "0", *"-----"]
    assert rows[1] == ["recent", *"--------------"]


# Counts of serving, against a plain loop


def plain_counts(agent: str, readers: int, days: int, seed: int) -> dict[str, float]:
    """What serving costs, counted by hand at every tick."""
    run = RunConfig(readers=readers, days=float(days))
    feed = Feed(run.feed_config(), run.make_reader_model(), seed=seed)
    served_by: Any = parse_agent(agent).start(feed)
    mode = served_by.config.serving.serving
    names = ("visits", "readers", "articles", "writes", "slates", "default", "further", "expired", "empty", "minutes")
    count = dict.fromkeys(names, 0.0)
    lists: dict[int, list[int]] = {}
    begin: dict[int, int] = {}
    known: set[int] = set()
    seen: set[int] = set()
    drawn: dict[int, int] = {}
    vectors: set[tuple[int, int, int]] = set()
    waiting: set[int] = set()
    version, rebased = 0, 0.0
    while not feed.done:
        visits, catalogue, now = feed.visits, feed.catalogue, feed.now
        count["articles"] += len(catalogue.arrived)
        gone = set(catalogue.departed.tolist())
        count["writes"] += len(gone - waiting)
        if mode == "realtime":
            count["writes"] += len(catalogue.arrived)
        else:
            waiting = (waiting | set(catalogue.arrived.tolist())) - gone
        draws = mode == "batch" and now % 24.0 == 0
        if draws or (mode == "streaming" and now % 0.5 == 0):
            count["writes"] += len(waiting)
            waiting = set()
        if draws:
            drawn = dict.fromkeys(known, 0)
            count["slates"] += len(known) + 1
            count["readers"] += len(known) + 1
        served = served_by.act(visits, catalogue)
        if draws:
            stored, begin = served_by.serving.ahead.snapshot(), {}
            lists = {-1: stored["columns/article_id"][-1].tolist()}
            lists |= {row: stored["columns/article_id"][stored["place"][row]].tolist() for row in drawn}
        trained, version = served_by.policy_version > version, served_by.policy_version
        if trained:
            # Every article of the last two weeks, live or not: they stand in histories. And what lives longer.
            store = served_by.store
            recent = np.flatnonzero(store.published_hours[: len(store)] >= now - 336)
            count["articles"] += len(set(recent.tolist()) | set(catalogue.article_id.tolist()))
        if trained or now - rebased > 24.0:
            count["writes"] += len(catalogue) - len(waiting)
            rebased = now
        for place, row in enumerate(visits.rows.tolist()):
            count["visits"] += 1
            if mode == "batch":
                count["default"] += row not in drawn
                count["further"] += drawn.get(row, 0) > 0
                if row in drawn:
                    drawn[row] += 1
                count["minutes"] += 60.0 * (now % 24.0)
                count["empty"] += np.count_nonzero(served.article_id[place] < 0)
                own, at, page = lists[row if row in drawn else -1], begin.get(row, 0), 0
                while page < 8 and at < len(own):
                    gone_since = not catalogue.archive.is_live[own[at]]
                    count["expired"] += gone_since
                    page, at = page + (not gone_since), at + 1
                begin[row] = at
            else:
                count["slates"] += 1
                vectors.add((row, int(now / 0.5) if mode == "streaming" else feed.tick, version))
            seen.add(row)
        served_by.learn(feed.serve(served.article_id))
        known |= seen
    count["readers"] += len(vectors)
    return count


@pytest.mark.parametrize("mode", ["realtime", "streaming", "batch"])
def test_what_a_mode_costs_is_what_a_plain_loop_counts(mode: str) -> None:
    agent = f"regression-dwell:serving={mode},max_steps=2"
    days = 2 if mode == "batch" else 1  # its lists are drawn at midnight, and the first one without readers
    found = measure([agent], readers=60, days=days, seed=4, warm_days=0)[0]
    plain = plain_counts(agent, 60, days, seed=4)
    scale = plain["visits"] / 1000.0
    assert plain["visits"] > 100
    counted = {name: round(value * scale) for name, value in found.counts.items()}
    assert counted["reader_embeddings"] == plain["readers"]
    assert counted["slates"] == counted["queries"] == plain["slates"]
    assert counted["item_embeddings"] == plain["articles"]
    assert counted["index_writes"] == plain["writes"]
    assert counted["expired"] == plain["expired"]
    assert round(found.default_slates * scale) == plain["default"]
    assert round(found.further_pages * scale) == plain["further"]
    assert counted["empty"] == plain["empty"]
    assert counted["age_minutes"] == round(plain["minutes"])
    assert counted["excluded"] == 0
    if mode == "realtime":
        assert plain["readers"] == plain["visits"]
    if mode == "batch":
        assert min(plain["default"], plain["further"], plain["expired"], plain["empty"]) > 0


@pytest.fixture
def hourly(monkeypatch: pytest.MonkeyPatch) -> None:
    """The benchmark of serving in ticks of an hour."""
    monkeypatch.setattr(benchmark_serving, "RunConfig", functools.partial(RunConfig, tick_hours=1.0))


@pytest.mark.usefixtures("hourly")
def test_warm_days_do_not_count() -> None:
    agents = ["regression-dwell:max_steps=1", "recent"]
    whole = measure(agents[:1], readers=60, days=2, seed=4, warm_days=0)[0]
    first = measure(agents[:1], readers=60, days=1, seed=4, warm_days=0)[0]
    second, baseline = measure(agents, readers=60, days=1, seed=4, warm_days=1)

    def totals(figures: benchmark_serving.ServingFigures, days: int) -> np.ndarray:
        visits = figures.visits_per_tick * 24 * days
        return np.array([visits, *(value * visits / 1000.0 for value in figures.counts.values())])

    assert totals(first, 1) + totals(second, 1) == pytest.approx(totals(whole, 2))
    assert baseline.counts == {}
    assert second.training_seconds > 0
    assert second.ratio == 1.0


def test_training_is_no_part_of_serving_and_ratios_are_taken_within_a_day() -> None:
    run = RunConfig(readers=30, days=1.0)

    def bench(seconds: list[float], visits: list[int]) -> Bench:
        feed = Feed(run.feed_config(), run.make_reader_model(), seed=1)
        days = [
            Tally(visits=n, act_seconds=s + 5.0, training_seconds=5.0) for s, n in zip(seconds, visits, strict=True)
        ]
        return Bench("recent", feed, parse_agent("recent").start(feed), [Tally(act_seconds=99.0), *days])

    first = bench([1.0, 10.0, 2.0], [1000, 1000, 1000])
    other = bench([1.0, 5.0, 8.0], [2000, 1000, 1000])
    figures = benchmark_serving._figures(other, first, 1)
    assert figures.serving_seconds == pytest.approx(5.0)  # of .5, 5, 8
    assert figures.ratio == pytest.approx(0.5)  # of .5, .5, 4
    assert figures.training_seconds == pytest.approx(15_000.0 / 4000)


# The study


@pytest.mark.usefixtures("hourly")
def test_a_small_study_has_tables_a_picture_and_goes_on_where_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = [NAMED[name] for name in ("realtime", "batch", "items 6 h", "recent")]
    monkeypatch.setattr(study_settings, "SETTINGS", tuple(chosen))
    monkeypatch.setattr(study_settings, "SEEDS", (0, 1))
    monkeypatch.setattr(study_settings, "READERS", 30)
    monkeypatch.setattr(study_settings, "DAYS", 1.0)
    monkeypatch.setattr(study_settings, "WORLDS", ("vivid",))
    monkeypatch.setattr(staleness, "COST_READERS", 30)
    plain = study_settings.config

    def alone(world: str, out: Path) -> Any:
        return dataclasses.replace(plain(world, out), tick_hours=1.0, workers=1)

    monkeypatch.setattr(study_settings, "config", alone)
    text = staleness.run(tmp_path)
    assert "## `vivid`" in text
    for setting in chosen:
        assert text.count(f"| {setting.name} |") >= 2
    assert (tmp_path / "staleness.png").stat().st_size > 10_000
    # Finished runs and costs are read, not made again.
    assert staleness.run(tmp_path) == text

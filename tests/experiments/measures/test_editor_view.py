"""The editor's view says what plain loops over the log say, goes on from a checkpoint, and comes back in tables."""

import csv
import dataclasses
import json
import math
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from feedgym.agents import make_agent
from feedgym.env import Feed, read_impressions
from feedgym.env.arrays import Ints
from feedgym.env.config import FeedConfig, NewsroomConfig
from feedgym.experiments import compare, train
from feedgym.experiments.compare import CompareConfig
from feedgym.experiments.measures import editor_view
from feedgym.experiments.measures.editor_sums import GROUPS, NAMES, editor_tag
from feedgym.experiments.measures.editor_view import EditorView
from feedgym.experiments.reports.editor_report import editor_csv_names
from feedgym.experiments.runs import runner
from feedgym.experiments.runs.checkpoint import CHECKPOINT
from feedgym.experiments.runs.messages import Progress
from feedgym.experiments.runs.run_config import RunConfig

SMALL: dict[str, Any] = {"readers": 120, "days": 3.0, "tick_hours": 1.0, "articles_per_day": 24.0, "evaluate_visits": 0}

EDGES = (0.0, 1.0, 3.0, 12.0, 24.0, math.inf)


# ---- plain loops ----
def plain_gini(counts: list[int]) -> float:
    """Mean absolute difference of all pairs, over twice the mean."""
    pairs = sum(abs(a - b) for a in counts for b in counts)
    return pairs / (2 * len(counts) * sum(counts))


def plain_values(
    rows: list[dict[str, Any]],
    articles: dict[int, dict[str, Any]],
    hours: float,
    days: int,
    unfilled: float = 0.0,
    first: int = 120,
    explored: float = 1.0,
) -> Any:
    """``NAMES`` by loops: ``rows`` are impressions in the order of time, with ``time_hours`` and so on.

    Followed are the ``first`` readers, who were there at hour 0; newcomers have the ids from there on.
    """
    groups: dict[str, list[float]] = {group: [0.0, 0.0, 0.0] for group in GROUPS}
    shown: Counter[int] = Counter()
    shown_before: Counter[int] = Counter()
    clicked: Counter[int] = Counter()
    at, seen, repeats, followed = -1.0, set(), 0, 0
    topics: dict[Any, list[int]] = defaultdict(list)
    of_day: dict[int, set[int]] = defaultdict(set)
    for row in rows:
        now, article = row["time_hours"], row["article_id"]
        if now != at:
            at, shown_before = now, shown.copy()
        age = now - articles[article]["published_hours"]
        (bucket,) = [i for i in range(5) if EDGES[i] <= age < EDGES[i + 1]]
        names = [GROUPS[bucket], "all"] + ["first_50"] * (shown_before[article] < 50)
        for name in names:
            for column, value in enumerate((1.0, row["clicked"], row["dwell_minutes"])):
                groups[name][column] += value
        shown[article] += 1
        clicked[article] += row["clicked"]
        if row["reader_id"] < first:
            followed += 1
            repeats += (row["reader_id"], article) in seen
            seen.add((row["reader_id"], article))
            topics[row["reader_id"], row["visit"]].append(articles[article]["topic"])
        of_day[int(now // 24)].add(article)

    def live(first: float, last: float) -> list[int]:
        """Live at one of the ticks from ``first`` to before ``last`` hours."""
        ticks = [first + hours * i for i in range(round((last - first) / hours))]
        return [i for i, a in articles.items() if any(a["published_hours"] <= t < a["expires_hours"] for t in ticks)]

    every = live(0.0, 24.0 * days)
    entropy = []
    for slate in topics.values():
        shares = [count / len(slate) for count in Counter(slate).values()]
        entropy.append(-sum(p * math.log(p) for p in shares))
    coverage = [len(of_day[day]) / len(live(24.0 * day, 24.0 * (day + 1))) for day in range(days)]
    values = {
        "coverage": len(shown) / len(every),
        "daily_coverage": sum(coverage) / days,
        "gini_exposure": plain_gini([shown[i] for i in every]),
        "gini_clicks": plain_gini([clicked[i] for i in every]),
        "topic_entropy": sum(entropy) / len(entropy),
        "repeat_share": repeats / followed,
        "unfilled_share": unfilled,
        "explored_share": explored,
    }
    total = groups["all"]
    for group, (impressions, clicks, reward) in groups.items():
        if group != "all":
            values[f"exposure_share/{group}"] = impressions / total[0]
            values[f"click_share/{group}"] = clicks / total[1]
            values[f"reward_share/{group}"] = reward / total[2]
        if impressions:
            values[f"click_rate/{group}"] = clicks / impressions
            values[f"reward_per_impression/{group}"] = reward / impressions
    return values


@pytest.mark.parametrize("agent", ["random", "popular"])
def test_a_runs_numbers_are_those_of_loops_over_its_log(agent: str, tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    run = train.run(RunConfig(agent=agent, **SMALL), tmp_path)
    rows = sorted(read_impressions(tmp_path / "impressions").to_pylist(), key=lambda row: row["time_hours"])
    articles = {row["article_id"]: row for row in pq.read_table(tmp_path / "articles.parquet").to_pylist()}
    assert run.editor is not None
    values = run.editor["values"]
    assert set(values) == set(NAMES)
    explored = sum(row["explored"] for row in rows) / len(rows)
    assert explored == 1.0 if agent == "random" else 0.01 < explored < 0.12
    assert values == pytest.approx(plain_values(rows, articles, 1.0, 3, explored=explored), rel=1e-6)
    # Else the comparison would say little.
    assert 0.01 < values["repeat_share"] < 0.9
    assert 0.05 < values["exposure_share/first_50"] < 0.9
    assert 0.5 < values["daily_coverage"] <= 1.0


# ---- a run goes on ----
def test_going_on_from_a_checkpoint_ends_with_the_same_numbers_and_tags(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = RunConfig(agent="recent", **SMALL)
    monkeypatch.setattr(runner, "CHECKPOINT_SHARE", 0.0)
    whole = train.run(config, tmp_path / "whole", tensorboard=tmp_path / "tb")

    class StoppedError(Exception):
        pass

    def stop(progress: Progress) -> None:
        if progress.day >= 2.0:
            raise StoppedError

    with pytest.raises(StoppedError):
        train.run(config, tmp_path / "again", report=stop)
    assert (tmp_path / "again" / CHECKPOINT).exists()
    again = train.run(config, tmp_path / "again")
    assert again.editor == whole.editor
    done = [(tmp_path / name / "done.json").read_bytes() for name in ("whole", "again")]
    assert done[0] == done[1]
    assert json.loads(done[0])["editor"]["followed_readers"] == 120

    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    (folder,) = (tmp_path / "tb" / "seeds").glob("*/seed-0")
    events = EventAccumulator(str(folder)).Reload()
    tags = {tag for tag in events.Tags()["scalars"] if tag.startswith("editor/")}
    assert tags == {f"editor/{name.replace('/', '_')}" for name in NAMES}
    so_far = [event.value for event in events.Scalars("editor/coverage")]
    assert whole.editor is not None
    assert so_far[-1] == pytest.approx(whole.editor["values"]["coverage"], rel=1e-5)
    assert so_far[0] == events.Scalars("editor/daily_coverage")[0].value != so_far[-1]
    days = [event.value for event in events.Scalars("editor/daily_coverage")]
    assert len(days) == 3
    assert np.mean(days) == pytest.approx(whole.editor["values"]["daily_coverage"], rel=1e-5)


def test_positions_that_rules_leave_empty_are_a_share_of_all_positions(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    config = RunConfig(agent="recent:rules=cap(topic,1),epsilon=0.0,shortlist_size=8", **SMALL)
    run = train.run(config, tmp_path / "run", tensorboard=tmp_path / "tb")
    assert run.editor is not None
    rows = read_impressions(tmp_path / "run" / "impressions").to_pylist()
    size = config.feed_config().slate_size
    positions = Counter(dict.fromkeys(range(3), 0))
    shown = Counter(int(row["time_hours"] // 24) for row in rows if row["article_id"] >= 0)
    for day, _, _ in {(int(row["time_hours"] // 24), row["reader_id"], row["visit"]) for row in rows}:
        positions[day] += size
    share = 1 - shown.total() / positions.total()
    assert 0.05 < share < 0.95
    assert run.editor["values"]["unfilled_share"] == pytest.approx(share, rel=1e-9)
    (folder,) = (tmp_path / "tb" / "seeds").glob("*/seed-0")
    events = EventAccumulator(str(folder)).Reload().Scalars("editor/unfilled_share")
    assert [event.value for event in events] == pytest.approx([1 - shown[d] / positions[d] for d in range(3)], rel=1e-5)


def test_every_kind_of_agent_has_every_number_in_report_table_and_tensorboard(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    agents = ("random:rules=exclude(topic=0)", "recent", "popular", "regression:max_steps=2", "oracle-planning")
    world: dict[str, Any] = {"readers": 100, "days": 2.0, "tick_hours": 2.0, "articles_per_day": 40.0}
    config = CompareConfig(agents=agents, seeds=(0,), **world, workers=1, out=tmp_path, log=False, evaluate_visits=0)
    result = compare.run(config, quiet=True)
    section = result.report.read_text().split("## What an editor asks first")[1].split("\n## ")[0]
    lines = [line.strip("| ").split(" | ") for line in section.splitlines() if line.startswith("|")]
    table = list(csv.DictReader((tmp_path / "ranking.csv").open()))
    assert len(table) == len(agents)
    for row in result.ranking.rows:
        (overall,) = [line for line in lines if len(line) == 10 and line[1] == row.name]
        assert [cell for cell in overall[2:] if not 0 <= float(cell) <= 100] == []
        start = next(i for i, line in enumerate(lines) if line[:2] == [row.name, "exposure %"])
        for line in lines[start : start + 5]:
            assert [cell for cell in line[2:-1] if not float(cell) >= 0] == []
        (of_csv,) = [each for each in table if each["agent"] == row.agent]
        assert [name for name in editor_csv_names() if of_csv[name] == ""] == []
        (folder,) = (result.tensorboard / "seeds").glob(f"{row.name}/seed-0")
        tags = EventAccumulator(str(folder)).Reload().Tags()["scalars"]
        assert {f"editor/{name.replace('/', '_')}" for name in NAMES} <= set(tags)
        # Where there are many runs, TensorBoard is shown the means alone.
        (summary,) = (result.tensorboard / "summary").glob(row.name)
        events = [EventAccumulator(str(path)).Reload() for path in (folder, summary)]
        for name in NAMES:
            one, mean = ([(e.step, e.value) for e in each.Scalars(editor_tag(name))] for each in events)
            assert one == mean


def test_an_earlier_runs_file_is_read_without_a_view(tmp_path: Path) -> None:
    train.run(RunConfig(agent="random", readers=10, days=1.0, tick_hours=4.0, log=False), tmp_path)
    done = json.loads((tmp_path / "done.json").read_text())
    del done["editor"]
    (tmp_path / "done.json").write_text(json.dumps(done))
    assert train.load_run(tmp_path).editor is None


# ---- driven by hand ----
def small_feed(readers: int = 80) -> Feed:
    newsroom = NewsroomConfig(articles_per_day=8.0)
    config = FeedConfig(num_readers=readers, newcomers_per_day=0.0, days=2.0, tick_hours=1.0, newsroom=newsroom)
    return Feed(config, seed=5)


def drive(feed: Feed, change: Any = None) -> tuple[EditorView, list[tuple[float, Ints, Ints, Any]]]:
    """Serve all days; returns the view and what it was told."""
    agent, view, told = make_agent("random").start(feed), EditorView(feed), []
    while not feed.done:
        now, visits = feed.now, feed.visits
        served = agent.act(visits, feed.catalogue)
        slates = served.article_id if change is None else change(served.article_id)
        served = dataclasses.replace(served, article_id=slates, num_unfilled=absent_in(slates))
        outcome = feed.serve(slates)
        view.after_serving(visits, served, outcome, now)
        told.append((now, visits.rows.copy(), slates.copy(), outcome))
        if feed.tick % feed.config.ticks_per_day == 0:
            view.end_day()
        slates[...] = -7  # an agent may reuse its buffer
        agent.learn(outcome)
    return view, told


def holes(slates: Ints) -> Ints:
    """Absent, unpublished and repeated entries, and slates that show nothing."""
    changed = slates.copy()
    changed[:, 2] = -1
    changed[::3, 4] = 1 << 40
    changed[:, 5] = changed[:, 0]
    changed[::5] = -1
    return changed


def absent_in(slates: Ints) -> int:
    return int((slates == -1).sum())


def rows_of(told: list[tuple[float, Ints, Ints, Any]], followed: set[int] | None = None) -> list[dict[str, Any]]:
    found = []
    for now, rows, slates, outcome in told:
        for i, k in zip(*np.nonzero(outcome.valid), strict=True):
            if followed is None or int(rows[i]) in followed:
                found.append(
                    {
                        "time_hours": now,
                        "reader_id": int(rows[i]),
                        "visit": now,
                        "article_id": int(slates[i, k]),
                        "clicked": bool(outcome.clicks[i, k]),
                        "dwell_minutes": float(outcome.dwell_minutes[i, k]),
                    }
                )
    return found


def articles_of(feed: Feed) -> dict[int, dict[str, Any]]:
    archive = feed.catalogue.archive
    names = ("published_hours", "expires_hours", "topic")
    return {i: {name: float(archive.column(name)[i]) for name in names} for i in range(archive.published)}


@pytest.mark.parametrize("block", [1 << 17, 300])
def test_entries_that_show_nothing_are_left_out_however_much_is_kept(
    block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(editor_view, "BLOCK", block)
    feed = small_feed(readers=250)
    view, told = drive(feed, holes)
    assert feed.invalid_entries > 1000
    absent, positions = (sum(int(count(slates)) for _, _, slates, _ in told) for count in (absent_in, np.size))
    empty = absent / positions
    expected = plain_values(rows_of(told), articles_of(feed), 1.0, 2, empty, first=250, explored=1.0 - empty)
    assert expected["exposure_share/first_50"] < 0.9
    assert 0.1 < expected["unfilled_share"] < 0.9
    assert view.summary()["values"] == pytest.approx(expected, rel=1e-6)


def test_topics_and_repeats_are_exact_for_the_followed_readers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(editor_view, "FOLLOWED", 20)
    feed = small_feed()
    view, told = drive(feed)
    followed = set(np.flatnonzero(view._follower >= 0).tolist())
    assert len(followed) == 20
    some = plain_values(rows_of(told, followed), articles_of(feed), 1.0, 2)
    every = plain_values(rows_of(told), articles_of(feed), 1.0, 2)
    values = view.summary()["values"]
    for name in NAMES:
        expected = some if name in ("topic_entropy", "repeat_share") else every
        assert values[name] == pytest.approx(expected[name], rel=1e-6), name
    assert some["repeat_share"] != pytest.approx(every["repeat_share"], rel=1e-3)
    # Expired articles are forgotten.
    assert feed.catalogue.archive.is_live[view._repeats._article].all()


def test_a_site_without_visits_has_no_numbers() -> None:
    feed = small_feed()
    view = EditorView(feed)
    assert view.end_day() == {}
    assert view.summary()["values"] == {}

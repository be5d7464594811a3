"""Local regret and gap (docs/mathematics.md 4.5): hand-worked slates, the simulator's own mean, and where they show."""

import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from feedgym.agents import make_agent
from feedgym.env import Feed, NewsReader, RewardConfig
from feedgym.env.arrays import Doubles
from feedgym.env.config import FeedConfig, NewsroomConfig
from feedgym.env.feed.visits import valid_entries
from feedgym.env.noise import Noise
from feedgym.env.readers.cascade import CascadeReader
from feedgym.env.readers.config import Device, NewsReaderConfig
from feedgym.env.readers.protocol import ReaderModel, SlateView
from feedgym.experiments import train
from feedgym.experiments.measures.regret import (
    LocalRegret,
    best_columns,
    columns_of,
    expected_slate_reward,
    local_regret,
)
from feedgym.experiments.reports.curves import Run
from feedgym.experiments.reports.ranking import rank
from feedgym.experiments.reports.regret_report import reference, regret_section
from feedgym.experiments.reports.report import write_report
from feedgym.experiments.reports.statistics import paired_difference
from feedgym.experiments.runs import runner
from feedgym.experiments.runs.run_config import RunConfig
from helpers.made_up_runs import fake_runs
from helpers.resuming import stopped_twice

REWARD = RewardConfig(click=0.5, dwell_minutes=1.0)
DEVICES = NewsReaderConfig(
    devices=(
        Device(name="phone", share=0.6, rank_exponent=1.0),
        Device(name="desk", share=0.4, rank_exponent=0.3),
    )
)


def feed_of(model: ReaderModel | None = None, ticks: int = 40) -> Feed:
    """A site after some hours of popular slates: readers have tired and sated."""
    config = FeedConfig(
        num_readers=300, days=4.0, tick_hours=1.0, newsroom=NewsroomConfig(articles_per_day=60.0), reward=REWARD
    )
    feed = Feed(config, model, seed=4)
    agent = make_agent("popular").start(feed)
    while feed.tick < ticks or len(feed.visits) < 8:
        served = agent.act(feed.visits, feed.catalogue)
        agent.learn(feed.serve(served.article_id))
    return feed


def test_slates_worked_by_hand() -> None:
    click, worth = np.array([[0.5, 0.2, 0.4]]), np.array([[1.0, 3.0, 2.0]])
    examination = np.array([[1.0, 0.5, 0.25]])
    # mu = .5, .1, .1
    assert expected_slate_reward(click, worth, examination) == pytest.approx(0.5 + 0.3 + 0.2)
    # Reached: 1, 1 - .25, .75 (1 - .05).
    assert expected_slate_reward(click, worth, examination, 0.5) == pytest.approx(0.5 + 0.3 * 0.75 + 0.2 * 0.7125)
    assert expected_slate_reward(click, worth, np.ones((1, 3)), 1.0) == pytest.approx(0.5 + 0.6 * 0.5 + 0.8 * 0.5 * 0.8)


def test_the_best_slate_is_the_best_of_all_slates() -> None:
    rng = np.random.default_rng(0)
    click, worth = rng.uniform(0, 1, (1, 5)), rng.uniform(0, 4, (1, 5))
    examination = np.array([[1.0, 0.8, 0.5]])

    def value(columns: Any) -> float:
        at = np.array([columns])
        return float(expected_slate_reward(click[:, at[0]], worth[:, at[0]], examination)[0])

    best = max(itertools.permutations(range(5), 3), key=value)
    assert tuple(best_columns(click * worth, 3)[0]) == best
    assert best_columns(click * worth, 9).shape == (1, 5)


def test_what_shows_nothing_has_no_column() -> None:
    live = np.array([7, 3, 9])
    slates = np.array([[9, 3, 9, -1], [100, 7, 3, 3], [8, 0, -1, -1]])
    assert columns_of(slates, live).tolist() == [[2, 1, -1, -1], [-1, 0, 1, -1], [-1, -1, -1, -1]]


@pytest.mark.parametrize(
    "model",
    [NewsReader(), NewsReader(DEVICES), CascadeReader(stop=0.7)],
    ids=["default", "devices", "cascade"],
)
def test_expected_reward_is_the_simulators_mean(model: ReaderModel) -> None:
    feed = feed_of(model)
    visits, live = feed.visits, feed.catalogue.article_id
    rng = np.random.default_rng(1)
    slates = np.stack([rng.choice(live, feed.config.slate_size, replace=False) for _ in range(len(visits))])
    # What is repeated, absent or unknown pays nothing.
    slates[0, 1], slates[1, 0], slates[2, 3] = slates[0, 0], -1, 10**6
    agent, oracle = local_regret(feed, visits, slates)
    valid, safe = valid_entries(feed.catalogue.archive, np.ascontiguousarray(slates.T))
    view = SlateView(feed.catalogue.archive, safe.T, valid.T, feed.now)
    before = feed.snapshot()
    drawn = []
    for luck in range(1500):
        # The same states every time, other luck.
        feed.restore(before)
        noise = Noise(luck, visits.reader_id, visits.visit, slates)
        outcome = feed.reader_model.respond(feed.state, visits.rows, view, feed.now, noise)
        drawn.append((REWARD.click * outcome.clicks + REWARD.dwell_minutes * outcome.dwell_minutes).sum(axis=1))
    reward: Doubles = np.stack(drawn).astype(np.float64)
    error = np.abs(reward.mean(axis=0) - agent) / (reward.std(axis=0, ddof=1) / np.sqrt(len(reward)))
    assert error.max() < 4.5
    total = reward.mean(axis=1)
    assert abs(total.mean() - agent.mean()) < 4 * total.std(ddof=1) / np.sqrt(len(total))
    # One that stops looking at the second position is told apart by the same check.
    assert abs(total.mean() - 0.9 * agent.mean()) > 4 * total.std(ddof=1) / np.sqrt(len(total))
    assert (oracle > agent).all()


@pytest.mark.parametrize("model", [NewsReader(), NewsReader(DEVICES)], ids=["default", "devices"])
def test_nobody_beats_the_oracle_at_her_own_states_and_the_oracle_has_no_regret(model: ReaderModel) -> None:
    feed = feed_of(model, ticks=20)
    config = replace(feed.config, reward=RewardConfig(click=0.0, dwell_minutes=1.0))
    for name, least in (("oracle-dwell", 0.0), ("oracle-click", 1e-3), ("popular", 1e-3)):
        there = Feed(config, model, seed=4)
        agent, regret = make_agent(name).start(there), []
        while there.tick < 30:
            served = agent.act(there.visits, there.catalogue)
            if len(there.visits):
                own, best = local_regret(there, there.visits, served.article_id)
                regret.append(best - own)
            agent.learn(there.serve(served.article_id))
        found = np.concatenate(regret)
        assert len(found) > 50
        assert found.min() > -1e-6
        if least:
            assert found.mean() > least
        else:
            assert found.max() < 1e-5


def test_sums_over_days() -> None:
    sums = LocalRegret()
    assert sums.end_day() is None
    assert sums.summary() is None
    sums.add(np.array([1.0, 2.0]), np.array([2.0, 2.0]))
    assert sums.end_day() == 0.5
    kept = sums.snapshot()
    sums.add(np.array([0.0]), np.array([5.0]))
    sums.end_day()
    assert sums.summary() == {"visits": 3.0, "agent": 1.0, "oracle": 3.0, "local": 2.0}
    sums.restore(kept)
    assert sums.summary() == {"visits": 2.0, "agent": 1.5, "oracle": 2.0, "local": 0.5}


# ---- where it shows ----
def with_regret(run: Run, agent: float, oracle: float) -> Run:
    regret = {"visits": 10.0, "agent": agent, "oracle": oracle, "local": oracle - agent}
    return replace(run, evaluation={"relevance": "", "visits": 0, "ranking": {}, "reliability": [], "regret": regret})


def test_regret_and_gap_are_told_apart() -> None:
    runs = [with_regret(run, 3.0 + run.seed, 5.0 + run.seed + run.seed % 2) for run in fake_runs()]
    ranking = rank(runs)
    heading, table, explained = regret_section(runs, ranking)
    assert heading == "## Regret and gap"
    lines = {line.split(" | ")[1]: line.split(" | ") for line in table.splitlines()}
    by_agent = {row.agent: np.array(row.reward_by_seed) for row in ranking.rows}
    gap = paired_difference(by_agent["oracle-dwell"], by_agent["popular"])
    # Local: 2, 3, 2, 3 by seed; t(3, .975) sd / 2 = 3.18245 * .57735 / 2.
    assert lines["popular"][2:] == [
        f"{2.5:.3f} [{2.5 - 0.918693:.3f}, {2.5 + 0.918693:.3f}]",
        f"{100 * 10 / 28:.1f}",
        f"{gap.mean:+.3f} [{gap.low:+.3f}, {gap.high:+.3f}] |",
    ]
    assert gap.mean > 0
    assert lines["oracle-dwell (oracle, sees latents)"][-1] == "- |"
    assert "may be negative" in explained


def test_the_reference_does_not_plan_where_one_that_does_not_was_run() -> None:
    names = ("popular", "oracle-planning", "oracle-click")
    ranking = rank(fake_runs(names))
    row = reference(ranking)
    assert row is not None
    assert row.agent == "oracle-click"
    planning = reference(rank(fake_runs(names[:2])))
    assert planning is not None
    assert planning.agent == "oracle-planning"
    one_list = reference(rank(fake_runs(("popular", "one-list-now", "oracle-click"))))
    assert one_list is not None
    assert one_list.agent == "oracle-click"
    runs = fake_runs(("popular", "random"))
    assert regret_section(runs, rank(runs)) == []


def test_runs_bring_it_to_the_report(tmp_path: Path) -> None:
    small: dict[str, Any] = {"readers": 60, "days": 2.0, "tick_hours": 1.0}
    runs = [
        train.run(RunConfig(agent=agent, seed=seed, **small), tmp_path / agent / str(seed))
        for agent in ("popular", "oracle-dwell")
        for seed in (0, 1)
    ]
    assert all(run.evaluation is not None for run in runs)
    found = [run.evaluation["regret"] for run in runs if run.evaluation]
    assert all(one["visits"] > 20 for one in found)
    assert all(one["local"] > 0.1 for one in found[:2])
    assert all(abs(one["local"]) < 1e-5 for one in found[2:])
    path = write_report(tmp_path, runs, rank(runs), config_text="", notes=[], command="", tensorboard_dir=tmp_path)
    section = path.read_text().split("## Regret and gap")[1].split("##")[0]
    assert "0.000 [0.000, 0.000]" in section


def test_regret_survives_a_stop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "CHECKPOINT_SHARE", 0.0)
    config = RunConfig(agent="popular", readers=40, days=3.0, tick_hours=1.0)
    whole = train.run(config, tmp_path / "whole")

    assert stopped_twice(config, tmp_path / "again").evaluation == whole.evaluation
    assert whole.evaluation is not None
    assert whole.evaluation["regret"]["visits"] > 50

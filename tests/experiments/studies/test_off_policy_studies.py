"""Studies of learning from logs: the same state for all, weights by hand, tables that compare what they say."""

import dataclasses
import types
from collections.abc import Callable
from math import exp
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from feedgym.agents import make_agent, parse_agent
from feedgym.agents.learners import Earned
from feedgym.agents.logged.site import LoggedSite
from feedgym.experiments.commands.log import LogConfig, make_log
from feedgym.experiments.runs.checkpoint import read_json
from feedgym.experiments.runs.drive import make_drive
from feedgym.experiments.runs.runner import load_run
from feedgym.experiments.studies import no_baseline
from feedgym.experiments.studies.from_logs import estimators, logged_learning, off_policy
from feedgym.experiments.studies.from_logs.logged_learning import (
    Job,
    Learned,
    Sizes,
    learn_and_deploy,
    relive,
    run_jobs,
    weights_summary,
)
from feedgym.experiments.studies.from_logs.logged_tables import difference_cells
from feedgym.experiments.studies.study import TABLES
from helpers.inside import replay_of

SIZES = Sizes(readers=40, log_days=1, deploy_days=1)
QUICK = "regression-dwell:max_steps=4"


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> LogConfig:
    folder = tmp_path_factory.mktemp("log")
    config = LogConfig(agent="sponsored", seed=5, readers=40, days=2.0, tick_hours=1.0, evaluate_visits=0, out=folder)
    make_log(config)
    return config


def lived_again(log: LogConfig, agent_name: str, hours: float) -> tuple[Any, dict[str, float]]:
    feed = make_drive(log.run_config()).feed
    site = LoggedSite(log.out, category_sizes=feed.catalogue.category_sizes)
    acting: Any = parse_agent(agent_name).start(feed)
    agent = types.SimpleNamespace(act=acting.act, config=types.SimpleNamespace(policy=acting._policy))
    return feed, relive(cast("Any", agent), site, feed, hours)


def test_the_logger_itself_has_weights_of_one(log: LogConfig) -> None:
    _, weights = lived_again(log, log.run_config().agent, 24.0)
    assert weights["mean_weight"] == pytest.approx(1.0, abs=1e-6)
    assert weights["effective_sample_share"] == pytest.approx(1.0, abs=1e-6)
    # Another policy's are not, but their mean is near 1: it was not fitted to this log.
    _, other = lived_again(log, "popular:epsilon=0.1,sharpness=1.0", 24.0)
    assert other["effective_sample_share"] < 0.8
    assert other["mean_weight"] == pytest.approx(1.0, abs=0.25)
    assert other["share_above_1"] > other["share_above_3"]


def test_readers_are_where_the_log_left_them(log: LogConfig) -> None:
    feed, _ = lived_again(log, "random", 24.0)  # whoever looks on
    again = make_drive(log.run_config()).feed
    logger = parse_agent(log.run_config().agent).start(again)
    while again.now < 24.0:
        outcome = again.serve(logger.act(again.visits, again.catalogue).article_id)
        logger.learn(outcome)
    a, b = feed.snapshot(), again.snapshot()
    assert feed.now == 24.0
    assert a.keys() == b.keys()
    assert [name for name in a if a[name].tobytes() != b[name].tobytes()] == []


def test_a_log_of_another_world_is_refused(log: LogConfig) -> None:
    other = dataclasses.replace(log, seed=6)
    feed = make_drive(other.run_config()).feed
    site = LoggedSite(log.out, category_sizes=feed.catalogue.category_sizes)
    acting: Any = parse_agent("random").start(feed)
    agent: Any = types.SimpleNamespace(act=acting.act, config=types.SimpleNamespace(policy=acting._policy))
    with pytest.raises(ValueError, match=r"log: got 'other visits at \S+ h', needs those of the world"):
        relive(agent, site, feed, 24.0)


def test_weights_by_hand() -> None:
    weight = np.array([0.5, 0.5, 1.0, 10.0])
    beta = np.array([0.1, 0.2, 0.05, 0.08])
    summary = weights_summary(weight * beta, beta)
    expected = {
        "mean_weight": 3.0,
        "effective_sample_share": 12.0**2 / (0.25 + 0.25 + 1 + 100) / 4,
        "share_above_1": 0.25,
        "lost_1": (10 - exp(1)) / 12,
        "share_above_3": 0.0,
        "lost_3": 0.0,
        "share_above_5": 0.0,
        "lost_5": 0.0,
    }
    assert summary == pytest.approx(expected, abs=1e-12)


def test_learning_and_deployment(log: LogConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, Any] = {}
    from feedgym.agents.logged import learning

    def watched(agent: Any, site: Any, *args: Any, until_hours: float) -> None:
        learn(agent, site, *args, until_hours=until_hours)
        seen["agent"], seen["hours"] = agent, until_hours

    learn = learning.learn_from_log
    monkeypatch.setattr(learning, "learn_from_log", watched)
    result = learn_and_deploy(QUICK, log, SIZES)
    assert seen["hours"] == 24.0
    assert replay_of(seen["agent"]).column("now").max() < 24.0  # of the days of deployment it has seen nothing
    curves = load_run(log.out).curves
    assert result.logger == pytest.approx(curves.daily("reward")[1])
    # By hand: the log's slates for a day, then the frozen agent's.
    feed = make_drive(log.run_config()).feed
    frozen: Any = parse_agent(QUICK).start(feed)
    frozen.adopt(seen["agent"])
    site = LoggedSite(log.out, category_sizes=feed.catalogue.category_sizes)
    total = 0.0
    while not feed.done:
        slates = frozen.act(feed.visits, feed.catalogue).article_id
        if feed.now < 24.0:
            feed.serve(site.logged.article_id)
            site.advance()
        else:
            total += float(feed.serve(slates).reward.sum())
    assert frozen.policy_version == seen["agent"].policy_version > 0
    assert result.deployed == pytest.approx(total / 40, rel=1e-9)
    assert result.deployed != pytest.approx(result.logger, rel=1e-3)
    assert np.isfinite(result.training["loss"])
    with pytest.raises(ValueError, match=r"agent: got 'popular', needs one of the learned"):
        learn_and_deploy("popular", log, SIZES)


def test_what_is_done_is_not_done_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def fake(agent: str, log: LogConfig, sizes: Sizes) -> Learned:
        calls.append(agent)
        return Learned(float(len(calls)), 1.0, {"mean_weight": 1.0}, {"loss": 0.5})

    monkeypatch.setattr(logged_learning, "learn_and_deploy", fake)
    job = Job("popular", 3, SIZES, (QUICK, "reinforce"), tmp_path / "a")
    first = run_jobs([job], workers=1)
    assert [one.deployed for one in first[job]] == [1.0, 2.0]
    assert calls == [QUICK, "reinforce"]
    more = dataclasses.replace(job, agents=(QUICK, "reinforce", "ltv"))
    assert [one.deployed for one in run_jobs([more], workers=1)[more]] == [1.0, 2.0, 3.0]
    assert calls == [QUICK, "reinforce", "ltv"]
    kept = sorted(path.name for path in (tmp_path / "a").glob("*"))
    assert kept == ["log", "ltv.json", "regression-dwell_max_steps=4.json", "reinforce.json"]
    assert read_json(tmp_path / "a" / "ltv.json")["settings"]["readers"] == 40
    # In other processes, whose results are read from the same files.
    two = [job, dataclasses.replace(job, agents=("reinforce",))]
    assert [[one.deployed for one in done] for done in run_jobs(two, workers=2).values()] == [[1.0, 2.0], [2.0]]
    for other in (dataclasses.replace(job, seed=4), dataclasses.replace(job, logger="recent")):
        with pytest.raises(ValueError, match=r"out: got .*, needs an empty folder: this one holds a run with other"):
            run_jobs([other], workers=1)


@pytest.mark.parametrize("name", ["readers", "log_days", "deploy_days"])
def test_sizes(name: str) -> None:
    with pytest.raises(ValueError, match=rf"{name}: got 0, needs >= 1"):
        Sizes(**{name: 0})


def test_the_jobs_of_off_policy(tmp_path: Path) -> None:
    assert {"off_policy", "estimators"} <= set(TABLES)
    jobs = off_policy.jobs(tmp_path)
    assert [(job.logger.split(":")[0], job.seed) for job in jobs[:3]] == [
        ("popular", off_policy.SEEDS[0]),
        ("sponsored", off_policy.SEEDS[0]),
        ("popular", off_policy.SEEDS[1]),
    ]
    assert {job.seed for job in jobs} == set(off_policy.SEEDS)
    assert len({job.out for job in jobs}) == len(jobs) == 2 * len(off_policy.SEEDS)
    assert len({parse_agent(agent).label for agent in jobs[0].agents}) == len(jobs[0].agents) == 11
    for title, cap in off_policy.SETTINGS:
        settings = dict(parse_agent(off_policy._agent(title, cap)).settings)
        assert settings.get("mode", "residual") == ("residual" if title == "residual" else "plain")
        # The caps are those that the table of weights counts at.
        if cap == "none":
            assert settings["estimator"] == "none"
        else:
            assert "estimator" not in settings  # inclusion
            assert settings["weight_cap"] == exp(int(cap[2:]))
    assert [int(cap[2:]) for cap in off_policy.CORRECTIONS if cap != "none"] == list(logged_learning.POWERS)


def test_the_jobs_of_estimators(tmp_path: Path) -> None:
    jobs = estimators.jobs(tmp_path)
    assert {job.seed for job in jobs} == set(estimators.SEEDS)
    assert len({job.out for job in jobs}) == len(jobs) == len(estimators.READERS) * len(estimators.SEEDS)
    for job in jobs[:3]:
        plans = [dict(parse_agent(agent).settings) for agent in job.agents]
        assert [plan.get("estimator", "inclusion") for plan in plans] == list(estimators.ESTIMATORS)
        # As many steps at each size: passes fall as visits rise.
        assert {plan.get("passes", 10.0) * job.sizes.readers for plan in plans} == {20_000.0}


def test_without_a_baseline_the_advantage_is_the_reward(log: LogConfig) -> None:
    name = "feedgym.experiments.studies.no_baseline.REINFORCE:mode=plain"
    feed = make_drive(log.run_config()).feed
    agent: Any = parse_agent(name).start(feed)
    assert agent.learner.advantage is no_baseline.bare_reward
    assert not agent.learner.policy.future_config.use_future
    reward = np.array([[0.0, 2.5], [1.0, 0.0]])
    earned = Earned(reward, reward > 0, np.zeros(2), np.full(2, 0.7), np.full(2, 0.7), np.array([0.5, 0.5]))
    assert agent.learner.advantage(earned).tolist() == reward.tolist()
    shipped: Any = make_agent("reinforce", mode="plain", use_future=False).start(feed)
    np.testing.assert_allclose(shipped.learner.advantage(earned), reward - 0.35, atol=1e-7)


def fake_results(reward: Callable[[str, str, int], float]) -> off_policy.Results:
    weights = {"mean_weight": 1.1, "effective_sample_share": 0.02}
    weights |= {f"{name}_{power}": power / 100 for name in ("share_above", "lost") for power in (1, 3, 5)}
    return {
        (logger, agent): {
            seed: Learned(reward(logger, agent, seed), 0.5 + 0.002 * (seed - 620), weights, {})
            for seed in off_policy.SEEDS
        }
        for logger in off_policy.LOGGERS
        for agent in off_policy.agents()
    }


def test_tables_of_off_policy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(off_policy, "SEEDS", tuple(range(620, 628)))

    def reward(logger: str, agent: str, seed: int) -> float:
        if "estimator=none" in agent:
            return 1.0 + 0.1 * (seed - 620)
        noise = -0.01 if seed % 2 else 0.01
        gain = {"popular": 0.0, "sponsored": 0.3}[logger] if "mode=plain" in agent else -0.2
        if "mode=plain" in agent and logger == "popular" and "REINFORCE" not in agent:
            gain += 0.1 * ("weight_cap=2.7" not in agent)
        return 1.0 + 0.1 * (seed - 620) + gain + noise

    results = fake_results(reward)
    table = off_policy.correction_table(results).splitlines()
    # sd of the noise over 8 seeds: .01 sqrt(8 / 7); 2.3646 of its standard errors are .0089.
    assert "| plain, sponsored | e^3 | +0.300 [+0.291, +0.309] | +22 | 8 of 8 | yes |" in table
    assert "| plain, popular | e^1 | +0.000 [-0.009, +0.009] | +0 | 4 of 8 | not shown |" in table
    assert "| residual, sponsored | e^3 | -0.200 [-0.209, -0.191] | -15 | 0 of 8 | no: the reverse |" in table
    caps = off_policy.cap_table(results).splitlines()
    assert len(caps) == 2 + 2 * 2 * 2  # two learners, two logs, two other caps
    assert "| plain, sponsored | e^5 | +0.000 [+0.000, +0.000] | +0 | 0 of 8 | not shown |" in caps
    assert "| plain, popular | e^1 | -0.100 [-0.100, -0.100] | -7 | 0 of 8 | no: the reverse |" in caps
    rewards = off_policy.reward_table(results).splitlines()
    assert rewards[2] == "| the logger | - | 0.507 | 0.507 |"
    assert "| plain | none | 1.350 | 1.350 |" in rewards
    assert "| plain, no baseline | e^5 | 1.350 | 1.650 |" in rewards
    weights = off_policy.weight_table(results).splitlines()
    assert "| plain, sponsored | e^3 | 1.10 | 0.0200 | 3.00 % | 3.00 % |" in weights
    assert "| residual, popular | none | 1.10 | 0.0200 | - | - |" in weights


def test_tables_and_picture_of_estimators(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    order = {name: place for place, name in enumerate(estimators.ESTIMATORS)}

    def done(jobs: list[Job]) -> dict[Job, tuple[Learned, ...]]:
        return {
            job: tuple(
                Learned(
                    3.0 - order[name] + 0.01 * (job.seed % 2),
                    1.0,
                    {},
                    {"effective_sample_share": 0.1, "share_capped": 0.01 * order[name]},
                )
                for name in estimators.ESTIMATORS
            )
            for job in jobs
        }

    monkeypatch.setattr(estimators, "run_jobs", done)
    monkeypatch.setattr(estimators, "SEEDS", tuple(range(630, 638)))
    monkeypatch.setattr(estimators, "READERS", (250, 1000, 4000))
    made = estimators.run(tmp_path)
    # inclusion is first and none last of six: 5 apart at every size and seed.
    assert "| inclusion | 1,000 | +5.000 [+5.000, +5.000] | -251 | 8 of 8 | yes |" in made
    assert "| none | 4,000 | -5.000 [-5.000, -5.000] | -166 | 0 of 8 | no: the reverse |" in made
    assert "| marginal | 250 | 0.1000 | 1.00 % |" in made
    assert "| the logger | - | 1.000 | 1.000 | 1.000 |" in made
    picture = (tmp_path / "by_size.png").read_bytes()
    assert picture.startswith(b"\x89PNG")
    assert estimators.run(tmp_path) == made
    assert (tmp_path / "by_size.png").read_bytes() == picture


def test_a_study_from_end_to_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(off_policy, "SEEDS", (100, 101))
    monkeypatch.setattr(off_policy, "SIZES", SIZES)
    quick = "reinforce:mode=plain,use_future=False,max_steps=2,policy_batch=32"
    monkeypatch.setattr(off_policy, "LEARNERS", {"plain": quick})
    monkeypatch.setattr(off_policy, "REGRESSION", QUICK)
    monkeypatch.setattr(off_policy, "LOGGERS", {"sponsored": "sponsored:epsilon=0.1"})
    monkeypatch.setattr(off_policy, "SETTINGS", (("plain", "none"), ("plain", "e^3")))
    monkeypatch.setattr(off_policy, "run_jobs", lambda jobs: run_jobs(jobs, workers=1))
    made = off_policy.run(tmp_path)
    assert "40 readers, 1 days of log, then 1 of deployment, seeds 100 to 101" in made
    assert (tmp_path / "differences.png").read_bytes().startswith(b"\x89PNG")
    assert len(list(tmp_path.glob("*-seed-10*/*.json"))) == 2 * 3
    row = next(line for line in made.splitlines() if line.startswith("| plain | e^3 |"))
    assert float(row.split("|")[3]) > 0
    assert off_policy.run(tmp_path) == made


def test_difference_cells() -> None:
    assert difference_cells([2.0, 2.1, 1.9], [1.0, 1.0, 1.0]) == ["+1.000 [+0.752, +1.248]", "+100", "3 of 3", "yes"]
    assert difference_cells([1.0, 3.0], [2.0, 2.0])[2:] == ["1 of 2", "not shown"]

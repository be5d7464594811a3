"""``feedgym offline``: an agent learns from a log alone, and the simulator says what that is worth."""

import dataclasses
import functools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from feedgym.agents.logged import behaviour as logged_behaviour
from feedgym.agents.logged.learning import learn_from_log
from feedgym.agents.logged.policy import BehaviourConfig
from feedgym.agents.logged.site import LoggedSite
from feedgym.agents.registry.plans import parse_agent
from feedgym.env.log.reader import LogReader
from feedgym.experiments import offline
from feedgym.experiments.logs.logged_truth import reward_on_logged_states
from feedgym.experiments.logs.offline_result import result_text
from feedgym.experiments.logs.offline_world import fresh_feed
from feedgym.experiments.offline import OfflineConfig, simulated_run
from feedgym.experiments.runs.checkpoint import load_arrays
from feedgym.experiments.runs.drive import make_drive
from feedgym.experiments.runs.run_config import RunConfig
from feedgym.experiments.runs.runner import load_run
from helpers.logs.offline import QUICK, SETTINGS, copied


def test_the_truth_beside_what_the_log_earned(logged: Path, tmp_path: Path) -> None:
    result = offline.run(OfflineConfig(log=logged, agent=QUICK, out=tmp_path))
    curves = load_run(logged).curves
    assert result.logger_reward == pytest.approx(curves.per_reader_day("reward"), rel=1e-5)
    assert result.num_visits == curves.totals["visits"].sum()
    assert (result.propensities, result.why_unsupported, result.why_not_deployed) == ("logged", None, None)
    # The deployment again, by hand: the same world, towers as they were trained, no more training.
    config = simulated_run(LogReader(logged).config)
    assert dataclasses.replace(config, agent="popular") == RunConfig(
        **SETTINGS, agent="popular", evaluate_visits=0, log_marginals=True
    )
    # Of the log's agent nothing is made, whatever module it names.
    assert simulated_run(LogReader(logged).config | {"agent": "os.path"}) == config  # type: ignore[operator]
    feed = make_drive(config).feed
    agent: Any = parse_agent(QUICK).start(feed)
    arrays = load_arrays(tmp_path / offline.TRAINED)
    model = {name.removeprefix("model/"): values for name, values in arrays.items() if name.startswith("model/")}
    agent.model.from_arrays(model)
    agent.policy_version, agent._next_training = int(arrays["policy_version"]), np.inf
    total = 0.0
    while not feed.done:
        total += float(feed.serve(agent.act(feed.visits, feed.catalogue).article_id).reward.sum())
    assert agent.policy_version == 4
    assert result.deployed_reward == pytest.approx(total / (40 * 2.0), rel=1e-5)
    assert result.deployed_reward is not None
    assert result.logger_reward is not None
    assert result.difference == pytest.approx(result.deployed_reward - result.logger_reward, abs=1e-6)
    assert result.half_width is not None
    assert result.half_width > 0.0
    assert json.loads((tmp_path / offline.RESULT).read_text())["deployed_reward"] == result.deployed_reward


def test_subscriptions_count_once_a_visit(logged: Path, tmp_path: Path) -> None:
    settings = RunConfig(**SETTINGS).settings()
    folder = copied(logged, tmp_path / "log", settings)
    table = pq.read_table(folder / "day.parquet")
    at = table.column_names.index("subscribed")
    none, every = (table.set_column(at, table.schema.field(at), pa.array([yes] * len(table))) for yes in (False, True))
    rewards = []
    for changed in (none, every):
        pq.write_table(changed, folder / "day.parquet")
        rewards.append(offline.run(OfflineConfig(log=folder, agent=QUICK, deploy=False)))
    before, after = (
        float(result.logger_reward or 0.0) * len(LogReader(folder).summary.reader_id) for result in rewards
    )
    assert after - before == pytest.approx(3.0 * rewards[0].num_visits / 2.0)


def test_what_was_learned_is_what_is_deployed(logged: Path) -> None:
    """A learner of the logged outcomes serves otherwise than one that was fed none of them."""
    one = offline.run(OfflineConfig(log=logged, agent=QUICK))
    other = offline.run(OfflineConfig(log=logged, agent="regression-dwell:max_steps=1,train_every_hours=48.0"))
    again = offline.run(OfflineConfig(log=logged, agent=QUICK))
    assert one == again
    assert one.deployed_reward != other.deployed_reward


def test_a_sites_own_log_is_learned_from_and_not_deployed(logged: Path, tmp_path: Path) -> None:
    folder = copied(logged, tmp_path / "site", None)
    result = offline.run(OfflineConfig(log=folder, agent=QUICK))
    assert result.deployed_reward is None
    assert "a site's own log" in str(result.why_not_deployed)
    assert result.logger_reward is not None
    with pytest.raises(ValueError, match=r"log: got \"a site's own log\", needs one of a simulator"):
        offline.run(OfflineConfig(log=folder, agent=QUICK, deploy=True))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 1}, r"settings of the log: got \['format'\], needs what this version makes of them"),
        ({"world": "elsewhere"}, "world: got 'elsewhere'"),
        ({"articles": "real.csv"}, "articles of the log: got 'real.csv', needs the world's own newsroom"),
        ({"readers": "many"}, "readers of the log: got 'many', needs a number up to 20,000,000"),
        ({"readers": 10**15}, "readers of the log: got 1000000000000000, needs a number up to"),
        ({"days": 1e12}, "days of the log: got 1000000000000.0, needs a number up to 3,650"),
        ({"reader_model": "os:path"}, "reader_model of the log: got 'os:path', needs --deploy"),
        ({"tick_hours": "x"}, "settings of the log: got .*needs those of a run"),
    ],
)
def test_a_world_that_cannot_be_made_again_is_not_deployed_in(change: dict[str, Any], message: str) -> None:
    settings = RunConfig(**SETTINGS).settings() | change
    with pytest.raises(ValueError, match=message):
        simulated_run(settings)


def test_deployment_can_be_left_out(logged: Path) -> None:
    result = offline.run(OfflineConfig(log=logged, agent=QUICK, deploy=False))
    assert (result.deployed_reward, result.difference, result.why_not_deployed) == (None, None, "not asked for")
    assert result.estimates == ()


def test_estimates_stand_beside_the_truth(logged: Path) -> None:
    result = offline.run(OfflineConfig(log=logged, agent=QUICK, estimate_days=1.0, reward_model=QUICK))
    names = [row["estimator"] for row in result.estimates]
    assert names == ["sniips", "snrips", "cascade_dr", "sniips_dr", "snsips", "dm"]
    assert [row["extrapolates"] for row in result.estimates] == [False] * 5 + [True]
    assert (result.propensities, result.reward_model, result.logger_epsilon) == ("logged", QUICK, None)
    # The truth by hand, of what was learned on the first day.
    world = simulated_run(LogReader(logged).config)
    sizes = make_drive(world).feed.catalogue.category_sizes
    agents: list[Any] = []
    for until in (24.0, 0.0):
        site: Any = LoggedSite(logged, category_sizes=sizes)
        agents.append(parse_agent(QUICK).start(site))
        if until:
            learn_from_log(agents[0], site, until_hours=until)
    agents[1].adopt(agents[0])
    truth = reward_on_logged_states(agents[1], site, world, from_hours=24.0).mean()
    assert {row["truth"] for row in result.estimates} == {truth}
    text = result_text(result)
    assert "Reward a visit on the days kept back: logged" in text
    assert f"truth {truth:.3f} +- {1.96 * (result.truth_error or 0.0):.3f}; estimates:" in text
    assert "snrips" in text
    assert "unbiased: the model is right (extrapolates)" in text
    with pytest.raises(ValueError, match=r"estimate_days: got 2.0, needs less than the log's 2 days"):
        offline.run(OfflineConfig(log=logged, agent=QUICK, estimate_days=2.0))


def without_propensities(logged: Path, folder: Path) -> Path:
    """The log as a site's own that never wrote down a chance."""
    copied(logged, folder, None)
    table = pq.read_table(folder / "day.parquet")
    names = ("slot_propensity", "slot_marginal", "inclusion", "inclusion_time", "epsilon", "log_propensity", "logit")
    pq.write_table(table.drop_columns([*names, "shortlist_size", "num_live"]), folder / "day.parquet")
    return folder


def test_a_log_without_propensities_is_estimated_and_marked(
    logged: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Few steps: what is tested is the way, not how near it leads (test_logged_behaviour).
    few = functools.partial(BehaviourConfig, steps=60)
    monkeypatch.setattr(logged_behaviour, "BehaviourConfig", few)
    site = without_propensities(logged, tmp_path / "site")
    options: dict[str, Any] = {"agent": QUICK, "estimate_days": 1.0, "reward_model": "none", "seed": 5}
    result = offline.run(OfflineConfig(log=site, out=tmp_path / "out", **options))
    assert result.propensities == "estimated"
    assert "impressions have no propensity" in str(result.why_unsupported)
    assert [row["estimator"] for row in result.estimates] == ["sniips", "snrips", "snsips"]
    assert any("propensities are estimated" in note for note in result.notes)
    assert "estimates by estimated propensities (exploration 0." in result_text(result)
    written = json.loads((tmp_path / "out" / offline.RESULT).read_text())
    assert (written["propensities"], written["logger_epsilon"]) == ("estimated", result.logger_epsilon)
    assert (tmp_path / "out" / offline.PICTURE).stat().st_size > 10_000
    # The whole log says the same of itself when it is asked not to look; but for the weight of a subscription.
    whole = offline.run(OfflineConfig(log=logged, propensities="estimated", deploy=False, **options))
    assert whole.logger_epsilon == pytest.approx(result.logger_epsilon)
    sizes = [[row["effective_sample_size"] for row in r.estimates] for r in (result, whole)]
    np.testing.assert_allclose(sizes[0], sizes[1], rtol=1e-6)
    # By the log's word there is nothing to weigh by.
    with pytest.raises(ValueError, match=r"log: got .*have no propensity', needs .*or a reward model for dm alone"):
        offline.run(OfflineConfig(log=site, propensities="logged", **options))
    alone = offline.run(OfflineConfig(log=site, propensities="logged", **options | {"reward_model": QUICK}))
    assert [row["estimator"] for row in alone.estimates] == ["dm"]
    assert alone.propensities == "unknown"


def test_without_days_for_a_reward_model_there_is_none(logged: Path) -> None:
    """The model of ``auto`` trains every 6 hours: before the first of them it foretells nothing."""
    hourly = QUICK.replace("12.0", "1.0")
    options: dict[str, Any] = {"log": logged, "agent": hourly, "estimate_days": 1.9, "deploy": False}
    result = offline.run(OfflineConfig(**options))
    assert result.reward_model is None
    assert [row["estimator"] for row in result.estimates] == ["sniips", "snrips", "snsips"]
    assert any(note.startswith("no reward model: reward_model: got 'a log of 2.4 h") for note in result.notes)
    with pytest.raises(ValueError, match=r"reward_model: got 'a log of 2\.4 h"):
        offline.run(OfflineConfig(**options, reward_model="regression-dwell"))


def test_fresh_luck_has_the_same_articles_and_other_readers(logged: Path) -> None:
    world = simulated_run(LogReader(logged).config)
    same, fresh = make_drive(world).feed, fresh_feed(world, 77)
    again = fresh_feed(world, world.seed)
    clicked: list[Any] = []
    for feed in (same, fresh, again):
        seen: list[Any] = []
        while not feed.done:
            slates = np.tile(np.sort(feed.catalogue.article_id)[:8], (len(feed.visits), 1))
            seen.append((feed.catalogue.article_id.copy(), feed.visits.rows.copy(), feed.serve(slates).clicks.copy()))
        clicked.append(seen)
    for one, other, third in zip(*clicked, strict=True):
        np.testing.assert_array_equal(one[0], other[0])
        for own, made_again in zip(one, third, strict=True):
            np.testing.assert_array_equal(own, made_again)
    assert any(not np.array_equal(one[1], other[1]) for one, other in zip(*clicked[:2], strict=True))


def test_deployment_on_fresh_luck_is_not_paired(logged: Path) -> None:
    fresh = offline.run(OfflineConfig(log=logged, agent=QUICK, deploy_seed=77))
    same = offline.run(OfflineConfig(log=logged, agent=QUICK))
    assert (fresh.deploy_seed, same.deploy_seed) == (77, None)
    assert fresh.deployed_reward != same.deployed_reward
    assert fresh.logger_reward == same.logger_reward
    assert "on the same days, other readers (77): " in result_text(fresh)
    config = simulated_run(LogReader(logged).config)
    site = LoggedSite(logged, category_sizes=make_drive(config).feed.catalogue.category_sizes)
    agent: Any = parse_agent(QUICK).start(site)  # type: ignore[arg-type]
    learn_from_log(agent, site)
    total = offline.deploy(parse_agent(QUICK), agent, config, seed=77)
    before = offline.logged_rewards(site)
    assert before is not None
    # 40 readers at hour 0; who joined in the two days has a row, too.
    many = len(total)
    assert 40 < many < 44
    spread = np.sqrt((total.var(ddof=1) + np.pad(before, (0, many - len(before))).var(ddof=1)) * many) / 40
    assert fresh.half_width == pytest.approx(1.96 * spread / 2.0)
    assert fresh.deployed_reward == pytest.approx(total.sum() / 40 / 2.0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"deploy_seed": -1}, "deploy_seed: got -1, needs >= 0"),
        ({"deploy_seed": 3, "deploy": False}, "deploy_seed: got 3, needs None without deployment"),
        ({"propensities": "guessed"}, "propensities: got 'guessed', needs one of auto, logged, estimated"),
        ({"reward_model": "popular"}, "reward_model: got 'popular', needs auto, none, or a regression"),
        ({"estimate_days": -1.0}, "estimate_days: got -1.0"),
    ],
)
def test_settings_that_cannot_be(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        OfflineConfig(log=Path("x"), **change)


def test_agents_that_cannot_learn_are_refused() -> None:
    for agent in ("popular", "oracle-dwell"):
        with pytest.raises(ValueError, match=r"agent: got .*needs an agent that learns"):
            OfflineConfig(log=Path("x"), agent=agent)


def test_the_command(logged: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    offline.main(["--log", str(logged), "--agent", QUICK, "--out", str(tmp_path / "out")])
    text = " ".join(capsys.readouterr().out.split())
    assert "day 2 of the log" in text
    assert "Logged policy: " in text
    assert "Deployed, frozen, on the same days: " in text
    broken = copied(logged, tmp_path / "broken", None) / "day.parquet"
    broken.write_bytes(broken.read_bytes()[:-100])
    with pytest.raises(SystemExit, match=r"feedgym offline: .*day.parquet: got a file that is cut short or no Parquet"):
        offline.main(["--log", str(broken.parent), "--agent", QUICK])
    with pytest.raises(SystemExit, match=r"feedgym offline: log: got .*needs a folder or a Parquet file that exists"):
        offline.main(["--log", str(tmp_path / "nowhere")])

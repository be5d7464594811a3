"""``feedgym offline``: an agent learns from a log alone, and the simulator says what that is worth."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from feedgym.agents.logged_learning import learn_from_log
from feedgym.agents.logged_site import LoggedSite
from feedgym.agents.registry import parse_agent
from feedgym.env import RewardConfig, read_impressions
from feedgym.env.log_reading import LogReader
from feedgym.experiments import offline
from feedgym.experiments.checkpoint import load_arrays
from feedgym.experiments.drive import make_drive
from feedgym.experiments.log import LogConfig, make_log
from feedgym.experiments.logged_truth import reward_on_logged_states
from feedgym.experiments.offline import OfflineConfig, simulated_run
from feedgym.experiments.run_config import RunConfig
from feedgym.experiments.train import load_run

QUICK = "regression-dwell:max_steps=10,train_every_hours=12.0"
REWARD = RewardConfig(click=0.5, dwell_minutes=1.0, subscription=3.0)
SETTINGS: dict[str, Any] = {"readers": 40, "days": 2.0, "tick_hours": 1.0, "seed": 5, "reward": REWARD}


@pytest.fixture(scope="module")
def logged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("log")
    make_log(LogConfig(**SETTINGS, out=folder))
    return folder


def copied(logged: Path, folder: Path, settings: dict[str, Any] | None) -> Path:
    """The log as one part with other settings; None: as a site's own."""
    table = read_impressions(logged / "impressions")
    metadata = {} if settings is None else table.schema.metadata | {b"feedgym_config": json.dumps(settings).encode()}
    folder.mkdir()
    pq.write_table(table.replace_schema_metadata(metadata), folder / "day.parquet")
    (folder / "articles.parquet").write_bytes((logged / "articles.parquet").read_bytes())
    return folder


def test_the_truth_beside_what_the_log_earned(logged: Path, tmp_path: Path) -> None:
    result = offline.run(OfflineConfig(log=logged, agent=QUICK, out=tmp_path))
    curves = load_run(logged).curves
    assert result.logger_reward == pytest.approx(curves.per_reader_day("reward"), rel=1e-5)
    assert result.num_visits == curves.totals["visits"].sum()
    assert (result.propensities, result.why_unsupported, result.why_not_deployed) == ("logged", None, None)
    # The deployment again, by hand: the same world, towers as they were trained, no more training.
    config = simulated_run(LogReader(logged).config)
    assert dataclasses.replace(config, agent="popular") == RunConfig(**SETTINGS, agent="popular", evaluate_visits=0)
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
    result = offline.run(OfflineConfig(log=logged, agent=QUICK, estimate_days=1.0))
    assert [row["estimator"] for row in result.estimates] == ["sniips", "snrips", "snsips"]
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
    text = offline.result_text(result)
    assert "Reward a visit on the days kept back: logged" in text
    assert "snrips" in text
    with pytest.raises(ValueError, match=r"estimate_days: got 2.0, needs less than the log's 2 days"):
        offline.run(OfflineConfig(log=logged, agent=QUICK, estimate_days=2.0))


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

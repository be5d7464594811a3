"""Estimates of a trained agent from a log: exact on its own log, and refused where nothing can be said."""

from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from feedgym.agents.logged.evaluation import evaluate_on_log
from feedgym.agents.logged.learning import learn_from_log
from feedgym.agents.logged.site import LoggedSite
from feedgym.agents.registry.plans import parse_agent
from feedgym.agents.two_tower.agent import TwoTowerAgent
from feedgym.env.feed.feed import Feed
from feedgym.env.log.reader import LogReader
from feedgym.env.log.writer import ImpressionLog, write_articles
from feedgym.experiments.commands.log import LogConfig, make_log
from feedgym.experiments.logs.logged_truth import reward_on_logged_states
from feedgym.experiments.offline import simulated_run
from feedgym.experiments.runs.drive import make_drive
from feedgym.experiments.runs.run_config import RunConfig

AGENT = (
    "regression-dwell:max_steps=20,train_every_hours=12.0,"
    "wide_part=False,content_channel=False,loss=pointwise,sharpness=1.0"
)
SETTINGS: dict[str, Any] = {"readers": 80, "days": 2.0, "tick_hours": 1.0, "seed": 5}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("log")
    make_log(LogConfig(**SETTINGS, epsilon=0.3, out=path))
    return path


def world_of(folder: Path) -> RunConfig:
    return simulated_run(LogReader(folder).config)


def opened(folder: Path) -> LoggedSite:
    return LoggedSite(folder, category_sizes=make_drive(world_of(folder)).feed.catalogue.category_sizes)


def new(site: Any, settings: str = "") -> TwoTowerAgent:
    return cast(TwoTowerAgent, parse_agent(AGENT + settings).start(cast(Feed, site)))


@pytest.fixture(scope="module")
def trained(folder: Path) -> TwoTowerAgent:
    site = opened(folder)
    agent = new(site)
    learn_from_log(agent, site, until_hours=24.0)
    assert agent.policy_version == 2
    assert site.now == 24.0
    return agent


def frozen(site: Any, trained: TwoTowerAgent, settings: str = "") -> TwoTowerAgent:
    agent = new(site, settings)
    agent.adopt(trained)
    return agent


@pytest.fixture(scope="module")
def own(folder: Path, trained: TwoTowerAgent, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The log that the frozen agent itself writes in the same world."""
    path, world = tmp_path_factory.mktemp("own"), world_of(folder)
    feed = make_drive(world).feed
    agent = frozen(feed, trained)
    log = ImpressionLog(world.feed_config(), run_id="r", policy="own", config=world.settings())
    while not feed.done:
        visits = feed.visits
        served = agent.act(visits, feed.catalogue)
        outcome = feed.serve(served.article_id)
        log.append(visits, outcome, served, {"slot_marginal": served.slot_marginal, "inclusion": served.inclusion})
    log.flush(path / "impressions" / "day-0000.parquet")
    write_articles(path / "articles.parquet", feed.catalogue.archive)
    return path


def test_of_its_own_log_an_agent_earned_what_was_logged(own: Path, trained: TwoTowerAgent) -> None:
    site = opened(own)
    found = evaluate_on_log(frozen(site, trained), site, rng=np.random.default_rng(0), replicates=50)
    assert [row.estimator for row in found.rows] == ["sniips", "snrips", "snsips"]
    assert found.num_visits == site.summary.num_visits
    for row in found.rows:
        assert row.value == pytest.approx(found.logged, rel=1e-6)
        assert row.diagnostics.mean_weight == pytest.approx(1.0, abs=1e-6)
    # Another policy's weights are not 1.
    site = opened(own)
    other = evaluate_on_log(frozen(site, trained, ",sharpness=0.5"), site, rng=np.random.default_rng(0), replicates=50)
    assert other.rows[0].value != pytest.approx(found.logged, rel=1e-3)


def test_the_truth_of_its_own_log_is_the_log(own: Path, trained: TwoTowerAgent) -> None:
    site = opened(own)
    # The same agent in the same states, from the same stream: the same slates, under the same luck.
    truth = reward_on_logged_states(frozen(site, trained), site, world_of(own))
    logged = np.concatenate([stretch["reward"].sum(axis=1) for stretch in opened(own).log.visits()])
    np.testing.assert_allclose(truth, logged, rtol=1e-5)
    assert truth.sum() > 0


def test_only_the_days_kept_back_are_evaluated(folder: Path, trained: TwoTowerAgent) -> None:
    site = opened(folder)
    found = evaluate_on_log(frozen(site, trained), site, from_hours=24.0, rng=np.random.default_rng(0), replicates=50)
    stretches = list(site.log.visits())
    hours = np.concatenate([stretch["time_hours"] for stretch in stretches])
    reward = np.concatenate([stretch["reward"].sum(axis=1) for stretch in stretches])
    assert found.num_visits == np.count_nonzero(hours >= 24.0) < len(hours)
    assert found.logged == pytest.approx(reward[hours >= 24.0].mean(), rel=1e-5)
    site = opened(folder)
    truth = reward_on_logged_states(frozen(site, trained), site, world_of(folder), from_hours=24.0)
    assert len(truth) == found.num_visits
    # What the trained agent would earn is not what the logger earned, and the estimate knows in which direction.
    assert (truth.mean() - found.logged) * (found.rows[0].value - found.logged) > 0


def test_truth_is_refused_in_another_world(folder: Path, trained: TwoTowerAgent) -> None:
    site = opened(folder)
    with pytest.raises(ValueError, match=r"log: got 'other visits at .* h', needs those of the world"):
        reward_on_logged_states(frozen(site, trained), site, RunConfig(**{**SETTINGS, "seed": 6}, agent="random"))


def test_nothing_is_estimated_where_nothing_can_be(folder: Path, trained: TwoTowerAgent, tmp_path: Path) -> None:
    def attempt(path: Path, settings: str = "", from_hours: float = 0.0) -> None:
        site = LoggedSite(path, category_sizes=opened(folder).catalogue.category_sizes)
        agent = frozen(site, trained, settings)
        evaluate_on_log(agent, site, from_hours=from_hours, rng=np.random.default_rng(0), replicates=50)

    with pytest.raises(ValueError, match="greedy: got True, needs False"):
        attempt(folder, ",greedy=True")
    with pytest.raises(
        ValueError, match="serving: got 'batch', needs realtime or streaming: the log's are slates drawn at the visit"
    ):
        attempt(folder, ",serving=batch")
    with pytest.raises(ValueError, match=r"from_hours: got 480.0, needs a time before the last visit"):
        attempt(folder, from_hours=480.0)
    greedy = LogConfig(**SETTINGS, agent="popular:greedy=True", allow_unsupported=True, out=tmp_path / "greedy")
    make_log(greedy)
    with pytest.raises(ValueError, match=r"log: got .*served greedily.*needs a log by a policy that explores"):
        attempt(tmp_path / "greedy")
    # A site's own log of some of the places only.
    (tmp_path / "places").mkdir()
    table = pq.read_table(folder / "impressions").replace_schema_metadata(None)
    pq.write_table(table.filter(pc.field("position") != 2), tmp_path / "places" / "log.parquet")
    (tmp_path / "places" / "articles.parquet").write_bytes((folder / "articles.parquet").read_bytes())
    with pytest.raises(
        ValueError, match=r"slates with an empty place: got \d+, needs 0: estimates need all 8 articles"
    ):
        attempt(tmp_path / "places")
    # A catalogue that has changed since: a live article more.
    changed = tmp_path / "changed"
    (changed / "impressions").mkdir(parents=True)
    for path in (folder / "impressions").iterdir():
        (changed / "impressions" / path.name).write_bytes(path.read_bytes())
    table = pq.read_table(folder / "articles.parquet")
    at = table.column_names.index("expires_hours")
    expires = table["expires_hours"].to_numpy()
    longer = np.where(expires == expires.min(), 1e6, expires)
    pq.write_table(table.set_column(at, "expires_hours", [longer]), changed / "articles.parquet")
    with pytest.raises(ValueError, match="needs the catalogue that the log was written with: it has changed since"):
        attempt(changed)


def test_visits_that_show_what_is_gone_by_the_tick_are_left_out(
    folder: Path, trained: TwoTowerAgent, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a clock that is not the log's own: an article that expires between the visit and its tick."""
    table = pq.read_table(folder / "impressions").replace_schema_metadata(None)
    table = table.drop_columns(["tick", "num_live", "slate_made_hours", "device"])
    early = pc.subtract(table["time_hours"], 0.25)
    at = table.column_names.index("time_hours")
    table = table.set_column(at, "time_hours", pc.max_element_wise(early, 0.0))
    late = table.filter(pc.greater(table["time_hours"], 30.0))
    ids, counts = np.unique(late["article_id"].to_numpy(), return_counts=True)
    seldom = int(ids[np.argmin(counts)])
    hour = pc.min(table.filter(pc.equal(table["article_id"], seldom))["time_hours"]).as_py()
    articles = pq.read_table(folder / "articles.parquet")
    expires = articles["expires_hours"].to_numpy().copy()
    expires[np.flatnonzero(articles["article_id"].to_numpy() == seldom)] = hour + 0.1
    at = articles.column_names.index("expires_hours")
    pq.write_table(table, tmp_path / "site.parquet")
    pq.write_table(articles.set_column(at, "expires_hours", [expires]), tmp_path / "articles.parquet")
    sizes = opened(folder).catalogue.category_sizes

    def attempt() -> Any:
        site = LoggedSite(tmp_path / "site.parquet", tick_hours=1.0, category_sizes=sizes)
        return evaluate_on_log(frozen(site, trained), site, rng=np.random.default_rng(0), replicates=20)

    showing = table.filter(pc.equal(table["article_id"], seldom))["visit_id"].to_numpy()
    found = attempt()
    assert found.num_visits == table.num_rows // 8 - len(np.unique(showing))
    assert found.notes[-1].startswith(
        f"{len(np.unique(showing))} visits are left out: they show articles that were gone"
    )
    monkeypatch.setattr("feedgym.agents.logged.evaluation.MOST_GONE", 0.0)
    with pytest.raises(
        ValueError, match=r"gone by the tick: got \d+, needs less than 0% of them: a smaller tick_hours"
    ):
        attempt()

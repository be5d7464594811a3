"""Logs of format 1, whose positions explored: learned from and estimated on with the chances of that policy."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from feedgym.agents.logged.evaluation import evaluate_on_log
from feedgym.agents.logged.learning import learn_from_log
from feedgym.agents.logged.site import BY_POSITIONS, LoggedSite
from feedgym.agents.registry.plans import parse_agent
from feedgym.env import Feed, FeedConfig, NewsReader
from feedgym.env.worlds import WORLDS
from feedgym.experiments import offline
from feedgym.experiments.logs.offline_result import result_text
from feedgym.experiments.offline import OfflineConfig
from helpers.inside import ring_of
from helpers.logs.older import Drawn, older_log

CONFIG = FeedConfig(num_readers=80, tick_hours=1.0, days=2)
SMALL = "max_steps=4,train_every_hours=12.0"
SOFT = f"regression-dwell:{SMALL},sharpness=0.25,epsilon=0.3,shortlist_size=2000"


def new_feed() -> Feed:
    return Feed(CONFIG, NewsReader(WORLDS["vivid"].reader), seed=3)


@pytest.fixture(scope="module")
def older(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Drawn]]:
    folder = tmp_path_factory.mktemp("older")
    return folder, older_log(folder, new_feed())


def site_of(folder: Path) -> LoggedSite:
    return LoggedSite(folder, category_sizes=new_feed().catalogue.category_sizes)


def taught(text: str, folder: Path, until_hours: float = np.inf) -> Any:
    site = site_of(folder)
    agent: Any = parse_agent(text).start(site)  # type: ignore[arg-type]
    learn_from_log(agent, site, until_hours=until_hours)
    return agent


def test_its_chances_are_those_of_its_own_policy(older: tuple[Path, list[Drawn]]) -> None:
    folder, drawn = older
    site = site_of(folder)
    assert (site.log.version, site.log.exploration) == (1, "positions")
    assert not site.logged.explores_by_visits
    ring = ring_of(taught(f"reinforce:{SMALL}", folder).learner)
    ids, weight, time = (np.concatenate(parts) for parts in zip(*drawn, strict=True))
    order = np.lexsort((ring.column("row"), ring.column("now")))
    mine = np.lexsort((np.concatenate([np.arange(len(part[0])) for part in drawn]), _ticks(drawn)))
    assert len(order) == len(mine)
    # The log's rows of a tick are in the order of its readers.
    np.testing.assert_array_equal(ring.column("article_id")[order], ids[mine])
    np.testing.assert_allclose(ring.column("first")[order], weight[mine], rtol=1e-6)
    np.testing.assert_allclose(ring.column("time")[order], time[mine], rtol=1e-9)
    expected = -np.expm1(-weight * time[:, None])
    np.testing.assert_allclose(ring.column("inclusion")[order], expected[mine], rtol=1e-6)


def _ticks(drawn: list[Drawn]) -> Any:
    return np.repeat(np.arange(len(drawn)), [len(part[0]) for part in drawn])


@pytest.mark.parametrize("settings", ["", ",estimator=joint", ",estimator=chen", ",estimator=none"])
def test_agents_learn_from_it(settings: str, older: tuple[Path, list[Drawn]]) -> None:
    agent = taught(f"reinforce:{SMALL}{settings}", older[0])
    assert agent.policy_version == 4
    assert all(np.isfinite(value).all() for value in agent.metrics().values())
    assert np.abs(agent.snapshot()["learner/correction/theta"]).max() > 1e-4


def test_estimates_on_it_say_whose_log_it_is(older: tuple[Path, list[Drawn]]) -> None:
    folder, _ = older
    trained, site = taught(SOFT, folder, 24.0), site_of(folder)
    agent: Any = parse_agent(SOFT).start(site)  # type: ignore[arg-type]
    agent.adopt(trained)
    found = evaluate_on_log(agent, site, from_hours=24.0, rng=np.random.default_rng(0), replicates=50)
    assert found.notes[-1] == BY_POSITIONS
    # Its marginals are unknown, its slot propensities are not.
    assert [row.estimator for row in found.rows] == ["snrips", "snsips"]
    assert all(np.isfinite(row.value) for row in found.rows)


def test_the_report_says_whose_log_it_is(older: tuple[Path, list[Drawn]]) -> None:
    for days in (0.0, 1.0):
        result = offline.run(OfflineConfig(log=older[0], agent=SOFT, estimate_days=days, reward_model="none"))
        assert result.notes.count(BY_POSITIONS) == 1
        assert f"Note: {BY_POSITIONS}." in result_text(result).splitlines()

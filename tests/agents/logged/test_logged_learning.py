"""Learning from a log: the same as learning live, where the log is the agent's own; refused where it cannot be."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from feedgym.agents.logged.learning import learn_from_log
from feedgym.agents.logged.site import LoggedSite
from feedgym.agents.registry.plans import parse_agent
from feedgym.agents.serving.logged_slates import log_draw_weights
from feedgym.agents.two_tower.agent import TwoTowerAgent
from feedgym.env import Feed, FeedConfig, NewsReader
from feedgym.env.arrays import Bools, Doubles
from feedgym.env.log.writer import ImpressionLog, write_articles
from feedgym.env.readers.protocol import Outcome
from feedgym.env.worlds import WORLDS

ESTIMATED = "reinforce:behaviour=estimated"
CONFIG = FeedConfig(num_readers=60, tick_hours=1.0, days=2)


def new_feed(world: str = "vivid") -> Feed:
    return Feed(CONFIG, NewsReader(WORLDS[world].reader), seed=3)


def live(agent_text: str, folder: Path, world: str = "vivid") -> tuple[Any, Feed]:
    """Two days of an agent, with its log; it has also trained on the last hours."""
    feed = new_feed(world)
    agent = parse_agent(agent_text).start(feed)
    log = ImpressionLog(CONFIG, run_id="r", policy=agent_text, config={"seed": 3})
    while not feed.done:
        visits = feed.visits
        served = agent.act(visits, feed.catalogue)
        outcome = feed.serve(served.article_id)
        agent.learn(Outcome(clicks=outcome.clicks, dwell_minutes=outcome.dwell_minutes, subscribed=outcome.subscribed))
        more = (
            {}
            if served.greedy
            else dict(zip(("slot_marginal", "inclusion", "inclusion_time"), marginals(served), strict=True))
        )
        log.append(visits, outcome, served, more)
    agent.act(feed.visits, feed.catalogue)
    log.flush(folder / "impressions" / "day-0000.parquet")
    write_articles(folder / "articles.parquet", feed.catalogue.archive)
    return agent, feed


def marginals(served: Any) -> tuple[Any, Any, Any]:
    return served.slot_marginal, served.inclusion, served.inclusion_time


def site_of(folder: Path) -> LoggedSite:
    return LoggedSite(folder, category_sizes=new_feed().catalogue.category_sizes)


def learner(agent_text: str, site: Any) -> TwoTowerAgent:
    agent = parse_agent(agent_text).start(site)
    assert isinstance(agent, TwoTowerAgent)
    return agent


@pytest.mark.parametrize(
    ("agent_text", "world"),
    [
        ("regression-dwell:max_steps=3", "vivid"),
        ("regression-dwell:wide_part=False,content_channel=True,loss=pointwise,max_steps=3", "vivid"),
        ("regression-dwell:crosses=all,max_steps=3", "vivid"),
        ("regression-click:crosses=article_shown,prediction=logistic,max_steps=3", "measured"),
        ("regression-dwell:crosses=all,ranker=gbdt,ranker_trees=5,max_steps=3", "vivid"),
        ("linear", "measured"),
        ("contrastive:propensity_cap=None", "measured"),
        ("reinforce", "vivid"),
        ("reinforce:estimator=marginal,max_steps=3,sharpness=1.0", "vivid"),
    ],
)
def test_an_agents_own_log_teaches_what_its_life_taught(agent_text: str, world: str, tmp_path: Path) -> None:
    agent, _ = live(agent_text, tmp_path, world)
    site = site_of(tmp_path)
    again = learner(agent_text, site)
    learn_from_log(again, site)
    assert again.policy_version == agent.policy_version == 8
    expected, seen = agent.snapshot(), again.snapshot()
    assert expected.keys() == seen.keys()
    for name, values in expected.items():
        chances = ("ring/inclusion", "ring/first", "ring/slot_marginal")
        if name.endswith(chances) or "model/" in name or "correction/" in name:
            # Worked out from the log's logits, which are single: rounded otherwise.
            np.testing.assert_allclose(seen[name], values, rtol=1e-4, atol=1e-6, err_msg=name)
        elif "reinforce" not in agent_text:
            np.testing.assert_array_equal(seen[name], values, err_msg=name)
    assert any(name.startswith("learner/ring/time") for name in seen) == ("reinforce" in agent_text)
    if "reinforce" in agent_text:
        np.testing.assert_allclose(seen["learner/ring/time"], expected["learner/ring/time"], rtol=1e-9)


def test_what_another_policy_served_is_learned_with_its_chances(tmp_path: Path) -> None:
    live("popular:epsilon=0.3", tmp_path)
    site = site_of(tmp_path)
    agent = learner("reinforce", site)
    learn_from_log(agent, site)
    arrays = agent.snapshot()
    logged = list(site.log.visits())
    slates = np.concatenate([stretch["article_id"] for stretch in logged])
    np.testing.assert_array_equal(arrays["replay/article_id"], slates)
    np.testing.assert_array_equal(arrays["learner/ring/article_id"], slates)
    time = np.concatenate([stretch["inclusion_time"] for stretch in logged])
    np.testing.assert_array_equal(arrays["learner/ring/time"], time)
    inclusion = np.concatenate([stretch["inclusion"] for stretch in logged])
    # Cheap: by t*, docs/mathematics.md 2.5.
    np.testing.assert_allclose(arrays["learner/ring/inclusion"], inclusion, atol=0.03)
    explored = 0.3 / np.concatenate([stretch["num_live"] for stretch in logged])[:, None]
    outside = np.isnan(np.concatenate([stretch["logit"] for stretch in logged]))
    assert outside.any()
    np.testing.assert_allclose(arrays["learner/ring/inclusion"][outside], (8 * explored * outside)[outside], rtol=1e-12)
    assert (arrays["learner/ring/first"] > explored * (1 - 1e-12)).all()
    # All that was shown is a candidate: in the agent's own shortlist, or beside it.
    head = arrays["learner/ring/head_id"]
    assert (head[:, :, None] == slates[:, None, :]).any(axis=1).all()
    shortlist_size = head.shape[1] - slates.shape[1]
    assert (head[:, shortlist_size:] >= 0).mean() > 0.2
    own = (head[:, :shortlist_size, None] == slates[:, None, :]).any(axis=1)
    assert not (own & (head[:, shortlist_size:] >= 0)).any()


def test_draw_weights_come_back_from_slot_propensities() -> None:
    """Of a policy that draws each position from the same weights of what is left."""
    rng = np.random.default_rng(0)
    p = np.exp(4.0 * rng.standard_normal((500, 60)))
    weight = 0.05 / 60 + 0.95 * p / p.sum(axis=1, keepdims=True)
    column = np.argsort(rng.exponential(size=weight.shape) / weight, axis=1)[:, :8]
    own = np.take_along_axis(weight, column, axis=1)
    shown: Bools = np.ones(own.shape, dtype=np.bool_)
    found: Doubles = log_draw_weights(own / (1.0 - (np.cumsum(own, axis=1) - own)), shown)
    np.testing.assert_allclose(found, np.log(own), rtol=0, atol=1e-7)
    padded = log_draw_weights(np.array([[0.5, 1.0, 1.0]]), np.array([[True, True, False]]))
    np.testing.assert_allclose(padded, [[np.log(0.5), np.log(0.5), -np.inf]])


def without(folder: Path, *columns: str) -> None:
    """As a site's own log: no schema version, and without these columns."""
    for path in (folder / "impressions").iterdir():
        pq.write_table(pq.read_table(path).drop_columns(list(columns)).replace_schema_metadata(None), path)


def test_learners_refuse_logs_that_they_cannot_correct(tmp_path: Path) -> None:
    live("popular:greedy=True", tmp_path / "greedy")
    site = site_of(tmp_path / "greedy")
    with pytest.raises(
        ValueError, match=r"served greedily: got .*needs none with estimator=inclusion: log by a policy"
    ):
        learn_from_log(learner("reinforce", site), site)
    live("popular", tmp_path / "site")
    without(tmp_path / "site", "slot_propensity")
    site = site_of(tmp_path / "site")
    with pytest.raises(ValueError, match=r"propensities of the log: got 'unknown in .*estimator=none corrects nothing"):
        learn_from_log(learner("reinforce", site), site)
    with pytest.raises(ValueError, match=r"propensities of the log: got 'unknown in .*needs propensity_cap=None"):
        learn_from_log(learner("contrastive:propensity_cap=10.0", site), site)
    live("popular", tmp_path / "times")
    without(tmp_path / "times", "inclusion_time")
    site = site_of(tmp_path / "times")
    for text in ("reinforce", "contrastive:propensity_cap=10.0"):
        site = site_of(tmp_path / "times")
        with pytest.raises(ValueError, match="column 'inclusion_time' of the log: got 'unknown', needs known"):
            learn_from_log(learner(text, site), site)


@pytest.mark.parametrize(
    "agent_text",
    ["regression-click", "reinforce:estimator=none", "contrastive:propensity_cap=None", "direct", ESTIMATED],
)
def test_who_needs_no_propensities_learns_without(agent_text: str, tmp_path: Path) -> None:
    live("popular", tmp_path)
    # Also without a clock, without positions, and without the ids of visits.
    without(tmp_path, "slot_propensity", "inclusion_time", "slot_marginal", "inclusion", "tick", "visit_id", "position")
    site = LoggedSite(tmp_path, tick_hours=1.0, category_sizes=new_feed().catalogue.category_sizes)
    agent = learner(agent_text, site)
    learn_from_log(agent, site)
    assert agent.policy_version == 8
    assert np.isfinite(agent.metrics()["loss"])


def test_what_has_been_learned_serves_frozen(tmp_path: Path) -> None:
    live("popular", tmp_path)
    site = site_of(tmp_path)
    trained = learner("reinforce", site)
    learn_from_log(trained, site)
    feed = new_feed()
    agent = learner("reinforce", feed)
    with pytest.raises(ValueError, match="policy_version: got 0, needs > 0"):
        agent.adopt(learner("reinforce", new_feed()))
    agent.adopt(trained)
    before = {name: values.copy() for name, values in agent.model.to_arrays().items()}
    for name, values in trained.model.to_arrays().items():
        np.testing.assert_array_equal(before[name], values, err_msg=name)
    for name, values in trained.learner.snapshot().items():
        np.testing.assert_array_equal(agent.learner.snapshot()[name], values, err_msg=name)
    assert any(values.any() for name, values in trained.learner.snapshot().items() if name.startswith("correction/"))
    while not feed.done:
        served = agent.act(feed.visits, feed.catalogue)
        outcome = feed.serve(served.article_id)
        agent.learn(Outcome(clicks=outcome.clicks, dwell_minutes=outcome.dwell_minutes, subscribed=outcome.subscribed))
        assert served.policy_version == trained.policy_version
    for name, values in agent.model.to_arrays().items():
        np.testing.assert_array_equal(values, before[name], err_msg=name)
    # The same towers make the same vectors of the same articles, the correction's column included.
    live_ids = agent.store.index.ids
    shared = agent.store.vector[live_ids]
    np.testing.assert_allclose(shared, trained.store.vector[live_ids], rtol=1e-5, atol=1e-6)
    with pytest.raises(ValueError, match="adopt: got 'an agent that has served'"):
        agent.adopt(trained)


@pytest.mark.parametrize("name", ["contrastive", "contrastive-uniform"])
def test_books_of_another_sites_articles_are_left_behind(name: str, tmp_path: Path) -> None:
    """``feedgym offline`` deploys on a site whose articles have the log's numbers: to come anew is no mistake."""
    live("popular", tmp_path)
    site = site_of(tmp_path)
    trained = learner(f"{name}:propensity_cap=None", site)
    learn_from_log(trained, site)
    feed = new_feed()
    agent = learner(f"{name}:propensity_cap=None", feed)
    agent.adopt(trained)
    while not feed.done:
        served = agent.act(feed.visits, feed.catalogue)
        outcome = feed.serve(served.article_id)
        agent.learn(Outcome(clicks=outcome.clicks, dwell_minutes=outcome.dwell_minutes, subscribed=outcome.subscribed))
    assert served.policy_version == trained.policy_version
    live_ids = agent.store.index.ids
    np.testing.assert_allclose(agent.store.vector[live_ids], trained.store.vector[live_ids], rtol=1e-5, atol=1e-6)


def test_served_instead_needs_an_act(tmp_path: Path) -> None:
    live("popular", tmp_path)
    site = site_of(tmp_path)
    with pytest.raises(RuntimeError, match="needs act"):
        learner("regression", site).served_instead(site.logged)

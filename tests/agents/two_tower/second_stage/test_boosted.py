"""Boosted trees as the second stage: what they find, what they are trained on, and that they go on byte for byte."""

from typing import Any

import numpy as np
import pytest

from feedgym.agents import make_agent, parse_agent
from feedgym.agents.slate_policy import slate_log_propensity
from feedgym.agents.two_tower.second_stage import Boosting, TreeRanker
from feedgym.agents.two_tower.second_stage.boosted import Boosted
from feedgym.env import Feed, FeedConfig, NewsroomConfig
from helpers.driving import drive
from helpers.inside import replay_of
from helpers.resuming import check_resuming

SITE = FeedConfig(num_readers=80, days=2.0, tick_hours=1.0, slate_size=5, newsroom=NewsroomConfig(articles_per_day=60))
SMALL: dict[str, Any] = {"max_steps": 2, "shortlist_size": 20, "widths": (16,), "dim": 8, "ranker_trees": 5}


def started(name: str = "regression-dwell", **settings: Any) -> tuple[Any, Feed]:
    feed = Feed(SITE, seed=3)
    return make_agent(name, **({"crosses": "all", "ranker": "gbdt"} | SMALL | settings)).start(feed), feed


def test_trees_find_what_a_score_has_to_be_multiplied_by() -> None:
    rng = np.random.default_rng(0)
    columns = rng.normal(size=(40_000, 3)).astype(np.float32)
    columns[:, 2] = np.round(np.abs(columns[:, 2]))  # few values, as counts have
    score = rng.normal(-2.0, 0.5, len(columns))
    truth = np.where((columns[:, 0] > 0) & (columns[:, 2] > 0), -1.0, 0.0) + 0.3 * columns[:, 1]
    trees = Boosted(Boosting())
    assert not trees.correction(columns).any()
    trees.fit(columns, score, rng.poisson(np.exp(score + truth)).astype(np.float64))
    found = trees.correction(columns)
    assert np.corrcoef(found, truth)[0, 1] > 0.95
    assert abs(float((found - truth).mean())) < 0.03
    assert abs(float(found[truth < -0.8].mean() - truth[truth < -0.8].mean())) < 0.1
    # Of a score that says all there is to say, nothing is made.
    trees.fit(columns, score + truth, rng.poisson(np.exp(score + truth)).astype(np.float64))
    assert float(np.abs(trees.correction(columns)).mean()) < 0.15


def test_trees_go_on_from_arrays_without_pickle() -> None:
    rng = np.random.default_rng(1)
    columns, score = rng.normal(size=(3_000, 4)).astype(np.float32), np.zeros(3_000)
    trees, again = Boosted(Boosting(trees=7, least_rows=20)), Boosted(Boosting())
    trees.fit(columns, score, rng.poisson(np.exp(columns[:, 0])).astype(np.float64))
    kept = trees.snapshot()
    assert {value.dtype.kind for value in kept.values()} <= set("iuf")
    again.restore(kept)
    assert again.correction(columns).tobytes() == trees.correction(columns).tobytes() != b""
    again.restore(Boosted(Boosting()).snapshot())
    assert not again.correction(columns).any()


@pytest.mark.parametrize(("name", "crosses"), [("regression-dwell", "all"), ("regression-click", "none")])
def test_runs_resume_byte_for_byte(name: str, crosses: str) -> None:
    agent = check_resuming(lambda: started(name, crosses=crosses, ranker_target=name[11:]), at=27.5, until=34.0).agent
    assert agent.policy_version >= 5
    assert len(agent.snapshot()["trees/sizes"]) == 5


def test_what_is_kept_is_the_score_at_serving_and_what_is_logged_the_trees() -> None:
    agent, feed = started()
    drive(agent, feed, until=30.0)
    while len(feed.visits) < 3:
        drive(agent, feed, until=feed.now + 0.5)
    visits, live = feed.visits, feed.catalogue.article_id.copy()
    served = agent.act(visits, feed.catalogue)
    scores = agent.score_all(visits, feed.catalogue) + float(agent.model.level.detach())
    place = {int(a): j for j, a in enumerate(live)}
    factor, mean = agent.drawer.scale(agent.drawer.queries(agent.serving.requests(visits)))
    first = np.array([[scores[i, place[a]] for a in row] for i, row in enumerate(served.draw.shortlist.tolist())])
    plain = (first - float(agent.model.level.detach()) - mean[:, None]) * factor[:, None]
    moved = served.draw.logits - plain
    assert np.abs(moved - moved.mean(axis=1, keepdims=True)).max() > 0.1
    age = feed.now - feed.catalogue.published_hours_of(served.draw.shortlist.ravel()).reshape(first.shape)
    told = agent._pairs.of(visits.rows, served.draw.shortlist, feed.now)
    added = agent._trees.correction(first.astype(np.float32), age.astype(np.float32), told)
    np.testing.assert_allclose(moved, added * factor[:, None], atol=0.05)
    log, _ = slate_log_propensity(
        served.article_id, served.draw.logits, served.draw.shortlist, len(live), served.epsilon
    )
    np.testing.assert_allclose(served.log_propensity, log, atol=1e-9)
    agent.learn(feed.serve(served.article_id))
    kept = replay_of(agent).column("score")[-len(visits) :]
    wanted = np.array([[scores[i, place[a]] for a in row] for i, row in enumerate(served.article_id.tolist())])
    np.testing.assert_allclose(kept, wanted, atol=1e-3)


def test_without_scikit_learn_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(RuntimeError, match=r"^scikit-learn: not installed; needs the extra: pip install"):
        started()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("contrastive:ranker=gbdt", "ranker: got 'gbdt', needs 'none' for this learner"),
        ("regression:ranker=gbdt", "ranker: got 'gbdt', needs 'none' for this learner"),
        ("reinforce:ranker=gbdt", "ranker: got 'gbdt', needs 'none' for this learner"),
        ("regression-dwell:ranker=gbdt,prediction=mlp", "one second stage"),
        ("regression-dwell:ranker=gbdt,serving=batch", "'none' where readers lag"),
        ("regression-dwell:ranker=forest", "ranker: got 'forest'"),
    ],
)
def test_what_makes_no_sense_is_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_agent(text)


class Kept:
    """A replay of one position a visit."""

    def __init__(self, **columns: Any) -> None:
        self._columns = columns

    def column(self, name: str) -> Any:
        return self._columns[name]


def test_trees_with_vectors_find_what_depends_on_both_of_them() -> None:
    rng = np.random.default_rng(2)
    readers, articles = rng.normal(size=(8_000, 2)).astype(np.float32), rng.normal(size=(50, 3)).astype(np.float32)
    shown = rng.integers(0, 50, (8_000, 1))
    truth = np.where((readers[:, 1] > 0) & (articles[shown[:, 0], 2] > 0), 1.0, 0.0)
    replay = Kept(
        article_id=shown,
        now=np.full(8_000, 5.0),
        score=np.zeros((8_000, 1), dtype=np.float32),
        dwell_minutes=rng.poisson(np.exp(truth))[:, None].astype(np.float32),
    )
    asked = np.zeros((8_000, 1), dtype=np.float32), np.full((8_000, 1), 5.0, dtype=np.float32), None
    seen = {}
    for with_vectors in (True, False):
        trees = TreeRanker(Boosting(trees=40), "dwell", 0, with_vectors=with_vectors)
        trees.fit(replay, np.zeros(50), (readers, articles) if with_vectors else None)
        seen[with_vectors] = trees.correction(*asked, (readers, articles[shown]) if with_vectors else None)[:, 0]
    assert np.corrcoef(seen[True], truth)[0, 1] > 0.95
    assert np.ptp(seen[False]) < 1e-6


def test_an_agents_trees_get_the_vectors_that_it_serves_by() -> None:
    agent, feed = started(ranker_vectors=True)
    drive(agent, feed, until=30.0)
    given: list[Any] = []
    correction = agent._trees.correction
    agent._trees.correction = lambda *asked: given.append(asked) or correction(*asked)
    while len(feed.visits) < 3:
        drive(agent, feed, until=feed.now + 1.0)
    given.clear()
    served = agent.act(feed.visits, feed.catalogue)
    readers, articles = given[0][3]
    user = agent.drawer.embed(agent.serving.requests(feed.visits)).vector.numpy()
    np.testing.assert_allclose(readers, user, atol=1e-6)
    np.testing.assert_array_equal(articles, agent.store.vector[np.maximum(served.draw.shortlist, 0)])

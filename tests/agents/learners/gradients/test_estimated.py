"""`reinforce` with ``behaviour=estimated``: nears the logged chances, needs none, and leaves the towers alone."""

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch

from feedgym.agents import make_agent
from feedgym.agents.learners.gradients.behaviour import estimated_inclusion
from feedgym.agents.learners.gradients.estimated import with_estimates
from feedgym.agents.learners.gradients.policy_gradient import Logged
from feedgym.agents.serving.logged_slates import LoggedTick
from feedgym.env import Feed, FeedConfig, NewsroomConfig
from feedgym.env.arrays import Doubles
from helpers.driving import drive
from helpers.inside import learner_of, learning_of, ring_of
from helpers.resuming import check_resuming

SITE = FeedConfig(num_readers=200, days=3.0, tick_hours=1.0, slate_size=4, newsroom=NewsroomConfig(articles_per_day=80))
SMALL = {"behaviour": "estimated", "max_steps": 8, "shortlist_size": 20, "tail_draws": 16, "policy_batch": 64}
MODES: list[dict[str, Any]] = [{"mode": "residual"}, {"mode": "plain"}, {"mode": "residual", "estimator": "chen"}]


def started(seed: int = 2, num_readers: int = 200, **settings: Any) -> tuple[Any, Feed]:
    feed = Feed(dataclasses.replace(SITE, num_readers=num_readers), seed=seed)
    return make_agent("reinforce", **{**SMALL, **settings}).start(feed), feed


def logged_by(logger: Any, agent: Any, feed: Feed, until: float, *, known: bool = True) -> None:
    """Live on what ``logger`` serves; the log says its chances, or none."""
    while feed.now < until:
        served = logger.act(feed.visits, feed.catalogue)
        agent.act(feed.visits, feed.catalogue)
        n = len(served.article_id)
        unknown = np.full(served.article_id.shape, np.nan)
        agent.served_instead(
            LoggedTick(
                article_id=served.article_id,
                slot_propensity=served.slot_propensity if known else unknown,
                slot_marginal=served.slot_marginal if known else unknown,
                inclusion=served.inclusion if known else unknown,
                inclusion_time=served.inclusion_time if known else np.full(n, np.nan),
                greedy=np.zeros(n, dtype=np.bool_),
                epsilon=np.full(n, served.epsilon),
                explores_by_visits=True,
                logit=served.logit if known else unknown,
                log_normaliser=served.log_normaliser if known else np.full(n, np.nan),
                num_live=np.full(n, served.num_live),
                made_hours=np.full(n, feed.now),
                slate_id=np.full(n, -1),
                expired=np.zeros(served.article_id.shape, dtype=np.bool_),
            )
        )
        outcome = feed.serve(served.article_id)
        logger.learn(outcome)
        agent.learn(outcome)


def estimate(agent: Any, count: int = 400) -> tuple[dict[str, Any], Logged, Any]:
    """The latest visits as they were logged, and as they are estimated; and the estimate's loss."""
    learner = learner_of(agent)
    rows = ring_of(learner).take(np.arange(len(ring_of(learner)))[-count:])
    with torch.no_grad():
        batch = learner.policy.batch(learning_of(agent), rows, rows["slot_reward"], learner.weigh)
    plain = learner.config.mode == "plain"
    other, loss = with_estimates(learner._behaviour, learning_of(agent), rows, batch, from_towers=plain)
    return rows, other.shown.logged, loss


def log_inclusion(logged: Any) -> Doubles:
    """Of columns of the ring, or of what stands in their place."""
    inclusion = logged["inclusion"] if isinstance(logged, dict) else logged.inclusion.numpy()
    return np.asarray(np.log(inclusion))


def error_of(agent: Any) -> tuple[float, float]:
    """Root-mean-square difference of log inclusions, estimated and logged, and what it is for a uniform guess."""
    batch, other, _ = estimate(agent)
    truth = log_inclusion(batch)
    uniform = np.log(batch["article_id"].shape[1] / batch["num_live"])[:, None]
    return float(np.sqrt(np.mean((log_inclusion(other) - truth) ** 2))), float(np.sqrt(np.mean((uniform - truth) ** 2)))


@pytest.mark.parametrize("mode", ["residual", "plain"])
def test_estimates_near_what_a_planted_log_says(mode: str) -> None:
    """A logger that prefers what is new: the ratios near the logged ones as the estimate trains."""
    agent, feed = started(num_readers=1000, mode=mode, max_steps=1, policy_batch=256, tail_draws=200)
    logged_by(make_agent("recent", epsilon=0.2).start(feed), agent, feed, 44.0)
    early, uniform = error_of(agent)
    learner_of(agent).begin(learning_of(agent), feed.now)
    for _ in range(100):
        agent.step()
    late, _ = error_of(agent)
    # What is left is mostly of the form: a softmax of features is not quite what exploration adds to a softmax of age.
    assert uniform > 1.0
    assert late < 0.55
    assert early > 1.25 * late
    batch, other, _ = estimate(agent)
    assert np.corrcoef(log_inclusion(batch).ravel(), log_inclusion(other).ravel())[0, 1] > 0.85


@pytest.mark.parametrize("settings", MODES)
def test_no_propensity_is_needed(settings: dict[str, Any]) -> None:
    """The same log with and without its chances teaches the same, to the bit: none is looked at."""
    seen = []
    for known in (True, False):
        agent, feed = started(**settings)
        logged_by(make_agent("recent", epsilon=0.2).start(feed), agent, feed, 20.0, known=known)
        arrays = agent.snapshot()
        seen.append({k: v for k, v in arrays.items() if "model/" in k or "correction/" in k or "behaviour/" in k})
        assert all(np.isfinite(v).all() for v in seen[-1].values())
    assert any("behaviour/" in k for k in seen[0])
    for name, values in seen[0].items():
        np.testing.assert_array_equal(values, seen[1][name], err_msg=name)


@pytest.mark.parametrize("mode", ["residual", "plain"])
def test_the_towers_do_not_feel_it(mode: str) -> None:
    agent, feed = started(mode=mode)
    drive(agent, feed, until=20.0)
    agent.model.zero_grad(set_to_none=True)
    learner_of(agent)._behaviour.zero_grad(set_to_none=True)
    _, _, loss = estimate(agent)
    loss.backward()
    assert all(p.grad is None for p in agent.model.parameters())
    assert all(bool(p.grad.abs().max() > 0) for p in learner_of(agent)._behaviour.parameters())


@pytest.mark.parametrize("settings", MODES)
def test_resumes_byte_for_byte(settings: dict[str, Any]) -> None:
    check_resuming(lambda: started(**settings), at=15.0, until=26.0)


def test_estimates_are_what_is_learned_with() -> None:
    """The weights given to the ratios are those of the estimated chances, and the curve shows the estimate's loss."""
    agent, feed = started()
    drive(agent, feed, until=20.0)
    learner = learner_of(agent)
    original, ratios = learner.weigh, []

    def weigh(pi: Doubles, beta: Doubles, advantage: Doubles) -> Doubles:
        ratios.append(pi / beta)
        weight: Doubles = original(pi, beta, advantage)
        return weight

    learner.weigh = weigh
    batch, other, _ = estimate(agent)
    for used in ("estimated", "logged"):
        estimated = learner._behaviour
        learner._behaviour = estimated if used == "estimated" else None
        learner.policy_loss(learning_of(agent), batch, np.zeros(batch["article_id"].shape))
        learner._behaviour = estimated
    shown = batch["article_id"] >= 0
    expected = (log_inclusion(batch) - log_inclusion(other))[shown]
    np.testing.assert_allclose(np.log(ratios[0] / ratios[1]), expected, atol=1e-6)
    assert np.abs(expected).max() > 0.1
    assert agent.metrics()["behaviour_loss"] > 0


def test_the_estimated_inclusion() -> None:
    log_chance = np.log([[0.2, 0.01, 0.5], [0.3, 0.1, 0.5]])
    shown = np.array([[True, True, False], [True, True, True]])
    inclusion = estimated_inclusion(log_chance, shown)
    # Of two that were shown, of three; never above 1; and 1 where nothing was.
    np.testing.assert_allclose(inclusion, [[0.4, 0.02, 1.0], [0.9, 0.3, 1.0]], rtol=1e-12)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"behaviour": "guessed"}, "behaviour: got 'guessed', needs 'logged' or 'estimated'"),
        ({"estimator": "prefix"}, "behaviour: got 'estimated', needs 'logged' but for the estimators"),
        ({"credit": "slate"}, "behaviour: got 'estimated'"),
    ],
)
def test_bad_settings_are_named(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        started(**settings)

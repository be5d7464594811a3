"""On its own fresh data, REINFORCE differs from on-policy learning only by the shortlist (docs/mathematics.md 3.3)."""

from typing import Any

import numpy as np
import pytest

from feedgym.agents import make_agent
from feedgym.agents.learners.gradients.policy_gradient import ESTIMATORS
from feedgym.agents.slate_policy.importance import importance_weight
from feedgym.env import Feed, FeedConfig, NewsroomConfig
from feedgym.env.arrays import Doubles
from helpers.driving import drive
from helpers.inside import learner_of, learning_of, next_training_of, ring_of

SITE = FeedConfig(num_readers=200, days=3.0, tick_hours=1.0, slate_size=4, newsroom=NewsroomConfig(articles_per_day=60))


def lived(shortlist_size: int, mode: str) -> Any:
    feed = Feed(SITE, seed=3)
    settings = {"max_steps": 8, "tail_draws": 400, "policy_batch": 64, "sharpness": 1.0, "estimator": "marginal"}
    agent: Any = make_agent("reinforce", shortlist_size=shortlist_size, mode=mode, **settings).start(feed)
    run = drive(agent, feed, until=29.0)
    assert max(s.num_live for s, _ in run) <= 400
    return agent


def fresh_ratios(agent: Any, estimator: str) -> Doubles:
    """Of what was served since the last training, by the shipped loss, uncapped: (n,)."""
    learner, ratios = learner_of(agent), []
    ring = ring_of(learner)
    batch = ring.take(np.arange(len(ring)))
    fresh = batch["now"] >= next_training_of(agent) - agent.config.serving.clocks.train_every_hours - 1e-9
    batch = {name: values[fresh] for name, values in batch.items()}
    assert fresh.sum() > 50

    def weigh(pi: Doubles, beta: Doubles, advantage: Doubles) -> Doubles:
        ratios.append(pi / beta)
        return importance_weight(pi, beta, "none")

    learner.weigh, learner.estimator = weigh, ESTIMATORS[estimator]
    learner.policy.mean_reward = 1.0
    learner.policy_loss(learning_of(agent), batch, np.ones(batch["article_id"].shape))
    (seen,) = ratios
    return seen


@pytest.mark.parametrize("mode", ["residual", "plain"])
def test_ratios_are_1_where_the_shortlist_is_all(mode: str) -> None:
    agent = lived(400, mode)
    for estimator in ("inclusion", "chen", "prefix", "joint", "marginal"):
        ratios = fresh_ratios(agent, estimator)
        # Candidates are kept in float32; marginals are by another quadrature.
        np.testing.assert_allclose(ratios, 1.0, atol=0.02 if estimator == "marginal" else 5e-3, err_msg=estimator)


def test_a_shortlist_is_what_they_differ_by() -> None:
    """Of what it holds, less: the full softmax has mass outside. By how much, the normalisers say."""
    agent = lived(20, "residual")
    for estimator in ("inclusion", "chen", "joint"):
        ratios = fresh_ratios(agent, estimator)
        assert np.abs(np.log(ratios)).max() > 0.1
    learner = learner_of(agent)
    ring = ring_of(learner)
    batch = ring.take(np.arange(len(ring)))
    fresh = batch["now"] >= next_training_of(agent) - agent.config.serving.clocks.train_every_hours - 1e-9
    batch = {name: values[fresh] for name, values in batch.items()}
    seen = learner.policy.batch(learning_of(agent), batch, batch["slot_reward"], learner.weigh)
    mass = np.where(seen.each > 0, seen.each * np.exp(seen.logits.detach().numpy()), 0.0)
    share = mass[:, :20].sum(axis=1) / mass.sum(axis=1)
    shown = batch["article_id"] >= 0
    in_shortlist = (batch["article_id"][:, :, None] == batch["head_id"][:, None, :20]).any(axis=2) & shown
    # The first position's chance is eps/N + (1 - eps) p, and p is less by the share.
    uniform = 0.05 / batch["num_live"][:, None]
    logged = batch["first"]
    expected = (uniform + (logged - uniform) * share[:, None]) / logged
    np.testing.assert_allclose(fresh_ratios(agent, "chen")[in_shortlist[shown]], expected[in_shortlist], rtol=5e-3)

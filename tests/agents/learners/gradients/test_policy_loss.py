"""What an agent's parameters feel of its logged slates, against all slates of a small site, one by one."""

from typing import Any

import numpy as np
import pytest
import torch

from feedgym.agents import make_agent
from feedgym.agents.learners import ESTIMATORS
from feedgym.env import Feed, FeedConfig, NewsroomConfig
from feedgym.env.arrays import Doubles
from helpers.driving import drive
from helpers.inside import learner_of, learning_of, ring_of
from helpers.plain.mixture import Mixture

K, EPSILON, VISITS = 3, 0.2, 12
SITE = FeedConfig(num_readers=150, days=3.0, tick_hours=1.0, slate_size=K, newsroom=NewsroomConfig(articles_per_day=6))
SETTINGS: dict[str, Any] = {
    "epsilon": EPSILON,
    "weights": "none",
    "kl": 0.0,
    "max_steps": 5,
    "shortlist_size": 20,
    "tail_draws": 16,
    "policy_batch": 64,
    "sharpness": 1.0,
}


def plain_gradient(estimator: str, rows: dict[str, Any], logits: Doubles, advantage: Doubles) -> Doubles:
    """Of the mean surrogate in the logits of the head, (B, H): from chances of all slates; the log's are the ring's."""
    found = np.zeros(logits.shape)
    for b, column_of in enumerate(rows["head_id"]):
        head = np.flatnonzero(column_of >= 0)
        pi = Mixture(logits[b, head], np.arange(len(head)), len(head), K, EPSILON)
        slate = np.array([np.flatnonzero(column_of[head] == a)[0] for a in rows["article_id"][b]])
        at, slot = pi.row(tuple(slate)), np.arange(K)
        gain = advantage[b]
        rho = (pi.q[at] / rows["slot_propensity"][b]).cumprod()
        later = np.cumsum((rho * gain)[::-1])[::-1]
        first = pi.first[slate]
        if estimator == "inclusion":
            by_position = pi.d_by_time[slate] / rows["inclusion"][b][:, None]
        elif estimator == "marginal":
            by_position = pi.d_marginal[slot, slate] / rows["slot_marginal"][b][:, None]
        elif estimator == "chen":
            by_position = (K * (1 - first) ** (K - 1) / rows["first"][b])[:, None] * pi.d_first[slate]
        else:
            by_position = pi.d_log_q[at]
        if estimator == "prefix":
            gain = later
        elif estimator == "joint":
            gain = np.full(K, rho[-1] * gain.sum())
        gradient = (gain[:, None] * by_position).sum(axis=0)
        found[b, head] = gradient / len(logits)
    return found


@pytest.fixture(scope="module", params=["residual", "plain"])
def agent(request: pytest.FixtureRequest) -> Any:
    """An agent whose ring keeps all chances, which one estimator alone asks for."""
    feed = Feed(SITE, seed=2)
    made = make_agent("reinforce", estimator="marginal", mode=request.param, **SETTINGS).start(feed)
    drive(made, feed, until=30.0)
    return made


@pytest.mark.parametrize("estimator", ["inclusion", "marginal", "chen", "none", "prefix", "joint"])
def test_parameters_feel_what_enumeration_says(agent: Any, estimator: str) -> None:
    learner, learning = learner_of(agent), learning_of(agent)
    learner.estimator = ESTIMATORS[estimator]
    every = ring_of(learner).take(np.arange(len(ring_of(learner))))
    whole = (every["article_id"] >= 0).all(axis=1) & (every["num_live"] >= 5) & (every["num_live"] <= 9)
    chosen = np.flatnonzero(whole)[-VISITS:]
    assert len(chosen) == VISITS
    rows = {name: values[chosen] for name, values in every.items()}
    assert ((rows["head_id"] >= 0).sum(axis=1) == rows["num_live"]).all()  # nothing is left for the tail
    advantage = np.random.default_rng(3).normal(size=(VISITS, K))

    module = learner.policy.correction or agent.model  # in the mode `plain` there is no correction
    learner.policy.mean_reward = 1.0
    loss = learner.policy_loss(learning, rows, advantage)
    felt = torch.autograd.grad(loss, list(module.parameters()), allow_unused=True)

    logits = learner.policy.batch(learning, rows, advantage, learner.weigh).logits
    head = logits[:, : rows["head_id"].shape[1]]
    expected = plain_gradient(estimator, rows, head.detach().numpy(), advantage)
    assert np.abs(expected).max() > 1e-3
    surrogate = -(head * torch.from_numpy(expected)).sum()
    said = torch.autograd.grad(surrogate, list(module.parameters()), allow_unused=True)
    largest = max(float(part.abs().max()) for part in said if part is not None)
    assert largest > 1e-4
    for mine, theirs in zip(felt, said, strict=True):
        assert (mine is None) == (theirs is None)
        if mine is not None and theirs is not None:
            np.testing.assert_allclose(mine, theirs, rtol=1e-3, atol=2e-4 * largest)

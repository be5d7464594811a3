"""The learner `direct`: its gradient is the covariance of docs/mathematics.md 3.4; the agent learns and resumes."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from feedgym.agents import make_agent
from feedgym.agents.learners.gradients.candidates import Candidates
from feedgym.agents.learners.gradients.direct import set_reward
from feedgym.env import Feed, FeedConfig, NewsroomConfig, RewardConfig
from feedgym.env.arrays import Doubles, Ints
from helpers.driving import drive
from helpers.inside import learner_of, learning_of, ring_of
from helpers.resuming import check_resuming

SITE = FeedConfig(num_readers=150, days=3.0, tick_hours=1.0, slate_size=4, newsroom=NewsroomConfig(articles_per_day=80))
SMALL = {"max_steps": 8, "shortlist_size": 20, "tail_draws": 16, "policy_batch": 64}

# The case of docs/mathematics.md 3.4.
N, M = 2000, 50
J = np.arange(N)
LOGIT = -1.2 * np.log(1 + J) + 0.5 * np.cos(7 * J)
SLOPE = np.stack([np.cos(0.3 * J), np.sin(0.5 * J), np.cos(0.11 * J)], axis=1)
REWARD = 0.5 + 0.3 * np.cos(0.3 * J) - 0.2 * np.sin(0.5 * J)
EXACT = {1: (0.131637615, -0.033098395, 0.051719010), 5: (0.038300885, -0.139700937, -0.259309208)}
TOP = np.argsort(-LOGIT, kind="stable")[:M]


def estimates(tail: Ints, num_live: int, slate_size: int) -> Doubles:
    """Gradients (n, 3) of the shipped loss by what SLOPE is the slope of, from the top M and tails (n, m) of draws."""
    n, m = tail.shape
    ids = np.concatenate([np.tile(TOP, (n, 1)), tail], axis=1)
    logits = torch.from_numpy(LOGIT[ids]).requires_grad_()
    each = torch.full((n,), (num_live - M) / m if m else 0.0, dtype=torch.float64)
    candidates = Candidates(logits[:, :M], logits[:, M:], each, torch.full((n,), float(num_live)))
    set_reward(candidates, torch.from_numpy(REWARD[ids]), slate_size).sum().backward()
    assert logits.grad is not None
    gradient: Doubles = np.einsum("nc,ncx->nx", logits.grad.numpy(), SLOPE[ids])
    return gradient


@pytest.mark.parametrize("slate_size", EXACT)
def test_exact_gradient(slate_size: int) -> None:
    rest = np.setdiff1d(J, TOP)[None]
    np.testing.assert_allclose(estimates(rest, N, slate_size)[0], EXACT[slate_size], atol=1e-8)


@pytest.mark.parametrize(("slate_size", "published"), [(1, 0.165), (5, 0.746)])
def test_a_softmax_of_the_shortlist_alone_is_biased(slate_size: int, published: float) -> None:
    alone = estimates(np.zeros((1, 0), dtype=np.int64), M, slate_size)[0]
    exact = np.array(EXACT[slate_size])
    assert np.linalg.norm(alone - exact) / np.linalg.norm(exact) == pytest.approx(published, abs=5e-4)


def rms(estimate: Doubles, slate_size: int) -> float:
    exact = np.array(EXACT[slate_size])
    return float(np.sqrt(np.square(estimate - exact).sum(axis=1).mean()) / np.linalg.norm(exact))


def mixture(slate_size: int, draws: int, repetitions: int, rng: np.random.Generator) -> Doubles:
    """FOPO's own estimate, (n, 3): draws from eps / N + (1 - eps) softmax of the top M, self-normalised weights."""
    top = np.exp(LOGIT[TOP])
    q = np.full(N, 0.5 / N)
    q[TOP] += 0.5 * top / top.sum()
    ids = rng.choice(N, (repetitions, draws), p=q)
    weight = np.exp(LOGIT[ids]) / q[ids]
    chance = np.exp(LOGIT[ids]) / weight.mean(axis=1, keepdims=True)
    psi = slate_size * (1 - chance) ** (slate_size - 1) * REWARD[ids]
    v = weight / weight.sum(axis=1, keepdims=True)
    centred = v * (psi - (v * psi).sum(axis=1, keepdims=True))
    gradient: Doubles = np.einsum("ns,nsx->nx", centred, SLOPE[ids])
    return gradient


@pytest.mark.parametrize(
    ("draws", "slate_size", "published", "fopo"),
    [(100, 1, 0.146, 0.216), (1000, 1, 0.0339, 0.0683), (100, 5, 0.373, 0.525), (1000, 5, 0.0897, 0.168)],
)
def test_errors_of_one_estimate(draws: int, slate_size: int, published: float, fopo: float) -> None:
    """3000 repetitions; the top M are among the draws."""
    rng, rest = np.random.default_rng(draws + slate_size), np.setdiff1d(J, TOP)
    parts = [estimates(rng.choice(rest, (500, draws - M)), N, slate_size) for _ in range(6)]
    assert rms(np.concatenate(parts), slate_size) == pytest.approx(published, rel=0.1)
    parts = [mixture(slate_size, draws, 500, rng) for _ in range(6)]
    assert rms(np.concatenate(parts), slate_size) == pytest.approx(fopo, rel=0.1)


def test_the_loss_is_the_covariance() -> None:
    """By autograd and by the closed form, with strata, padding and a reader to whom nothing could be shown."""
    rng, size = np.random.default_rng(0), 5
    head, tail = rng.standard_normal((3, 6)), rng.standard_normal((3, 4))
    head[0, 4:] = tail[1, 2:] = -np.inf
    head[2], tail[2] = -np.inf, -np.inf
    each = np.concatenate([np.ones((3, 6)), np.tile([[7.0], [3.5], [0.0]], 4)], axis=1)
    reward = rng.standard_normal((3, 10))
    logits = torch.from_numpy(np.concatenate([head, tail], axis=1)).requires_grad_()
    candidates = Candidates(logits[:, :6], logits[:, 6:], torch.from_numpy(each[:, 9]), torch.full((3,), 30.0))
    value = set_reward(candidates, torch.from_numpy(reward), size)
    value.sum().backward()
    mass = each * np.exp(logits.detach().numpy())
    v = mass / np.maximum(mass.sum(axis=1, keepdims=True), 1e-300)
    pi = v / np.maximum(each, 1e-300)
    psi = size * (1 - pi) ** (size - 1) * reward
    assert logits.grad is not None
    np.testing.assert_allclose(logits.grad, v * (psi - (v * psi).sum(axis=1, keepdims=True)), atol=1e-14)
    np.testing.assert_allclose(value.detach(), (each * reward * (1 - (1 - pi) ** size)).sum(axis=1), rtol=1e-12)
    assert float(logits.grad[:2].abs().max()) > 0.1
    assert not logits.grad[2].any()


def test_an_article_that_has_all_the_chance_is_not_pushed() -> None:
    logits = torch.tensor([[800.0, 0.0, 0.0]], dtype=torch.float64, requires_grad=True)
    nothing = torch.zeros(1, dtype=torch.float64)
    reward = torch.tensor([[2.0, 1.0, 1.0]], dtype=torch.float64)
    value = set_reward(Candidates(logits, logits[:, :0], nothing, nothing + 3), reward, 3)
    value.sum().backward()
    assert float(value.detach()) == pytest.approx(2.0)
    assert logits.grad is not None
    assert not logits.grad.any()


def test_draws_that_are_one_logged_article_are_chen_again() -> None:
    """``r^ = 1[a = logged] R / beta`` is the corrected single-item gradient of docs/mathematics.md 3.1."""
    logits = torch.randn(1, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    shown, beta, paid, size = 2, 0.3, 1.7, 4
    reward = torch.zeros(1, 6, dtype=torch.float64)
    reward[0, shown] = paid / beta
    nothing = torch.zeros(1, dtype=torch.float64)
    set_reward(Candidates(logits, logits[:, :0], nothing, nothing + 6), reward, size).sum().backward()
    pi = torch.softmax(logits.detach(), dim=1)[0].numpy()
    multiplier = size * (1 - pi[shown]) ** (size - 1)
    expected = pi[shown] / beta * multiplier * paid * (np.arange(6) == shown)
    assert logits.grad is not None
    np.testing.assert_allclose(logits.grad[0], expected - pi * expected.sum(), atol=1e-14)


# The agent


def started(seed: int = 2, site: FeedConfig = SITE, **settings: Any) -> tuple[Any, Feed]:
    feed = Feed(site, seed=seed)
    return make_agent("direct", **{**SMALL, **settings}).start(feed), feed


@pytest.mark.parametrize("settings", [{}, {"correction": "mlp", "use_future": False}])
def test_resumes_byte_for_byte(settings: dict[str, Any]) -> None:
    agent = check_resuming(lambda: started(**settings), at=21.0, until=32.0).agent
    assert any("later" in name for name in agent.snapshot()) == ("use_future" not in settings)


def test_beats_random() -> None:
    site = FeedConfig(
        num_readers=200, days=4.0, tick_hours=1.0, slate_size=4, newsroom=NewsroomConfig(articles_per_day=80)
    )
    total = []
    for name, more in (("random", {}), ("direct", {"max_steps": 40, "shortlist_size": 40})):
        feed = Feed(site, seed=5)
        run = drive(make_agent(name, **more).start(feed), feed)
        total.append(sum(float(outcome.dwell_minutes.sum()) for _, outcome in run))
    assert total[1] > 1.3 * total[0]


def policy_step(agent: Any) -> tuple[Tensor, Any]:
    learner, ring = learner_of(agent), ring_of(learner_of(agent))
    batch = ring.take(np.arange(len(ring))[-100:])
    agent.model.zero_grad(set_to_none=True)
    for module in (learner.policy.correction, learner.policy.future, learner._later):
        if module is not None:
            module.zero_grad(set_to_none=True)
    loss = learner.policy_loss(learning_of(agent), batch, np.ones(batch["article_id"].shape))
    return loss, batch


def test_only_correction_and_later_model_learn_from_it() -> None:
    agent, feed = started()
    drive(agent, feed, until=20.0)
    loss, _ = policy_step(agent)
    loss.backward()
    assert all(p.grad is None for p in agent.model.parameters())
    for module in (learner_of(agent).policy.correction, learner_of(agent)._later):
        assert all(p.grad is not None and bool(p.grad.abs().max() > 0) for p in module.parameters())


@pytest.mark.parametrize("loss", ["hurdle", "pointwise"])
def test_rewards_are_the_regressions_and_the_later_models(loss: str) -> None:
    """Of what was shown at the last visits: a plain pass, article by article; minutes, also of logarithms."""
    agent, feed = started(sharpness=1.0, dropout=0.3, loss=loss)
    drive(agent, feed, until=20.0)
    learner, learning, seen = learner_of(agent), learning_of(agent), {}
    original = learner.rewards

    def spy(*args: Any) -> Any:
        seen["reward"], seen["fit"] = original(*args)
        return seen["reward"], seen["fit"]

    learner.rewards = spy
    agent.model.train()
    _, batch = policy_step(agent)
    assert agent.model.training
    agent.model.eval()
    with torch.no_grad():
        for i in range(0, 100, 17):
            for c in (0, 5, 19):
                article = batch["head_id"][i, c : c + 1].astype(np.int64)
                user = learning.users_at(
                    batch["history_id"][i : i + 1].astype(np.int64), batch["reader"][i : i + 1], batch["now"][i : i + 1]
                )
                vector, bias = learning.items(article)
                age = learning.ages(article[None], batch["now"][i : i + 1])
                now = agent.model.score(user, vector[None], bias[None], age)
                now = now.exp() if loss == "hurdle" else now
                later = learner._later.articles(*learning.features(article))[0, 0] * learner.policy.future.sd[1]
                assert float(seen["reward"][i, c]) == pytest.approx(float(now) + float(later), rel=1e-4, abs=1e-5)
    assert float(seen["fit"].detach()) > 0.1  # ones are asked for, and nothing like them has been learned


def test_what_opening_changes_later_is_learned() -> None:
    """Where one kind of article is planted to bring the readers back, the model rates that kind higher."""
    agent, feed = started()
    drive(agent, feed, until=20.0)
    learner = learner_of(agent)
    ring = ring_of(learner)
    batch = ring.take(np.arange(len(ring)))
    shown = batch["article_id"].astype(np.int64)
    kind = agent.store.categorical[:, 0] == np.bincount(agent.store.categorical[shown.ravel(), 0]).argmax()
    changed = np.where(kind[shown], 1.0, -0.5)
    optimiser = torch.optim.Adam(learner._later.parameters(), lr=0.05)
    for _ in range(150):
        optimiser.zero_grad()
        learner.policy_loss(learning_of(agent), batch, changed).backward()
        optimiser.step()
    ids = np.unique(shown)
    with torch.no_grad():
        later = learner._later.articles(*learning_of(agent).features(ids))[:, 0].numpy()
    assert later[kind[ids]].min() > later[~kind[ids]].max()


def test_the_later_models_target_is_what_opened_articles_exceed_the_value_head_by() -> None:
    agent, feed = started()
    drive(agent, feed, until=20.0)
    learner, asked = learner_of(agent), dict[str, Any]()
    learner.begin(learning_of(agent), feed.now)
    original = learner.policy_loss

    def spy(learning: Any, batch: dict[str, Any], target: Doubles) -> Tensor:
        asked["batch"], asked["target"] = batch, target
        loss: Tensor = original(learning, batch, target)
        return loss

    learner.policy_loss = spy
    learner.loss(learning_of(agent), np.random.default_rng(0))
    batch, future, ring = asked["batch"], learner.policy.future, ring_of(learner)
    # A visit is told by its reader and hour.
    key = {(r, t): i for i, (r, t) in enumerate(zip(ring.column("row"), ring.column("now"), strict=True))}
    slot = np.array([key[r, t] for r, t in zip(batch["row"], batch["now"], strict=True)])
    over = (future.future[slot] - future.predict(future.state[slot])[:, 1]) / future.future.std()
    np.testing.assert_allclose(asked["target"], np.where(batch["clicks"], over[:, None], 0.0), rtol=1e-4, atol=1e-5)
    assert batch["clicks"].any()


def test_curves() -> None:
    agent, feed = started()
    drive(agent, feed, until=20.0)
    metrics = agent.metrics()
    named = {"entropy", "kl_to_prior", "shortlist_mass", "policy_loss", "value_loss", "gradient_norm", "share_capped"}
    assert named | {"effective_sample_share", "model_reward", "later_loss", "loss"} <= metrics.keys()
    assert all(np.isfinite(value) for value in metrics.values())
    assert 0 < metrics["shortlist_mass"] <= 1
    assert metrics["entropy"] > 0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"target": "click", "loss": "pointwise"}, "target: got 'click', needs a task that the site's reward pays for"),
        ({"target": "dwell+click", "loss": "pointwise"}, "target: got 'dwell.click', needs 'dwell' or 'click'"),
        ({"loss": "slate_softmax"}, "loss: got 'slate_softmax'"),
        ({"history_columns": True}, "history_columns, author_buckets"),
        ({"kl": -1.0}, "kl: got -1"),
        ({"greedy": True}, "greedy"),
    ],
)
def test_bad_settings_are_named(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        started(**settings)


def test_clicks_can_be_the_reward() -> None:
    site = FeedConfig(
        num_readers=100, days=1.0, tick_hours=1.0, slate_size=4, reward=RewardConfig(click=2.0, dwell_minutes=0.0)
    )
    agent, feed = started(site=site, target="click", loss="pointwise", use_future=False, max_steps=4)
    drive(agent, feed, until=14.0)
    learner, seen = learner_of(agent), {}
    original = learner.rewards

    def spy(*args: Any) -> Any:
        seen["reward"], fit = original(*args)
        return seen["reward"], fit

    learner.rewards = spy
    policy_step(agent)
    reward = seen["reward"].numpy()
    assert 0 < reward.min() < reward.max() < 2.0

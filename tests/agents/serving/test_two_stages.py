"""Two-stage serving: retrieved by an inner product, ranked by a module whose logit is the one that is logged."""

import copy
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats

from feedgym.agents import make_agent
from feedgym.agents.serving.histories import embed_readers
from feedgym.agents.slate_policy.slates import slate_log_propensity
from feedgym.env import Feed, FeedConfig, NewsroomConfig
from helpers.driving import crowd, drive
from helpers.inside import learner_of, learning_of, replay_of
from helpers.towers import alone

SITE = FeedConfig(num_readers=120, days=2.0, tick_hours=0.5, slate_size=4, newsroom=NewsroomConfig(articles_per_day=60))
MODULES = ("logistic", "mlp")
SIZE, SHARPNESS, TEMPERATURE = 15, 2.0, 0.8
Made = tuple[Any, Feed]


@pytest.fixture(scope="module")
def made() -> Callable[..., Made]:
    """An agent after two trainings, its second stage far from where it started, and visits to come. A copy."""
    cache: dict[tuple[str, str], Made] = {}

    def make(name: str, module: str) -> Made:
        if (name, module) not in cache:
            feed = Feed(SITE, seed=4)
            policy = {"shortlist_size": SIZE, "sharpness": SHARPNESS, "temperature": TEMPERATURE}
            agent: Any = make_agent(name, prediction=module, max_steps=3, **policy, **alone(name)).start(feed)
            drive(agent, feed, until=13.0)
            assert agent.policy_version == 2
            generator = torch.Generator().manual_seed(5)
            with torch.no_grad():
                for p in agent.model.reranker.parameters():
                    p.add_(0.2 * torch.randn(p.shape, generator=generator))
            while len(feed.visits) < 3:
                assert not feed.done
                drive(agent, feed, until=feed.now + 0.25)
            cache[name, module] = agent, feed
        return copy.deepcopy(cache[name, module])

    return make


@pytest.mark.parametrize("module", MODULES)
@pytest.mark.parametrize("name", ["regression-click", "regression-dwell", "contrastive"])
def test_the_module_starts_as_the_score(name: str, module: str) -> None:
    """The same seed as with one stage, the same slates, until a training has moved it."""

    def run(prediction: str) -> list[Any]:
        feed = Feed(SITE, seed=6)
        agent = make_agent(name, prediction=prediction, max_steps=6).start(feed)
        return [served for served, _ in drive(agent, feed, until=8.0)]

    before = after = 0
    for one, two in zip(run("dot"), run(module), strict=True):
        if one.policy_version == 0:
            assert np.array_equal(one.article_id, two.article_id)
            np.testing.assert_allclose(one.logit, two.logit, atol=1e-4)
            np.testing.assert_allclose(one.log_propensity, two.log_propensity, atol=1e-4)
            before += len(one.article_id)
        else:
            # Slates may well be the same: both draw the same arrival of an article.
            after += not np.allclose(one.logit, two.logit, atol=1e-3, equal_nan=True)
    assert before > 30
    assert after > 0


def plain_logits(agent: Any, feed: Feed, position: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """First-stage scores and the module's logits of all live articles, by hand in float64, (n, N) each.

    Both less what the score adds alike to all articles of a reader, which no slate depends on.
    """
    model, visits, catalogue = agent.model, feed.visits, feed.catalogue
    live = catalogue.article_id
    n, d = len(visits), model.config.dim
    with torch.no_grad():
        item, bias = model.embed_items(
            torch.from_numpy(catalogue.features_of(live)),
            torch.from_numpy(catalogue.categories_of(live)[:, :2].astype(np.int64)),
        )
        reader, now = agent.serving.requests(visits).reader, np.full(n, visits.now)
        user = embed_readers(model, agent.store, visits.history_id, None, reader, now)
        age = catalogue.age_hours
        score = model.score(user, item, bias, torch.from_numpy(age.astype(np.float32)).expand(n, -1)).double().numpy()
        constant = model.constant(user, visits.now, agent.store.t_ref).double().numpy()
    u, v = user.vector.double().numpy(), item[:, :d].double().numpy()
    features = np.zeros((n, len(live), 1 + 2 * d + 4 + SITE.slate_size - 1))
    for i in range(n):
        for j in range(len(live)):
            ages = [math.exp(-age[j] / tau) for tau in (2.0, 8.0, 32.0)] + [math.log1p(age[j])]
            place = [float(k == position) for k in range(1, SITE.slate_size)]
            features[i, j] = [score[i, j], *(u[i] * v[j]), *np.abs(u[i] - v[j]), *ages, *place]
    reranker = model.reranker
    if hasattr(reranker, "weight"):
        logits = features @ reranker.weight.detach().double().numpy() + reranker.bias.item()
    else:
        hidden = features
        layers = [layer for layer in reranker.network if isinstance(layer, torch.nn.Linear)]
        for k, layer in enumerate(layers):
            hidden = hidden @ layer.weight.detach().double().numpy().T + layer.bias.detach().double().numpy()
            hidden = np.maximum(hidden, 0.0) if k < len(layers) - 1 else hidden
        logits = features[..., 0] + hidden[..., 0]
    return score - constant[:, None], logits - constant[:, None]


@pytest.mark.parametrize("module", MODULES)
@pytest.mark.parametrize("name", ["regression-click", "contrastive"])
def test_retrieves_by_the_score_and_serves_and_logs_the_module_s_logit(
    name: str, module: str, made: Callable[..., Made]
) -> None:
    agent, feed = made(name, module)
    score, module_logit = plain_logits(agent, feed)
    # On the scale of the first stage: its mean and deviation over the live catalogue.
    mean, sd = score.mean(axis=1, keepdims=True), score.std(axis=1, keepdims=True)
    expected = (SHARPNESS / TEMPERATURE) * (module_logit - mean) / sd
    live = feed.catalogue.article_id.copy()
    served = agent.act(feed.visits, feed.catalogue)
    logits, shortlist = served.draw.logits, served.draw.shortlist
    column = {int(a): j for j, a in enumerate(live)}
    listed = np.array([[column[a] for a in row] for row in shortlist.tolist()])
    first = np.take_along_axis(score, listed, axis=1)
    chosen = np.take_along_axis(expected, listed, axis=1)
    for i in range(len(score)):
        assert np.delete(score[i], listed[i]).max() <= first[i].min() + 1e-4  # the best by the first stage
    np.testing.assert_allclose(logits, chosen, atol=2e-3)
    assert np.abs(chosen - (SHARPNESS / TEMPERATURE) * (first - mean) / sd).max() > 0.1  # not the score's own
    order = [stats.spearmanr(a, b).statistic for a, b in zip(first, chosen, strict=True)]
    assert min(order) < 0.99
    for i, row in enumerate(served.article_id):
        for k, article in enumerate(row.tolist()):
            if served.in_shortlist[i, k]:
                assert served.logit[i, k] == pytest.approx(expected[i, column[article]], abs=2e-3)
    log, slot = slate_log_propensity(served.article_id, chosen, shortlist, len(live), served.epsilon)
    np.testing.assert_allclose(served.log_propensity, log, atol=1e-2)
    np.testing.assert_allclose(served.slot_propensity, slot, rtol=1e-2)
    exact, _ = slate_log_propensity(served.article_id, logits, shortlist, len(live), served.epsilon)
    np.testing.assert_allclose(served.log_propensity, exact, atol=1e-9)


def test_the_top_slot_follows_the_module(made: Callable[..., Made]) -> None:
    agent, feed = made("regression-click", "logistic")
    score, module = (x[0] for x in plain_logits(agent, feed))
    live = feed.catalogue.article_id.copy()
    served = agent.act(crowd(feed.visits, 20_000), feed.catalogue)
    observed = (served.article_id[:, 0, None] == live).sum(axis=0)
    listed = np.isin(live, served.draw.shortlist[0])
    assert listed.sum() == SIZE

    def p_value(by: np.ndarray) -> float:
        weight = np.exp((SHARPNESS / TEMPERATURE) * (by - score.mean()) / score.std()) * listed
        chance = 0.05 / len(live) + 0.95 * weight / weight.sum()
        return float(stats.chisquare(observed, 20_000 * chance).pvalue)

    assert p_value(module) > 1e-3
    assert p_value(score) < 1e-6


@pytest.mark.parametrize("module", MODULES)
def test_positions_count_in_training_and_are_the_top_when_serving(module: str, made: Callable[..., Made]) -> None:
    agent, feed = made("regression-click", module)
    given: list[Any] = []
    rerank = agent.model.reranker.forward

    def note(*inputs: Any) -> Any:
        given.append(inputs[4])
        return rerank(*inputs)

    agent.model.reranker.forward = note
    served = agent.act(feed.visits, feed.catalogue)
    assert given == [None]
    for name in ("regression-click", "contrastive"):
        trained, _ = made(name, module)
        rerank = trained.model.reranker.forward
        trained.model.reranker.forward = note
        given.clear()
        learner_of(trained).loss(learning_of(trained), np.random.default_rng(0))
        assert [p.tolist() for p in given] == [[0, 1, 2, 3]]
    # Weights of the positions change nothing that is served, and the loss.
    other, same = made("regression-click", module)
    reranker = other.model.reranker
    columns = reranker.weight if module == "logistic" else reranker.network[0].weight
    loss = learner_of(other).loss(learning_of(other), np.random.default_rng(0))
    with torch.no_grad():
        columns[..., -(SITE.slate_size - 1) :] += 3.0
    again = other.act(same.visits, same.catalogue)
    assert np.array_equal(again.draw.logits, served.draw.logits)
    changed = learner_of(other).loss(learning_of(other), np.random.default_rng(0))
    assert abs(changed.item() - loss.item()) > 0.005


@pytest.mark.parametrize("module", MODULES)
def test_predicted_clicks_are_the_module_s_at_each_position(module: str, made: Callable[..., Made]) -> None:
    agent, feed = made("regression-click", module)
    by_place = [plain_logits(agent, feed, position=k)[1] for k in range(SITE.slate_size)]
    live = feed.catalogue.article_id.tolist()
    constant = agent.model.constant
    visits = feed.visits
    with torch.no_grad():
        reader, now = agent.serving.requests(visits).reader, np.full(len(visits), visits.now)
        user = embed_readers(agent.model, agent.store, visits.history_id, None, reader, now)
        offset = constant(user, visits.now, agent.store.t_ref).double().numpy()
    served = agent.act(visits, feed.catalogue)
    chance = agent.served_click_chance()
    for i, row in enumerate(served.article_id.tolist()):
        for k, article in enumerate(row):
            logit = by_place[k][i, live.index(article)] + offset[i]
            assert chance[i, k] == pytest.approx(1 / (1 + math.exp(-logit)), abs=1e-4)


@pytest.mark.parametrize("module", MODULES)
@pytest.mark.parametrize("name", ["reinforce", "ltv"])
def test_learners_of_one_stage_refuse_it(name: str, module: str) -> None:
    with pytest.raises(ValueError, match=rf"(prediction: got '{module}', needs 'dot' or 'cosine'|reranker: got)"):
        make_agent(name, prediction=module).start(Feed(SITE, seed=1))
    make_agent(name, prediction="dot").start(Feed(SITE, seed=1))


def test_both_stages_are_trained(made: Callable[..., Made]) -> None:
    for name in ("regression-click", "regression-dwell", "contrastive"):
        agent, _ = made(name, "logistic")
        agent.model.zero_grad(set_to_none=True)
        loss = learner_of(agent).loss(learning_of(agent), np.random.default_rng(0))
        loss.backward()
        reached = {
            key.split(".")[0] for key, p in agent.model.named_parameters() if p.grad is not None and p.grad.any()
        }
        assert {"reranker", "item_tower", "user_tower"} <= reached
        # One stage alone is another loss.
        agent.model.reranker = None
        assert not torch.equal(learner_of(agent).loss(learning_of(agent), np.random.default_rng(0)), loss)


def test_slates_that_showed_nothing_teach_the_second_stage_nothing() -> None:
    feed = Feed(FeedConfig(num_readers=60, days=1.0), seed=3)
    agent: Any = make_agent("contrastive", prediction="logistic", max_steps=1).start(feed)
    drive(agent, feed, until=8.0)
    rng = np.random.default_rng(0)
    assert learner_of(agent)._rerank_loss(learning_of(agent), rng) is not None
    replay_of(agent).column("article_id")[:] = -1
    assert learner_of(agent)._rerank_loss(learning_of(agent), rng) is None

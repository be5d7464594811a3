"""Regression's options: slate losses, known and learned examination, kept negatives, several tasks, two stages."""

import copy
import math
from typing import Any

import numpy as np
import pytest
import torch

from feedgym.agents import make_agent
from feedgym.agents.learners import RegressionConfig, RegressionLearner
from feedgym.agents.learners.learning import Learning
from feedgym.agents.learners.replay import Replay, VisitBatch
from feedgym.agents.learners.tasks import next_clicks
from feedgym.env import Feed, FeedConfig, NewsReader, NewsReaderConfig, NewsroomConfig
from helpers.draws import Recorder
from helpers.driving import drive
from helpers.inside import learner_of, learning_of, replay_of
from helpers.plain.regressions import plain_part, plain_target, softplus
from helpers.towers import DEEP_ALONE

SIZE = 4
SITE = FeedConfig(
    num_readers=150, days=3.0, tick_hours=1.0, slate_size=SIZE, newsroom=NewsroomConfig(articles_per_day=60)
)
SMALL: dict[str, Any] = {"widths": (16,), "dim": 4, "age_decay": "none"}


@pytest.fixture(scope="module")
def agents() -> dict[str, Any]:
    """Agents after a day of random slates; readers who click a lot."""
    made: dict[str, Any] = {}
    for prediction in ("dot", "logistic"):
        feed = Feed(SITE, NewsReader(NewsReaderConfig(base_log_odds=-0.5)), seed=2)
        settings: dict[str, Any] = {"prediction": prediction, "epsilon": 1.0, "max_steps": 5, "age_decay": "linear"}
        agent: Any = make_agent("regression-click", **DEEP_ALONE, **settings).start(feed)
        drive(agent, feed, until=30.0)
        if prediction == "logistic":
            generator = torch.Generator().manual_seed(3)
            for parameter in agent.model.reranker.parameters():  # apart from the first stage's score, where it starts
                parameter.data += 0.2 * torch.randn(parameter.shape, generator=generator)
        while len(feed.visits) == 0:
            feed.serve(np.zeros((0, SIZE), dtype=np.int64))
        made |= {prediction: agent, "feed": feed}
    return made


def with_holes(agent: Any) -> Learning[Any]:
    """The agent's replay with entries that showed nothing, and more subscriptions than so small a site has."""
    old, rng = replay_of(agent), np.random.default_rng(0)
    batch = old.take(np.arange(len(old)))
    batch.article_id[(rng.random(batch.article_id.shape) < 0.2) & ~batch.clicks] = -1
    batch.subscribed[::2] = True
    replay = Replay(len(old), SIZE, batch.history_id.shape[1], batch.reader.shape[1])
    replay.append(batch)
    return Learning(agent.model, agent.store, replay)


def plain_scores(learning: Learning[Any], slot: int) -> tuple[VisitBatch, np.ndarray, np.ndarray]:
    """A visit, and the scores of its articles by the first and the second stage, each in a batch of one."""
    model, store = learning.model, learning.store
    row = learning.replay.take(np.array([slot]))
    known = row.history_id >= 0
    past = torch.from_numpy(store.vector[np.where(known, row.history_id, 0)])
    first, second = np.full(SIZE, np.nan), np.full(SIZE, np.nan)
    with torch.no_grad():
        user = model.embed_users(past, torch.from_numpy(known), torch.from_numpy(row.reader))
        for k, article in enumerate(row.article_id[0].tolist()):
            if article < 0:
                continue
            one = [article]
            features = torch.from_numpy(store.numeric[one]), torch.from_numpy(store.categorical[one])
            vector, bias = model.embed_items(*features)
            age = torch.tensor([[row.now[0] - store.published_hours[article]]], dtype=torch.float32)
            score = model.score(user, vector[None], bias[None], age)
            first[k] = score.item()
            if getattr(model, "reranker", None) is not None:
                second[k] = model.rerank(score, user, vector[None], age, torch.tensor([[k]])).item()
    return row, first, second


LOSSES: dict[str, dict[str, Any]] = {
    "subscription": {"target": "subscription"},
    "next": {"target": "next"},
    "completed": {"target": "completed", "completed_minutes": 1.5},
    "slate softmax, two": {"target": "click", "loss": "slate_softmax", "slate_negatives": 2},
    "slate softmax, one, completed": {
        "target": "completed",
        "completed_minutes": 1.5,
        "loss": "slate_softmax",
        "slate_negatives": 1,
    },
    "slate softmax, more than there are": {"target": "dwell", "loss": "slate_softmax", "slate_negatives": 50},
    "next, examination": {"target": "next", "examination": 0.7},
    "ips": {"target": "click", "loss": "ips", "examination": 0.6},
    "ips, clipped": {"target": "click", "loss": "ips", "examination": 0.6, "ips_clip": 2.0},
    "ips, unclipped": {"target": "subscription", "loss": "ips", "examination": 0.3, "ips_clip": None},
    "slate softmax": {"target": "click", "loss": "slate_softmax"},
    "slate softmax, dwell": {"target": "dwell", "loss": "slate_softmax"},
    "slate bpr": {"target": "click", "loss": "slate_bpr"},
    "slate bpr, dwell": {"target": "dwell", "loss": "slate_bpr"},
    "slate softmax, next": {"target": "next", "loss": "slate_softmax"},
    "kept": {"target": "click", "negative_keep_rate": 0.4},
    "kept, examination": {"target": "click", "negative_keep_rate": 0.4, "examination": 0.7},
    "kept, sum": {"target": "click+2*subscription+next", "negative_keep_rate": 0.4},
    "sum": {"target": "dwell+0.25*click+2*subscription", "examination": 0.8},
    "sum of slates": {"target": "click+0.5*dwell", "loss": "slate_softmax"},
}


@pytest.mark.parametrize("prediction", ["dot", "logistic"])
@pytest.mark.parametrize("option", LOSSES)
def test_every_loss_equals_a_plain_pass(agents: dict[str, Any], option: str, prediction: str) -> None:
    agent = agents[prediction]
    learning, config = with_holes(agent), RegressionConfig(batch_visits=40, **LOSSES[option])
    learner: Any = RegressionLearner(config)
    rng = Recorder(3, all_draws=True)
    with torch.no_grad():
        learner._heads.slope += 0.3  # apart from where it starts
        learner._heads.offset -= 0.2
        slope, offset = learner._heads.slope.tolist(), learner._heads.offset.tolist()
    learner.begin(learning, 30.0)
    loss = learner.loss(learning, rng)
    assert loss is not None
    following = next_clicks(learning.replay)
    visits = [plain_scores(learning, int(slot)) for slot in rng.drawn[0]]
    wanted, kept = 0.0, 0
    for number, (task, weight) in enumerate(learner.tasks):
        for second_stage in (False, True) if prediction == "logistic" else (False,):
            slates = []
            for b, (row, *stages) in enumerate(visits):
                slate = []
                for k in np.flatnonzero(row.article_id[0] >= 0).tolist():
                    y = plain_target(task, row, k, int(following[rng.drawn[0][b]]))
                    if config.negative_keep_rate < 1 and not (y > 0 or rng.drawn[1][b, k] < config.negative_keep_rate):
                        continue
                    s = float(stages[second_stage][k])
                    if number > 0:
                        s = softplus(slope[number - 1]) * s + offset[number - 1]
                    slate.append((k, s, y))
                slates.append(slate)
            kept = sum(map(len, slates))
            assert any(y > 0 for slate in slates for _, _, y in slate)
            luck = rng.drawn[-1] if config.slate_negatives is not None else None
            wanted += weight * plain_part(config, task, slates, second_stage, luck)
    assert loss.item() == pytest.approx(wanted, rel=2e-5)
    if config.negative_keep_rate < 1:
        assert 0.35 < kept / 160 < 0.6


def test_serving_holds_every_position_at_the_top(agents: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    agent: Any = agents["logistic"]
    seen: list[Any] = []
    original = agent.model.rerank

    def rerank(score: Any, user: Any, item: Any, age: Any, position: Any = None, crosses: Any = None) -> Any:
        seen.append(position)
        return original(score, user, item, age, position, crosses)

    monkeypatch.setattr(agent.model, "rerank", rerank)
    learner_of(agent).loss(learning_of(agent), np.random.default_rng(0))
    assert seen.pop().tolist() == list(range(SIZE))
    visits, catalogue = agents["feed"].visits, agents["feed"].catalogue
    assert len(visits) > 0
    agent.act(visits, catalogue)
    assert seen[-1] is None  # after those of a training


THETA = np.array([1.0, 0.65, 0.4, 0.2])
ARTICLES = np.arange(40)


class Planted:
    """Articles whose appeal is their topic's, shown to readers who are all alike; towers that know nothing yet."""

    def __init__(self) -> None:
        feed = Feed(SITE, seed=5)
        agent: Any = make_agent("regression-click", **DEEP_ALONE, **SMALL).start(feed)
        self.agent = agent
        self.agent.act(feed.visits, feed.catalogue)
        self.start = self.agent.model.to_arrays()
        self.topic = self.agent.store.categorical[ARTICLES, 0]
        self.chance = 0.15 + 0.6 * (self.topic % 4) / 3
        self.reader, self.history = replay_of(self.agent).column("reader").shape[1], SITE.history_length

    def visits(
        self, count: int, theta: np.ndarray, *, sorted_by: np.ndarray | None = None, seed: int = 0
    ) -> Learning[Any]:
        """Logged visits, slates at random; with ``sorted_by`` those of a higher value more often stand on top."""
        rng = np.random.default_rng(seed)
        shown = rng.permuted(np.tile(ARTICLES, (count, 1)), axis=1)[:, :SIZE]
        if sorted_by is not None:
            order = np.argsort(-sorted_by[shown] + rng.normal(0, 0.3, shown.shape), axis=1)
            shown = np.take_along_axis(shown, order, axis=1)
        clicks = rng.random(shown.shape) < theta * self.chance[shown]
        replay = Replay(count, SIZE, self.history, self.reader)
        replay.append(
            VisitBatch(
                now=np.full(count, 1.0),
                row=np.arange(count),
                reader=np.zeros((count, self.reader), dtype=np.float32),
                history_id=np.full((count, self.history), -1),
                article_id=shown,
                clicks=clicks,
                dwell_minutes=np.where(clicks, 2 * self.chance[shown], 0).astype(np.float32),
                # She subscribes to what is one of two topics, else rarely.
                subscribed=rng.random(count) < np.where((self.topic[shown] % 2 == 0).mean(axis=1) > 0.5, 0.5, 0.2),
                slot_propensity=np.ones(shown.shape, dtype=np.float32),
            )
        )
        model = copy.deepcopy(self.agent.model)
        model.from_arrays(self.start)
        return Learning(model, self.agent.store, replay)

    def fit(self, learning: Learning[Any], steps: int = 250, **settings: Any) -> RegressionLearner:
        """Train towers and learner as an agent would, without weight decay."""
        learner = RegressionLearner(RegressionConfig(**settings))
        parts = learner.start(self.agent._site, learning.model.config, self.agent.config.policy, torch.Generator())
        learner.prepare(learning)
        learner.begin(learning, 2.0)
        groups = [{"params": list(learning.model.parameters()), "lr": 0.01}]
        groups += [{"params": list(module.parameters()), "lr": rate} for module, rate, _ in parts.modules]
        optimiser, rng = torch.optim.Adam(groups), np.random.default_rng(1)
        for step in range(steps):
            for group in optimiser.param_groups[:1]:
                group["lr"] = 0.01 * (1 - step / steps)
            loss = learner.loss(learning, rng)
            assert loss is not None
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        return learner

    @torch.no_grad()
    def scores(self, learning: Learning[Any]) -> np.ndarray:
        """Of each article, for the one kind of reader that there is."""
        vector, bias = learning.items(ARTICLES)
        user = learning.users(learning.replay.take(np.array([0])))
        age = torch.from_numpy((1.0 - learning.store.published_hours[ARTICLES]).astype(np.float32))
        scores: np.ndarray = learning.model.score(user, vector, bias, age[None])[0].double().numpy()
        return scores


@pytest.fixture(scope="module")
def planted() -> Planted:
    return Planted()


def sigmoid(x: np.ndarray) -> np.ndarray:
    result: np.ndarray = 1 / (1 + np.exp(-x))
    return result


def test_examination_is_learned_where_slots_are_random(planted: Planted) -> None:
    learning = planted.visits(20_000, THETA)
    learner = planted.fit(learning, target="click", examination="learned", batch_visits=512, steps=400)
    learned = learner.click_examination(SIZE)
    assert learned is not None
    start = 1 / (1 + np.arange(SIZE))
    assert np.abs(np.log(start / THETA)).max() > 0.2
    np.testing.assert_allclose(learned, THETA, rtol=0.08)
    np.testing.assert_allclose(sigmoid(planted.scores(learning)), planted.chance, atol=0.06)
    # And it resumes.
    again = RegressionLearner(learner.config)
    again.start(planted.agent._site, learning.model.config, planted.agent.config.policy, torch.Generator())
    again.restore(learner.snapshot())
    np.testing.assert_array_equal(again.click_examination(SIZE), learned)


@pytest.mark.parametrize("loss", ["pointwise", "ips"])
def test_known_examination_beats_ignoring_it(planted: Planted, loss: str) -> None:
    """What is worse stands on top more often: who ignores positions takes it for better."""
    theta = 0.5 ** np.arange(SIZE)
    errors = {}
    for examination in (0.5, None):
        learning = planted.visits(20_000, theta, sorted_by=-planted.chance)
        settings = {"loss": loss} if examination is not None else {}
        planted.fit(learning, target="click", examination=examination, batch_visits=512, steps=300, **settings)
        score, truth = planted.scores(learning), np.log(planted.chance / (1 - planted.chance))
        errors[examination] = np.sqrt(np.mean(((score - score.mean()) - (truth - truth.mean())) ** 2))
    assert errors[0.5] < 0.2
    assert errors[None] > 2.5 * errors[0.5]


@pytest.mark.parametrize("target", ["click", "subscription", "next"])
def test_with_few_negatives_kept_the_mean_prediction_stays_the_rate(planted: Planted, target: str) -> None:
    rare = 0.4 * THETA
    learning = planted.visits(20_000, rare)
    planted.fit(learning, target=target, negative_keep_rate=0.1, batch_visits=512, steps=300)
    replay = learning.replay
    happened = replay.column("clicks")
    if target == "subscription":
        happened = happened & replay.column("subscribed")[:, None]
    if target == "next":
        happened = replay.column("article_id") == next_clicks(replay)[:, None]
    mean = sigmoid(planted.scores(learning)).mean()  # every article was shown as often as any other
    assert mean / happened.mean() == pytest.approx(1.0, abs=0.06)


def test_the_share_of_negatives_kept(planted: Planted, monkeypatch: pytest.MonkeyPatch) -> None:
    learning = planted.visits(2000, THETA)
    learner = RegressionLearner(RegressionConfig(target="click", negative_keep_rate=0.3))
    seen: list[tuple[Any, Any]] = []
    original = learner._task_loss

    def noted(score: Any, task: Any, target: Any, kept: Any, *rest: Any) -> Any:
        seen.append((target > 0, kept))
        return original(score, task, target, kept, *rest)

    monkeypatch.setattr(learner, "_task_loss", noted)
    rng = np.random.default_rng(0)
    for _ in range(20):
        learner.loss(learning, rng)
    clicked, kept = (torch.cat(parts) for parts in zip(*seen, strict=True))
    assert kept[clicked].all()
    negatives = int((~clicked).sum())
    assert abs(int(kept[~clicked].sum()) - 0.3 * negatives) < 4 * math.sqrt(negatives * 0.3 * 0.7)


def test_a_batch_of_which_nothing_is_kept_is_passed_over(planted: Planted) -> None:
    learning = planted.visits(50, 0 * THETA)
    learner = RegressionLearner(RegressionConfig(target="click", negative_keep_rate=1e-9, batch_visits=2))
    assert learner.loss(learning, np.random.default_rng(0)) is None


@pytest.mark.parametrize("loss", ["slate_softmax", "slate_bpr"])
def test_slate_losses_learn_the_log_odds_but_for_a_constant(planted: Planted, loss: str) -> None:
    learning = planted.visits(20_000, np.ones(SIZE))
    planted.fit(learning, target="click", loss=loss, batch_visits=512)
    score, truth = planted.scores(learning), np.log(planted.chance / (1 - planted.chance))
    np.testing.assert_allclose(score - score.mean(), truth - truth.mean(), atol=0.3)


def test_a_sum_of_tasks_trains_the_towers_and_the_scales(planted: Planted) -> None:
    learning = planted.visits(20_000, THETA)
    learner = RegressionLearner(RegressionConfig(target="click+0.5*dwell"))
    told = (planted.agent._site, learning.model.config, planted.agent.config.policy, torch.Generator())
    assert [each.module for each in learner.start(*told).modules] == [learner._heads]
    assert RegressionLearner(RegressionConfig(target="click")).start(*told).modules == ()
    learner.prepare(learning)
    loss = learner.loss(learning, np.random.default_rng(0))
    assert loss is not None
    loss.backward()
    for parameter in learner._heads.parameters():
        assert parameter.grad is not None
        assert parameter.grad.abs().item() > 1e-4
    fitted = planted.fit(learning, target="click+0.5*dwell", batch_visits=512)
    score = planted.scores(learning)
    assert np.corrcoef(score, planted.chance)[0, 1] > 0.93
    # Minutes are read off the same score on their own scale: 2 minutes times the chance squared, times mean theta.
    minutes = fitted._heads(torch.from_numpy(score).float(), 1).detach().numpy()
    wanted = 2 * planted.chance**2 * THETA.mean()
    assert np.corrcoef(minutes, wanted)[0, 1] > 0.93
    assert minutes.mean() == pytest.approx(wanted.mean(), rel=0.1)
    again = RegressionLearner(fitted.config)
    again.restore(fitted.snapshot())
    assert torch.equal(again._heads.slope, fitted._heads.slope)

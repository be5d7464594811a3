"""Learners: losses against plain computations, and a planted signal that is learned."""

import copy
import dataclasses
import math
from typing import Any, cast

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from feedgym.agents import make_agent
from feedgym.agents.learners.clicks.examples import shares_of
from feedgym.agents.learners.contrastive import MAX_SPAN_HOURS, ContrastiveLearner
from feedgym.agents.learners.learning import Learning
from feedgym.agents.learners.regression import RegressionLearner
from feedgym.agents.learners.replay import Replay, VisitBatch
from feedgym.agents.learners.settings import RegressionConfig
from feedgym.env import Feed, FeedConfig, NewsroomConfig
from feedgym.towers.negatives.frequency import FrequencyEstimator
from helpers.draws import Recorder
from helpers.driving import drive
from helpers.inside import learner_of, learning_of, replay_of
from helpers.readers import plain_readers
from helpers.towers import DEEP_ALONE

SITE = FeedConfig(num_readers=150, days=9.0, tick_hours=0.5, slate_size=4, newsroom=NewsroomConfig(articles_per_day=60))


@pytest.fixture(scope="module")
def agents() -> dict[str, Any]:
    """Agents after a day and trainings, with what they serve and see; copy the learners before changing them."""
    made = {}
    options: dict[str, dict[str, Any]] = {
        "regression": {},
        "contrastive": {"replay_visits": 200, "propensity_cap": 10.0},
        "contrastive-exponential": {"replay_visits": 200, "propensity_cap": 10.0, "age_decay": "exponential"},
        "contrastive-uniform": {"replay_visits": 200, "propensity_cap": 10.0, "num_negatives": 40},
    }
    for name, settings in options.items():
        feed = Feed(SITE, seed=2)
        # Random slates: more articles are clicked than a policy would show. The ring has wrapped.
        kind = name.removesuffix("-exponential")
        agent: Any = make_agent(kind, epsilon=1.0, max_steps=5, **DEEP_ALONE, **settings).start(feed)
        drive(agent, feed, until=30.0)
        if name != "regression":
            # Nor are all articles as likely as each other under a policy that has learned.
            inclusion = replay_of(agent).column("inclusion")
            inclusion[:] = np.random.default_rng(1).uniform(0.01, 0.5, inclusion.shape)
        made[name] = agent
    return made


def with_holes(agent: Any, seed: int = 0) -> Learning[Any]:
    """The agent's replay with some entries that showed nothing."""
    old, rng = replay_of(agent), np.random.default_rng(seed)
    batch = old.take(np.arange(len(old)))
    hole = (rng.random(batch.article_id.shape) < 0.3) & ~batch.clicks
    batch.article_id[hole] = -1
    replay = Replay(len(old), batch.clicks.shape[1], batch.history_id.shape[1], batch.reader.shape[1])
    replay.append(batch)
    return Learning(agent.model, agent.store, replay)


def plain_score(agent: Any, row: VisitBatch, article: int) -> torch.Tensor:
    """TwoTower.score of one visit (a batch of one) and one article, at the visit's own time."""
    model, store = agent.model, agent.store
    known = row.history_id >= 0
    past = torch.from_numpy(store.vector[np.where(known, row.history_id, 0)])
    user = model.embed_users(past, torch.from_numpy(known), torch.from_numpy(row.reader))
    one = [article]
    vector, bias = model.embed_items(torch.from_numpy(store.numeric[one]), torch.from_numpy(store.categorical[one]))
    age = torch.tensor([row.now[0] - store.published_hours[article]], dtype=torch.float32)
    return model.score(user, vector, bias, age)[0]


@pytest.mark.parametrize("examination", [None, 0.7])
@pytest.mark.parametrize("target", ["click", "dwell"])
def test_regression_equals_a_plain_pass_over_impressions(
    agents: dict[str, Any], target: str, examination: float | None
) -> None:
    agent = agents["regression"]
    learner: Any = RegressionLearner(RegressionConfig(target=target, examination=examination, batch_visits=20))
    learning, rng = with_holes(agent), Recorder(3)
    loss = learner.loss(learning, rng)
    losses = []
    for slot in rng.drawn[0]:
        row = learning.replay.take(np.array([slot]))
        for k, article in enumerate(row.article_id[0].tolist()):
            if article < 0:
                continue
            score = plain_score(agent, row, article)
            theta = 1.0 if examination is None else examination**k
            if target == "click":
                chance, clicked = theta * torch.sigmoid(score.double()), bool(row.clicks[0, k])
                losses.append(-torch.log(chance if clicked else 1 - chance))
            else:
                losses.append((theta * score.double() - float(row.dwell_minutes[0, k])) ** 2)
    assert 30 < len(losses) < 70  # of 80 entries, some showed nothing
    assert loss.item() == pytest.approx(torch.stack(losses).mean().item(), rel=1e-5)


def test_an_entry_that_showed_nothing_weeks_ago_does_not_break_the_loss(agents: dict[str, Any]) -> None:
    """Its stand-in is an article of today: at an age of -400 hours exp(-age / tau) is beyond float32."""
    agent = agents["regression"]
    learning = with_holes(agent)
    now = learning.replay.column("now")
    hole = (learning.replay.column("article_id") < 0).any(axis=1)
    now[hole] -= 400.0
    learning.replay.column("article_id")[hole] = -1  # nothing at all was shown then
    loss = learner_of(agent).loss(learning, np.random.default_rng(0))
    loss.backward()
    assert torch.isfinite(loss)
    assert all(torch.isfinite(p.grad).all() for p in agent.model.parameters() if p.grad is not None)


def test_nothing_to_learn_from(agents: dict[str, Any]) -> None:
    for name in ("regression", "contrastive"):
        agent = agents[name]
        shape = replay_of(agent).column("clicks").shape[1], replay_of(agent).column("history_id").shape[1]
        empty = Learning(agent.model, agent.store, Replay(5, *shape, replay_of(agent).column("reader").shape[1]))
        assert learner_of(agent).loss(empty, np.random.default_rng(0)) is None
    blank = with_holes(agents["regression"])
    blank.replay.column("article_id")[:] = -1
    assert learner_of(agents["regression"]).loss(blank, np.random.default_rng(0)) is None


@pytest.mark.parametrize("target", ["click", "dwell"])
def test_biases_start_where_the_data_are(agents: dict[str, Any], target: str) -> None:
    agent = agents["regression"]
    learning = Learning(copy.deepcopy(agent.model), agent.store, with_holes(agent).replay)
    learner = RegressionLearner(type(learner_of(agent).config)(target=target))
    learner.prepare(learning)
    every = learning.replay.take(np.arange(len(learning.replay)))
    shown = (every.article_id >= 0).sum()
    bias = float(cast("Any", learning.model).prediction.global_bias)
    if target == "click":
        rate = (every.clicks.sum() + 0.5) / (shown + 1)
        assert bias == pytest.approx(np.log(rate / (1 - rate)), rel=1e-6)
    else:
        assert bias == pytest.approx(every.dwell_minutes.sum() / shown, rel=1e-5)


def plain_contrastive(agent: Any, rng: Recorder, config: Any, log_q_of_click: np.ndarray) -> float:
    """All scores one by one with ages at the row's own time; softmax over columns in plain code."""
    replay, learner = replay_of(agent), learner_of(agent)
    every = replay.take(np.arange(len(replay)))
    order = np.argsort(every.now, kind="stable")
    if replay.total > len(replay):
        order = np.roll(np.arange(len(replay)), -(replay.total % len(replay)))
    clicks = [(slot, k) for slot in order for k in np.flatnonzero(every.clicks[slot])]
    size, start = min(config.batch_clicks, len(clicks)), int(rng.drawn[0])
    rows = clicks[start : start + size]
    ids, hours = [int(every.article_id[slot, k]) for slot, k in rows], [float(every.now[slot]) for slot, _ in rows]
    log_q, store, by_row = log_q_of_click[-len(clicks) :][start : start + size], agent.store, config.negatives_live

    def was_live(a: int, now: float) -> bool:
        return not by_row or bool(store.published_hours[a] <= now < learner._departed[a])

    def rows_of(a: int, times: list[float]) -> int:
        return sum(was_live(a, now) for now in times)

    columns, expected = list(ids), [(rows_of(a, hours) - 1) * math.exp(q) for a, q in zip(ids, log_q, strict=True)]
    if config.negatives == "mixed":
        first, last, clicked = hours[0] if by_row else hours[-1], hours[-1], set(ids)
        known = range(len(store))
        alive = [bool(store.published_hours[a] <= last and first < learner._departed[a]) for a in known]
        live = [a for a in known if alive[a] or a in clicked]
        extra = [live[i] for i in rng.drawn[1]]
        columns += extra
        around = clicks[max(0, start - 4 * size) : start + 5 * size]
        names = [int(every.article_id[slot, k]) for slot, k in around]
        times = [float(every.now[slot]) for slot, _ in around]
        expected += [(rows_of(a, hours) - 1) * names.count(a) / max(rows_of(a, times), 1) for a in extra]
        expected = [max(count, 0.0) + len(extra) / len(live) for count in expected]
    total = mass = 0.0
    for i, (slot, k) in enumerate(rows):
        seen = [j for j, a in enumerate(columns) if j == i or (was_live(a, hours[i]) and expected[j] > 0)]
        if len(seen) == 1 or expected[i] == 0:
            continue
        row = replay.take(np.array([slot]))
        scores = [(plain_score(agent, row, columns[j]) - agent.model.prediction.global_bias).item() for j in seen]
        logits = torch.tensor(np.array(scores) / config.softmax_temperature - np.log([expected[j] for j in seen]))
        weight = float(every.dwell_minutes[slot, k]) if config.dwell_weight else 1.0
        if config.propensity_cap is not None:
            assert every.inclusion is not None
            weight *= min(1 / float(every.inclusion[slot, k]), config.propensity_cap)
        total += weight * float(F.cross_entropy(logits[None], torch.tensor([seen.index(i)])))
        mass += weight
    return total / mass


WEIGHTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "dwell": {"dwell_weight": True},
    "cap": {"propensity_cap": 50.0},
    "both, cooler": {"dwell_weight": True, "propensity_cap": 1e6, "softmax_temperature": 0.5},
    "textbook": {"negatives_live": False},
}


@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("name", ["contrastive", "contrastive-exponential", "contrastive-uniform"])
def test_contrastive_equals_a_plain_matrix(agents: dict[str, Any], name: str, weights: str) -> None:
    agent = agents[name]
    assert replay_of(agent).total > len(replay_of(agent))  # wrapped
    mixed = {"negatives": "mixed", "num_negatives": 20} if name.endswith("uniform") else {}
    learner: Any = ContrastiveLearner(type(learner_of(agent).config)(batch_clicks=12, **mixed, **WEIGHTS[weights]))
    learner.restore(learner_of(agent).snapshot())
    rng = Recorder(6)
    loss = learner.loss(learning_of(agent), rng)
    recorded = learner.snapshot()["log_q"]
    assert loss.item() == pytest.approx(plain_contrastive(agent, rng, learner.config, recorded), rel=1e-5)
    misplaced = plain_contrastive(agent, rng, learner.config, recorded[:-1])
    assert loss.item() != pytest.approx(misplaced, rel=2e-5)


def test_recorded_log_q_are_those_of_the_click_and_survive_wrapping_and_restoring() -> None:
    """A plain list of (article, log q at the click), kept beside the learner."""
    feed = Feed(SITE, seed=4)
    plan = make_agent("contrastive", max_steps=2, replay_visits=150)
    agent: Any = plan.start(feed)
    plain: list[tuple[int, float]] = []
    frequency = FrequencyEstimator(0.01)
    while feed.now < 44.0:
        if feed.now == 30.0:
            snapshots = agent.snapshot(), feed.snapshot()
            feed = Feed(SITE, seed=4)
            agent = plan.start(feed)
            agent.restore(snapshots[0])
            feed.restore(snapshots[1])
        frequency.remove(feed.catalogue.departed)
        frequency.add(feed.catalogue.arrived)
        for served, outcome in drive(agent, feed, until=feed.now + 0.1):
            ids = served.article_id[outcome.clicks]
            if len(ids):
                plain += zip(ids.tolist(), frequency.log_q(ids).tolist(), strict=True)
                frequency.update(ids)
    slots, positions = replay_of(agent).clicked()
    kept = replay_of(agent).take(slots).article_id[np.arange(len(slots)), positions]
    assert 20 < len(kept) < len(plain)
    assert [a for a, _ in plain[-len(kept) :]] == kept.tolist()
    np.testing.assert_array_equal(learner_of(agent).snapshot()["log_q"], [q for _, q in plain])
    assert len({q for _, q in plain}) > 20


def test_a_batch_spans_no_more_than_some_days() -> None:
    """Few clicks in three weeks: the batch keeps its newest rows, and exponential decay stays within float32."""
    feed = Feed(dataclasses.replace(SITE, num_readers=6, days=21.0), seed=3)
    agent: Any = make_agent("contrastive", age_decay="exponential", max_steps=1).start(feed)
    drive(agent, feed)
    slots, _ = replay_of(agent).clicked()
    times = replay_of(agent).column("now")[slots]
    assert times[-1] - times[0] > 1.5 * MAX_SPAN_HOURS
    assert len(slots) < learner_of(agent).config.batch_clicks  # so that a batch would hold all of them
    seen: list[np.ndarray] = []
    users = Learning.users
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Learning, "users", lambda self, batch: seen.append(batch.now) or users(self, batch))
        loss = learner_of(agent).loss(learning_of(agent), np.random.default_rng(0))
    assert torch.isfinite(loss)
    assert seen[0].tolist() == times[times >= times[-1] - MAX_SPAN_HOURS].tolist()


def test_shares_count_clicks() -> None:
    shares = shares_of(np.array([7, 3, 9, 1]), np.array([3, 3, 7, 5]))
    assert shares.tolist() == [0.25, 0.5, 0.0, 0.0]


def test_uniform_negatives_were_live_at_the_batch_time(agents: dict[str, Any]) -> None:
    agent = agents["contrastive-uniform"]
    learner, store = learner_of(agent), agent.store
    archive = Feed(SITE, seed=2)
    while archive.now < 30.0:  # the newsroom does not depend on what is served
        archive.serve(np.full((len(archive.visits), 4), -1))
    expires = archive.catalogue.archive.column("expires_hours")
    for now in (10.0, 18.5, 29.5):
        live = np.flatnonzero((store.published_hours[: len(store)] <= now) & (expires[: len(store)] > now))
        np.testing.assert_array_equal(learner._live(learning_of(agent), now, live[:2]), live)
        gone = np.flatnonzero(expires[: len(store)] <= now)[-1:]
        np.testing.assert_array_equal(learner._live(learning_of(agent), now, gone), np.union1d(live, gone))


def test_articles_too_short_lived_to_arrive_are_never_negatives() -> None:
    """Ids skip what lived less than a tick: it has no features, and no frequency."""
    newsroom = NewsroomConfig(articles_per_day=300, half_life_log_sd=1.5, max_age_half_lives=1.0)
    feed = Feed(FeedConfig(num_readers=30, days=1.0, tick_hours=1.0, newsroom=newsroom), seed=0)
    agent: Any = make_agent("contrastive-uniform", max_steps=4).start(feed)
    arrived: set[int] = set()
    while not feed.done:
        arrived |= set(feed.catalogue.arrived.tolist())
        agent.learn(feed.serve(agent.act(feed.visits, feed.catalogue).article_id))
    assert len(arrived) < feed.catalogue.archive.published - 5
    live = learner_of(agent)._live(learning_of(agent), feed.now - 1.0, np.zeros(0, dtype=np.int64))
    assert set(live.tolist()) <= arrived
    assert 0 < len(live) < len(arrived)


@pytest.mark.parametrize("name", ["regression", "contrastive", "contrastive-uniform"])
def test_gradients_reach_both_towers(agents: dict[str, Any], name: str) -> None:
    agent = agents[name]
    agent.model.zero_grad()
    learner_of(agent).loss(learning_of(agent), np.random.default_rng(0)).backward()
    for part in (agent.model.item_tower, agent.model.user_tower, agent.model.item_features):
        for parameter in part.parameters():
            assert parameter.grad is not None
            assert parameter.grad.abs().sum() > 0
    assert (agent.model.prediction.global_bias.grad is not None) == (name == "regression")


def auc(score: np.ndarray, clicked: np.ndarray) -> float:
    order = np.argsort(np.argsort(score)) + 1.0
    hits = clicked.sum()
    return float((order[clicked].sum() - hits * (hits + 1) / 2) / (hits * (len(score) - hits)))


@pytest.mark.parametrize(
    ("name", "seed"),
    [("regression-click", 0), ("regression-click", 1), ("regression-dwell", 0), ("contrastive", 0), ("contrastive", 1)],
)
def test_taste_is_learned_from_random_slates(name: str, seed: int) -> None:
    """Readers differ by taste alone, in four topics; after two days the next day's clicks are ranked by it."""
    newsroom = NewsroomConfig(articles_per_day=80, num_topics=4)
    site = FeedConfig(num_readers=300, days=3.0, tick_hours=1.0, newsroom=newsroom)
    feed = Feed(site, plain_readers(personal_taste=True, gap_median_hours=3.0), seed=seed)
    # epsilon 1: every slate is random; a shortlist of everything: every article's logit is logged.
    settings: dict[str, Any] = {"epsilon": 1.0, "shortlist_size": 10_000, "age_decay": "none"}
    agent = make_agent(name, **settings).start(feed)
    aucs = []
    for until in (6.0, 48.0, 72.0):  # untrained, in between, after two days
        run = drive(agent, feed, until=until)
        score = np.concatenate([s.logit.ravel() for s, _ in run])
        clicked = np.concatenate([o.clicks.ravel() for _, o in run])
        assert np.isfinite(score).all()
        aucs.append(auc(score, clicked))
    assert abs(aucs[0] - 0.5) < 0.1
    assert aucs[2] > 0.68

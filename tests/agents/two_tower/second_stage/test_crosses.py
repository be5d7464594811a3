"""Crosses in agents: as they were when slates were served, in the second stage alone, worth what the world says."""

import copy
import dataclasses
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats

from feedgym.agents import make_agent, parse_agent
from feedgym.agents.retrieval import make_index
from feedgym.agents.slate_policy import slate_log_propensity
from feedgym.agents.two_tower.second_stage import CROSSES, PairMemory, Pairs, cross_names
from feedgym.env import Feed, FeedConfig, NewsReader, NewsReaderConfig, NewsroomConfig, OrganicConfig
from helpers.driving import crowd, drive, ticks
from helpers.inside import learner_of, learning_of, replay_of
from helpers.plain.pairs import PlainPairs
from helpers.resuming import check_resuming

SITE = FeedConfig(num_readers=80, days=3.0, tick_hours=1.0, slate_size=5, newsroom=NewsroomConfig(articles_per_day=60))
SMALL: dict[str, Any] = {"max_steps": 2, "shortlist_size": 20, "train_every_hours": 6.0, "widths": (16,), "dim": 8}
EVERY = cross_names("all")
OF_KINDS = tuple(name for name in EVERY if not name.startswith("session"))
TOLD = {
    "fitted": ("regression-dwell", {}),
    "fitted, clicks": ("regression-click", {}),
    "linear": ("linear", {}),
    "logistic": ("regression-dwell", {"prediction": "logistic"}),
    "mlp": ("contrastive", {"prediction": "mlp"}),
}


def started(option: str, seed: int = 3, **settings: Any) -> tuple[Any, Feed]:
    name, own = TOLD[option]
    small = {k: v for k, v in SMALL.items() if name != "linear" or k not in ("widths", "dim")}
    feed = Feed(SITE, seed=seed)
    return make_agent(name, **({"crosses": "all"} | small | own | settings)).start(feed), feed


def served_to_many(option: str, **settings: Any) -> tuple[Any, Feed]:
    """After a day and a half, with visits to come of readers who have been shown something."""
    agent, feed = started(option, **settings)
    drive(agent, feed, until=36.0)
    while len(feed.visits) < 3 or int(feed.visits.visit[0]) < 3:
        drive(agent, feed, until=feed.now + 0.5)
    return agent, feed


def test_the_replay_has_them_as_they_were_when_the_slates_were_served() -> None:
    """Counted by hand from all slates before: no showing and no outcome of the slate itself is in them."""
    agent, feed = started("fitted")
    plain, wanted = PlainPairs(), []
    while not feed.done and feed.now < 40.0:
        rows, now = feed.visits.rows.copy(), feed.now
        slates = agent.act(feed.visits, feed.catalogue).article_id
        keys = np.dstack([slates, feed.catalogue.categories_of(slates)])
        outcome = feed.serve(slates)
        agent.learn(outcome)
        named = [[dict(zip(("article", "topic", "publisher", "author"), k, strict=True)) for k in row] for row in keys]
        for i, row in enumerate(rows.tolist()):
            wanted.append([[plain.cross(name, row, k, now) for name in OF_KINDS] for k in named[i]])
            for kind in plain.slots:
                came = zip(outcome.clicks[i].tolist(), outcome.dwell_minutes[i].tolist(), strict=True)
                plain.note(row, kind, [(k[kind], *c) for k, c in zip(named[i], came, strict=True)], now)
    kept = replay_of(agent).column("crosses")[..., : len(OF_KINDS)]
    np.testing.assert_allclose(kept, np.array(wanted), rtol=2e-3, atol=2e-3)
    assert (kept[..., OF_KINDS.index("article_shown")] > 0.5).mean() > 0.05  # some had been shown before
    assert (kept[..., OF_KINDS.index("topic_opened")] > 0.3).mean() > 0.05


def test_an_open_from_elsewhere_is_an_opening_and_no_showing() -> None:
    """Noted at the tick at whose beginning it was, once, before its slates are drawn."""
    site = dataclasses.replace(SITE, organic=OrganicConfig(share=0.5, reference_opens_per_day=2.0))
    feed = Feed(site, seed=3)
    crosses = "article_shown+article_opened+topic_minutes"
    agent: Any = make_agent("regression-dwell", crosses=crosses, **SMALL).start(feed)
    seen = 0
    while not feed.done and feed.now < 40.0:
        opens = feed.visits.opens
        if opens is not None:
            asked = opens.rows, opens.article_id[:, None], feed.now
            agent._pairs.follow(feed.catalogue)
            before = agent._pairs.of(*asked)
        slates = agent.act(feed.visits, feed.catalogue).article_id
        if opens is not None:
            after = agent._pairs.of(*asked)
            agent._hear_of(feed.visits)  # asked again: it is noted once
            assert np.array_equal(agent._pairs.of(*asked), after)
            np.testing.assert_allclose(after[0], before[0], atol=2e-3)
            np.testing.assert_allclose(np.expm1(after[1]), np.expm1(before[1]) + 1.0, atol=1e-2)
            np.testing.assert_allclose(
                np.expm1(after[2][:, 0]), np.expm1(before[2][:, 0]) + opens.dwell_minutes, rtol=1e-2, atol=1e-2
            )
            seen += len(opens)
        agent.learn(feed.serve(slates))
    assert seen > 20


def test_an_outcome_changes_no_cross_of_its_own_slate() -> None:
    agent, feed = served_to_many("fitted")
    agent.act(feed.visits, feed.catalogue)
    outcome = copy.deepcopy(feed).serve(agent._acted.served.article_id)
    other = copy.deepcopy(agent)
    agent.learn(outcome)
    flipped = dataclasses.replace(outcome, clicks=~outcome.clicks, dwell_minutes=outcome.dwell_minutes + 1)
    other.learn(flipped)
    one, two = (replay_of(a).column("crosses") for a in (agent, other))
    assert one.tobytes() == two.tobytes()
    asked = feed.visits.rows, agent.store.index.ids[None].repeat(len(feed.visits), 0), feed.now + 1.0
    assert not np.array_equal(agent._pairs.of(*asked), other._pairs.of(*asked))  # but of the next


@pytest.mark.parametrize("option", TOLD)
def test_runs_resume_byte_for_byte(option: str) -> None:
    agent = check_resuming(lambda: started(option, replay_visits=50), at=27.5, until=40.0).agent
    assert agent.policy_version >= 5


@pytest.mark.parametrize("option", ["fitted", "logistic", "mlp"])
def test_no_tower_sees_them(option: str) -> None:
    """What retrieval searches by is the same whatever was shown; what ranks the shortlist is not."""
    agent, feed = served_to_many(option)
    if agent.model.two_stages:
        with torch.no_grad():
            for p in agent.model.reranker.parameters():
                p.add_(0.1)
    other = copy.deepcopy(agent)
    other._pairs.note(feed.visits.rows, np.tile(feed.catalogue.article_id[:40], (len(feed.visits), 1)), *_none(feed))
    logits = []
    for each in (agent, other):
        served = each.act(feed.visits, feed.catalogue)
        logits.append((each.score_all(feed.visits, feed.catalogue), served.draw.shortlist, served.draw.logits))
    assert logits[0][0].tobytes() == logits[1][0].tobytes()
    assert np.array_equal(logits[0][1], logits[1][1])
    assert not np.allclose(logits[0][2], logits[1][2], atol=1e-3)


def _none(feed: Feed) -> tuple[Any, Any, float]:
    shape = (len(feed.visits), min(40, len(feed.catalogue)))
    return np.zeros(shape, dtype=np.bool_), np.zeros(shape, dtype=np.float32), feed.now - 1.0


def test_their_gradient_stays_in_the_second_stage() -> None:
    agent, _ = served_to_many("logistic")
    learning, model = learning_of(agent), agent.model
    batch = replay_of(agent).take(np.arange(20))
    slates = learning.slates(batch)
    assert slates is not None
    assert batch.crosses is not None
    crosses = torch.from_numpy(batch.crosses).requires_grad_()
    score = model.score(slates.user, slates.item, slates.bias, slates.age)
    logits = model.rerank(score, slates.user, slates.item, slates.age, None, crosses)
    for part in (slates.user.vector, slates.item, score):
        (grad,) = torch.autograd.grad(part.sum(), crosses, allow_unused=True, retain_graph=True)
        assert grad is None
    (grad,) = torch.autograd.grad(logits.sum(), crosses)
    weights = model.reranker.weight[-(SITE.slate_size - 1) - len(EVERY) : -(SITE.slate_size - 1)]
    np.testing.assert_allclose(grad[0, 0].numpy(), weights.detach().numpy())  # crosses stand before the positions
    with pytest.raises(ValueError, match="crosses: got 0, needs 22 columns"):
        model.rerank(score, slates.user, slates.item, slates.age)


def test_the_shortlist_is_ranked_and_logged_by_score_and_crosses() -> None:
    agent, feed = served_to_many("fitted")
    agent._next_training = np.inf  # it serves by these weights
    weights = learner_of(agent).cross_weights
    assert np.abs(weights).max() > 0.01
    blind = copy.deepcopy(agent)
    learner_of(blind)._wide.crosses = np.zeros_like(weights)
    served, plain = (each.act(feed.visits, feed.catalogue) for each in (agent, blind))
    np.testing.assert_array_equal(served.draw.shortlist, plain.draw.shortlist)
    users = agent.drawer.queries(agent.serving.requests(feed.visits))
    factor, _ = agent.drawer.scale(users)
    told = agent._pairs.told(feed.visits.rows, served.draw.shortlist, feed.now)
    added = factor[:, None] * np.einsum("nmx,x->nm", told.astype(np.float64), weights.astype(np.float64))
    assert np.abs(added).max() > 0.1
    np.testing.assert_allclose(served.draw.logits, plain.draw.logits + added, atol=1e-3)
    log, _ = slate_log_propensity(
        served.article_id, served.draw.logits, served.draw.shortlist, len(feed.catalogue), served.epsilon
    )
    np.testing.assert_allclose(served.log_propensity, log, atol=1e-9)


def test_slates_come_as_often_as_they_say() -> None:
    agent, feed = served_to_many("fitted", sharpness=2.0)
    learner_of(agent)._wide.crosses = np.full(len(EVERY), -0.1, dtype=np.float32)
    visits = 20_000
    served = agent.act(crowd(feed.visits, visits, np.repeat(feed.visits.rows[:1], visits)), feed.catalogue)
    live = feed.catalogue.article_id
    observed = (served.article_id[:, 0, None] == live).sum(axis=0)
    place = {int(a): j for j, a in enumerate(served.draw.shortlist[0])}

    def p_value(logits: np.ndarray) -> float:
        weight = np.exp(logits - logits.max())
        weight /= weight.sum()
        chance = np.array([0.05 / len(live) + 0.95 * (weight[place[a]] if a in place else 0.0) for a in live.tolist()])
        return float(stats.chisquare(observed, visits * chance).pvalue)

    logits = served.draw.logits[0]
    assert p_value(logits) > 1e-3
    assert p_value(1.1 * logits) < 1e-3  # the check can fail


@pytest.mark.parametrize("tires", [True, False])
def test_the_discount_for_what_was_seen_is_the_world_s(tires: bool) -> None:
    """Log-odds of -w log(1 + times shown) where readers tire, by 1.5 here; nothing where they do not."""
    weight = 1.5 if tires else 0.0
    reader = NewsReader(
        NewsReaderConfig(fatigue_weight=weight, already_clicked_weight=0.0, satiation_weight=0.0, base_log_odds=-1.5)
    )
    site = dataclasses.replace(SITE, num_readers=400, days=3.0, tick_hours=1.0)
    feed = Feed(site, reader, seed=5)
    agent: Any = make_agent("linear", crosses="article_shown").start(feed)
    drive(agent, feed)
    (found,) = learner_of(agent).cross_weights
    # Of rates, and of openings too, which tire nobody but count as showings: less than of log-odds.
    assert (-1.5 < found < -0.5) if tires else (abs(found) < 0.15), found


def test_a_new_cross_is_a_function_and_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def more_than_once(pairs: Pairs) -> Any:
        return (pairs.counts("article").shown > 1.2).astype(np.float32)

    monkeypatch.setitem(CROSSES, "article_often", more_than_once)
    agent, feed = started("fitted", crosses="article_often+article_shown")
    for _, acted in ticks(agent, feed, until=30.0):
        assert acted.now == feed.now
    kept = replay_of(agent).column("crosses")
    assert kept.shape[2] == 2
    assert set(np.unique(kept[..., 0])) == {0.0, 1.0}
    assert len(learner_of(agent).cross_weights) == 2


def test_who_is_told_of_no_outcome_remembers_what_was_shown() -> None:
    """As an agent that serves what it has learned, and learns no more."""
    agent, feed = served_to_many("fitted")
    rows, served = feed.visits.rows, agent.act(feed.visits, feed.catalogue).article_id
    feed.serve(served)
    agent.act(feed.visits, feed.catalogue)
    shown = agent._pairs.of(rows, served, feed.now)[EVERY.index("article_shown")]
    assert (shown > 0.6).mean() > 0.9  # log 2 and more, half an hour ago; but where two of a slate share a slot


def test_a_session_s_pages_are_counted() -> None:
    memory = PairMemory(("session_page", "session_topic"), (4, 3, 5))
    site = Feed(SITE, seed=1)
    memory.follow(site.catalogue)
    slate = site.catalogue.article_id[None, :5]
    topics = site.catalogue.categories_of(slate)[..., 0]
    memory = PairMemory(("session_page", "session_topic"), site.catalogue.category_sizes)
    memory.follow(site.catalogue)
    one, nothing = np.array([2]), (np.zeros((1, 5), dtype=np.bool_), np.zeros((1, 5), dtype=np.float32))
    assert not memory.of(one, slate, 1.0).any()
    memory.note(one, slate, *nothing, 1.0)
    memory.note(one, slate, *nothing, 1.1)
    page, on_pages = memory.of(one, slate, 1.2)
    np.testing.assert_allclose(page, np.log1p(2.0), atol=1e-3)
    times = 2 * (topics[0][:, None] == topics[0]).sum(axis=1)
    np.testing.assert_allclose(on_pages[0], np.log1p(times), atol=2e-3)
    assert not memory.of(one, slate, 1.3).any()  # twelve minutes later a session begins


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("regression-dwell:crosses=article_seen", "crosses: got 'article_seen', needs 'none', 'all'"),
        ("regression-dwell:crosses=topic_shown+topic_shown", "once each"),
        ("regression-dwell:crosses=all,serving=streaming", "'none' where readers lag"),
        ("contrastive:crosses=all", "'none' for this learner"),
        ("reinforce:crosses=all", "'none' for this learner"),
        ("regression-dwell:crosses=all,loss=slate_bpr", "crosses: got 22, needs 0"),
    ],
)
def test_what_cannot_be_told_is_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_agent(text).start(Feed(SITE, seed=1))


def test_names() -> None:
    assert cross_names("none") == ()
    assert cross_names("all") == tuple(name for name in CROSSES if not name.startswith("source_"))
    assert cross_names("all+source_recent") == (*EVERY, "source_recent")
    assert cross_names("topic_shown+article_just") == ("topic_shown", "article_just")
    assert len(EVERY) == 22


def test_a_second_stage_of_a_hundred_costs_less_than_retrieval_among_ten_thousand() -> None:
    """At most twice as much is what it may cost; CPU of this process, the least of some tries."""
    rng = np.random.default_rng(0)
    n, live, width = 256, 10_000, 54
    memory = PairMemory(EVERY, (16, 24, 400))
    memory._categories = np.stack([rng.integers(0, size, live) for size in (16, 24, 400)], axis=1).astype(np.int32)
    rows = np.arange(n)
    for hour in range(10):
        slates = rng.integers(0, live, (n, 8))
        memory.note(rows, slates, rng.random(slates.shape) < 0.1, np.ones(slates.shape, dtype=np.float32), float(hour))
    index = make_index("exact", width)
    index.add(np.arange(live), rng.normal(size=(live, width)).astype(np.float32), np.zeros(live))
    queries, weights = rng.normal(size=(n, width)).astype(np.float32), np.ones(len(EVERY), dtype=np.float32)
    shortlist, _ = index.search(queries, 100)

    def least(call: Callable[[], object]) -> float:
        took = []
        for _ in range(7):
            start = time.process_time()
            call()
            took.append(time.process_time() - start)
        return min(took)

    second = least(lambda: memory.weighed(rows, shortlist, 11.0, weights))
    assert second < 2.0 * least(lambda: index.search(queries, 100))

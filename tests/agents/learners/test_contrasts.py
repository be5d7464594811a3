"""Contrastive losses: every loss with every sampler against plain loops over the rows and columns of a batch."""

import copy
from typing import Any

import numpy as np
import pytest

from feedgym.agents import make_agent
from feedgym.agents.learners.contrastive import ContrastiveLearner
from feedgym.agents.learners.contrasts import CONTRASTS
from feedgym.agents.learners.learning import Learning
from feedgym.agents.learners.settings import ContrastiveConfig
from feedgym.env import Feed, FeedConfig, NewsReader, NewsReaderConfig, NewsroomConfig
from feedgym.towers.negatives import NEGATIVES
from helpers.draws import Recorder
from helpers.driving import drive
from helpers.inside import learning_of, replay_of
from helpers.plain.contrasts import Logged, both_losses, clicks_of, logged_agent, noting_learner, plain_loss, rows_of


@pytest.fixture(scope="module")
def logged() -> Logged:
    return logged_agent()


NO_LOG_Q = ("impressed", "own")
WITH_LOG_Q = [name for name in NEGATIVES if name not in NO_LOG_Q]
PAIRS = [
    *(("softmax", name) for name in WITH_LOG_Q),
    ("sampled_softmax", "uniform"),
    ("full_softmax", "in_batch"),
    ("full_softmax", "uniform"),
    *(("bpr", name) for name in NEGATIVES),
    ("gbce", "uniform"),
    *(("bce", name) for name in NEGATIVES),
    *(("ccl", name) for name in WITH_LOG_Q),
]


@pytest.mark.parametrize(("loss", "negatives"), PAIRS)
def test_every_loss_with_every_sampler_equals_plain_loops(logged: Logged, loss: str, negatives: str) -> None:
    found, wanted = both_losses(logged, loss=loss, negatives=negatives)
    assert found == pytest.approx(wanted, rel=2e-5)


@pytest.mark.parametrize("negatives", WITH_LOG_Q)
@pytest.mark.parametrize("correction", ["full", "none"])
def test_corrections_of_the_softmax_equal_plain_loops(logged: Logged, correction: str, negatives: str) -> None:
    found, wanted = both_losses(logged, correction=correction, negatives=negatives)
    assert found == pytest.approx(wanted, rel=2e-5)
    other, _ = both_losses(logged, correction="nce", negatives=negatives)
    # Uniform draws have one log q for all: to take it off changes nothing.
    assert (other == pytest.approx(found, rel=1e-5)) == (correction == "none" and negatives == "uniform")


OPTIONS: dict[str, dict[str, Any]] = {
    "softmax, cool": {"softmax_temperature": 0.4, "negatives": "mixed"},
    "uniform softmax, cool": {"softmax_temperature": 0.4, "negatives": "uniform"},
    "sampled softmax, cool": {"loss": "sampled_softmax", "softmax_temperature": 0.4, "negatives": "uniform"},
    "full softmax, cool": {"loss": "full_softmax", "softmax_temperature": 0.4},
    "popularity, steeper": {"popularity_alpha": 1.5, "negatives": "popularity"},
    "gbce, uncalibrated": {"loss": "gbce", "gbce_t": 0.0, "negatives": "uniform"},
    "gbce, more than are live": {"loss": "gbce", "num_negatives": 300, "negatives": "uniform"},
    "ccl, margin": {"loss": "ccl", "ccl_margin": -0.4, "ccl_negative_weight": 3.0},
    "dwell": {"task": "dwell"},
    "dwell by weight": {"dwell_weight": True},
    "completed": {"task": "completed", "completed_minutes": 0.7},
    "completed, bce": {"task": "completed", "loss": "bce", "negatives": "own"},
    "two each": {"loss": "bce", "negatives": "own", "row_negatives": 2},
    "few of each reader": {"clicks_per_reader": 2, "negatives": "mixed"},
    "one of each reader": {"clicks_per_reader": 1, "batch_clicks": 20, "loss": "full_softmax"},
    "subscription": {"task": "subscription", "batch_clicks": 20},
    "next": {"task": "next", "batch_clicks": 30},
    "next, bpr with slates": {"task": "next", "batch_clicks": 30, "loss": "bpr", "negatives": "impressed"},
    "cap": {"propensity_cap": 20.0},
    "no cap at work": {"propensity_cap": 1e6, "loss": "bpr"},
    "examination": {"examination": 0.6, "loss": "ccl"},
    "all weights": {"examination": 0.6, "propensity_cap": 1e6, "task": "dwell", "negatives": "uniform"},
    "sum": {"task": "click+0.5*next+2*dwell", "negatives": "mixed", "batch_clicks": 30},
}


@pytest.mark.parametrize("option", OPTIONS)
def test_tasks_weights_and_settings_equal_plain_loops(logged: Logged, option: str) -> None:
    settings = OPTIONS[option]
    found, wanted = both_losses(logged, **settings)
    assert found == pytest.approx(wanted, rel=2e-5)
    # And each says something: without it the loss is another.
    keep = ("negatives", "batch_clicks", "loss") if len(settings) > 1 else ()
    without, _ = both_losses(logged, **{name: settings[name] for name in keep if name in settings})
    assert found != pytest.approx(without, rel=1e-4)


def test_the_full_softmax_also_knows_what_expired_between_its_click_and_the_end_of_the_batch(logged: Logged) -> None:
    learner, draws = noting_learner(logged, loss="full_softmax", batch_clicks=100)
    rng: Any = Recorder(1)
    loss = learner.loss(learning_of(logged.agent), rng)
    assert loss is not None
    rows = rows_of(logged, learner.config, "click", int(rng.drawn[0]))
    end = float(replay_of(logged.agent).column("now")[rows[-1][0]])
    expired = logged.expires_hours[draws[0][0].positive_ids] <= end
    assert 0 < expired.sum() < len(rows) / 2
    wanted = plain_loss(logged, learner.config, "click", draws[0], int(rng.drawn[0]))
    assert loss.item() == pytest.approx(wanted, rel=2e-5)


def test_the_next_article_is_foretold_from_the_visit_before(logged: Logged) -> None:
    learner, draws = noting_learner(logged, task="next", batch_clicks=30)
    rng: Any = Recorder(6)
    loss = learner.loss(learning_of(logged.agent), rng)
    assert loss is not None
    too_late = plain_loss(logged, learner.config, "next", draws[0], int(rng.drawn[0]), mistake="seen")
    assert loss.item() != pytest.approx(too_late, rel=1e-4)
    # A batch that begins amid a visit's clicks does not take its second click for the first.
    clicks = clicks_of(logged.agent)
    second = [n for n in range(1, len(clicks) - 30) if clicks[n][0] == clicks[n - 1][0]]
    for start in second[-5:]:
        draws.clear()
        rng.integers = lambda *args, start=start, **named: start
        learner.loss(learning_of(logged.agent), rng)
        slots = [s for s, _, _ in rows_of(logged, learner.config, "next", start)]
        assert clicks[start][0] not in slots
        assert len(slots) > 1
        assert len(draws[0][0].positive_ids) == len(slots)


def test_hard_negatives_come_from_the_shortlists_of_the_clicks_own_visits(logged: Logged) -> None:
    replay = replay_of(logged.agent)
    # What is kept of a visit is what retrieval gave it; of the first, some had less articles than a shortlist has.
    served = [row for tick in logged.shortlists for row in tick]
    order = np.roll(np.arange(len(replay)), -(replay.total % len(replay)))
    for at, shortlist in zip(order, served[-len(replay) :], strict=True):
        np.testing.assert_array_equal(replay.column("shortlist")[at], shortlist)
    learner, draws = noting_learner(logged, negatives="hard")
    assert learner.uses_shortlists
    rng: Any = Recorder(6)
    learner.loss(learning_of(logged.agent), rng)
    context, negatives = draws[0]
    rows = rows_of(logged, learner.config, "click", int(rng.drawn[0]))
    assert context.shortlist_ids is not None
    for i, (slot, _, _) in enumerate(rows):
        np.testing.assert_array_equal(context.shortlist_ids[i], replay.column("shortlist")[slot])
        hard = negatives.row_ids[i, :3]
        assert set(hard.tolist()) <= set(context.shortlist_ids[i].tolist()) | {-1}
    assert len(np.unique(context.shortlist_ids, axis=0)) > 3
    assert not ContrastiveLearner(ContrastiveConfig()).uses_shortlists


def test_impressed_negatives_are_what_the_slate_showed_and_the_reader_did_not_open(logged: Logged) -> None:
    learner, draws = noting_learner(logged, negatives="impressed", loss="bpr")
    rng: Any = Recorder(6)
    learner.loss(learning_of(logged.agent), rng)
    every = replay_of(logged.agent).take(np.arange(len(replay_of(logged.agent))))
    for i, (slot, _, _) in enumerate(rows_of(logged, learner.config, "click", int(rng.drawn[0]))):
        passed = [a for a, c in zip(every.article_id[slot], every.clicks[slot], strict=True) if not c and a >= 0]
        assert [a for a in draws[0][1].row_ids[i].tolist() if a >= 0] == passed


def test_memory_holds_the_batches_before(logged: Logged) -> None:
    learner, draws = noting_learner(logged, negatives="memory")
    rng: Any = Recorder(6)
    for _ in range(3):
        learner.loss(learning_of(logged.agent), rng)
    remembered = np.concatenate([context.positive_ids for context, _ in draws[:2]])
    live = draws[2][0].is_live(remembered)
    np.testing.assert_array_equal(draws[2][1].shared_ids, remembered[live])
    assert live.any()
    # And it is part of the state that runs resume from.
    again = ContrastiveLearner(learner.config)
    again.restore(learner.snapshot())
    one, two = Recorder(9), Recorder(9)
    assert learner.loss(learning_of(logged.agent), one) == again.loss(learning_of(logged.agent), two)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"loss": "hinge"}, "loss: got 'hinge', needs one of softmax, sampled_softmax"),
        *(
            ({"loss": loss, "negatives": name}, f"negatives: got '{name}', needs uniform with loss={loss}")
            for loss in ("sampled_softmax", "gbce")
            for name in NEGATIVES
            if name != "uniform"
        ),
        *(
            ({"loss": loss, "negatives": name}, f"loss_name: got '{loss}', needs one of bce, bpr")
            for loss in ("softmax", "full_softmax", "ccl")
            for name in NO_LOG_Q
        ),
        ({"negatives": "easy"}, "negatives: got 'easy', needs one of in_batch"),
    ],
)
def test_what_does_not_fit_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ContrastiveLearner(ContrastiveConfig(**settings))


def test_every_loss_and_sampler_is_tried_or_refused() -> None:
    refused = {(loss, name) for loss in ("sampled_softmax", "gbce") for name in NEGATIVES if name != "uniform"}
    refused |= {(loss, name) for loss in ("softmax", "full_softmax", "ccl") for name in NO_LOG_Q}
    # The other samplers of the full softmax draw what it does not look at.
    unused = {("full_softmax", name) for name in NEGATIVES}
    assert {(loss, name) for loss in CONTRASTS for name in NEGATIVES} == set(PAIRS) | refused | unused


@pytest.mark.parametrize(("loss", "negatives"), PAIRS)
def test_gradients_reach_both_towers(logged: Logged, loss: str, negatives: str) -> None:
    learner, _ = noting_learner(logged, loss=loss, negatives=negatives)
    agent = logged.agent
    learning: Any = Learning(copy.deepcopy(agent.model), agent.store, replay_of(agent))
    value = learner.loss(learning, np.random.default_rng(0))
    assert value is not None
    value.backward()
    for part in (learning.model.item_tower, learning.model.user_tower, learning.model.item_features):
        for parameter in part.parameters():
            assert parameter.grad is not None
            assert parameter.grad.abs().sum() > 0


@pytest.mark.parametrize("task", ["click", "subscription", "next"])
@pytest.mark.parametrize(("loss", "negatives"), PAIRS)
def test_a_newsroom_of_few_articles_breaks_none(loss: str, negatives: str, task: str) -> None:
    """Fewer live articles than positions: slates without a negative, batches of one article."""
    newsroom, eager = NewsroomConfig(articles_per_day=1.0), NewsReader(NewsReaderConfig(base_log_odds=4.0))
    feed = Feed(FeedConfig(num_readers=20, days=0.5, tick_hours=1.0, slate_size=12, newsroom=newsroom), eager, seed=6)
    settings: dict[str, Any] = {"loss": loss, "negatives": negatives, "task": task, "batch_clicks": 4}
    if loss == "ccl":
        settings["prediction"] = "cosine"
    agent: Any = make_agent("contrastive", max_steps=8, train_every_hours=2.0, **settings).start(feed)
    drive(agent, feed)
    assert feed.done
    assert agent.policy_version >= 5
    assert all(bool(p.isfinite().all()) for p in agent.model.parameters())

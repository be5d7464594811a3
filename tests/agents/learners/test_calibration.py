"""BCE's mean prediction is the click rate of held-out impressions, within 2 % (docs/mathematics.md 6.1)."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from feedgym.agents import make_agent
from feedgym.agents.learners import RegressionConfig, RegressionLearner
from feedgym.agents.learners.calibration import intercept_shift
from feedgym.agents.learners.learning import Learning
from feedgym.agents.learners.replay import Replay
from feedgym.env import Feed, NewsReader, NewsReaderConfig
from feedgym.env.arrays import Doubles, Ints
from feedgym.env.config import FeedConfig, NewsroomConfig
from helpers.inside import replay_of
from helpers.towers import DEEP_ALONE

EXAMINATION = 0.85
"""The readers' own."""
SIZE = 8


@pytest.fixture(scope="module")
def logged() -> Any:
    """An agent that never trains and serves at random, with two days of readers who click a lot in its replay."""
    config = FeedConfig(
        num_readers=4000,
        days=3.0,
        tick_hours=1.0,
        slate_size=SIZE,
        history_length=10,
        newsroom=NewsroomConfig(articles_per_day=150.0),
    )
    readers = NewsReader(NewsReaderConfig(base_log_odds=1.0, examination=EXAMINATION))
    feed = Feed(config, readers, seed=11)
    agent = make_agent("regression-click", epsilon=1.0, train_every_hours=1000.0, **DEEP_ALONE).start(feed)
    while not feed.done:
        agent.learn(feed.serve(agent.act(feed.visits, feed.catalogue).article_id))
    return agent


def fitted(
    logged: Any, train: Ints, held_out: Ints, examination: float | None, finish: bool = True
) -> tuple[Doubles, Doubles]:
    """Train the agent's towers anew on some visits, as it would; chances if examined, and clicks, of the others."""
    settings, replay = logged.config.optimiser, replay_of(logged)
    half = Replay(len(train), SIZE, 10, replay.column("reader").shape[1])
    half.append(replay.take(train))
    model = logged.model
    model.from_arrays(logged.started)
    now = float(replay.column("now").max())
    logged.store.refresh(now)
    learning = Learning(model, logged.store, half)
    model.fit_readers(torch.from_numpy(half.column("reader").copy()))
    learner = RegressionLearner(RegressionConfig(target="click", examination=examination))
    learner.prepare(learning)
    optimiser = torch.optim.AdamW(model.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay)
    rng = np.random.default_rng(1)
    for _ in range(600):
        loss = learner.loss(learning, rng)
        assert loss is not None
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    logged.store.refresh(now)
    if finish:
        learner.finish(learning)
    batch = replay.take(held_out)
    with torch.no_grad():
        items, bias = (torch.from_numpy(a[batch.article_id]) for a in (logged.store.vector, logged.store.bias))
        score = model.score(learning.users(batch), items, bias, learning.ages(batch.article_id, batch.now))
    return torch.sigmoid(score).double().numpy(), batch.clicks.astype(np.float64)


@pytest.fixture(scope="module")
def fit(logged: Any) -> Callable[..., tuple[Doubles, Doubles]]:
    logged.started = logged.model.to_arrays()
    # Half of the visits, drawn at random from the same days: what is tested is the loss, not how fast the news move.
    rows = np.random.default_rng(2).permutation(len(replay_of(logged)))
    middle = len(rows) // 2
    return lambda examination, **how: fitted(logged, rows[:middle], rows[middle:], examination, **how)


def test_mean_prediction_is_the_click_rate_of_held_out_impressions(fit: Any) -> None:
    chance, clicks = fit(None)
    assert clicks.sum() > 10_000  # a standard error of 1 per cent
    assert chance.mean() / clicks.mean() == pytest.approx(1.0, abs=0.02)
    # Not a constant: the tenth of the highest predictions is clicked far more often than that of the lowest.
    order = np.argsort(chance.ravel())
    tenth = len(order) // 10
    assert clicks.ravel()[order[-tenth:]].mean() > 2 * clicks.ravel()[order[:tenth]].mean()


def test_with_known_examination_it_holds_for_what_was_shown_and_not_for_what_was_examined(fit: Any) -> None:
    chance, clicks = fit(EXAMINATION)
    theta = EXAMINATION ** np.arange(SIZE)
    assert (chance * theta).mean() / clicks.mean() == pytest.approx(1.0, abs=0.02)
    assert chance.mean() / clicks.mean() > 1.2
    by_position = (chance * theta).mean(axis=0) / clicks.mean(axis=0)
    assert by_position == pytest.approx(np.ones(SIZE), abs=0.06)


def test_the_last_steps_alone_miss_it(fit: Any) -> None:
    """The control: without ``finish`` the mean is off by more than 2 per cent after some training or other."""
    chance, clicks = fit(None, finish=False)
    assert abs(chance.mean() / clicks.mean() - 1.0) > 0.02


def test_the_shift_solves_its_equation() -> None:
    rng = np.random.default_rng(4)
    logit = rng.normal(-1.0, 2.0, 20_000)
    theta = np.tile([1.0, 0.8, 0.6, 0.4], 5000)
    truth = theta / (1 + np.exp(-(logit + 0.7)))
    clicked = rng.random(20_000) < truth
    shift = intercept_shift(logit, clicked, theta)
    assert shift == pytest.approx(0.7, abs=0.1)
    mean = (theta / (1 + np.exp(-(logit + shift)))).mean()
    assert mean == pytest.approx((clicked.sum() + 0.5) / 20_001, rel=1e-8)
    # Far off, or without a click, it still ends at a root.
    assert intercept_shift(logit - 15.0, clicked, theta) == pytest.approx(shift + 15.0, abs=1e-6)
    rare = intercept_shift(logit, np.zeros(20_000, dtype=np.bool_))
    assert (1 / (1 + np.exp(-(logit + rare)))).mean() == pytest.approx(0.5 / 20_001, rel=1e-6)
    with pytest.raises(ValueError, match=r"clicked: got \(3,\), needs \(2,\), not empty"):
        intercept_shift(np.zeros(2), np.zeros(3, dtype=np.bool_))

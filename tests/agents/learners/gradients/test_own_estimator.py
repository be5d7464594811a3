"""An estimator and an advantage of one's own: one function and one line each, named by a setting."""

from typing import Any

import numpy as np
import pytest
import torch

from feedgym.agents import make_agent, parse_agent
from feedgym.agents.learners import ADVANTAGES, ESTIMATORS, Earned, Estimator, LearnedPolicy, Shown, Terms
from feedgym.agents.learners.settings import ReinforceConfig
from feedgym.env import Feed, FeedConfig, NewsroomConfig
from feedgym.env.arrays import Doubles
from helpers.driving import drive

SITE = FeedConfig(num_readers=200, days=2.0, tick_hours=1.0, slate_size=4, newsroom=NewsroomConfig(articles_per_day=80))
SMALL = "max_steps=5,shortlist_size=20,tail_draws=16,policy_batch=64"


def top_only(policy: LearnedPolicy, shown: Shown) -> Terms:
    """Learns from the first position alone, uncorrected."""
    log_p = torch.where(shown.there, shown.log_p(policy), 0.0)
    first = torch.zeros_like(log_p)
    first[:, 0] = 1.0
    return Terms(first * shown.gain, log_p, shown.there.numpy().astype(np.float64))


def per_click(earned: Earned) -> Doubles:
    """A click is worth 1, whatever followed."""
    return earned.clicked.astype(np.float64)


@pytest.fixture
def added(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ESTIMATORS, "top_only", Estimator(top_only, corrects=False))
    monkeypatch.setitem(ADVANTAGES, "per_click", per_click)


def corrections(settings: str) -> Doubles:
    feed = Feed(SITE, seed=2)
    agent: Any = parse_agent(f"reinforce:{SMALL}{settings}").start(feed)
    drive(agent, feed, until=26.0)
    theta: Doubles = agent.snapshot()["learner/correction/theta"]
    assert np.isfinite(theta).all()
    return theta


@pytest.mark.usefixtures("added")
def test_they_are_settings_of_the_agent() -> None:
    plain = corrections("")
    mine = corrections(",estimator=top_only")
    clicks = corrections(",credit=per_click")
    assert np.abs(mine).max() > 1e-4
    assert not np.array_equal(mine, plain)
    assert not np.array_equal(clicks, plain)
    assert not np.array_equal(clicks, mine)
    # An estimator that corrects nothing needs no propensities, and says so itself.
    agent: Any = make_agent("reinforce", estimator="top_only").start(Feed(SITE))
    assert not agent.learner.estimator.corrects


@pytest.mark.usefixtures("added")
def test_a_name_is_refused_until_its_line_stands_there(monkeypatch: pytest.MonkeyPatch) -> None:
    assert ReinforceConfig(estimator="top_only", credit="per_click").used_estimator == "top_only"
    monkeypatch.delitem(ESTIMATORS, "top_only")
    monkeypatch.delitem(ADVANTAGES, "per_click")
    with pytest.raises(ValueError, match="estimator: got 'top_only', needs one of inclusion, marginal, chen"):
        ReinforceConfig(estimator="top_only")
    with pytest.raises(ValueError, match="credit: got 'per_click', needs one of clicked, item, slate"):
        ReinforceConfig(credit="per_click")


def test_credits_by_hand() -> None:
    earned = Earned(
        reward=np.array([[3.0, 0.0, 1.0]]),
        clicked=np.array([[True, False, True]]),
        later=np.array([10.0]),
        expected_reward=np.array([2.0]),
        expected_later=np.array([6.0]),
        share=np.array([0.5, 0.3, 0.2]),
    )
    # 3 - 2 * .5, 0 - 2 * .3, 1 - 2 * .2; and 10 - 6 to what was opened.
    np.testing.assert_allclose(ADVANTAGES["clicked"](earned), [[2.0 + 4.0, -0.6, 0.6 + 4.0]])
    # Half of 10 to each of two; 8 / 3 off everywhere.
    np.testing.assert_allclose(ADVANTAGES["item"](earned), [[8.0 - 8 / 3, -8 / 3, 6.0 - 8 / 3]])
    np.testing.assert_allclose(ADVANTAGES["slate"](earned), np.full((1, 3), (4.0 + 10.0 - 8.0) / 3))


def test_scales_of_further_tasks_learn_beside_the_policy() -> None:
    """The prior's own parts are trained and resumed with it."""
    feed = Feed(SITE, seed=2)
    text = f"reinforce:{SMALL},target=dwell+0.5*click,loss=pointwise,sharpness=1.0"
    agent: Any = parse_agent(text).start(feed)
    drive(agent, feed, until=26.0)
    arrays = agent.snapshot()
    assert abs(float(arrays["learner/regression/heads/offset"][0])) > 1e-4
    again: Any = parse_agent(text).start(Feed(SITE, seed=2))
    again.restore(arrays)
    restored = again.snapshot()
    assert all(restored[name].tobytes() == value.tobytes() for name, value in arrays.items())

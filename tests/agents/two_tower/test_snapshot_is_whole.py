"""Nothing is forgotten in a snapshot: after a restore every array of a learned agent is what it was."""

from typing import Any

import pytest

from feedgym.agents import parse_agent
from feedgym.agents.serving import logit_scale
from feedgym.env import Feed, FeedConfig, NewsroomConfig
from helpers.driving import drive
from helpers.walking import differing, walk

SITE = FeedConfig(num_readers=120, days=2.0, tick_hours=1.0, slate_size=4, newsroom=NewsroomConfig(articles_per_day=80))
RETURNS = ("future", "reward", "share", "state")
NO_STATE = (
    "_learning",  # what is elsewhere in the agent, and the hour of the training in progress
    "drawer",  # as that
    "store._catalogue",  # the site's
    "_acted",  # lives from act to learn: snapshots are of the time between ticks
    "serving._asked",
    "serving.cost.training_seconds",  # of this process
    "store.index._ids",  # room beyond the rows in use; tests of indexes compare what is found
    "store.index._vectors",
    "store.index.largest_norm",  # a bound: of all vectors ever, or of those that are left
    # Made from replay and ring when a training begins:
    "_learner._before",
    "_learner._has_before",
    "_learner._next",
    "_learner._regression._next",
    *(f"_learner.{where}._evidence" for where in ("_wide", "_wide.0", "_wide.1", "_regression._wide")),
    *(
        f"_learner.{where}._fits.{part}.effect"
        for where in ("_wide", "_wide.0", "_wide.1", "_regression._wide")
        for part in ("score", "minutes")
    ),
    "_learner._slot_reward",
    "_learner.policy._steps",
    "_learner.policy.mean_reward",
    *(
        f"_learner.{where}.{name}"
        for where in ("_future", "policy.future")
        for name in ("future", "reward", "share", "state")
    ),
)
SMALL = "max_steps=4,shortlist_size=20"
AGENTS = (
    f"regression:{SMALL},target=click+0.5*dwell,examination=learned,serving=streaming,history_columns=True",
    f"regression:{SMALL},serving=batch,content_channel=True",
    f"contrastive:{SMALL},negatives=memory,task=click+next,share=none",
    f"regression-dwell:{SMALL},crosses=all",
    f"reinforce:{SMALL},behaviour=estimated,correction=mlp",
    f"direct:{SMALL}",
    f"ltv:{SMALL}",
)


def made(text: str) -> tuple[Any, Feed]:
    feed = Feed(SITE, seed=3)
    return parse_agent(text).start(feed), feed


@pytest.mark.parametrize("text", AGENTS)
def test_every_array_is_restored(text: str) -> None:
    agent, feed = made(text)
    drive(agent, feed, until=30.0)
    again, _ = made(text)
    at_first = differing(dict(walk(agent, NO_STATE)), dict(walk(again, NO_STATE)))
    assert len(at_first) > 25
    again.restore(agent.snapshot())
    assert differing(dict(walk(agent, NO_STATE)), dict(walk(again, NO_STATE))) == []


def test_a_forgotten_array_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """The test above can fail."""
    monkeypatch.setattr(logit_scale, "_SUMS", ("_origin", "_count", "_products"))
    agent, feed = made(AGENTS[0])
    drive(agent, feed, until=7.0)
    again, _ = made(AGENTS[0])
    again.restore(agent.snapshot())
    assert differing(dict(walk(agent, NO_STATE)), dict(walk(again, NO_STATE))) == ["store.scale._sum"]

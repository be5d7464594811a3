"""A visit's slate is its own: any order or split of a tick's visits gives the same slates, byte for byte.

Draws are keyed by seed, reader and number of the visit; scores are rounded alike in batches of any size.
"""

import copy
import dataclasses
from typing import Any

import numpy as np
import pytest
from scipy import stats

from feedgym.agents import make_agent
from feedgym.agents.agent import visit_noise
from feedgym.agents.slate_policy import Draw, draw_slates, slate_log_propensity
from feedgym.env import Feed, FeedConfig, NewsroomConfig
from feedgym.env.arrays import Ints
from feedgym.towers.encoders import HISTORY_ENCODERS
from helpers.driving import drive

SITE = FeedConfig(
    num_readers=200, days=2.0, tick_hours=1.0, slate_size=6, newsroom=NewsroomConfig(articles_per_day=100)
)
QUICK: dict[str, Any] = {"max_steps": 5, "train_every_hours": 6.0}
AGENTS: dict[str, tuple[str, dict[str, Any]]] = {
    "random": ("random", {}),
    "recent": ("recent", {}),
    "popular": ("popular", {"epsilon": 0.5}),
    "popular, no exploration": ("popular", {"epsilon": 0.0}),
    "popular, small shortlist": ("popular", {"epsilon": 0.5, "shortlist_size": 8}),
    "sponsored": ("sponsored", {}),
    "rules": ("popular", {"rules": "cap(topic,2)+pin(3,1)+share(topic=1,0.2)", "epsilon": 0.5}),
    "random, rules": ("random", {"rules": "cap(topic,1)"}),
    "boosted": ("recent", {"new_boost": 1.0}),
    "regression": ("regression", QUICK),
    "contrastive": ("contrastive", QUICK | {"prediction": "cosine"}),
    "reinforce": ("reinforce", QUICK),
    "reinforce, mlp": ("reinforce", QUICK | {"correction": "mlp"}),
    "direct": ("direct", QUICK),
    "ltv": ("ltv", QUICK),
    "reranked": ("youtube-rerank", {"max_steps": 5}),
    "crosses": ("regression-dwell", QUICK | {"crosses": "all"}),
    "crosses, reranked": ("contrastive", QUICK | {"crosses": "all", "prediction": "logistic"}),
    "streaming": ("regression", QUICK | {"serving": "streaming"}),
    "drawn ahead": ("regression", QUICK | {"serving": "batch"}),
    "ivf": ("regression", QUICK | {"index": "ivf"}),
    **{encoder: ("regression-click", QUICK | {"encoder": encoder}) for encoder in HISTORY_ENCODERS},
}
COLUMNS = ("article_id", "slot_propensity", "log_propensity", "explored", "in_shortlist", "logit", "log_normaliser")


def some(visits: Any, which: Ints) -> Any:
    """These visits of the tick, in this order."""
    per_visit = ("rows", "reader_id", "visit", "gap_hours", "features")
    return dataclasses.replace(visits, _history=None, **{name: getattr(visits, name)[which] for name in per_visit})


@pytest.mark.parametrize("name", AGENTS)
def test_slates_do_not_depend_on_order_or_split_of_the_visits(name: str) -> None:
    agent_name, settings = AGENTS[name]
    feed = Feed(SITE, seed=3)
    agent: Any = make_agent(agent_name, **settings).start(feed)
    drive(agent, feed, until=15.0)
    while len(feed.visits) < 12:
        drive(agent, feed, until=feed.now + 1.0)
    visits, n = feed.visits, len(feed.visits)
    order = np.random.default_rng(0).permutation(n)
    parts = [np.arange(n), order, *([i] for i in range(3)), order[:2], order[2:5], order[5:9], order[9:]]
    asked = [(copy.deepcopy((agent, feed.catalogue)), np.asarray(part)) for part in parts]
    found = [(one.act(some(visits, part), catalogue), part) for (one, catalogue), part in asked]
    whole = found[0][0]
    assert len(np.unique(whole.article_id, axis=0)) > 1 or "ahead" in name
    for served, part in found[1:]:
        for column in COLUMNS:
            expected = np.ascontiguousarray(getattr(whole, column)[part])
            assert np.ascontiguousarray(getattr(served, column)).tobytes() == expected.tobytes(), (column, len(part))


def test_a_reader_and_her_next_visit_and_another_seed_have_other_luck() -> None:
    rows, listed = 400, np.tile(np.arange(10), (400, 1))
    draw, live = Draw.of(np.zeros((rows, 10)), listed, 30, 0.5, 3), np.arange(30)
    ids, none = np.arange(rows), np.zeros(rows, dtype=np.int64)
    first = draw_slates(visit_noise(7, ids, none), draw, live).article_id
    np.testing.assert_array_equal(draw_slates(visit_noise(7, ids, none), draw, live).article_id, first)
    for other in (visit_noise(8, ids, none), visit_noise(7, ids, none + 1), visit_noise(7, ids + rows, none)):
        alike = (draw_slates(other, draw, live).article_id == first).mean()
        assert alike < 0.12  # 1 in 15 by chance


@pytest.mark.parametrize("listed", [3, 10, 17])
def test_keyed_slates_come_as_often_as_they_say(listed: int) -> None:
    """All pairs of two positions, with a tail that is permuted (most is listed), and one that is drawn by trial."""
    visits, live, z = 40_000, 20, np.linspace(1.0, -1.0, 17)[:listed]
    draw = Draw.of(np.tile(z, (visits, 1)), np.tile(np.arange(listed), (visits, 1)), live, 0.4, 2)
    slates = draw_slates(visit_noise(1, np.arange(visits) // 4, np.arange(visits) % 4), draw, np.arange(live))
    pairs = np.array([(a, b) for a in range(live) for b in range(live) if a != b])
    joint, _ = slate_log_propensity(
        pairs, np.tile(z, (len(pairs), 1)), np.tile(np.arange(listed), (len(pairs), 1)), live, 0.4
    )
    seen = np.zeros((live, live))
    np.add.at(seen, tuple(slates.article_id.T), 1)
    claimed = np.exp(joint) * visits
    assert stats.chisquare(seen[tuple(pairs.T)], claimed).pvalue > 1e-3
    tilted = claimed * (1 + 0.1 * np.sign(pairs[:, 0] - pairs[:, 1]))
    assert stats.chisquare(seen[tuple(pairs.T)], tilted * visits / tilted.sum()).pvalue < 1e-3  # the check can fail

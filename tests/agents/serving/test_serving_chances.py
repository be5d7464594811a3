"""Slates of every mode follow the joint that a plain computation states: chi-square on fixed seeds."""

import dataclasses
import itertools
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from feedgym.agents import make_agent
from feedgym.agents.slate_policy.served import Served
from feedgym.env import Feed, FeedConfig, NewsroomConfig
from helpers.chances import Joint, p_value
from helpers.driving import crowd, drive
from helpers.towers import DEEP_ALONE

NEWSROOM = NewsroomConfig(articles_per_day=14, max_age_hours=16.0, num_topics=4)
SITE = FeedConfig(num_readers=60, days=3.0, tick_hours=0.5, slate_size=3, newsroom=NEWSROOM)
SMALL: dict[str, Any] = {"widths": (8,), "dim": 4, "max_steps": 5, "shortlist_size": 4, "sharpness": 1.0, **DEEP_ALONE}
MODES: dict[str, dict[str, Any]] = {
    "realtime": {},
    "streaming": {"item_refresh_hours": 3.0, "reader_refresh_hours": 2.0, "feature_lag_hours": 1.0},
    # The draw at hour 50 is between two refreshes of the items: some are held back.
    "batch": {"item_refresh_hours": 20.0, "reader_refresh_hours": 10.0, "train_every_hours": 12.0, "list_depth": 2},
}
POLICIES: dict[str, dict[str, Any]] = {
    "exploration": {"epsilon": 0.1},
    "none": {"epsilon": 0.0},
    "temperature and boost": {"epsilon": 0.2, "temperature": 0.6, "new_boost": 1.5, "new_hours": 9.0},
    "exclude": {"epsilon": 0.3, "rules": "exclude(topic={topic})"},
    "cap": {"epsilon": 0.3, "rules": "cap(topic,1)"},
    "cap, no exploration": {"epsilon": 0.0, "rules": "cap(topic,1)"},
    "pin": {"epsilon": 0.2, "rules": "pin({live},1)"},
    "all": {
        "epsilon": 0.2,
        "rules": "exclude(topic={topic})+cap(topic,1)+pin({live},0)",
        "new_boost": 1.0,
        "new_hours": 9.0,
    },
}
DRAWS = 30_000


def moment(mode: str, **settings: Any) -> tuple[Any, Feed]:
    """Before the tick of hour 50, or the next with visits. The policy is changed there: its rules name what is live."""
    feed = Feed(SITE, seed=9)
    serving = {"serving": mode, **MODES[mode]}
    agent = make_agent("regression", **(SMALL | serving)).start(feed)
    drive(agent, feed, until=50.0)
    while len(feed.visits) == 0 and mode != "batch":
        drive(agent, feed, until=feed.now + 0.25)
    listed = np.sort(feed.catalogue.article_id)
    if "rules" in settings:
        topics = feed.catalogue.categories_of(listed)[:, 0]
        kinds, counts = np.unique(topics, return_counts=True)
        rarest = kinds[np.argmin(counts)]
        settings = settings | {"rules": settings["rules"].format(live=listed[topics != rarest][1], topic=rarest)}
    changed = make_agent("regression", **(SMALL | serving | settings)).start(feed)
    changed.restore(agent.snapshot())
    return changed, feed


def many(mode: str, agent: Any, feed: Feed) -> tuple[np.ndarray, Served]:
    """Slates of one reader, drawn over and over (n, K), in batch lists (n, D), and what was served of them."""
    if mode == "batch":
        known = agent.serving._memory.known(feed.now)
        agent.serving._memory.known = lambda hours: np.repeat(known[:1], DRAWS)
        others = itertools.count()  # as many readers, each with luck of her own
        agent.serving._memory.reader_id = lambda rows: np.array([next(others) for _ in rows])
        visit = one_visit(feed, known[0])
        agent.act(visit, feed.catalogue)
        ahead = agent.serving.ahead
        # The page of each of these lists, as if each had a reader.
        rows = np.arange(200)
        ahead._place, ahead._before = rows.astype(np.int32), np.full(200, visit.visit[0], dtype=np.int32)
        page = ahead.pages(crowd(visit, 200, rows), len(feed.catalogue), agent.store.are_live, lambda ids: ids >= 0)
        return ahead.snapshot()["columns/article_id"][:-1], page.served
    served = agent.act(crowd(feed.visits, DRAWS), feed.catalogue)
    return served.article_id, served


def one_visit(feed: Feed, row: int) -> Any:
    one = np.array([row])
    zero = np.zeros((1, feed.visits.features.shape[1]), dtype=np.float32)
    return dataclasses.replace(
        feed.visits, rows=one, reader_id=one, visit=one, gap_hours=np.ones(1), features=zero, _history=None
    )


def plain_softmax(agent: Any, feed: Feed, row: int) -> tuple[dict[int, float], list[int]]:
    """p of the shortlist, and eligible articles, from the scores of all that can be found: nothing of the drawing."""
    policy, catalogue = agent.drawer.policy, feed.catalogue
    ids = catalogue.article_id.copy()
    visits = one_visit(feed, row) if agent.serving.ahead else dataclasses.replace(feed.visits, _history=None)
    score = dict(zip(ids.tolist(), agent.score_all(visits, catalogue)[0].tolist(), strict=True))
    found = np.array([s for s in score.values() if s > -math.inf])
    z = {a: policy.sharpness / policy.temperature * (s - found.mean()) / found.std() for a, s in score.items()}
    out = {rule.category for rule in policy.editorial.exclude}
    live = [int(a) for a, t in zip(ids, catalogue.categories_of(ids)[:, 0].tolist(), strict=True) if t not in out]
    top = sorted((a for a in live if z[a] > -math.inf), key=lambda a: -z[a])[: policy.shortlist_size]
    age = dict(zip(ids.tolist(), catalogue.age_hours.tolist(), strict=True))
    mass = {a: math.exp(z[a] + policy.new_boost * (age[a] < policy.new_hours)) for a in top}
    total = sum(mass.values())
    return {a: w / total for a, w in mass.items()}, live


def joint_of(
    p: dict[int, float],
    live: list[int],
    epsilon: float,
    topic: dict[int, int],
    cap: int,
    pinned: dict[int, int],
    size: int,
) -> Joint:
    """Chance of every slate: of both kinds of visits, position by position among what is left and allowed."""

    def grow(slate: tuple[int, ...], chance: float, told: dict[int, float]) -> Iterator[tuple[tuple[int, ...], float]]:
        k = len(slate)
        if k == size:
            yield slate, chance
        elif k in pinned:
            yield from grow((*slate, pinned[k]), chance, told)
        else:
            standing = [*slate, *(a for at, a in pinned.items() if at > k)]
            kinds = [topic[a] for a in standing if a >= 0]
            free = [a for a in live if a not in standing and kinds.count(topic[a]) < cap]
            allowed = {a: told[a] for a in free if told.get(a, 0.0) > 0}
            if not allowed and epsilon > 0 and (cap < 99 or pinned):
                allowed = dict.fromkeys(free, 1.0)
            total = math.fsum(allowed.values())
            for a, w in allowed.items():
                yield from grow((*slate, a), chance * w / total, told)
            if not allowed:
                yield from grow((*slate, -1), chance, told)

    joint: Joint = {}
    for share, told in ((1.0 - epsilon, p), (epsilon, dict.fromkeys(live, 1.0))):
        for slate, chance in grow((), share, told) if share > 0 else ():
            joint[slate] = joint.get(slate, 0.0) + chance
    return joint


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("mode", MODES)
def test_slates_follow_their_stated_joint(mode: str, policy: str) -> None:
    agent, feed = moment(mode, **POLICIES[policy])
    rules, epsilon = agent.config.policy.editorial, agent.config.policy.epsilon
    slates, served = many(mode, agent, feed)
    slates = slates[:, : SITE.slate_size]  # of lists the first page
    row = int(agent.serving._memory.known(0.0)[0]) if mode == "batch" else int(feed.visits.rows[0])
    assert (len(agent.store.held) > 0) == (mode != "realtime")
    ids = feed.catalogue.article_id
    topic = dict(zip(ids.tolist(), feed.catalogue.categories_of(ids)[:, 0].tolist(), strict=True))
    p, live = plain_softmax(agent, feed, row)
    assert (np.asarray(served.num_live) == len(live)).all()
    cap = min((c.most for c in rules.caps), default=99)
    pinned = {p.position: int(str(p.article_id)) for p in rules.pins}
    joint = joint_of(p, live, epsilon, topic, cap, pinned, SITE.slate_size)
    assert len(slates) == DRAWS
    assert len(joint) >= 4
    assert p_value(slates, joint) > 1e-3
    # What is logged is that joint.
    drawn = served.as_drawn
    for slate, log in zip(drawn.article_id[:200].tolist(), drawn.log_propensity[:200], strict=True):
        assert math.exp(log) == pytest.approx(joint[tuple(slate)], rel=1e-3)
    # The check can fail: a little more exploration, or a rule less.
    more = 0.9 * epsilon + 0.1
    assert p_value(slates, joint_of(p, live, more, topic, cap, pinned, SITE.slate_size)) < 1e-6
    if cap < 99:
        assert p_value(slates, joint_of(p, live, epsilon, topic, cap + 1, pinned, SITE.slate_size)) < 1e-6
    if pinned:
        assert p_value(slates, joint_of(p, live, epsilon, topic, cap, {}, SITE.slate_size)) < 1e-6
